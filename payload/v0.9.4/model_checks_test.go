package main

import (
	"fmt"
	"maps"
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
	names, _ := i.net.pools(i.pod.node.name)
	for _, name := range names {
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

// proofs are the entries of pools, as POOL KEY, and the reservations that an interface has to have.
func (i *modelInterface) proofs() (entriesOf map[string]v1alpha1.IPAllocation, reservedFor []string) {
	entriesOf = map[string]v1alpha1.IPAllocation{}
	names, ranges := i.net.pools(i.pod.node.name)
	for n, ip := range i.ips {
		first, _, err := net.ParseCIDR(ranges[n])
		must(err)
		entriesOf[names[n]+" "+entryKey(first, ip)] = v1alpha1.IPAllocation{
			ContainerID: i.container, PodRef: "default/" + i.pod.name, IfName: i.ifName,
		}
		if i.net.overlapping {
			reservedFor = append(reservedFor, kubernetes.NormalizeIP(ip, i.net.networkName))
		}
	}
	return entriesOf, reservedFor
}

// check looks for an address that two interfaces use, and for one in use that is not held.
func (w *world) check() {
	pools, reservations, users := w.pools(), w.reservations(), map[string]*modelInterface{}
	for _, i := range w.all {
		if !i.live {
			continue
		}
		names, _ := i.net.pools(i.pod.node.name)
		for n, ip := range i.ips {
			// Without the check for overlapping ranges each pool is for itself.
			domain := fmt.Sprint("network ", i.net.networkName, " ", ip)
			if !i.net.overlapping {
				domain = fmt.Sprint("pool ", names[n], " ", ip)
			}
			if other := users[domain]; other != nil {
				w.fail("%s is in use twice: %s, %s", ip, i, other)
			}
			users[domain] = i
		}
		entriesOf, reservedFor := i.proofs()
		for at, want := range entriesOf {
			name, key, _ := strings.Cut(at, " ")
			if found := pools[name]; found == nil || plain(found.Spec.Allocations[key]) != want {
				w.fail("%s is in use, but the pool lacks %s", i, at)
			}
		}
		for _, name := range reservedFor {
			if found := reservations[name]; found.PodRef != "default/"+i.pod.name || found.IfName != i.ifName {
				w.fail("%s is in use, but the reservation %s is %v", i, name, found)
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
	used, reservedFor := map[string]v1alpha1.IPAllocation{}, []string{}
	for _, i := range w.all {
		if i.live {
			held, names := i.proofs()
			maps.Copy(used, held)
			reservedFor = append(reservedFor, names...)
		}
	}
	for name, each := range w.pools() {
		for key, allocation := range each.Spec.Allocations {
			if used[name+" "+key] != plain(allocation) && !w.announcedElsewhere(each, key, allocation.PodRef) {
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
