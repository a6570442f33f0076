package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corefake "k8s.io/client-go/kubernetes/fake"
	kubetest "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// attached returns one interface of the pod default/NAME, in networks of the given ranges.
func attached(api clients, name, ifName string, ranges ...string) *attachment {
	config := types.IPAMConfig{
		Name: "net", PodName: name, PodNamespace: "default", OverlappingRanges: true,
		LeaderLeaseDuration: 1500, LeaderRenewDeadline: 1000, LeaderRetryPeriod: 500,
	}
	for _, each := range ranges {
		config.IPRanges = append(config.IPRanges, types.RangeConfiguration{Range: each})
	}
	return &attachment{config: config, namespace: namespace, container: "c-" + name, ifName: ifName, api: api}
}

// sliced is attached in a network whose range is divided among the nodes.
func sliced(api clients, name string) *attachment {
	a := attached(api, name, "net1", "10.0.0.0/16")
	a.config.NodeSliceSize, a.config.NetworkName = "/29", "fast"
	return a
}

func sliceOf(node, part string) *v1alpha1.NodeSlicePool {
	return &v1alpha1.NodeSlicePool{
		ObjectMeta: metav1.ObjectMeta{Name: "fast", Namespace: namespace},
		Spec:       v1alpha1.NodeSlicePoolSpec{Range: "10.0.0.0/16", SliceSize: "/29"},
		Status:     v1alpha1.NodeSlicePoolStatus{Allocations: []v1alpha1.NodeSliceAllocation{{NodeName: node, SliceRange: part}}},
	}
}

func cluster(objects ...runtime.Object) clients {
	return clients{core: corefake.NewClientset(), whereabouts: wbfake.NewSimpleClientset(objects...)}
}

// its are the clients of an attachment of a test.
func its(a *attachment) clients { return a.api.(clients) }

// upstreams is what upstream's plugin makes of the same call.
func upstreams(a *attachment) *kubernetes.KubernetesIPAM {
	return &kubernetes.KubernetesIPAM{
		Client: *kubernetes.NewKubernetesClient(its(a).whereabouts, its(a).core),
		Config: a.config, Namespace: a.namespace, ContainerID: a.container, IfName: a.ifName,
	}
}

func faked(api clients) *kubetest.Fake { return &api.whereabouts.(*wbfake.Clientset).Fake }

// failing has each request of a kind fail from its nth on, for some times.
func failing(api clients, verb, resource string, from, times int, err error) {
	seen := 0
	faked(api).PrependReactor(verb, resource, func(kubetest.Action) (bool, runtime.Object, error) {
		seen++
		return seen >= from && seen < from+times, nil, err
	})
}

func mustAllocate(t *testing.T, a *attachment) []string {
	t.Helper()
	allocated, err := allocate(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return addresses(allocated)
}

func addresses(allocated []net.IPNet) []string {
	var texts []string
	for _, each := range allocated {
		texts = append(texts, each.IP.String())
	}
	return texts
}

// left returns what the pools hold, as POOL KEY POD, and the reservations, as NAME POD.
func left(t *testing.T, api clients) []string {
	t.Helper()
	pools, err := api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reservations, err := api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for _, each := range pools.Items {
		for key, allocation := range each.Spec.Allocations {
			found = append(found, fmt.Sprint(each.Name, " ", key, " ", allocation.PodRef))
		}
	}
	for _, each := range reservations.Items {
		found = append(found, fmt.Sprint(each.Name, " ", each.Spec.PodRef))
	}
	slices.Sort(found)
	return found
}

func expectLeft(t *testing.T, api clients, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := left(t, api); !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
}

func expectError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, each := range parts {
		if err == nil || !strings.Contains(err.Error(), each) {
			t.Errorf("error %v, want one with %q", err, each)
		}
	}
}

func TestInterfacesOfOnePodGetAddressesOfTheirOwn(t *testing.T) {
	api := cluster()
	for _, each := range []struct {
		a    *attachment
		want []string
	}{
		{attached(api, "a", "net1", "10.0.0.0/29"), []string{"10.0.0.1"}},
		{attached(api, "a", "net2", "10.0.0.0/28", "fd00::/64"), []string{"10.0.0.2", "fd00::1"}},
		{attached(api, "a", "net3", "10.0.0.0/27", "fd00::/96"), []string{"10.0.0.3", "fd00::2"}},
		// A call that is made again gets what the first one got.
		{attached(api, "a", "net2", "10.0.0.0/28", "fd00::/64"), []string{"10.0.0.2", "fd00::1"}},
	} {
		if got := mustAllocate(t, each.a); !slices.Equal(got, each.want) {
			t.Errorf("%s: %q, want %q", each.a.ifName, got, each.want)
		}
	}
	expectLeft(t, api,
		"10.0.0.0-29 1 default/a", "10.0.0.0-28 2 default/a", "10.0.0.0-27 3 default/a", "fd00---64 1 default/a", "fd00---96 2 default/a",
		"10.0.0.1 default/a", "10.0.0.2 default/a", "10.0.0.3 default/a", "fd00--1 default/a", "fd00--2 default/a")
}

func TestAPodThatNeedsItsOwnAddressTwiceIsRefused(t *testing.T) {
	api := cluster()
	mustAllocate(t, attached(api, "a", "net1", "10.0.0.0/30"))
	second := attached(api, "a", "net2", "10.0.0.0/29")
	second.config.IPRanges[0].RangeEnd = net.ParseIP("10.0.0.1")
	if allocated, err := allocate(t.Context(), second); err == nil {
		t.Fatalf("allocated %v", allocated)
	}
	// What the runtime does after an ADD that failed must not take the other interface's address away.
	if err := release(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-30 1 default/a", "10.0.0.1 default/a")
}

func TestAnAddressReservedForAnotherPodIsNotGiven(t *testing.T) {
	// The interfaces of both pods have the same name, as nearly always.
	api := cluster(reservation("10.0.0.1", "default/other"))
	if got := mustAllocate(t, attached(api, "a", "net1", "10.0.0.0/29")); !slices.Equal(got, []string{"10.0.0.2"}) {
		t.Errorf("allocated %q", got)
	}
	// Nor is one that the pool holds for the pod, as after a node's crash, while an overlapping range gave it to another.
	held := map[string]v1alpha1.IPAllocation{"1": {ContainerID: "before", PodRef: "default/a", IfName: "net1"}}
	api = cluster(reservation("10.0.0.1", "default/other"), pool("10.0.0.0-29", "10.0.0.0/29", held))
	if got := mustAllocate(t, attached(api, "a", "net1", "10.0.0.0/29")); !slices.Equal(got, []string{"10.0.0.2"}) {
		t.Errorf("allocated %q", got)
	}
	expectLeft(t, api, "10.0.0.0-29 2 default/a", "10.0.0.1 default/other", "10.0.0.2 default/a")
	// Nor is one of the pod itself that does not name its interface, as versions before 0.8 wrote them.
	unnamed := reservation("10.0.0.1", "default/a")
	unnamed.Spec.IfName = ""
	if got := mustAllocate(t, attached(cluster(unnamed), "a", "net2", "10.0.0.0/29")); !slices.Equal(got, []string{"10.0.0.2"}) {
		t.Errorf("allocated %q", got)
	}
}

func TestAReservationThatAppearsMeanwhileMakesTheAddressAnothers(t *testing.T) {
	api := cluster()
	first := true
	faked(api).PrependReactor("create", "overlappingrangeipreservations", func(kubetest.Action) (bool, runtime.Object, error) {
		if first {
			first = false
			if err := api.whereabouts.(*wbfake.Clientset).Tracker().Add(reservation("10.0.0.1", "default/other")); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	if got := mustAllocate(t, attached(api, "a", "net1", "10.0.0.0/29")); !slices.Equal(got, []string{"10.0.0.2"}) {
		t.Errorf("allocated %q", got)
	}
	expectLeft(t, api, "10.0.0.0-29 2 default/a", "10.0.0.1 default/other", "10.0.0.2 default/a")
}

func TestAnAddressThatNoPoolStoredIsNotGiven(t *testing.T) {
	t.Setenv("NODENAME", "n1")
	for name, make := range map[string]func(clients) *attachment{
		"range": func(api clients) *attachment { return attached(api, "a", "net1", "10.0.0.0/29") },
		"slice": func(api clients) *attachment { return sliced(api, "a") },
	} {
		t.Run(name, func(t *testing.T) {
			api := cluster(sliceOf("n1", "10.0.0.0/29"))
			failing(api, "patch", "ippools", 1, 1000, apierrors.NewInternalError(fmt.Errorf("no disk")))
			allocated, err := allocate(t.Context(), make(api))
			if err == nil {
				t.Errorf("allocated %v", allocated)
			}
			expectLeft(t, api)
		})
	}
}

func TestAPoolThatOthersWriteIsReadAgain(t *testing.T) {
	api := cluster()
	failing(api, "patch", "ippools", 1, 3, apierrors.NewConflict(schema.GroupResource{}, "10.0.0.0-29", nil))
	a := attached(api, "a", "net1", "10.0.0.0/29")
	mustAllocate(t, a)
	failing(api, "patch", "ippools", 1, 3, apierrors.NewInvalid(schema.GroupKind{}, "10.0.0.0-29", nil))
	if err := release(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api)
}

func TestWhatAnAddGotBeforeItFailedIsGivenBack(t *testing.T) {
	ranges := []string{"10.0.0.0/29", "fd00::/64"}
	refused := apierrors.NewInternalError(fmt.Errorf("no disk"))
	for name, prepare := range map[string]func(clients){
		"second pool's patch": func(api clients) { failing(api, "patch", "ippools", 2, 1, refused) },
		"second pool's read":  func(api clients) { failing(api, "get", "ippools", 2, 1, refused) },
		"first reservation":   func(api clients) { failing(api, "create", "overlappingrangeipreservations", 1, 1, refused) },
		"second reservation":  func(api clients) { failing(api, "create", "overlappingrangeipreservations", 2, 1, refused) },
		"the look at who has it": func(api clients) {
			failing(api, "create", "overlappingrangeipreservations", 2, 1, apierrors.NewAlreadyExists(schema.GroupResource{}, "fd00--1"))
			failing(api, "get", "overlappingrangeipreservations", 1, 1, refused)
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := cluster()
			prepare(api)
			if _, err := allocate(t.Context(), attached(api, "a", "net1", ranges...)); err == nil {
				t.Error("no error")
			}
			expectLeft(t, api)
		})
	}
}

func TestAnAddThatRunsOutOfTimeGivesBackWhatItGot(t *testing.T) {
	api := cluster()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	faked(api).PrependReactor("create", "overlappingrangeipreservations", func(kubetest.Action) (bool, runtime.Object, error) {
		cancel()
		return true, nil, context.Canceled
	})
	if _, err := allocate(ctx, attached(api, "a", "net1", "10.0.0.0/29")); err == nil {
		t.Error("no error")
	}
	expectLeft(t, api)
}

func TestAFullRangeGivesBackTheOther(t *testing.T) {
	api := cluster()
	a := attached(api, "a", "net1", "fd00::/64", "10.0.0.0/30")
	mustAllocate(t, attached(api, "b", "net1", "10.0.0.0/30"))
	mustAllocate(t, attached(api, "c", "net1", "10.0.0.0/30"))
	if _, err := allocate(t.Context(), a); err == nil {
		t.Error("no error")
	}
	expectLeft(t, api, "10.0.0.0-30 1 default/b", "10.0.0.0-30 2 default/c", "10.0.0.1 default/b", "10.0.0.2 default/c")
}

func TestEachRangeIsGivenBackOnItsOwn(t *testing.T) {
	ranges := []string{"10.0.0.0/29", "fd00::/64"}
	for name, test := range map[string]struct {
		prepare func(clients, *attachment)
		left    []string
		failed  bool
	}{
		"all is there": {prepare: func(clients, *attachment) {}},
		"the first reservation is missing": {prepare: func(api clients, _ *attachment) {
			_ = api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace).
				Delete(context.Background(), "10.0.0.1", metav1.DeleteOptions{})
		}},
		"the first range changed": {
			prepare: func(_ clients, a *attachment) { a.config.IPRanges[0].Range = "10.0.0.0/28" },
			left:    []string{"10.0.0.0-29 1 default/a", "10.0.0.1 default/a"},
		},
		"the first pool cannot be written": {
			prepare: func(api clients, _ *attachment) {
				failing(api, "patch", "ippools", 1, 1, apierrors.NewInternalError(fmt.Errorf("no disk")))
			},
			left: []string{"10.0.0.0-29 1 default/a", "10.0.0.1 default/a"}, failed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := cluster()
			a := attached(api, "a", "net1", ranges...)
			mustAllocate(t, a)
			test.prepare(api, a)
			if err := release(t.Context(), a); (err != nil) != test.failed {
				t.Error(err)
			}
			expectLeft(t, api, test.left...)
		})
	}
}

func TestTheDelOfAnOldSandboxLeavesTheNewOneAlone(t *testing.T) {
	api := cluster()
	old := attached(api, "a", "net1", "10.0.0.0/29")
	mustAllocate(t, old)
	anew := attached(api, "a", "net1", "10.0.0.0/29")
	anew.container = "c-anew"
	if got := mustAllocate(t, anew); !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("allocated %q", got)
	}
	if err := release(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-29 1 default/a", "10.0.0.1 default/a")
	if err := release(t.Context(), anew); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api)
}

func TestAnEntryWithoutTheNameOfItsInterfaceIsGivenBackByItsAddress(t *testing.T) {
	setUp := func() clients {
		old := v1alpha1.IPAllocation{ContainerID: "c-a", PodRef: "default/a"}
		reserved := reservation("10.0.0.2", "default/a")
		reserved.Spec.IfName = ""
		return cluster(reserved, reservation("10.0.0.1", "default/a"),
			pool("10.0.0.0-29", "10.0.0.0/29", map[string]v1alpha1.IPAllocation{"1": old, "2": old, "3": {ContainerID: "c-b", PodRef: "default/b"}}))
	}
	all := []string{"10.0.0.0-29 1 default/a", "10.0.0.0-29 2 default/a", "10.0.0.0-29 3 default/b", "10.0.0.1 default/a", "10.0.0.2 default/a"}
	for name, test := range map[string]struct {
		remembered string
		left       []string
	}{
		"remembered":     {`, "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/29"}]}`, []string{all[0], all[2], all[3]}},
		"another's":      {`, "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.3/29"}]}`, all},
		"not remembered": {``, all},
	} {
		t.Run(name, func(t *testing.T) {
			api := setUp()
			a := attached(api, "a", "net2", "10.0.0.0/29")
			a.previous, _ = previousResult([]byte(`{"cniVersion": "1.0.0", "name": "net", "type": "macvlan"` + test.remembered + `}`))
			if err := release(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			expectLeft(t, api, test.left...)
		})
	}
}

func TestTheDelOfAFormerPodLeavesTheReservationInAnotherRangeAlone(t *testing.T) {
	api := cluster()
	former, next := attached(api, "a", "net1", "10.0.0.0/28"), attached(api, "a", "net1", "10.0.0.0/29")
	next.container = "c-next"
	for _, each := range []*attachment{former, next, former} {
		if got := mustAllocate(t, each); !slices.Equal(got, []string{"10.0.0.1"}) {
			t.Fatalf("allocated %q", got)
		}
	}
	if err := release(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-28 1 default/a", "10.0.0.1 default/a")
	mustAllocate(t, next)
	if err := release(t.Context(), former); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-29 1 default/a", "10.0.0.1 default/a")
	if err := release(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api)
}

func TestADelLeavesTheReservationThatTheNextSandboxMakesMeanwhile(t *testing.T) {
	server := newServer()
	api, others := clients{core: corefake.NewClientset(), whereabouts: server.whereabouts}, &wbfake.Clientset{}
	others.AddReactor("*", "*", kubetest.ObjectReaction(server.versioned))
	old, next := attached(api, "a", "net1", "10.0.0.0/29"), attached(clients{corefake.NewClientset(), others, nil}, "a", "net1", "10.0.0.0/29")
	next.container = "c-next"
	mustAllocate(t, old)
	removed := false
	faked(api).PrependReactor("*", "*", func(action kubetest.Action) (bool, runtime.Object, error) {
		if removed {
			removed = false
			mustAllocate(t, next)
		}
		removed = action.Matches("patch", "ippools")
		return false, nil, nil
	})
	if err := release(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-29 1 default/a", "10.0.0.1 default/a")
}

func TestUpstreamsPluginAndOursShareTheirPools(t *testing.T) {
	api := cluster()
	for _, each := range []string{"10.0.0.0/29", "fd00::/64"} {
		empty := pool(kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each}), each, map[string]v1alpha1.IPAllocation{})
		empty.ResourceVersion = "1" // without one upstream writes nothing
		if err := api.whereabouts.(*wbfake.Clientset).Tracker().Add(empty); err != nil {
			t.Fatal(err)
		}
	}
	theirs, ours := attached(api, "theirs", "net1", "10.0.0.0/29", "fd00::/64"), attached(api, "ours", "net1", "10.0.0.0/29", "fd00::/64")
	if _, err := kubernetes.IPManagement(t.Context(), types.Allocate, theirs.config, upstreams(theirs)); err != nil {
		t.Fatal(err)
	}
	if got := mustAllocate(t, ours); !slices.Equal(got, []string{"10.0.0.2", "fd00::2"}) {
		t.Errorf("allocated %q", got)
	}
	if err := release(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "10.0.0.0-29 2 default/ours", "fd00---64 2 default/ours", "10.0.0.2 default/ours", "fd00--2 default/ours")
	if _, err := kubernetes.IPManagement(t.Context(), types.Deallocate, ours.config, upstreams(ours)); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api)
}

func TestANodeSliceThatIsMissingIsAnError(t *testing.T) {
	t.Setenv("NODENAME", "n1")
	api := cluster()
	_, err := allocate(t.Context(), sliced(api, "a"))
	expectError(t, err, "kube-system/fast", "node_slice_controller.enabled")
	if err := release(t.Context(), sliced(api, "a")); err == nil {
		t.Error("no error to log")
	}
	_, err = allocate(t.Context(), sliced(cluster(sliceOf("n2", "10.0.0.0/29")), "a"))
	expectError(t, err, "kube-system/fast", "node n1")
}

func TestAddressesComeFromTheSliceOfThisNode(t *testing.T) {
	t.Setenv("NODENAME", "")
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "nodename"), []byte("n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := cluster(sliceOf("n1", "10.0.7.8/29"))
	a := sliced(api, "a")
	a.config.ConfigurationPath, a.config.IPRanges[0].OmitRanges = directory, []string{"10.0.7.9/32"}
	allocated, err := allocate(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if got := allocated[0].String(); got != "10.0.7.10/16" {
		t.Errorf("allocated %s", got)
	}
	expectLeft(t, api, "fast-n1-10.0.7.8-29 2 default/a", "fast-10.0.7.10 default/a")
	if err := release(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api)
}

func TestTheReconcilerKnowsTheSliceOfANodeWhoseNameHasDots(t *testing.T) {
	t.Setenv("NODENAME", "n-1.example.com")
	running := pod("a", "10.0.7.9", corev1.PodRunning)
	cluster := newBench(t, running)
	if err := cluster.wb.Tracker().Add(sliceOf("n-1.example.com", "10.0.7.8/29")); err != nil {
		t.Fatal(err)
	}
	mustAllocate(t, sliced(clients{core: corefake.NewClientset(), whereabouts: cluster.wb}, "a"))
	for range 3 {
		cluster.after(time.Minute)
	}
	cluster.expect("while it runs", []string{"fast-n-1.example.com-10.0.7.8-29:1"}, "fast-10.0.7.9")
	running.Status.Phase = corev1.PodSucceeded
	cluster.update(running)
	cluster.after(0)
	cluster.expect("when it has finished", nil)
}

func TestWaitingForTheLeaseEndsInTimeAndNamesItsHolder(t *testing.T) {
	holder, seconds, now := "default/b/net1/c-b", int32(3600), metav1.NowMicro()
	held := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "whereabouts", Namespace: namespace},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now,
		},
	}
	api := cluster()
	api.core = corefake.NewClientset(held)
	for name, call := range map[string]func(context.Context, *attachment) error{
		"ADD": func(ctx context.Context, a *attachment) error { _, err := allocate(ctx, a); return err },
		"DEL": release,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := call(ctx, attached(api, "a", "net1", "10.0.0.0/29"))
			expectError(t, err, "kube-system/whereabouts", holder, now.UTC().Format(time.RFC3339), context.DeadlineExceeded.Error())
			expectLeft(t, api)
		})
	}
}

func TestALeaseThatCannotBeHadIsAnErrorAndNotAHang(t *testing.T) {
	api := cluster()
	core := corefake.NewClientset()
	core.PrependReactor("*", "leases", func(kubetest.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "whereabouts", nil)
	})
	api.core = core
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := allocate(ctx, attached(api, "a", "net1", "10.0.0.0/29"))
	expectError(t, err, "kube-system/whereabouts", "forbidden")

	a := attached(cluster(), "a", "net1", "10.0.0.0/29")
	a.config.LeaderRenewDeadline = 5000
	_, err = allocate(t.Context(), a)
	expectError(t, err, "leader_renew_deadline")
}

func TestAnAddMakesNoMoreRequestsThanUpstreams(t *testing.T) {
	for _, ranges := range [][]string{{"10.0.0.0/29"}, {"10.0.0.0/29", "fd00::/64"}} {
		count := func(call func(*attachment) error) (pools, leases int) {
			var objects []runtime.Object
			for _, each := range ranges {
				empty := pool(kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each}), each, map[string]v1alpha1.IPAllocation{})
				empty.ResourceVersion = "1"
				objects = append(objects, empty)
			}
			api := cluster(objects...)
			if err := call(attached(api, "a", "net1", ranges...)); err != nil {
				t.Fatal(err)
			}
			return len(faked(api).Actions()), len(api.core.(*corefake.Clientset).Actions())
		}
		ours, oursLease := count(func(a *attachment) error { _, err := allocate(t.Context(), a); return err })
		theirs, theirsLease := count(func(a *attachment) error {
			_, err := kubernetes.IPManagement(t.Context(), types.Allocate, a.config, upstreams(a))
			return err
		})
		t.Logf("an ADD with %d ranges: %d requests for pools and reservations, %d for the lease; upstream's: %d and %d",
			len(ranges), ours, oursLease, theirs, theirsLease)
		if ours > theirs {
			t.Errorf("%d ranges: %d requests, and %d of upstream's", len(ranges), ours, theirs)
		}
		if ours > perSecond {
			t.Errorf("%d ranges: %d requests are more than the burst %d", len(ranges), ours, perSecond)
		}
	}
}
