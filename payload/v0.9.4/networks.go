//go:build !plugin

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/cache"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

const (
	// controllersConf is where the controllers' containers have whereabouts.conf.
	controllersConf = "/etc/cni/net.d/whereabouts.d/whereabouts.conf"
	// notOurs stands for a network that is not Whereabouts': upstream's programs skip it.
	notOurs = `{"cniVersion": "1.0.0", "type": "none", "ipam": {"type": "none"}}`
	// mostSlices are more than a cluster has nodes. An object with 2^14 of them does not fit into etcd for sure.
	mostSlices = 1 << 13
	// longestSlice is the last prefix length that leaves addresses to allocate.
	longestSlice = 30
)

// screen changes network attachments before upstream's controllers see them. Anybody who may write one of them, in any
// namespace, could otherwise end the process: by a list without plugins, an IPv6 range with node_slice_size, a division into
// millions, or a configuration_path without an end. What fails acceptable is reported, and becomes a network of others.
func screen(conf string, acceptable func(network) error, report func(*nadv1.NetworkAttachmentDefinition, error)) cache.TransformFunc {
	return func(object any) (any, error) {
		attachment, is := object.(*nadv1.NetworkAttachmentDefinition)
		if !is {
			return object, nil
		}
		screened := attachment.DeepCopy()
		screened.Spec.Config = notOurs
		found, err := readNetwork(attachment.Spec.Config)
		if err == nil && found != nil {
			if err = acceptable(*found); err == nil {
				screened.Spec.Config, err = found.text(conf)
			}
		}
		if err != nil {
			report(attachment, err)
		}
		return screened, nil
	}
}

// A network is what upstream's controllers use of a network attachment with Whereabouts' IPAM.
type network struct {
	name, version string
	ipam          types.IPAMConfig
}

// readNetwork returns the network of a configuration: nil when its first plugin, the only one that upstream looks at, has
// another IPAM, or none, or when the configuration is a file on the nodes.
func readNetwork(config string) (*network, error) {
	if strings.TrimSpace(config) == "" {
		return nil, nil
	}
	type plugin struct {
		Name string          `json:"name"`
		Type string          `json:"type"`
		IPAM json.RawMessage `json:"ipam"`
	}
	var whole struct {
		plugin
		Version string    `json:"cniVersion"`
		Plugins []*plugin `json:"plugins"`
	}
	if err := json.Unmarshal([]byte(config), &whole); err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	first := &whole.plugin
	if first.Type == "" {
		if len(whole.Plugins) == 0 || whole.Plugins[0] == nil {
			return nil, errors.New("the configuration has neither a type nor plugins")
		}
		first = whole.Plugins[0]
	}
	var kind struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(first.IPAM, &kind) != nil || kind.Type != "whereabouts" {
		return nil, nil
	}
	found := &network{name: whole.Name, version: whole.Version}
	if found.name == "" {
		found.name = first.Name
	}
	if err := json.Unmarshal(first.IPAM, &found.ipam); err != nil {
		return nil, fmt.Errorf("the ipam section cannot be read: %w", err)
	}
	return found, nil
}

// serves tells whether Whereabouts allocates addresses such as this one in a network of this configuration. known is false
// if the configuration does not say: it is missing, a file on the nodes, cannot be read, or names no IPAM plugin.
func serves(config string, address netip.Addr) (serves, known bool) {
	type plugin struct {
		IPAM *struct {
			Type string `json:"type"`
			// Addresses are the network's own: no pool holds them.
			Addresses []struct {
				Address string `json:"address"`
			} `json:"addresses"`
		} `json:"ipam"`
	}
	var whole struct {
		plugin
		Plugins []plugin `json:"plugins"`
	}
	if json.Unmarshal([]byte(config), &whole) != nil {
		return false, false
	}
	for _, each := range append(whole.Plugins, whole.plugin) {
		if each.IPAM == nil {
			continue
		}
		known = true
		fixed := false
		for _, own := range each.IPAM.Addresses {
			text, _, _ := strings.Cut(own.Address, "/")
			its, err := netip.ParseAddr(text)
			fixed = fixed || err == nil && its.Unmap() == address
		}
		serves = serves || each.IPAM.Type == "whereabouts" && !fixed
	}
	return serves, known
}

// text is the configuration with no more than what upstream's controllers need, and with no file but our own.
func (n network) text(conf string) (string, error) {
	type ranged struct {
		Range   string   `json:"range,omitempty"`
		Start   net.IP   `json:"range_start,omitempty"`
		End     net.IP   `json:"range_end,omitempty"`
		Exclude []string `json:"exclude,omitempty"`
	}
	type section struct {
		ranged
		Type        string                     `json:"type"`
		Ranges      []types.RangeConfiguration `json:"ipRanges,omitempty"`
		SliceSize   string                     `json:"node_slice_size,omitempty"`
		NetworkName string                     `json:"network_name,omitempty"`
		Overlapping bool                       `json:"enable_overlapping_ranges"`
		Lease       int                        `json:"leader_lease_duration,omitempty"`
		Renew       int                        `json:"leader_renew_deadline,omitempty"`
		Retry       int                        `json:"leader_retry_period,omitempty"`
		Conf        string                     `json:"configuration_path"`
	}
	written, err := json.Marshal(map[string]any{
		"cniVersion": n.version, "name": n.name, "type": "any",
		"ipam": section{
			ranged{n.ipam.Range, n.ipam.RangeStart, n.ipam.RangeEnd, n.ipam.OmitRanges},
			n.ipam.Type, n.ipam.IPRanges, n.ipam.NodeSliceSize, n.ipam.NetworkName, n.ipam.OverlappingRanges,
			n.ipam.LeaderLeaseDuration, n.ipam.LeaderRenewDeadline, n.ipam.LeaderRetryPeriod, conf,
		},
	})
	return string(written), err
}

// ranges are all of a network's, as upstream reads them.
func (n network) ranges() []string {
	var found []string
	if n.ipam.Range != "" {
		found = append(found, n.ipam.Range)
	}
	for _, each := range n.ipam.IPRanges {
		found = append(found, each.Range)
	}
	return found
}

// anyNetwork accepts each network whose ranges can be read.
func anyNetwork(n network) error {
	for _, each := range n.ranges() {
		if _, err := networkOf(each); err != nil {
			return err
		}
	}
	return nil
}

// divisible accepts a network without node_slice_size, and one whose range can be divided by it.
func divisible(n network) error {
	if err := anyNetwork(n); err != nil || n.ipam.NodeSliceSize == "" {
		return err
	}
	ranges := n.ranges()
	if len(ranges) != 1 {
		return fmt.Errorf("node_slice_size divides one range, and there are %d", len(ranges))
	}
	whole, err := networkOf(ranges[0])
	if err != nil {
		return err
	}
	ones, bits := whole.Mask.Size()
	size, err := strconv.Atoi(strings.TrimPrefix(n.ipam.NodeSliceSize, "/"))
	switch {
	case err != nil:
		return fmt.Errorf("node_slice_size %q is no prefix length, like /24", n.ipam.NodeSliceSize)
	case bits != 8*net.IPv4len:
		return fmt.Errorf("node_slice_size divides IPv4 ranges only, and %s is none", whole)
	case size < ones:
		return fmt.Errorf("node_slice_size /%d is more than the range %s", size, whole)
	case size > longestSlice:
		return fmt.Errorf("node_slice_size /%d leaves no address to allocate: /%d is the smallest", size, longestSlice)
	case 1<<(size-ones) > mostSlices:
		return fmt.Errorf("node_slice_size /%d divides %s into %d slices: at most %d are possible", size, whole, 1<<(size-ones), mostSlices)
	}
	return n.nameProblem()
}

// nameProblem tells why no pool can have the network's name.
func (n network) nameProblem() error {
	key, name := "network_name", n.ipam.NetworkName
	if name == "" {
		key, name = "name", n.name
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("with node_slice_size, %s %q must be a valid object name: %s", key, name, problems[0])
	}
	return nil
}

// networkOf reads a range: a CIDR, or START-END/LENGTH.
func networkOf(text string) (*net.IPNet, error) {
	cidr := text
	if start, end, is := strings.Cut(text, "-"); is {
		if net.ParseIP(start) == nil {
			return nil, fmt.Errorf("the range %q does not begin with an address", text)
		}
		cidr = end
	}
	_, found, err := net.ParseCIDR(cidr)
	if err != nil {
		return nil, fmt.Errorf("the range %q is no CIDR: %w", text, err)
	}
	return found, nil
}
