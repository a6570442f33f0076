// Package ipam reads what Whereabouts keeps in the cluster: pools, reservations, and the addresses that Multus notes on pods.
package ipam

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
)

// API paths of whole collections.
const (
	PoolsPath        = "/apis/whereabouts.cni.cncf.io/v1alpha1/ippools"
	ReservationsPath = "/apis/whereabouts.cni.cncf.io/v1alpha1/overlappingrangeipreservations"
	PodsPath         = "/api/v1/pods"
	NodesPath        = "/api/v1/nodes"
)

// StatusAnnotation is where Multus notes a pod's networks.
const StatusAnnotation = "k8s.v1.cni.cncf.io/network-status"

// nodeOfPool is the annotation of a pool that one node writes, beside the pool of the same range that all nodes share: the name
// of the node.
const nodeOfPool = "whereabouts.tanzu.vmware.com/node"

// Meta is the metadata that is looked at.
type Meta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	DeletionTimestamp string            `json:"deletionTimestamp"`
	Annotations       map[string]string `json:"annotations"`
}

// Ref is namespace/name.
func (m Meta) Ref() string { return m.Namespace + "/" + m.Name }

// Pool is an IPPool.
type Pool struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		Range       string           `json:"range"`
		Allocations map[string]Owner `json:"allocations"`
	} `json:"spec"`
	// Size is how many bytes the object takes in the API server's store.
	Size int `json:"-"`
	// managed: the text that was read has metadata.managedFields.
	managed bool
}

// Node gives the name of the node that alone writes the pool, and "" for a pool of all nodes.
func (p Pool) Node() string { return p.Metadata.Annotations[nodeOfPool] }

// Whole gives namespace, name of the network and range of a pool: the same for all pools that keep the addresses of one range
// together.
func (p Pool) Whole() string { return p.Metadata.Namespace + " " + p.Network() + " " + p.Spec.Range }

// Node is what is needed of a node.
type Node struct {
	Metadata Meta `json:"metadata"`
}

// Owner is who holds an address.
type Owner struct {
	ID, PodRef, IfName string
	// Incomplete: a field that the CRD requires is not there, as opposed to empty.
	Incomplete bool
}

// UnmarshalJSON reads an entry of a pool's allocations.
func (o *Owner) UnmarshalJSON(text []byte) error {
	var fields struct {
		ID     *string `json:"id"`
		PodRef *string `json:"podref"`
		IfName *string `json:"ifname"`
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	value := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	*o = Owner{value(fields.ID), value(fields.PodRef), value(fields.IfName), fields.ID == nil || fields.PodRef == nil}
	return nil
}

// Reservation is an OverlappingRangeIPReservation.
type Reservation struct {
	Metadata Meta `json:"metadata"`
	Spec     struct {
		PodRef string `json:"podref"`
	} `json:"spec"`
}

// Pod is what an audit needs of a pod.
type Pod struct {
	Metadata Meta `json:"metadata"`
	Status   struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

// Range gives the pool's range.
func (p Pool) Range() (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(p.Spec.Range)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("range %q is not a CIDR", p.Spec.Range)
	}
	return prefix, nil
}

// Address gives the address that an allocation's key stands for: its decimal distance from the range's first address.
func (p Pool) Address(key string) (netip.Addr, error) {
	prefix, err := p.Range()
	if err != nil {
		return netip.Addr{}, err
	}
	offset, ok := new(big.Int).SetString(key, 10)
	if !ok || !decimal(key) {
		return netip.Addr{}, fmt.Errorf("allocation %q is not a number", key)
	}
	addr, ok := add(prefix.Addr(), offset)
	if !ok || !prefix.Masked().Contains(addr) {
		return netip.Addr{}, fmt.Errorf("allocation %q lies outside of %s", key, p.Spec.Range)
	}
	return addr, nil
}

// Lasts tells whether the pool keeps an allocation of the address whichever program writes it: upstream's drop those whose distance
// from the range's first address has more than 63 bits. The address's reservation is then what says who has it.
func (p Pool) Lasts(addr netip.Addr) bool {
	prefix, err := p.Range()
	return err == nil && new(big.Int).Sub(number(addr), number(prefix.Addr())).IsInt64()
}

// decimal tells whether the text is digits and no more of them than the greatest distance has.
func decimal(text string) bool {
	return len(text) <= len("340282366920938463463374607431768211455") && strings.Trim(text, "0123456789") == ""
}

func number(addr netip.Addr) *big.Int { return new(big.Int).SetBytes(addr.AsSlice()) }

func add(addr netip.Addr, offset *big.Int) (netip.Addr, bool) {
	sum := new(big.Int).Add(number(addr), offset)
	if sum.BitLen() > addr.BitLen() {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(sum.FillBytes(make([]byte, addr.BitLen()/8)))
}

// normalize spells an address or range as Whereabouts does in object names.
func normalize(text string) string {
	if strings.HasSuffix(text, ":") {
		text += "0"
	}
	return strings.NewReplacer(":", "-", "/", "-").Replace(text)
}

// Network gives the prefix of the pool's name before its range: "" for the unnamed network, else network_name and, with node
// slices, the node.
func (p Pool) Network() string {
	prefix := strings.TrimSuffix(strings.TrimSuffix(p.Metadata.Name, normalize(p.Spec.Range)), "-")
	if node := p.Node(); node != "" {
		prefix = strings.TrimSuffix(strings.TrimSuffix(prefix, node), "-")
	}
	return prefix
}

// NameOfNodesPool gives the name of the pool that a node writes over a range.
func NameOfNodesPool(network, node, within string) string {
	name := node + "-" + normalize(within)
	if network != "" {
		name = network + "-" + name
	}
	return name
}

// ReservationNames gives the names that a reservation for the pool's address may have. There are several only for node
// slices, where a pool's name does not tell where the network's name ends and the node's begins.
func (p Pool) ReservationNames(addr netip.Addr) []string {
	plain := normalize(addr.String())
	names := []string{plain}
	network := p.Network()
	for at, r := range network {
		if r == '-' {
			names = append(names, network[:at]+"-"+plain)
		}
	}
	if network != "" {
		names = append(names, network+"-"+plain)
	}
	return names
}

// Attachment is one secondary interface of a pod with its addresses.
type Attachment struct {
	Network   string // namespace/name of the NetworkAttachmentDefinition
	Interface string
	Addresses []netip.Addr
}

// Attachments reads a pod's network-status; the cluster's default network is left out. known is false as long as Multus has
// not written it.
func (p Pod) Attachments() (attachments []Attachment, known bool, err error) {
	text, known := p.Metadata.Annotations[StatusAnnotation]
	if !known || text == "" {
		return nil, false, nil
	}
	attachments, err = ParseStatus(text)
	return attachments, err == nil, err
}

// ParseStatus reads the text of a network-status annotation.
func ParseStatus(text string) ([]Attachment, error) {
	var entries []struct {
		Name      string   `json:"name"`
		Interface string   `json:"interface"`
		IPs       []string `json:"ips"`
		Default   bool     `json:"default"`
	}
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf("network-status is not valid: %w", err)
	}
	var attachments []Attachment
	for _, entry := range entries {
		if entry.Default {
			continue
		}
		a := Attachment{Network: entry.Name, Interface: entry.Interface}
		for _, ip := range entry.IPs {
			addr, err := netip.ParseAddr(ip)
			if err != nil {
				return nil, fmt.Errorf("network-status of interface %q: %q is not an address", entry.Interface, ip)
			}
			a.Addresses = append(a.Addresses, addr.Unmap())
		}
		attachments = append(attachments, a)
	}
	return attachments, nil
}

// Finished tells whether the pod's containers have ended for good: its addresses are free then.
func (p Pod) Finished() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// Settled tells whether the pod runs and nothing is being set up or torn down.
func (p Pod) Settled() bool { return p.Status.Phase == "Running" && p.Metadata.DeletionTimestamp == "" }
