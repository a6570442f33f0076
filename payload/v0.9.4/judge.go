//go:build !plugin

package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/iphelpers"
)

// patience is how long an allocation of a pod that runs has to be seen as an orphan before it is released. A pod's
// annotation is written after its allocations: after an interface is added to it, or its sandbox is made anew.
const patience = time.Minute

// sightings remember, by name, since when something has been seen in each run.
type sightings map[string]time.Time

// A watch compares what one run sees with what the runs before it saw.
type watch struct {
	before, now sightings
	// began and listed are when the lists of this run began and when all were there.
	began, listed time.Time
}

// lasting notes that something was seen, and tells whether it has been for long enough.
func (w *watch) lasting(name string) bool {
	since, known := w.before[name]
	if !known {
		since = w.listed
	}
	w.now[name] = since
	return w.began.Sub(since) >= patience
}

// standing is how a pod stands to an address that is kept for it.
type standing int

const (
	// holding: it has the address, or nobody can tell.
	holding standing = iota
	// running: it has what it announces.
	running
	// gone: it has no address any more.
	gone
)

// standing judges the pod of a NAMESPACE/NAME; of another reference nobody knows whose it is.
func (s *snapshot) standing(podRef string, pod *podView, now time.Time) standing {
	switch {
	case !strings.Contains(podRef, "/"):
		return holding
	case pod == nil, pod.finished, s.lost(pod, now):
		return gone
	case pod.starting, !pod.readable:
		return holding
	}
	return running
}

// lost tells whether a pod's node is beyond doubt not running it any more. A taint that evicts the pod does not say so,
// nor does the pod's condition DisruptionTarget: on a node that answers, the pod runs on for its grace period.
func (s *snapshot) lost(pod *podView, now time.Time) bool {
	if s.nodes == nil || pod.node == "" {
		return false
	}
	node, found := s.nodes[pod.node]
	switch {
	case !found:
		return true
	// As Kubernetes itself, which ignores the taint on a node that is ready.
	case node.outOfService && !node.ready:
		return true
	}
	return node.unreachable && !pod.expires.IsZero() && now.After(pod.expires)
}

// A claim is one allocation of one pool.
type claim struct {
	pool, key string
	v1alpha1.IPAllocation
	// address is nil when pool and key do not tell which it is.
	address net.IP
}

// name identifies an allocation: a pod that is made anew, or a new sandbox, makes it another one.
func (c claim) name(pod *podView) string {
	return fmt.Sprintf("allocation %s %s %s %s %s %s", c.pool, c.key, c.PodRef, c.IfName, c.ContainerID, pod.uid)
}

// judgement is what becomes of the allocations.
type judgement struct {
	claims []claim
	// orphans are the allocations nobody has, released those of them that can be released now, and relabelled those that get
	// the mark of an orphan, or lose it: by index in claims.
	orphans, released, relabelled []int
	pools                         []poolReport
	// leaders are, for each pool, the index of the one that stands for its range.
	leaders []int
}

// judgePools tells which allocations are orphans, and which of them to release.
func judgePools(s *snapshot, w *watch) judgement {
	found := judgement{leaders: leadersOf(s.pools)}
	ranges := rangesOf(s.pools)
	for i := range s.pools {
		pool := &s.pools[i]
		report := newPoolReport(pool, ranges[i])
		report.leads = found.leaders[i] == i
		for key, allocation := range pool.Spec.Allocations {
			each := claim{poolName(pool), key, allocation, addressOf(ranges[i], key)}
			report.orphans += found.add(each, s.judge(each, ranges[i], w))
		}
		found.pools = append(found.pools, report)
	}
	s.countLosses(found, ranges, w)
	return found
}

// A finding is what one run sees of an allocation.
type finding int

const (
	// used: its pod has it, or nobody can tell.
	used finding = iota
	// claimed: its pod has it, and yet it is marked as an orphan.
	claimed
	// suspect: its pod runs and does not have it. Now it has to be marked.
	suspect
	// waiting: it is marked, but not for long enough.
	waiting
	// free: nobody has it.
	free
)

// add notes what was found of a claim, and returns how many orphans it is.
func (j *judgement) add(each claim, found finding) int {
	index := len(j.claims)
	j.claims = append(j.claims, each)
	switch found {
	case free:
		j.released = append(j.released, index)
	case suspect, claimed:
		j.relabelled = append(j.relabelled, index)
	}
	if found == used || found == claimed {
		return 0
	}
	j.orphans = append(j.orphans, index)
	return 1
}

// judge tells whether nobody has an allocation's address, and whether that is certain enough to release it.
func (s *snapshot) judge(each claim, within netip.Prefix, w *watch) finding {
	pod, is := s.pods[each.PodRef], marked(each.IPAllocation)
	switch s.standing(each.PodRef, pod, w.began) {
	case gone:
		return free
	case running:
		// A key that stands for no address may stand for any of the pod's.
		has := each.address == nil || announces(pod, within, each.key)
		switch {
		case has && is:
			return claimed
		case has:
			return used
		case !is:
			return suspect
		case w.lasting(each.name(pod)):
			return free
		}
		return waiting
	}
	return used
}

// announces tells whether one of a pod's addresses is what an allocation with this key in the range stands for.
func announces(pod *podView, within netip.Prefix, key string) bool {
	return slices.ContainsFunc(pod.announced, func(each netip.Addr) bool {
		return within.Contains(each) && slices.Contains(keysOf(within, each), key)
	})
}

// countLosses counts the addresses that pods announce and no pool holds for them. They are seen twice before they count:
// the pools are older than the pods. The pool that stands for a range counts those of all its pools.
func (s *snapshot) countLosses(found judgement, ranges []netip.Prefix, w *watch) {
	// Networks with an address that a pool holds for its pod are Whereabouts', whatever is known of them.
	witnessed, unheld := map[string]bool{}, map[string][]located{}
	for podRef, pod := range s.pods {
		if s.standing(podRef, pod, w.began) != running {
			continue
		}
		for _, each := range pod.secondary {
			if s.heldFor(podRef, each.address, ranges) {
				witnessed[each.network] = true
			} else if s.narrowest(ranges, each.address) >= 0 {
				unheld[podRef] = append(unheld[podRef], each)
			}
		}
	}
	for podRef, all := range unheld {
		for _, each := range all {
			ours, known := serves(s.networks[each.network], each.address)
			if !known {
				ours = witnessed[each.network]
			}
			if ours && w.lasting(fmt.Sprintf("loss %s %s", s.pods[podRef].uid, each.address)) {
				found.pools[found.leaders[s.narrowest(ranges, each.address)]].losses++
			}
		}
	}
}

// narrowest returns the pool whose range contains an address and is the smallest, or -1.
func (s *snapshot) narrowest(ranges []netip.Prefix, address netip.Addr) int {
	found := -1
	for i, each := range ranges {
		if each.Contains(address) && (found < 0 || each.Bits() > ranges[found].Bits()) {
			found = i
		}
	}
	return found
}

// heldFor tells whether any pool holds an address for a pod.
func (s *snapshot) heldFor(podRef string, address netip.Addr, ranges []netip.Prefix) bool {
	// Many nodes' pools have one range.
	known := map[netip.Prefix][]string{}
	for i, within := range ranges {
		if !within.Contains(address) {
			continue
		}
		if known[within] == nil {
			known[within] = keysOf(within, address)
		}
		for _, key := range known[within] {
			if s.pools[i].Spec.Allocations[key].PodRef == podRef {
				return true
			}
		}
	}
	return false
}

// judgeReservations returns, by pod, the reservations to delete, now that the released claims are gone. A reservation
// against overlapping ranges outlives the allocation of a pod that runs: should the pod announce the address after all,
// the reservation is what keeps it from being allocated again.
func judgeReservations(s *snapshot, held []claim, w *watch) map[string][]v1alpha1.OverlappingRangeIPReservation {
	names := reservationNames(held)
	stale := map[string][]v1alpha1.OverlappingRangeIPReservation{}
	for _, each := range s.reservations {
		podRef := each.Spec.PodRef
		if !backed(each, names[podRef]) && s.stale(each, names, w) {
			stale[podRef] = append(stale[podRef], each)
		}
	}
	return stale
}

// stale tells whether a reservation without an allocation of its pod is certainly of no use.
func (s *snapshot) stale(each v1alpha1.OverlappingRangeIPReservation, names map[string][]string, w *watch) bool {
	podRef := each.Spec.PodRef
	pod := s.pods[podRef]
	switch s.standing(podRef, pod, w.began) {
	case gone:
		return true
	case running:
		return !backed(each, announcedNames(pod)) && w.lasting(reservationName(each))
	}
	// Versions before 0.7 named no pod: what no allocation and no pod at all has is of no use.
	return podRef == "" && !s.usedByAny(each, names) && w.lasting(reservationName(each))
}

func (s *snapshot) usedByAny(each v1alpha1.OverlappingRangeIPReservation, names map[string][]string) bool {
	for _, some := range names {
		if backed(each, some) {
			return true
		}
	}
	for _, pod := range s.pods {
		if backed(each, announcedNames(pod)) {
			return true
		}
	}
	return false
}

func reservationName(each v1alpha1.OverlappingRangeIPReservation) string {
	return fmt.Sprintf("reservation %s/%s %s", each.Namespace, each.Name, each.UID)
}

// anyAddress stands for an allocation of which nobody knows the address: it backs each reservation of its pod.
const anyAddress = ""

// reservationNames returns, for each pod, its allocations as the names of reservations have them.
func reservationNames(claims []claim) map[string][]string {
	names := map[string][]string{}
	for _, each := range claims {
		name := anyAddress
		if each.address != nil {
			name = addressName(each.address, "")
		}
		names[each.PodRef] = append(names[each.PodRef], name)
	}
	return names
}

func announcedNames(pod *podView) []string {
	var names []string
	for _, each := range pod.announced {
		names = append(names, addressName(net.IP(each.AsSlice()), ""))
	}
	return names
}

// backed tells whether one of the addresses is what the reservation is for: its name is the address, or NETWORK-ADDRESS.
func backed(reservation v1alpha1.OverlappingRangeIPReservation, addresses []string) bool {
	for _, address := range addresses {
		if address == anyAddress || reservation.Name == address || strings.HasSuffix(reservation.Name, "-"+address) {
			return true
		}
	}
	return false
}

func poolName(pool *v1alpha1.IPPool) string {
	return apitypes.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}.String()
}

// rangesOf returns each pool's range; one that cannot be read is not valid.
func rangesOf(pools []v1alpha1.IPPool) []netip.Prefix {
	ranges := make([]netip.Prefix, len(pools))
	for i, pool := range pools {
		// Not masked: offsets count from the address that is written there.
		if prefix, err := netip.ParsePrefix(pool.Spec.Range); err == nil {
			ranges[i] = prefix
		}
	}
	return ranges
}

// keysOf are the keys under which a pool may hold an address: the plugin's, and upstream's, which cuts offsets to 64 bits.
func keysOf(within netip.Prefix, address netip.Addr) []string {
	first, ip := net.IP(within.Addr().AsSlice()), net.IP(address.AsSlice())
	keys := []string{entryKey(first, ip)}
	if offset, err := iphelpers.IPGetOffset(ip, first); err == nil {
		keys = append(keys, strconv.FormatUint(offset, 10))
	}
	return keys
}

// addressOf is the address that a key stands for, or nil.
func addressOf(within netip.Prefix, key string) net.IP {
	if !within.IsValid() {
		return nil
	}
	network := net.IPNet{IP: within.Masked().Addr().AsSlice(), Mask: net.CIDRMask(within.Bits(), within.Addr().BitLen())}
	return entryIP(net.IP(within.Addr().AsSlice()), &network, key)
}
