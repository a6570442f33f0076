package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kt "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

func TestReservationsWithoutAnAllocationAreDropped(t *testing.T) {
	a := pod("a", "192.168.1.5", corev1.PodRunning)
	announce(a, "192.168.1.5", "fd00::")
	cluster := newBench(t,
		pool("192.168.1.0-24", "192.168.1.0/24", map[string]v1alpha1.IPAllocation{"5": held("a", "")}),
		pool("blue-192.168.1.0-24", "192.168.1.0/24", map[string]v1alpha1.IPAllocation{"6": held("b", "")}),
		pool("fd00---64", "fd00::/64", map[string]v1alpha1.IPAllocation{"0": held("a", "")}),
		reservation("192.168.1.5", "default/a"),
		reservation("blue-192.168.1.6", "default/b"),
		reservation("fd00--0", "default/a"),
		reservation("192.168.1.7", "default/a"),
		reservation("blue-192.168.1.5", "default/b"),
		reservation("192.168.1.15", "default/gone"),
		reservation("192.168.1.8", "default/uses"),
		reservation("192.168.1.9", "default/ended"),
		reservation("192.168.1.10", ""),
		reservation("192.168.1.11", "default/starts"),
		a,
		pod("b", "192.168.1.6", corev1.PodRunning),
		pod("uses", "192.168.1.8", corev1.PodRunning),
		pod("ended", "192.168.1.9", corev1.PodSucceeded),
		pod("starts", "", corev1.PodPending),
	)
	allocated := []string{"192.168.1.0-24:5", "blue-192.168.1.0-24:6", "fd00---64:0"}

	first := cluster.after(0)
	cluster.expect("pods that are gone or finished", allocated, "192.168.1.10", "192.168.1.11", "192.168.1.5",
		"192.168.1.7", "192.168.1.8", "blue-192.168.1.5", "blue-192.168.1.6", "fd00--0")
	cluster.after(59 * time.Second)
	second := cluster.after(time.Second)
	cluster.expect("a minute later", allocated, "192.168.1.11", "192.168.1.5", "192.168.1.8", "blue-192.168.1.6", "fd00--0")
	if first.dropped != 2 || second.dropped != 3 {
		t.Errorf("reported %d and %d, want 2 and 3", first.dropped, second.dropped)
	}
}

func TestAddressesOfPodsThatAreGoneOrFinishedAreReleased(t *testing.T) {
	cluster := newBench(t,
		pool("p", "192.168.1.0/24", map[string]v1alpha1.IPAllocation{
			"1": held("runs", ""), "3": held("starts", ""), "4": held("gone", ""), "5": held("ended", ""),
			"7": {IfName: "net1"}, "8": {PodRef: "unreadable"},
		}),
		pod("runs", "192.168.1.1", corev1.PodRunning),
		pod("starts", "", corev1.PodPending), pod("ended", "192.168.1.5", corev1.PodFailed),
		reservation("192.168.1.3", "default/starts"), reservation("192.168.1.4", "default/gone"),
	)
	done := cluster.after(0)
	// Of those that belong to no pod nobody knows whether they are in use.
	cluster.expect("after one run", []string{"p:1", "p:3", "p:7", "p:8"}, "192.168.1.3")
	if done.orphans != 2 || done.released != 2 || done.pools[0].allocated != 4 {
		t.Errorf("reported %+v", done)
	}
}

func TestAnOrphanOfARunningPodIsReleasedWhenItWasOneForAMinute(t *testing.T) {
	const within = "10.0.0.0/29"
	setUp := func(t *testing.T) *bench {
		return newBench(t, pool("p", within, map[string]v1alpha1.IPAllocation{"1": held("a", "c1"), "2": held("a", "c2")}),
			reservation("10.0.0.1", "default/a"), reservation("10.0.0.2", "default/a"),
			pod("a", "10.0.0.2", corev1.PodRunning))
	}
	both, second := []string{"p:1", "p:2"}, []string{"p:2"}
	reserved := []string{"10.0.0.1", "10.0.0.2"}

	t.Run("in every run of a minute", func(t *testing.T) {
		cluster := setUp(t)
		for range 6 {
			cluster.after(10 * time.Second)
			cluster.expect("within a minute", both, reserved...)
		}
		cluster.after(10 * time.Second)
		// Should the pod have it after all, this keeps it from being allocated to another one.
		cluster.expect("after a minute", second, reserved...)
		cluster.after(time.Minute)
		cluster.expect("after another one", second, "10.0.0.2")
	})
	for name, change := range map[string]func(*bench){
		"another container": func(b *bench) {
			b.writePool("p", func(all map[string]v1alpha1.IPAllocation) { all["1"] = held("a", "c3") })
		},
		"another pod of the name": func(b *bench) {
			another := pod("a", "10.0.0.2", corev1.PodRunning)
			another.UID = "2"
			b.update(another)
		},
		"announced for a while": func(b *bench) {
			both, one := pod("a", "", corev1.PodRunning), pod("a", "10.0.0.2", corev1.PodRunning)
			announce(both, "10.0.0.1", "10.0.0.2")
			b.update(both)
			b.after(0)
			b.update(one)
		},
		"a restart": func(b *bench) { b.restart() },
	} {
		t.Run(name+" starts over", func(t *testing.T) {
			cluster := setUp(t)
			cluster.after(0)
			change(cluster)
			cluster.after(time.Minute)
			cluster.expect("after the change", both, reserved...)
			cluster.after(time.Minute)
			cluster.expect("a minute later", second, reserved...)
		})
	}
}

func TestAnInterfaceAddedToARunningPodKeepsItsAddress(t *testing.T) {
	const within = "10.0.0.0/29"
	vm := pod("vm", "10.9.9.9", corev1.PodRunning)
	cluster := newBench(t, vm, pool("10.0.0.0-29", within, map[string]v1alpha1.IPAllocation{}))
	cluster.after(0)
	first := cluster.add("vm", "net2", "c1", within)
	cluster.after(10 * time.Minute)
	if second := cluster.add("other", "net1", "c2", within); first == second {
		t.Errorf("both have %s", first)
	}
	announce(vm, "10.9.9.9", first)
	cluster.update(vm)
	cluster.create(pod("other", "10.0.0.2", corev1.PodRunning))
	for range 3 {
		cluster.after(time.Hour)
	}
	cluster.expect("announced", []string{"10.0.0.0-29:1", "10.0.0.0-29:2"}, "10.0.0.1", "10.0.0.2")
}

func TestAnAddressThatIsAnnouncedLateIsNotAllocatedAgain(t *testing.T) {
	const within = "10.0.0.0/29"
	slow := pod("slow", "10.9.9.9", corev1.PodRunning)
	cluster := newBench(t, slow, pool("10.0.0.0-29", within, map[string]v1alpha1.IPAllocation{}))
	first := cluster.add("slow", "net2", "c1", within)
	cluster.after(0)
	cluster.after(time.Minute)
	announce(slow, "10.9.9.9", first)
	cluster.update(slow)
	for range 3 {
		cluster.after(time.Minute)
	}
	if second := cluster.add("other", "net1", "c2", within); first == second {
		t.Errorf("both have %s", first)
	}
	if done := cluster.after(0); done.losses != 1 {
		t.Errorf("%d losses were reported, want 1", done.losses)
	}
}

func TestAPodThatIsStartingLosesNothing(t *testing.T) {
	starts := pod("a", "10.0.0.9", corev1.PodRunning)
	starts.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}}
	cluster := newBench(t, starts, pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("a", "c1")}),
		reservation("10.0.0.1", "default/a"), reservation("10.0.0.2", "default/a"))
	for range 3 {
		cluster.after(time.Hour)
	}
	cluster.expect("while its sandbox is made anew", []string{"p:1"}, "10.0.0.1", "10.0.0.2")
}

func TestAPodWithoutAReadableAnnotationLosesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no JSON": "10.0.0.1", "no list": "{}", "null": "null", "no network": "[]",
		"no address": `[{"name": "default/net", "ips": ["10.0.0.256"]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			runs := pod("a", "", corev1.PodRunning)
			runs.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": text}
			without := pod("b", "", corev1.PodRunning)
			without.Annotations = nil
			cluster := newBench(t, runs, without,
				pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("a", "c1"), "2": held("b", "c2")}),
				reservation("10.0.0.1", "default/a"), reservation("10.0.0.3", "default/b"))
			for range 3 {
				cluster.after(time.Hour)
			}
			cluster.expect("ever", []string{"p:1", "p:2"}, "10.0.0.1", "10.0.0.3")
		})
	}
}

// onNode makes a pod of a node that is deleted; its grace period ends then.
func onNode(expires time.Time, conditions ...corev1.PodCondition) *corev1.Pod {
	made := pod("a", "10.0.0.1", corev1.PodRunning)
	made.Spec.NodeName = "n"
	made.Status.Conditions = conditions
	if !expires.IsZero() {
		made.DeletionTimestamp, made.Finalizers = &metav1.Time{Time: expires}, []string{"example.com/held"}
	}
	return made
}

func aNode(ready corev1.ConditionStatus, taints ...string) *corev1.Node {
	made := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	made.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	for _, each := range taints {
		made.Spec.Taints = append(made.Spec.Taints, corev1.Taint{Key: each, Effect: corev1.TaintEffectNoExecute})
	}
	return made
}

func TestAddressesOfALostNodeAreReleased(t *testing.T) {
	const within = "10.0.0.0/30"
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	past, ahead := now.Add(-time.Second), now.Add(time.Second)
	evicted := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager"}
	for name, each := range map[string]struct {
		pod  *corev1.Pod
		node *corev1.Node
		lost bool
	}{
		"out of service":                            {onNode(time.Time{}), aNode(corev1.ConditionUnknown, corev1.TaintNodeOutOfService), true},
		"out of service, and yet ready":             {onNode(time.Time{}), aNode(corev1.ConditionTrue, corev1.TaintNodeOutOfService), false},
		"gone":                                      {onNode(time.Time{}), nil, true},
		"unreachable, the grace period is over":     {onNode(past, evicted), aNode(corev1.ConditionUnknown, corev1.TaintNodeUnreachable), true},
		"unreachable, the grace period runs":        {onNode(ahead, evicted), aNode(corev1.ConditionUnknown, corev1.TaintNodeUnreachable), false},
		"unreachable, the pod is not deleted":       {onNode(time.Time{}), aNode(corev1.ConditionUnknown, corev1.TaintNodeUnreachable), false},
		"not ready":                                 {onNode(past, evicted), aNode(corev1.ConditionFalse, corev1.TaintNodeNotReady), false},
		"healthy, with a taint of an administrator": {onNode(past, evicted), aNode(corev1.ConditionTrue, "example.com/maintenance"), false},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{each.pod, pool("10.0.0.0-30", within, map[string]v1alpha1.IPAllocation{})}
			if each.node != nil {
				objects = append(objects, each.node)
			}
			cluster := newBench(t, objects...)
			cluster.add("a", "net1", "c1", within)
			// The range has one more address; then it is full.
			cluster.add("filler", "net1", "c0", within)
			cluster.create(pod("filler", "10.0.0.2", corev1.PodRunning))
			cluster.after(0)
			if !each.lost {
				cluster.expect("kept", []string{"10.0.0.0-30:1", "10.0.0.0-30:2"}, "10.0.0.1", "10.0.0.2")
				return
			}
			cluster.expect("released", []string{"10.0.0.0-30:2"}, "10.0.0.2")
			if got := cluster.add("successor", "net1", "c2", within); got != "10.0.0.1" {
				t.Errorf("the successor has %s", got)
			}
		})
	}
}

func TestWithoutTheListOfNodesNoneIsLost(t *testing.T) {
	cluster := newBench(t, onNode(time.Time{}),
		pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("a", "c1"), "2": held("gone", "c2")}))
	cluster.core.PrependReactor("list", "nodes", func(kt.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no right"))
	})
	if _, err := cluster.run(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
	cluster.expect("the rest is done", []string{"p:1"})
}

func TestAPoolThatIsWrittenMeanwhileIsStillReleasedFrom(t *testing.T) {
	for name, each := range map[string]struct {
		write    func(map[string]v1alpha1.IPAllocation)
		released int
		kept     []string
		reserved []string
	}{
		"an allocation of another pod": {func(all map[string]v1alpha1.IPAllocation) { all["4"] = held("new", "c4") }, 2, []string{"p:4"}, nil},
		"a new container of a new pod of the name": {func(all map[string]v1alpha1.IPAllocation) { all["2"] = held("gone", "c5") },
			1, []string{"p:2"}, []string{"10.0.0.2"}},
		"an allocation given back": {func(all map[string]v1alpha1.IPAllocation) { delete(all, "2") }, 1, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newBench(t, pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{
				"1": held("gone", "c1"), "2": held("gone", "c2"),
			}), reservation("10.0.0.1", "default/gone"), reservation("10.0.0.2", "default/gone"))
			cluster.core.PrependReactor("list", "pods", func(kt.Action) (bool, runtime.Object, error) {
				cluster.writePool("p", each.write)
				return false, nil, nil
			})
			done := cluster.after(0)
			cluster.expect("after one run", each.kept, each.reserved...)
			if done.released != each.released {
				t.Errorf("%d were reported, want %d", done.released, each.released)
			}
		})
	}
}

func TestAPoolThatRefusesAWriteIsTriedAgain(t *testing.T) {
	cluster := newBench(t, pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("gone", "c1")}),
		reservation("10.0.0.1", "default/gone"))
	refusals := []error{
		apierrors.NewConflict(schema.GroupResource{Resource: "ippools"}, "p", errors.New("changed")),
		apierrors.NewInternalError(errors.New("etcd has no leader")),
	}
	cluster.wb.PrependReactor("patch", "ippools", func(kt.Action) (bool, runtime.Object, error) {
		if len(refusals) == 0 {
			return false, nil, nil
		}
		refusal := refusals[0]
		refusals = refusals[1:]
		return true, nil, refusal
	})
	cluster.after(0)
	cluster.expect("after one run", nil)
}

func TestAPoolThatCannotBeWrittenDoesNotKeepTheOthersFromIt(t *testing.T) {
	gone := map[string]v1alpha1.IPAllocation{"1": held("gone", "c1")}
	cluster := newBench(t, pool("a", "192.168.1.0/24", gone), pool("b", "192.168.2.0/24", maps.Clone(gone)),
		pool("c", "no range", maps.Clone(gone)), reservation("192.168.1.1", "default/gone"))
	cluster.wb.PrependReactor("patch", "ippools", func(action kt.Action) (bool, runtime.Object, error) {
		return action.(kt.PatchAction).GetName() == "a", nil, errors.New("no")
	})
	if _, err := cluster.run(t.Context()); err == nil {
		t.Error("no error")
	}
	// The reservation is not stale as long as the pool has the allocation.
	cluster.expect("after one run", []string{"a:1"}, "192.168.1.1")
}

func TestAReservationIsDeletedOnlyAsItWasRead(t *testing.T) {
	stale := reservation("10.0.0.1", "default/gone")
	stale.UID, stale.ResourceVersion = "u", "7"
	cluster := newBench(t, stale)
	cluster.wb.PrependReactor("delete", "overlappingrangeipreservations", func(action kt.Action) (bool, runtime.Object, error) {
		only := action.(kt.DeleteActionImpl).DeleteOptions.Preconditions
		if only == nil || only.UID == nil || *only.UID != "u" || only.ResourceVersion == nil || *only.ResourceVersion != "7" {
			t.Errorf("preconditions %+v", only)
		}
		return true, nil, apierrors.NewConflict(schema.GroupResource{}, "10.0.0.1", errors.New("another one by now"))
	})
	if done := cluster.after(0); done.dropped != 0 {
		t.Errorf("%d were reported dropped", done.dropped)
	}
}

func TestAReservationOfAPodThatTurnsUpMeanwhileIsKept(t *testing.T) {
	for name, each := range map[string]struct {
		before []runtime.Object
		now    *corev1.Pod
	}{
		"a new one of the name": {nil, pod("a", "", corev1.PodPending)},
		"announced by now":      {[]runtime.Object{pod("a", "10.0.0.9", corev1.PodRunning)}, pod("a", "10.0.0.1", corev1.PodRunning)},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newBench(t, append(each.before, reservation("10.0.0.1", "default/a"))...)
			if each.before != nil {
				cluster.after(0)
			}
			// The pods are listed by then.
			cluster.core.PrependReactor("list", "nodes", func(kt.Action) (bool, runtime.Object, error) {
				if each.before == nil {
					cluster.create(each.now)
				} else {
					cluster.update(each.now)
				}
				return false, nil, nil
			})
			cluster.after(time.Minute)
			cluster.expect("afterwards", nil, "10.0.0.1")
		})
	}
}

func TestTheListsAreReadInTheOrderThatTheJudgementsNeed(t *testing.T) {
	var order []string
	cluster := newBench(t)
	note := func(action kt.Action) (bool, runtime.Object, error) {
		order = append(order, action.GetVerb()+" "+action.GetResource().Resource)
		return false, nil, nil
	}
	cluster.core.PrependReactor("*", "*", note)
	cluster.wb.PrependReactor("*", "*", note)
	cluster.after(0)
	if want := []string{"list overlappingrangeipreservations", "list ippools", "list pods", "list nodes"}; !slices.Equal(order, want) {
		t.Errorf("read %q, want %q", order, want)
	}
}

// inPages makes the fake client answer lists of pods in pages, which it does not by itself; the second page of the first
// list may have expired.
func inPages(b *bench, pods []corev1.Pod, expired bool) {
	b.core.PrependReactor("list", "pods", func(action kt.Action) (bool, runtime.Object, error) {
		options := action.(kt.ListActionImpl).ListOptions
		if options.Limit == 0 {
			return true, &corev1.PodList{Items: pods}, nil
		}
		if options.Limit > int64(len(pods)) {
			b.t.Errorf("a page of %d", options.Limit)
		}
		first := 0
		if options.Continue != "" {
			if expired {
				return true, nil, apierrors.NewResourceExpired("too old")
			}
			_, _ = fmt.Sscan(options.Continue, &first)
		}
		last := min(first+int(options.Limit), len(pods))
		page := &corev1.PodList{Items: slices.Clone(pods[first:last])}
		if last < len(pods) {
			page.Continue = fmt.Sprint(last)
		}
		return true, page, nil
	})
}

func TestPodsOfEveryPageKeepTheirAddresses(t *testing.T) {
	for _, expired := range []bool{false, true} {
		allocations := map[string]v1alpha1.IPAllocation{"2000": held("gone", "c")}
		var pods []corev1.Pod
		for i := range 1200 {
			name := fmt.Sprintf("p%d", i)
			address := net.IPv4(10, 0, byte((i+1)/256), byte((i+1)%256)).String()
			pods = append(pods, *pod(name, address, corev1.PodRunning))
			allocations[fmt.Sprint(i+1)] = held(name, "c")
		}
		cluster := newBench(t, pool("p", "10.0.0.0/16", allocations))
		inPages(cluster, pods, expired)
		if done := cluster.after(0); done.orphans != 1 || done.released != 1 || done.pools[0].allocated != 1200 {
			t.Errorf("expired %v: %+v", expired, done)
		}
	}
}

func TestAllocationsThatUpstreamCannotReadAreKeptWhileTheirPodRuns(t *testing.T) {
	high := pod("high", "fd00::8000:0:0:1", corev1.PodRunning)
	beyond := pod("beyond", "fd00:0:0:1::5", corev1.PodRunning)
	further := pod("further", "fd00:0:0:1::6", corev1.PodRunning)
	cluster := newBench(t, high, beyond, further, pool("p", "fd00::/48", map[string]v1alpha1.IPAllocation{
		"9223372036854775809": held("high", "c"), // 2^63 + 1
		// Upstream's key of an address beyond 2^64 stands for another one, the plugin's does not.
		"5":                    held("beyond", "c"),
		"18446744073709551622": held("further", "c"),
		"18446744073709551623": held("further", "c"),
		"no number":            held("high", "c"),
		"7":                    held("gone", "c"),
		"9223372036854775900":  held("gone", "c"),
	}), reservation("fd00--8000-0-0-1", "default/high"), reservation("fd00-0-0-1--5", "default/beyond"))
	for range 3 {
		if done := cluster.after(time.Hour); done.losses != 0 {
			t.Errorf("%d losses", done.losses)
		}
	}
	cluster.expect("after three runs", []string{"p:18446744073709551622", "p:5", "p:9223372036854775809", "p:no number"}, "fd00--8000-0-0-1", "fd00-0-0-1--5")
}

func TestLossesAreReportedWhenSeenTwice(t *testing.T) {
	lost := pod("lost", "", corev1.PodRunning)
	lost.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": `[
		{"name": "cni", "default": true, "ips": ["10.0.0.7"]},
		{"name": "default/net", "interface": "net1", "ips": ["10.0.0.1", "fd00::1"]},
		{"name": "default/other", "interface": "net2", "ips": ["172.16.0.1"]}]`}
	cluster := newBench(t, lost, pool("wide", "10.0.0.0/16", map[string]v1alpha1.IPAllocation{"1": held("another", "c")}),
		pool("narrow", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{}),
		pool("six", "fd00::/64", map[string]v1alpha1.IPAllocation{"1": held("lost", "c")}),
		pod("another", "10.0.0.1", corev1.PodPending))
	if done := cluster.after(0); done.losses != 0 {
		t.Errorf("%d at once", done.losses)
	}
	done := cluster.after(time.Minute)
	for _, each := range done.pools {
		if want := map[string]int{"narrow": 1}[each.name]; each.losses != want {
			t.Errorf("%s: %d losses, want %d", each.name, each.losses, want)
		}
	}
}

func TestARunThatIsBrokenOffIsAnError(t *testing.T) {
	cluster := newBench(t, pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("gone", "c1")}))
	ctx, cancel := context.WithCancel(t.Context())
	cluster.core.PrependReactor("list", "nodes", func(kt.Action) (bool, runtime.Object, error) {
		cancel()
		return false, nil, nil
	})
	if _, err := cluster.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
