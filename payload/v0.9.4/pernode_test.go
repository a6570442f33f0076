package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	corefake "k8s.io/client-go/kubernetes/fake"
	kubetest "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
)

// A fleet are nodes that share pools with the versions of an API server.
type fleet struct {
	t      *testing.T
	server *server
	api    clients
	// at are the directories with the names of nodes.
	at map[string]string
}

func newFleet(t *testing.T, nodes ...string) *fleet {
	t.Helper()
	t.Setenv(nodeVariable, "")
	server := newServer()
	server.whereabouts.(*wbfake.Clientset).PrependReactor("patch", "ippools", func(action kubetest.Action) (bool, runtime.Object, error) {
		handled, found, err := kubetest.ObjectReaction(server.versioned)(action)
		// The fake clientset does not say so as the API server does.
		if known := apierrors.APIStatus(nil); err != nil && !errors.As(err, &known) {
			err = apierrors.NewInvalid(schema.GroupKind{Kind: "IPPool"}, "", nil)
		}
		return handled, found, err
	})
	made := &fleet{t, server, clients{core: corefake.NewClientset(), whereabouts: server.whereabouts}, map[string]string{}}
	for _, name := range nodes {
		made.at[name] = t.TempDir()
		writeFile(t, filepath.Join(made.at[name], "nodename"), name+"\n")
	}
	return made
}

// on returns the interface net1 of a pod on a node, whose addresses are allocated this way.
func (f *fleet) on(node, how, name string, ranges ...string) *attachment {
	a := attached(f.api, name, "net1", ranges...)
	a.config.ConfigurationPath = f.at[node]
	a.perNode = a.allocates(how)
	return a
}

func (f *fleet) requests(verb, resource string) int {
	count := 0
	for _, each := range append(faked(f.api).Actions(), f.api.core.(*corefake.Clientset).Actions()...) {
		if (verb == "" || each.GetVerb() == verb) && (resource == "" || each.GetResource().Resource == resource) {
			count++
		}
	}
	return count
}

func (f *fleet) pool(name string) *v1alpha1.IPPool {
	f.t.Helper()
	found, err := f.api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).Get(f.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

func TestPerNodeAnAddressIsInThePoolOfItsNode(t *testing.T) {
	f := newFleet(t, "n1.example.com")
	a := f.on("n1.example.com", byNode, "a", "10.0.0.0/24", "fd00::/64")
	got := mustAllocate(t, a)
	own := []string{"n1.example.com-10.0.0.0-24", "n1.example.com-fd00---64"}
	for i, base := range []string{"10.0.0.0-24", "fd00---64"} {
		if !beside(f.pool(base)) || len(f.pool(base).Spec.Allocations) != 0 {
			t.Errorf("the base pool: %v", f.pool(base))
		}
		mine := f.pool(own[i])
		if nodeOf(mine) != "n1.example.com" || mine.Spec.Range != f.pool(base).Spec.Range {
			t.Errorf("the node's pool: %v", mine)
		}
		for key := range mine.Spec.Allocations {
			first, network, _ := mine.ParseCIDR()
			if ip := entryIP(first, network, key); ip.String() != got[i] {
				t.Errorf("%s holds %s, and %s was allocated", own[i], ip, got[i])
			}
		}
		reserved, err := a.reservation(t.Context(), net.ParseIP(got[i]))
		if reserved == nil || err != nil {
			t.Fatal(reserved, err)
		}
		if reserved.Annotations[poolOfReservation] != own[i] || reserved.Annotations[nodeOfPool] != "n1.example.com" {
			t.Errorf("the reservation: %v", reserved)
		}
	}
	if count := f.requests("", "leases"); count > 0 {
		t.Errorf("%d requests for the lease", count)
	}
	if err := release(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, f.api)
}

func TestPerNodeAnAddMakesFourRequests(t *testing.T) {
	f := newFleet(t, "n1")
	mustAllocate(t, f.on("n1", byNode, "first", "10.0.0.0/24"))
	faked(f.api).ClearActions()
	mustAllocate(t, f.on("n1", byNode, "a", "10.0.0.0/24"))
	if got := f.requests("", ""); got != 4 {
		t.Errorf("%d requests: %v", got, faked(f.api).Actions())
	}
}

func TestPerNodeAFullRangeGivesEachAddressOnce(t *testing.T) {
	f := newFleet(t, "n1", "n2", "n3")
	var got []string
	for i := range 14 {
		got = append(got, mustAllocate(t, f.on(fmt.Sprint("n", 1+i%3), byNode, fmt.Sprint("p", i), "10.0.0.0/28"))...)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 14 {
		t.Errorf("allocated %q", got)
	}
	for _, how := range []string{byNode, byLease} {
		_, err := allocate(t.Context(), f.on("n1", how, "more", "10.0.0.0/28"))
		expectError(t, err, "10.0.0.0/28", "Could not allocate IP")
	}
	for i := range 14 {
		if err := release(t.Context(), f.on(fmt.Sprint("n", 1+i%3), byNode, fmt.Sprint("p", i), "10.0.0.0/28")); err != nil {
			t.Fatal(err)
		}
	}
	expectLeft(t, f.api)
}

func TestPerNodeNodesSeldomTryTheSameAddress(t *testing.T) {
	f := newFleet(t, "n1", "n2", "n3", "n4")
	for i := range 40 {
		mustAllocate(t, f.on(fmt.Sprint("n", 1+i%4), byNode, fmt.Sprint("p", i), "10.0.0.0/16"))
	}
	if count := f.requests("list", "ippools"); count > 0 {
		t.Errorf("%d collisions", count)
	}
	for i := range 4 {
		if held := len(f.pool(fmt.Sprintf("n%d-10.0.0.0-16", 1+i)).Spec.Allocations); held != 10 {
			t.Errorf("n%d holds %d", 1+i, held)
		}
	}
}

func TestPerNodeTheBoundsOfARangeHold(t *testing.T) {
	for _, node := range []string{"n1", "n2", "n3", "n4", "n5"} {
		f := newFleet(t, node)
		var got []string
		for i := range 4 {
			a := f.on(node, byNode, fmt.Sprint("p", i), "10.0.0.0/24")
			within := &a.config.IPRanges[0]
			within.RangeStart, within.RangeEnd, within.OmitRanges = net.ParseIP("10.0.0.10"), net.ParseIP("10.0.0.14"), []string{"10.0.0.12/32"}
			got = append(got, mustAllocate(t, a)...)
		}
		slices.Sort(got)
		if want := []string{"10.0.0.10", "10.0.0.11", "10.0.0.13", "10.0.0.14"}; !slices.Equal(got, want) {
			t.Errorf("%s: allocated %q", node, got)
		}
	}
}

func TestTheWayOfAllocationChangesUnderPodsThatLive(t *testing.T) {
	for _, change := range [][2]string{{byLease, byNode}, {byNode, byLease}} {
		t.Run(strings.Join(change[:], " to "), func(t *testing.T) {
			f := newFleet(t, "n1", "n2")
			before := mustAllocate(t, f.on("n1", change[0], "a", "10.0.0.0/29"))
			mustAllocate(t, f.on("n2", change[0], "b", "10.0.0.0/29"))
			// A repeated ADD, for a new sandbox, keeps the address.
			anew := f.on("n1", change[1], "a", "10.0.0.0/29")
			anew.container = "c-anew"
			if got := mustAllocate(t, anew); !slices.Equal(got, before) {
				t.Errorf("allocated %q after %q", got, before)
			}
			if err := release(t.Context(), f.on("n1", change[1], "a", "10.0.0.0/29")); err != nil {
				t.Fatal(err) // of the former sandbox
			}
			all := mustAllocate(t, anew)
			for i := range 4 {
				all = append(all, mustAllocate(t, f.on("n1", change[1], fmt.Sprint("p", i), "10.0.0.0/29"))...)
			}
			all = append(all, mustAllocate(t, f.on("n2", change[1], "b", "10.0.0.0/29"))...)
			slices.Sort(all)
			if len(slices.Compact(all)) != 6 {
				t.Errorf("allocated %q", all)
			}
			for _, each := range []*attachment{anew, f.on("n2", change[1], "b", "10.0.0.0/29")} {
				if err := verify(t.Context(), each, resultOf(mustAllocate(t, each)...)); err != nil {
					t.Error(err)
				}
				if err := release(t.Context(), each); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 4 {
				if err := release(t.Context(), f.on("n1", change[0], fmt.Sprint("p", i), "10.0.0.0/29")); err != nil {
					t.Fatal(err)
				}
			}
			expectLeft(t, f.api)
		})
	}
}

// TestANetworkWithoutReservationsSharesItsRangeWithOneThatHasThem is what pools alone kept apart, before there were more than
// one over a range.
func TestANetworkWithoutReservationsSharesItsRangeWithOneThatHasThem(t *testing.T) {
	f := newFleet(t, "n1", "n2")
	without := func(how, name string) *attachment {
		a := f.on("n2", byLease, name, "10.0.0.0/29")
		a.config.OverlappingRanges = false
		a.perNode = a.allocates(how)
		return a
	}
	var got []string
	for i := range 3 {
		got = append(got, mustAllocate(t, without(byNode, fmt.Sprint("without", i)))...)
		got = append(got, mustAllocate(t, f.on("n1", byNode, fmt.Sprint("with", i), "10.0.0.0/29"))...)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 6 {
		t.Errorf("allocated %q", got)
	}
	for i := range 3 {
		if err := release(t.Context(), without(byLease, fmt.Sprint("without", i))); err != nil {
			t.Fatal(err)
		}
		if err := release(t.Context(), f.on("n1", byNode, fmt.Sprint("with", i), "10.0.0.0/29")); err != nil {
			t.Fatal(err)
		}
	}
	expectLeft(t, f.api)
}

func TestPerNodeTheAddressOfAPodOfTheSameNameOnAnotherNodeIsNotTaken(t *testing.T) {
	for _, how := range []string{byNode, byLease} {
		f := newFleet(t, "n1", "n2")
		// The node does not answer, and web-0 was removed by force: it may still run there. No other address is left.
		before := mustAllocate(t, f.on("n1", byNode, "web-0", "10.0.0.0/30"))
		mustAllocate(t, f.on("n2", how, "other", "10.0.0.0/30"))
		next := f.on("n2", how, "web-0", "10.0.0.0/30")
		next.container = "c-next"
		got, err := allocate(t.Context(), next)
		if err == nil {
			t.Errorf("%s: %q is in use on n1, and %q was allocated on n2", how, before, addresses(got))
		}
		if err := release(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		if count := len(left(t, f.api)); count != 4 {
			t.Errorf("left: %q", left(t, f.api))
		}
	}
}

// TestANetworkWithoutReservationsSeesTheFirstPoolOfANode has all addresses taken per node after a call read the base pool, and
// before it writes its entry there.
func TestANetworkWithoutReservationsSeesTheFirstPoolOfANode(t *testing.T) {
	f := newFleet(t, "n1", "n2")
	others := &wbfake.Clientset{}
	others.AddReactor("*", "*", kubetest.ObjectReaction(f.server.versioned))
	without := f.on("n2", byLease, "without", "10.0.0.0/30")
	without.config.OverlappingRanges = false
	var once sync.Once
	f.before("patch", "ippools", func() {
		once.Do(func() {
			for _, name := range []string{"a", "b"} {
				with := f.on("n1", byNode, name, "10.0.0.0/30")
				with.api = clients{core: f.api.core, whereabouts: others}
				mustAllocate(t, with)
			}
		})
	})
	if got, err := allocate(t.Context(), without); err == nil {
		t.Errorf("%q is given twice", addresses(got))
	}
	if count := len(left(t, f.api)); count != 4 {
		t.Errorf("left: %q", left(t, f.api))
	}
}

func TestWhatCannotBeAllocatedPerNodeUsesTheLease(t *testing.T) {
	f := newFleet(t, "n1", strings.Repeat("n", 250))
	for name, a := range map[string]*attachment{
		"no reservations": func() *attachment {
			a := f.on("n1", byLease, "a", "10.0.0.0/29")
			a.config.OverlappingRanges = false
			return a
		}(),
		"node slices":                        sliced(f.api, "b"),
		"a name that is too long for a pool": f.on(strings.Repeat("n", 250), byLease, "c", "10.0.0.0/29"),
	} {
		if a.allocates(byNode) {
			t.Errorf("%s: per node", name)
		}
	}
}

func TestTheWayOfAllocationIsReadFromTheConfiguration(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "whereabouts.conf")
	for _, test := range []struct{ conf, ipam, want string }{
		{`{}`, ``, byLease},
		{`{"allocation": "lease"}`, ``, byLease},
		{`{"allocation": "per-node"}`, ``, byNode},
		{`{"allocation": "per-node"}`, `, "allocation": "lease"`, byLease},
	} {
		writeFile(t, conf, test.conf)
		got, err := allocationOf(fmt.Appendf(nil, `{"ipam": {"type": "whereabouts", "configuration_path": %q%s}}`, conf, test.ipam))
		if got != test.want || err != nil {
			t.Errorf("%s%s: %q, %v", test.conf, test.ipam, got, err)
		}
	}
	writeFile(t, conf, `{"allocation": "per_node"}`)
	_, err := allocationOf(fmt.Appendf(nil, `{"ipam": {"configuration_path": %q}}`, conf))
	expectError(t, err, conf, `allocation is "per_node"`, "lease", "per-node")
}

func TestTheNameOfTheNodeIsFoundBesideAConfigurationFile(t *testing.T) {
	f := newFleet(t, "n1")
	conf := filepath.Join(f.at["n1"], "whereabouts.conf")
	writeFile(t, conf, `{}`)
	for _, path := range []string{conf, f.at["n1"]} {
		if got, err := nodeName(path); got != "n1" || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestTheControlLoopGivesBackFromTheNodesOwnPools(t *testing.T) {
	gone, lives := pod("a", "10.0.0.1", corev1.PodRunning), pod("b", "10.0.0.2", corev1.PodRunning)
	core := corefake.NewClientset(gone, lives)
	api := clients{core: core, whereabouts: wbfake.NewSimpleClientset(), networks: nil}
	t.Setenv(nodeVariable, "n1")
	for _, network := range []string{"", "blue"} {
		for _, name := range []string{"a", "b"} {
			a := attached(api, name, "net1", "10.0.0.0/29")
			a.config.NetworkName, a.perNode = network, true
			mustAllocate(t, a)
		}
	}
	// Another node's pool is none of its business.
	t.Setenv(nodeVariable, "n2")
	other := attached(api, "a", "net2", "10.0.0.0/29")
	other.perNode = true
	there := mustAllocate(t, other)[0]
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	pods, pools := informers.NewSharedInformerFactory(core, 0), ownPools(api, "n1")
	loop, err := newCollector(api, "n1", pods, pools)
	if err != nil {
		t.Fatal(err)
	}
	pods.Start(ctx.Done())
	pools.Start(ctx.Done())
	pods.WaitForCacheSync(ctx.Done())
	pools.WaitForCacheSync(ctx.Done())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		loop.run(ctx)
	}()
	if err := core.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", "a"); err != nil {
		t.Fatal(err)
	}
	held := func() (count int) {
		for _, each := range left(t, api) {
			if strings.HasSuffix(each, "default/a") {
				count++
			}
		}
		return count
	}
	for ctx.Err() == nil && held() > 2 {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-ended
	for _, each := range left(t, api) {
		if strings.HasSuffix(each, "default/a") && !strings.HasPrefix(each, "n2-") && each != there+" default/a" {
			t.Errorf("left: %s", each)
		}
	}
	if count := len(left(t, api)); count != 6 {
		t.Errorf("left: %q", left(t, api))
	}
}

func TestACallWaitsForItsTurn(t *testing.T) {
	directory := t.TempDir()
	end := turn(t.Context(), directory)
	next := make(chan func(), 1)
	go func() { next <- turn(context.Background(), directory) }()
	select {
	case <-next:
		t.Fatal("two have their turn at a time")
	case <-time.After(100 * time.Millisecond):
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	turn(ctx, directory)() // ends with its context, and without a turn
	end()
	(<-next)()
	if err := os.RemoveAll(directory); err != nil {
		t.Fatal(err)
	}
	turn(t.Context(), directory)() // nothing to lock
}

// before does something before a request is answered.
func (f *fleet) before(verb, resource string, do func()) {
	faked(f.api).PrependReactor(verb, resource, func(kubetest.Action) (bool, runtime.Object, error) {
		do()
		return false, nil, nil
	})
}

func TestPerNodeAPoolThatIsDeletedMeanwhileIsMadeAgain(t *testing.T) {
	for _, name := range []string{"n1-10.0.0.0-29", "10.0.0.0-29"} {
		f := newFleet(t, "n1")
		mustAllocate(t, f.on("n1", byNode, "a", "10.0.0.0/29"))
		once := true
		f.before("patch", "ippools", func() {
			if !once {
				return
			}
			once = false
			if err := f.server.Delete(v1alpha1.SchemeGroupVersion.WithResource("ippools"), namespace, name); err != nil {
				t.Error(err)
			}
		})
		got := mustAllocate(t, f.on("n1", byNode, "b", "10.0.0.0/29"))
		if got = append(got, mustAllocate(t, f.on("n1", byNode, "c", "10.0.0.0/29"))...); got[0] == got[1] {
			t.Errorf("%s deleted: allocated %q", name, got)
		}
		if !beside(f.pool("10.0.0.0-29")) || nodeOf(f.pool("n1-10.0.0.0-29")) != "n1" {
			t.Errorf("%s is not as it was", name)
		}
	}
}

// resultOf is the result of an ADD.
func resultOf(texts ...string) *current.Result {
	made := &current.Result{}
	for _, each := range texts {
		made.IPs = append(made.IPs, &current.IPConfig{Address: net.IPNet{IP: net.ParseIP(each), Mask: net.CIDRMask(24, 32)}})
	}
	return made
}

func TestPerNodeABasePoolThatOthersMarkIsLeftAsItIs(t *testing.T) {
	for name, annotations := range map[string]map[string]string{"none": nil, "another": {"example.com/key": "value"}} {
		f := newFleet(t, "n1", "n2")
		base := pool("10.0.0.0-29", "10.0.0.0/29", map[string]v1alpha1.IPAllocation{"1": held("before", "c-before")})
		base.Annotations = annotations
		if err := f.server.Create(v1alpha1.SchemeGroupVersion.WithResource("ippools"), base, namespace); err != nil {
			t.Fatal(err)
		}
		others := &wbfake.Clientset{}
		others.AddReactor("*", "*", kubetest.ObjectReaction(f.server.versioned))
		var once sync.Once
		f.before("patch", "ippools", func() {
			once.Do(func() {
				first := f.on("n1", byNode, "a", "10.0.0.0/29")
				first.api = clients{core: f.api.core, whereabouts: others}
				mustAllocate(t, first)
			})
		})
		mustAllocate(t, f.on("n2", byNode, "b", "10.0.0.0/29"))
		for key, value := range annotations {
			if f.pool("10.0.0.0-29").Annotations[key] != value {
				t.Errorf("%s: %v", name, f.pool("10.0.0.0-29").Annotations)
			}
		}
		if !beside(f.pool("10.0.0.0-29")) || len(f.pool("10.0.0.0-29").Spec.Allocations) != 1 {
			t.Errorf("%s: %v", name, f.pool("10.0.0.0-29"))
		}
	}
}

// TestPerNodeOneNodeMarksABasePool is what happens when allocation changes: all nodes come at a time. To write a large pool
// takes long, and a request that is not answered in 10 s fails.
func TestPerNodeOneNodeMarksABasePool(t *testing.T) {
	var nodes []string
	for i := range 10 {
		nodes = append(nodes, fmt.Sprint("n", i))
	}
	f := newFleet(t, nodes...)
	mustAllocate(t, f.on("n0", byLease, "before", "10.0.0.0/24"))
	synctest.Test(t, func(t *testing.T) {
		leases := newLeaseServer()
		var marks atomic.Int32
		var calls sync.WaitGroup
		for _, node := range nodes {
			one := &wbfake.Clientset{}
			one.AddReactor("*", "*", kubetest.ObjectReaction(f.server.versioned))
			one.PrependReactor("patch", "ippools", func(action kubetest.Action) (bool, runtime.Object, error) {
				if action.(kubetest.PatchAction).GetName() == "10.0.0.0-24" {
					marks.Add(1)
					time.Sleep(time.Second)
				}
				return false, nil, nil
			})
			a := f.on(node, byNode, "on-"+node, "10.0.0.0/24")
			a.api = clients{core: leases, whereabouts: one}
			calls.Go(func() {
				if _, err := allocate(t.Context(), a); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if marks.Load() != 1 {
			t.Errorf("%d nodes marked it", marks.Load())
		}
	})
}
