// Package audit compares what Whereabouts has written down with what the pods really have.
package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/networks"
)

// Kinds of findings.
const (
	Duplicate = "duplicate" // one address, several pods: traffic is lost now
	Leak      = "leak"      // held for nobody: the range runs out
	Loss      = "loss"      // a pod's address is not written down: it will be given to another pod
	Broken    = "broken"    // an object that cannot be understood
)

// Snapshot is what the cluster holds.
type Snapshot struct {
	Pools        []ipam.Pool
	Reservations []ipam.Reservation
	Networks     []networks.Definition
	Pods         []ipam.Pod
	// Nodes is nil when they are not known.
	Nodes []ipam.Node
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind    string   `json:"kind"`
	Address string   `json:"address,omitempty"`
	Object  string   `json:"object,omitempty"` // the pool or reservation, namespace/name
	Pods    []string `json:"pods,omitempty"`   // namespace/name
	Reason  string   `json:"reason"`
}

// Report is the outcome of an audit.
type Report struct {
	Pools        int       `json:"pools"`
	Allocations  int       `json:"allocations"`
	Reservations int       `json:"reservations"`
	Pods         int       `json:"pods"`
	Findings     []Finding `json:"findings"`
	// Warnings are lines on what is no fault yet, or cannot be decided.
	Warnings []string `json:"warnings"`
}

// Count gives the number of findings of a kind.
func (r Report) Count(kind string) int {
	n := 0
	for _, f := range r.Findings {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// Take reads a snapshot from the API server. Pods are read last: an allocation is written before its pod shows it.
func Take(ctx context.Context, c *kube.Client) (s Snapshot, err error) {
	if s.Pools, err = kube.List[ipam.Pool](ctx, c, ipam.PoolsPath); err != nil {
		return s, err
	}
	if s.Reservations, err = kube.List[ipam.Reservation](ctx, c, ipam.ReservationsPath); err != nil {
		return s, err
	}
	s.Networks, err = kube.List[networks.Definition](ctx, c, networks.Path)
	// Without them it is not known which addresses are Whereabouts', and the report says so.
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) && !kube.HasStatus(err, http.StatusForbidden) {
		return s, err
	}
	if s.Pods, err = kube.List[ipam.Pod](ctx, c, ipam.PodsPath); err != nil {
		return s, err
	}
	// Without them no node is missing.
	s.Nodes, err = kube.List[ipam.Node](ctx, c, ipam.NodesPath)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) && !kube.HasStatus(err, http.StatusForbidden) {
		return s, err
	}
	return s, nil
}

// InputCommand makes what Parse reads.
const InputCommand = "kubectl get ippools,overlappingrangeipreservations,network-attachment-definitions,pods,nodes --all-namespaces --output json"

// Parse reads a snapshot from the output of InputCommand.
func Parse(text []byte) (Snapshot, error) {
	var list struct {
		Kind  string
		Items []json.RawMessage
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return Snapshot{}, fmt.Errorf("not valid JSON: %w", err)
	}
	if list.Kind != "List" {
		return Snapshot{}, fmt.Errorf("kind is %q, expected the List that kubectl get prints", list.Kind)
	}
	var s Snapshot
	for i, item := range list.Items {
		if err := s.add(item); err != nil {
			return Snapshot{}, fmt.Errorf("items[%d]: %w", i, err)
		}
	}
	for i := range s.Pools {
		s.Pools[i].Unshown()
	}
	return s, nil
}

func (s *Snapshot) add(item json.RawMessage) error {
	var head struct{ Kind string }
	if err := json.Unmarshal(item, &head); err != nil {
		return err
	}
	switch head.Kind {
	case "IPPool":
		return appendTo(&s.Pools, item)
	case "OverlappingRangeIPReservation":
		return appendTo(&s.Reservations, item)
	case "NetworkAttachmentDefinition":
		return appendTo(&s.Networks, item)
	case "Pod":
		return appendTo(&s.Pods, item)
	case "Node":
		return appendTo(&s.Nodes, item)
	}
	return fmt.Errorf("kind %q is none of IPPool, OverlappingRangeIPReservation, NetworkAttachmentDefinition, Pod, Node", head.Kind)
}

func appendTo[T any](list *[]T, item json.RawMessage) error {
	var one T
	if err := json.Unmarshal(item, &one); err != nil {
		return err
	}
	*list = append(*list, one)
	return nil
}

// allocation is one entry of a pool.
type allocation struct {
	pool  *ipam.Pool
	addr  netip.Addr
	owner ipam.Owner
}

// wearer is a pod that shows an address.
type wearer struct {
	pod     *ipam.Pod
	network string
}

// holding is a pod that an address is written down for.
type holding struct {
	ref  string
	addr netip.Addr
}

type audit struct {
	report      Report
	allocations []allocation
	pods        map[string]*ipam.Pod
	worn        map[netip.Addr][]wearer // by pods that have not ended
	shown       map[string]map[netip.Addr]bool
	unreadable  map[string]bool // pods whose network-status is missing or broken: nothing can be said about them
	definitions map[string]networks.Definition
	// reservations by namespace/name and podref that stand for an allocation which the pool may have lost, and who has its address
	proofs    map[string]bool
	proven    map[holding]bool
	witnessed map[string]bool // networks on which a pod shows an address that a pool holds for it
	undecided map[string]bool // lines on addresses of networks whose IPAM plugin is not known
}

// Audit compares. It is pure; its findings are sorted.
func Audit(s Snapshot) Report {
	a := audit{
		report: Report{Pools: len(s.Pools), Reservations: len(s.Reservations), Pods: len(s.Pods), Findings: []Finding{}, Warnings: []string{}},
		pods:   map[string]*ipam.Pod{}, worn: map[netip.Addr][]wearer{}, shown: map[string]map[netip.Addr]bool{}, unreadable: map[string]bool{},
		definitions: map[string]networks.Definition{}, witnessed: map[string]bool{}, undecided: map[string]bool{},
		proofs: map[string]bool{}, proven: map[holding]bool{},
	}
	for _, d := range s.Networks {
		a.definitions[d.Metadata.Ref()] = d
	}
	for i := range s.Pods {
		a.readPod(&s.Pods[i])
	}
	for i := range s.Pools {
		a.readPool(&s.Pools[i])
	}
	reserved := map[string]bool{}
	for _, r := range s.Reservations {
		reserved[r.Metadata.Ref()] = true
	}
	a.witness()
	a.prove(s)
	a.leaks()
	a.reservationLeaks(s.Reservations)
	a.duplicateAllocations(reserved)
	a.duplicateWearers(s.Pools)
	a.losses(s.Pools)
	a.warn(s)
	slices.SortFunc(a.report.Findings, func(x, y Finding) int {
		return cmp.Or(strings.Compare(x.Kind, y.Kind), strings.Compare(x.Address, y.Address), strings.Compare(x.Object, y.Object),
			slices.Compare(x.Pods, y.Pods), strings.Compare(x.Reason, y.Reason))
	})
	return a.report
}

func (a *audit) found(f Finding) { a.report.Findings = append(a.report.Findings, f) }

func (a *audit) readPod(pod *ipam.Pod) {
	ref := pod.Metadata.Ref()
	a.pods[ref] = pod
	attachments, known, err := pod.Attachments()
	if err != nil {
		a.found(Finding{Kind: Broken, Pods: []string{ref}, Reason: err.Error()})
	}
	if !known {
		a.unreadable[ref] = true
	}
	a.shown[ref] = map[netip.Addr]bool{}
	for _, attachment := range attachments {
		for _, addr := range attachment.Addresses {
			a.shown[ref][addr] = true
			if !pod.Finished() {
				a.worn[addr] = append(a.worn[addr], wearer{pod, attachment.Network})
			}
		}
	}
}

func (a *audit) readPool(pool *ipam.Pool) {
	for key, owner := range pool.Spec.Allocations {
		a.report.Allocations++
		addr, err := pool.Address(key)
		if err != nil {
			a.found(Finding{Kind: Broken, Object: pool.Metadata.Ref(), Pods: refs(owner.PodRef), Reason: err.Error()})
			continue
		}
		a.allocations = append(a.allocations, allocation{pool, addr, owner})
	}
}

func refs(ref string) []string {
	if ref == "" {
		return nil
	}
	return []string{ref}
}

// leaks finds allocations for pods that cannot have them.
func (a *audit) leaks() {
	for _, al := range a.allocations {
		ref := al.owner.PodRef
		pod := a.pods[ref]
		reason := ""
		switch {
		case ref == "":
			reason = "is allocated without a podref, so nothing releases it"
		case pod == nil:
			reason = "is held for a pod that does not exist"
		case pod.Finished():
			reason = "is held for a pod that has ended"
		case pod.Settled() && !a.unreadable[ref] && !a.shown[ref][al.addr]:
			reason = "is held for a pod that runs without it"
		default:
			continue
		}
		a.found(Finding{Kind: Leak, Address: al.addr.String(), Object: al.pool.Metadata.Ref(), Pods: refs(ref), Reason: reason})
	}
}

// reservationLeaks finds reservations to which no allocation belongs.
func (a *audit) reservationLeaks(reservations []ipam.Reservation) {
	backed := maps.Clone(a.proofs)
	for _, al := range a.allocations {
		for _, name := range al.pool.ReservationNames(al.addr) {
			backed[al.pool.Metadata.Namespace+"/"+name+" "+al.owner.PodRef] = true
		}
	}
	for _, r := range reservations {
		if ref := r.Metadata.Ref(); !backed[ref+" "+r.Spec.PodRef] {
			a.found(Finding{Kind: Leak, Object: ref, Pods: refs(r.Spec.PodRef), Reason: "is a reservation without an allocation"})
		}
	}
}

// duplicateAllocations finds an address that one network holds for several pods. Ranges of one network may overlap on purpose
// (enable_overlapping_ranges: false); then there is no reservation for the address, and two holders are what was asked for. The
// pools of all nodes over one range are one range.
func (a *audit) duplicateAllocations(reserved map[string]bool) {
	type place struct {
		network string
		addr    netip.Addr
	}
	held := map[place][]allocation{}
	for _, al := range a.allocations {
		at := place{al.pool.Network(), al.addr}
		held[at] = append(held[at], al)
	}
	for at, holders := range held {
		pods, pools, ranges := map[string]bool{}, map[string]bool{}, map[string]bool{}
		guarded := false
		for _, al := range holders {
			pods[al.owner.PodRef], pools[al.pool.Metadata.Ref()], ranges[al.pool.Whole()] = true, true, true
			for _, name := range al.pool.ReservationNames(al.addr) {
				guarded = guarded || reserved[al.pool.Metadata.Namespace+"/"+name]
			}
		}
		if len(pods) < 2 || (len(ranges) > 1 && !guarded) {
			continue
		}
		a.found(Finding{Kind: Duplicate, Address: at.addr.String(), Object: strings.Join(sorted(pools), ","), Pods: sorted(pods),
			Reason: "is allocated to several pods"})
	}
}

// duplicateWearers finds an address of a pool that several pods show on one and the same network.
func (a *audit) duplicateWearers(pools []ipam.Pool) {
	for addr, wearers := range a.worn {
		pool := poolOf(pools, addr)
		if pool == nil {
			continue
		}
		byNetwork := map[string]map[string]bool{}
		for _, w := range wearers {
			if byNetwork[w.network] == nil {
				byNetwork[w.network] = map[string]bool{}
			}
			byNetwork[w.network][w.pod.Metadata.Ref()] = true
		}
		for network, pods := range byNetwork {
			if len(pods) > 1 && a.ours(network, addr, pool, sorted(pods)) {
				a.found(Finding{Kind: Duplicate, Address: addr.String(), Object: pool.Metadata.Ref(), Pods: sorted(pods),
					Reason: "is on several pods of network " + network})
			}
		}
	}
}

// losses finds addresses on running pods that lie in a pool's range and that no pool holds for the pod.
func (a *audit) losses(pools []ipam.Pool) {
	held := maps.Clone(a.proven)
	for _, al := range a.allocations {
		held[holding{al.owner.PodRef, al.addr}] = true
	}
	for addr, wearers := range a.worn {
		for _, w := range wearers {
			ref := w.pod.Metadata.Ref()
			if !w.pod.Settled() || held[holding{ref, addr}] {
				continue
			}
			if pool := poolOf(pools, addr); pool != nil && a.ours(w.network, addr, pool, []string{ref}) {
				a.found(Finding{Kind: Loss, Address: addr.String(), Object: pool.Metadata.Ref(), Pods: []string{ref},
					Reason: "is on a running pod, network " + w.network + ", and no pool holds it for that pod"})
			}
		}
	}
}

// witness notes the networks whose addresses are known to be Whereabouts', whatever is known of their definitions.
func (a *audit) witness() {
	for _, al := range a.allocations {
		for _, w := range a.worn[al.addr] {
			if w.pod.Metadata.Ref() == al.owner.PodRef {
				a.witnessed[w.network] = true
			}
		}
	}
}

// prove takes the reservation for the allocation where the pool cannot keep that: far out in wide IPv6 ranges.
func (a *audit) prove(s Snapshot) {
	owners := map[string]string{}
	for _, r := range s.Reservations {
		owners[r.Metadata.Ref()] = r.Spec.PodRef
	}
	for addr, wearers := range a.worn {
		pool := poolOf(s.Pools, addr)
		if pool == nil || pool.Lasts(addr) {
			continue
		}
		for _, w := range wearers {
			ref := w.pod.Metadata.Ref()
			for _, name := range pool.ReservationNames(addr) {
				at := pool.Metadata.Namespace + "/" + name
				if owner, there := owners[at]; there && owner == ref {
					a.proofs[at+" "+ref], a.proven[holding{ref, addr}] = true, true
				}
			}
		}
	}
}

// ours tells whether an address in a pool's range is one that Whereabouts allocated: networks of other IPAM plugins may have the
// same range. Where nothing shows it, it is no finding but a line among the warnings.
func (a *audit) ours(network string, addr netip.Addr, pool *ipam.Pool, pods []string) bool {
	if d, there := a.definitions[network]; there {
		if serves, known := d.Serves(addr); known {
			return serves
		}
	}
	if a.witnessed[network] {
		return true
	}
	a.undecided[fmt.Sprintf("%s on pod %s, network %s, lies in the range of pool %s, which does not hold it for the pod; "+
		"the network's IPAM plugin is unknown; check its NetworkAttachmentDefinition",
		addr, strings.Join(pods, ","), network, pool.Metadata.Ref())] = true
	return false
}

func (a *audit) warn(s Snapshot) {
	lines := slices.Concat(slices.Sorted(maps.Keys(a.undecided)), abandoned(s), networks.Warnings(s.Networks), ipam.SizeWarnings(s.Pools))
	for _, line := range lines {
		a.report.Warnings = append(a.report.Warnings, fault.Line(line))
	}
}

// abandoned gives a line for each pool of a node that is not there any more.
func abandoned(s Snapshot) (lines []string) {
	if s.Nodes == nil {
		return nil
	}
	nodes := map[string]bool{"": true}
	for _, node := range s.Nodes {
		nodes[node.Metadata.Name] = true
	}
	for _, pool := range s.Pools {
		if !nodes[pool.Node()] {
			lines = append(lines, fmt.Sprintf("pool %s belongs to node %s, which does not exist, and holds %d addresses: "+
				"the reconciler releases them and deletes the pool; if it remains, read the reconciler's log",
				pool.Metadata.Ref(), pool.Node(), len(pool.Spec.Allocations)))
		}
	}
	return lines
}

// poolOf gives the pool of an address: rather that of all nodes than that of one.
func poolOf(pools []ipam.Pool, addr netip.Addr) (found *ipam.Pool) {
	for i := range pools {
		prefix, err := pools[i].Range()
		if err != nil || !prefix.Masked().Contains(addr) {
			continue
		}
		if pools[i].Node() == "" {
			return &pools[i]
		}
		if found == nil {
			found = &pools[i]
		}
	}
	return found
}

func sorted(set map[string]bool) []string {
	var list []string
	for item := range set {
		list = append(list, cmp.Or(item, "(no podref)"))
	}
	slices.Sort(list)
	return list
}

// Confirm keeps of a later report the findings that an earlier one had too: what differs was on its way. Counts are the later's.
func Confirm(earlier, later Report) Report {
	had := map[string]bool{}
	for _, f := range earlier.Findings {
		had[f.key()] = true
	}
	kept := []Finding{}
	for _, f := range later.Findings {
		if had[f.key()] {
			kept = append(kept, f)
		}
	}
	later.Findings = kept
	later.Warnings = slices.DeleteFunc(later.Warnings, func(line string) bool { return !slices.Contains(earlier.Warnings, line) })
	return later
}

func (f Finding) key() string {
	return strings.Join([]string{f.Kind, f.Address, f.Object, strings.Join(f.Pods, ","), f.Reason}, "|")
}

// Line is the finding as one line of text.
func (f Finding) Line() string {
	var parts []string
	if f.Address != "" {
		parts = append(parts, f.Address)
	}
	parts = append(parts, f.Reason)
	if f.Object != "" {
		parts = append(parts, "object="+f.Object)
	}
	if len(f.Pods) > 0 {
		parts = append(parts, "pods="+strings.Join(f.Pods, ","))
	}
	return fmt.Sprintf("%-9s %s", f.Kind, fault.Line(strings.Join(parts, " ")))
}

// Summary is the report's last line.
func (r Report) Summary() string {
	return fmt.Sprintf("audit: %d pools, %d allocations, %d reservations, %d pods: %d duplicates, %d leaks, %d losses, %d broken, %d warnings",
		r.Pools, r.Allocations, r.Reservations, r.Pods, r.Count(Duplicate), r.Count(Leak), r.Count(Loss), r.Count(Broken), len(r.Warnings))
}
