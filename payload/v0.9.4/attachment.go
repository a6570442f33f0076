package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	current "github.com/containernetworking/cni/pkg/types/100"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	assign "github.com/k8snetworkplumbingwg/whereabouts/pkg/allocate"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/iphelpers"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// An attachment is one interface of one pod in one network, as a call of the plugin describes it.
type attachment struct {
	config types.IPAMConfig
	// namespace holds the pools, reservations and leases.
	namespace string
	// container is the ID of the pod's sandbox.
	container string
	ifName    string
	// perNode: new addresses are kept in a pool of this node's own, without the lease.
	perNode bool
	// previous is what the runtime remembers of the interface's addresses; a DEL alone uses it.
	previous *current.Result
	api      api
}

// A place is where addresses of one range are kept: in the base pool of the range, which all nodes share; in a node's own
// part of the range, its slice; or in a node pool, which is a node's own over the range that all share.
type place struct {
	within types.RangeConfiguration
	pool   poolIdentifier
}

// isNodePool tells whether the pool is a node's own over a whole range. That of a slice has the slice's range.
func (p place) isNodePool() bool { return p.pool.node != "" && p.pool.ipRange == p.within.Range }

func (p place) name() string { return p.pool.name() }

// has tells whether an address lies between the bounds of the range, and is not excluded.
func (p place) has(ip net.IP) bool {
	_, network, err := net.ParseCIDR(p.within.Range)
	if err != nil {
		return false
	}
	first, last, err := iphelpers.GetIPRange(*network, p.within.RangeStart, p.within.RangeEnd)
	if err != nil || iphelpers.CompareIPs(ip, first) < 0 || iphelpers.CompareIPs(ip, last) > 0 {
		return false
	}
	only, _, err := assign.IterateForAssignment(*network, ip, ip, nil, p.within.OmitRanges, "", "", "")
	return err == nil && only.Equal(ip)
}

// commonLease is the lease of all addresses that are not in slices.
const commonLease = "whereabouts"

// places returns where the addresses of each range are kept, and the name of the lease that guards them.
func (a *attachment) places(ctx context.Context) ([]place, string, error) {
	if a.config.NodeSliceSize != "" && len(a.config.IPRanges) > 0 {
		slice, err := a.slice(ctx)
		if err != nil {
			return nil, "", err
		}
		return []place{slice}, slice.name(), nil
	}
	var found []place
	for _, within := range a.config.IPRanges {
		found = append(found, a.base(within))
	}
	return found, commonLease, nil
}

// base is where all nodes keep addresses of a range.
func (a *attachment) base(within types.RangeConfiguration) place {
	return place{within, poolIdentifier{ipRange: within.Range, network: a.config.NetworkName}}
}

// ownPlace is where this node keeps addresses of a base pool's range in a pool of its own. It has a name as upstream's
// pools of node slices have.
func (a *attachment) ownPlace(base place) (place, error) {
	node, err := nodeName(a.config.ConfigurationPath)
	if err != nil {
		return place{}, err
	}
	own := base
	own.pool.node = node
	if problems := validation.IsDNS1123Subdomain(own.name()); len(problems) > 0 {
		return place{}, fmt.Errorf("the node %s cannot have a pool %s of its own: %s", node, own.name(), problems[0])
	}
	return own, nil
}

// slice returns this node's part of the range.
func (a *attachment) slice(ctx context.Context) (place, error) {
	none := place{}
	if len(a.config.IPRanges) > 1 {
		return none, fmt.Errorf("node_slice_size divides one range, and the network has %d", len(a.config.IPRanges))
	}
	node, err := nodeName(a.config.ConfigurationPath)
	if err != nil {
		return none, err
	}
	part, err := a.sliceRange(ctx, node)
	if err != nil {
		return none, err
	}
	_, network, err := net.ParseCIDR(part)
	if err != nil {
		return none, fmt.Errorf("the slice of node %s: %w", node, err)
	}
	// The range itself gives the prefix length of the addresses, and its exclusions hold within the slice as well.
	within := a.config.IPRanges[0]
	if within.RangeStart, err = iphelpers.FirstUsableIP(*network); err != nil {
		return none, fmt.Errorf("the slice of node %s: %w", node, err)
	}
	if within.RangeEnd, err = iphelpers.LastUsableIP(*network); err != nil {
		return none, fmt.Errorf("the slice of node %s: %w", node, err)
	}
	pool := poolIdentifier{ipRange: part, network: a.config.NetworkName, node: node}
	return place{within, pool}, nil
}

func (a *attachment) sliceRange(ctx context.Context, node string) (string, error) {
	name := a.config.NetworkName
	if name == "" {
		name = a.config.Name
	}
	slices, err := a.api.slices(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the network has node_slice_size, but there is no NodeSlicePool %s/%s: "+
			"set node_slice_controller.enabled to true, and check the events of the network attachment", a.namespace, name)
	}
	if err != nil {
		return "", fmt.Errorf("reading the NodeSlicePool %s/%s: %w", a.namespace, name, err)
	}
	for _, each := range slices.Status.Allocations {
		if each.NodeName == node {
			return each.SliceRange, nil
		}
	}
	return "", fmt.Errorf("the NodeSlicePool %s/%s has no slice for node %s: all %d may be in use by other nodes",
		a.namespace, name, node, len(slices.Status.Allocations))
}

// nodeVariable names the node in upstream's programs.
const nodeVariable = "NODENAME"

// nodeName returns the node's name from where upstream looks for it, and from beside a configuration that a network names as
// a file, as upstream's documentation does.
func nodeName(configuration string) (string, error) {
	if name := strings.TrimSpace(os.Getenv(nodeVariable)); name != "" {
		return name, nil
	}
	data, err := os.ReadFile(filepath.Join(directoryOf(configuration), "nodename"))
	if err != nil {
		data, err = os.ReadFile("/etc/hostname")
	}
	if err != nil {
		return "", fmt.Errorf("finding the name of this node: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// directoryOf is a configuration_path, or where it is if it is a file.
func directoryOf(configuration string) string {
	if found, err := os.Stat(configuration); err == nil && !found.IsDir() {
		return filepath.Dir(configuration)
	}
	return configuration
}
