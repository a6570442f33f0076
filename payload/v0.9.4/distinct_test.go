package main

import (
	"context"
	"net"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	corefake "k8s.io/client-go/kubernetes/fake"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// podInterface returns the plugin's view of one interface of the pod default/a, in networks of the given ranges.
func podInterface(client *kubernetes.Client, name string, ranges ...string) *kubernetes.KubernetesIPAM {
	config := types.IPAMConfig{
		PodName: "a", PodNamespace: "default", OverlappingRanges: true,
		LeaderLeaseDuration: 1500, LeaderRenewDeadline: 1000, LeaderRetryPeriod: 500,
	}
	for _, each := range ranges {
		config.IPRanges = append(config.IPRanges, types.RangeConfiguration{Range: each})
	}
	return &kubernetes.KubernetesIPAM{Client: *client, Config: config, Namespace: namespace, ContainerID: "c", IfName: name}
}

// clientWithPools returns a client of a cluster with empty pools. The fake one gives what it creates no version, without
// which the plugin cannot update.
func clientWithPools(ranges ...string) *kubernetes.Client {
	var objects []runtime.Object
	for _, each := range ranges {
		empty := pool(kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each}), each, map[string]v1alpha1.IPAllocation{})
		empty.ResourceVersion = "1"
		objects = append(objects, empty)
	}
	return kubernetes.NewKubernetesClient(wbfake.NewSimpleClientset(objects...), corefake.NewClientset())
}

func addresses(allocated []net.IPNet) []string {
	var texts []string
	for _, each := range allocated {
		texts = append(texts, each.IP.String())
	}
	return texts
}

func TestInterfacesOfOnePodGetAddressesOfTheirOwn(t *testing.T) {
	client := clientWithPools("10.0.0.0/29", "10.0.0.0/28", "10.0.0.0/27", "fd00::/64", "fd00::/96")
	for _, each := range []struct {
		ipam *kubernetes.KubernetesIPAM
		want []string
	}{
		{podInterface(client, "net1", "10.0.0.0/29"), []string{"10.0.0.1"}},
		{podInterface(client, "net2", "10.0.0.0/28", "fd00::/64"), []string{"10.0.0.2", "fd00::1"}},
		{podInterface(client, "net3", "10.0.0.0/27", "fd00::/96"), []string{"10.0.0.3", "fd00::2"}},
		// A call that is made again gets what the first one got.
		{podInterface(client, "net2", "10.0.0.0/28", "fd00::/64"), []string{"10.0.0.2", "fd00::1"}},
	} {
		allocated, err := allocate(t.Context(), each.ipam)
		if err != nil {
			t.Fatal(err)
		}
		if got := addresses(allocated); !slices.Equal(got, each.want) {
			t.Errorf("%s: %q, want %q", each.ipam.IfName, got, each.want)
		}
	}
	reservations, err := client.ListOverlappingIPs()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(reservations), 5; got != want {
		t.Errorf("%d reservations, want %d", got, want)
	}
	pools, err := client.ListIPPools()
	if err != nil {
		t.Fatal(err)
	}
	for _, pool := range pools {
		if got := len(pool.Allocations()); got != 1 {
			t.Errorf("%d allocations in a pool that one interface uses: %v", got, pool.Allocations())
		}
	}
}

func TestAPodThatNeedsItsOwnAddressTwiceIsRefused(t *testing.T) {
	client := clientWithPools("10.0.0.0/30", "10.0.0.0/29")
	first := podInterface(client, "net1", "10.0.0.0/30")
	second := podInterface(client, "net2", "10.0.0.0/29")
	second.Config.IPRanges[0].RangeEnd = net.ParseIP("10.0.0.1")
	if _, err := allocate(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if allocated, err := allocate(t.Context(), second); err == nil {
		t.Fatalf("allocated %v", allocated)
	}
	// What the runtime does after an ADD that failed must not take the other interface's address away.
	if _, err := kubernetes.IPManagement(context.Background(), types.Deallocate, second.Config, second); err != nil {
		t.Fatal(err)
	}
	reservations, err := client.ListOverlappingIPs()
	if err != nil {
		t.Fatal(err)
	}
	if len(reservations) != 1 || reservations[0].Spec.IfName != "net1" {
		t.Fatalf("reservations: %+v", reservations)
	}
}

func TestAnAddressThatNoPoolHasIsNotGiven(t *testing.T) {
	// Without a version of the pool its update fails, which upstream forgets.
	client := kubernetes.NewKubernetesClient(wbfake.NewSimpleClientset(), corefake.NewClientset())
	if allocated, err := allocate(t.Context(), podInterface(client, "net1", "10.0.0.0/29")); err == nil {
		t.Fatalf("allocated %v", allocated)
	}
}

func TestALeaseThatIsLostAtOnceIsAnError(t *testing.T) {
	ranges := []types.RangeConfiguration{{Range: "10.0.0.0/29"}}
	if err := complete(ranges, nil); err == nil {
		t.Error("no address, and no error")
	}
	if err := complete(ranges, make([]net.IPNet, 1)); err != nil {
		t.Error(err)
	}
}
