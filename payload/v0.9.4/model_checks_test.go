package main

import (
	"fmt"
	"net"
	"slices"
	"strings"

	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
)

func (w *world) list(resource, kind string) k8sruntime.Object {
	version := v1alpha1.SchemeGroupVersion
	found, err := w.List(version.WithResource(resource), version.WithKind(kind), namespace)
	must(err)
	return found
}

func (w *world) pools() map[string]*v1alpha1.IPPool {
	found := map[string]*v1alpha1.IPPool{}
	for _, each := range w.list("ippools", "IPPool").(*v1alpha1.IPPoolList).Items {
		found[each.Name] = &each
	}
	return found
}

func (w *world) reservations() map[string]v1alpha1.OverlappingRangeIPReservationSpec {
	all := w.list("overlappingrangeipreservations", "OverlappingRangeIPReservation")
	found := map[string]v1alpha1.OverlappingRangeIPReservationSpec{}
	for _, each := range all.(*v1alpha1.OverlappingRangeIPReservationList).Items {
		found[each.Name] = each.Spec
	}
	return found
}

// entriesOf counts what the pools hold for an interface, whatever its sandbox.
func (w *world) entriesOf(i *modelInterface) int {
	count, pools := 0, w.pools()
	bases, _ := i.net.bases(i.pod.node.name)
	for _, name := range append(bases, i.net.owns(i.pod.node.name)...) {
		if pools[name] == nil {
			continue
		}
		for _, each := range pools[name].Spec.Allocations {
			if each.PodRef == "default/"+i.pod.name && each.IfName == i.ifName {
				count++
			}
		}
	}
	return count
}

// A proof is what has to hold an address of an interface: an entry with this key in one of the pools, the base pool or the
// node's own, and the reservation, if the network has them.
type proof struct {
	pools       []string
	key         string
	entry       v1alpha1.IPAllocation
	reservation string
}

func (i *modelInterface) proofs() (found []proof) {
	bases, ranges := i.net.bases(i.pod.node.name)
	owns := i.net.owns(i.pod.node.name)
	for n, ip := range i.ips {
		first, _, err := net.ParseCIDR(ranges[n])
		must(err)
		each := proof{pools: bases[n : n+1], key: entryKey(first, ip)}
		if owns != nil {
			each.pools = []string{bases[n], owns[n]}
		}
		each.entry = v1alpha1.IPAllocation{ContainerID: i.container, PodRef: "default/" + i.pod.name, IfName: i.ifName}
		if i.net.overlapping {
			each.reservation = kubernetes.NormalizeIP(ip, i.net.networkName)
		}
		found = append(found, each)
	}
	return found
}

// in returns the first pool that holds it, as POOL KEY, or nothing.
func (p proof) in(pools map[string]*v1alpha1.IPPool) string {
	for _, name := range p.pools {
		if found := pools[name]; found != nil && plain(found.Spec.Allocations[p.key]) == p.entry {
			return name + " " + p.key
		}
	}
	return ""
}

// check looks for an address that two interfaces use, and for one in use that is not held.
func (w *world) check() {
	pools, reservations, users := w.pools(), w.reservations(), map[string]*modelInterface{}
	for _, i := range w.all {
		if !i.live {
			continue
		}
		bases, _ := i.net.bases(i.pod.node.name)
		for n, ip := range i.ips {
			// Without the check for overlapping ranges each range is for itself.
			domains := []string{fmt.Sprint("pool ", bases[n], " ", ip)}
			if i.net.overlapping {
				domains = append(domains, fmt.Sprint("network ", i.net.networkName, " ", ip))
			}
			for _, domain := range domains {
				if other := users[domain]; other != nil {
					w.fail("%s is in use twice: %s, %s", ip, i, other)
				}
				users[domain] = i
			}
		}
		for _, each := range i.proofs() {
			if each.in(pools) == "" {
				w.fail("%s is in use, but none of the pools %s has %s", i, each.pools, each.key)
			}
			found := reservations[each.reservation]
			if each.reservation != "" && (found.PodRef != "default/"+i.pod.name || found.IfName != i.ifName) {
				w.fail("%s is in use, but the reservation %s is %v", i, each.reservation, found)
			}
		}
	}
}

// plain is an allocation without the reconciler's mark.
func plain(allocation v1alpha1.IPAllocation) v1alpha1.IPAllocation {
	allocation.ContainerID = containerOf(allocation)
	return allocation
}

// checkLeaks looks for what is held and not in use.
func (w *world) checkLeaks() {
	pools, used, reservedFor := w.pools(), map[string]bool{}, []string{}
	for _, i := range w.all {
		if i.live {
			for n, each := range i.proofs() {
				used[each.in(pools)] = true
				// One without need of it is there if nodes have pools of their own.
				reservedFor = append(reservedFor, each.reservation, kubernetes.NormalizeIP(i.ips[n], i.net.networkName))
			}
		}
	}
	for name, each := range pools {
		for key, allocation := range each.Spec.Allocations {
			if !used[name+" "+key] && !w.announcedElsewhere(each, key, allocation.PodRef) {
				w.fail("leaked: the pool %s has %s for %v", name, key, allocation)
			}
		}
	}
	for name, each := range w.reservations() {
		if !slices.Contains(reservedFor, name) && !w.reservedElsewhere(name, each.PodRef) {
			w.fail("leaked: the reservation %s for %v", name, each)
		}
	}
}

// announcedElsewhere tells whether a running pod announces the address of its orphan, in another network: the reconciler
// looks at addresses alone, and keeps it until the pod is gone.
func (w *world) announcedElsewhere(pool *v1alpha1.IPPool, key, podRef string) bool {
	first, within, err := pool.ParseCIDR()
	must(err)
	return slices.ContainsFunc(w.announcedBy(podRef), entryIP(first, within, key).Equal)
}

func (w *world) reservedElsewhere(name, podRef string) bool {
	return slices.ContainsFunc(w.announcedBy(podRef), func(ip net.IP) bool {
		address := kubernetes.NormalizeIP(ip, kubernetes.UnnamedNetwork)
		return name == address || strings.HasSuffix(name, "-"+address)
	})
}

func (w *world) announcedBy(podRef string) []net.IP {
	var found []net.IP
	for _, p := range w.pods {
		if "default/"+p.name == podRef {
			for _, each := range p.announced {
				found = append(found, each.ips...)
			}
		}
	}
	return found
}
