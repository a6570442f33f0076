package main

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corefake "k8s.io/client-go/kubernetes/fake"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

func TestRangesOfOneNetworkThatOverlapGiveDifferentAddresses(t *testing.T) {
	bounded := attached(clients{}, "a", "net1", "10.0.0.0/28", "10.0.0.0/28")
	bounded.config.IPRanges[0].RangeStart, bounded.config.IPRanges[0].RangeEnd = net.ParseIP("10.0.0.8"), net.ParseIP("10.0.0.10")
	bounded.config.IPRanges[1].RangeEnd = net.ParseIP("10.0.0.3")
	unguarded := attached(clients{}, "a", "net1", "10.0.0.0/29", "10.0.0.0/29", "10.0.0.0/29")
	unguarded.config.OverlappingRanges = false
	for name, test := range map[string]struct {
		a    *attachment
		want []string
	}{
		"one in the other":       {attached(clients{}, "a", "net1", "10.0.0.0/28", "10.0.0.0/29"), []string{"10.0.0.1", "10.0.0.2"}},
		"the same":               {unguarded, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}},
		"the same, other bounds": {bounded, []string{"10.0.0.8", "10.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.a.api = clients{core: corefake.NewClientset(), whereabouts: newServer().whereabouts}
			for range 5 {
				got := mustAllocate(t, test.a)
				if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(test.want))) {
					t.Fatalf("allocated %q, want %q", got, test.want)
				}
			}
			if err := release(t.Context(), test.a); err != nil {
				t.Fatal(err)
			}
			expectLeft(t, its(test.a))
		})
	}
}

func TestAnAddressThatTheNetworkLeavesOutByNowIsNotGivenToTheNextPodOfTheName(t *testing.T) {
	for name, change := range map[string]func(*types.RangeConfiguration){
		"excluded": func(within *types.RangeConfiguration) { within.OmitRanges = []string{"10.0.0.1/32"} },
		"below":    func(within *types.RangeConfiguration) { within.RangeStart = net.ParseIP("10.0.0.2") },
		"above": func(within *types.RangeConfiguration) {
			within.RangeStart, within.RangeEnd = net.ParseIP("10.0.0.2"), net.ParseIP("10.0.0.3")
		},
		"no change": func(*types.RangeConfiguration) {},
	} {
		t.Run(name, func(t *testing.T) {
			api := cluster()
			mustAllocate(t, attached(api, "web-0", "net1", "10.0.0.0/29"))
			next := attached(api, "web-0", "net1", "10.0.0.0/29")
			next.container = "c-next"
			change(&next.config.IPRanges[0])
			want := map[bool]string{true: "10.0.0.1", false: "10.0.0.2"}[name == "no change"]
			if got := mustAllocate(t, next); got[0] != want {
				t.Errorf("allocated %q, want %s", got, want)
			}
		})
	}
}

func TestARangeWithoutAddressesForPodsIsAnError(t *testing.T) {
	for _, within := range []string{"10.0.0.0/31", "10.0.0.1/32", "fd00::/127", "fd00::1/128"} {
		api := cluster()
		_, err := allocate(t.Context(), attached(api, "a", "net1", within))
		expectError(t, err, "the range "+within, "too small")
		expectLeft(t, api)
	}
	for _, within := range []string{"10.0.0.0/30", "fd00::/126"} {
		api := cluster()
		mustAllocate(t, attached(api, "a", "net1", within))
		mustAllocate(t, attached(api, "b", "net1", within))
		if got, err := allocate(t.Context(), attached(api, "c", "net1", within)); err == nil {
			t.Errorf("%s: a third address %v", within, got)
		}
	}
}

func TestAddressesFarAboveTheirIPv6Network(t *testing.T) {
	for _, each := range []struct{ within, start, key string }{
		{"fd00::/64", "fd00::7fff:ffff:ffff:ffff", "9223372036854775807"},
		{"fd00::/64", "fd00::8000:0:0:0", "9223372036854775808"},
		{"fd00::/64", "fd00::ffff:ffff:ffff:0", "18446744073709486080"},
		{"fd00::/48", "fd00:0:0:5::10", "92233720368547758096"},
		{"fd00::/8", "fdff::1", "1324035698926381045275276563951124481"},
	} {
		api := cluster()
		a, b := attached(api, "a", "net1", each.within), attached(api, "b", "net1", each.within)
		for _, some := range []*attachment{a, b} {
			some.config.IPRanges[0].RangeStart = net.ParseIP(each.start)
		}
		first, second := mustAllocate(t, a)[0], mustAllocate(t, b)[0]
		if first != each.start || second == first {
			t.Errorf("%s from %s: %s, %s", each.within, each.start, first, second)
		}
		if again := mustAllocate(t, a)[0]; again != first {
			t.Errorf("%s from %s: %s at first, then %s", each.within, each.start, first, again)
		}
		wanted := fmt.Sprintf("%s %s default/a", kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each.within}), each.key)
		if found := left(t, api); !slices.Contains(found, wanted) {
			t.Errorf("%q lacks %q", found, wanted)
		}
		for _, some := range []*attachment{a, b} {
			if err := release(t.Context(), some); err != nil {
				t.Error(err)
			}
		}
		expectLeft(t, api)
	}
}

func TestAnAddressWhoseEntryUpstreamLosesIsNotGivenTwice(t *testing.T) {
	api := cluster()
	a, b := attached(api, "a", "net1", "fd00::/64"), attached(api, "b", "net1", "fd00::/64")
	a.config.IPRanges[0].RangeStart = net.ParseIP("fd00::8000:0:0:1")
	b.config.IPRanges[0].RangeStart = a.config.IPRanges[0].RangeStart
	first := mustAllocate(t, a)
	// Upstream's programs write a pool without the entries that they cannot read.
	emptied := pool("fd00---64", "fd00::/64", map[string]v1alpha1.IPAllocation{})
	if _, err := api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).Update(t.Context(), emptied, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if second := mustAllocate(t, b); second[0] == first[0] {
		t.Errorf("both have %s", first)
	}
	// Without reservations nothing would keep it.
	api = cluster()
	a = attached(api, "a", "net1", "fd00::/64")
	a.config.OverlappingRanges, a.config.IPRanges[0].RangeStart = false, net.ParseIP("fd00::8000:0:0:1")
	_, err := allocate(t.Context(), a)
	expectError(t, err, "fd00::8000:0:0:1", "enable_overlapping_ranges")
	expectLeft(t, api)
}

func TestTheReconcilerReadsEntriesBeyondTheFirst64Bits(t *testing.T) {
	const first, second = "fd00:0:0:5::10", "fd00:0:0:5::11"
	running := pod("a", first, corev1.PodRunning)
	cluster := newBench(t, running, pod("b", "fd00:0:0:5::99", corev1.PodRunning))
	for name, start := range map[string]string{"a": first, "b": second} {
		a := attached(clients{core: cluster.core, whereabouts: cluster.wb}, name, "net1", "fd00::/48")
		a.config.IPRanges[0].RangeStart = net.ParseIP(start)
		if got := mustAllocate(t, a); got[0] != start {
			t.Fatalf("allocated %q", got)
		}
	}
	cluster.after(0)
	done := cluster.after(2 * time.Minute)
	// b announces another address: its own is an orphan, and the one that it announces is a loss.
	cluster.expect("b's is released", []string{"fd00---48:92233720368547758096"}, "fd00-0-0-5--10", "fd00-0-0-5--11")
	if done.released != 1 || done.losses != 1 {
		t.Errorf("%+v", done)
	}
}
