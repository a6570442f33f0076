package main

import (
	"net"
	"testing"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kt "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// unguarded is net1 of the pod default/a in a network without reservations, in the sandbox c.
func (b *bench) unguarded() *attachment {
	a := attached(clients{core: fake.NewClientset(), whereabouts: b.wb}, "a", "net1", "10.0.0.0/29")
	a.config.OverlappingRanges, a.container = false, "c"
	return a
}

func TestAnInterfaceThatIsAddedAgainKeepsAnOrphanThatIsBeingReleased(t *testing.T) {
	for name, again := range map[string]func(*attachment) error{
		"after a DEL that failed": func(*attachment) error { return nil },
		"after a late DEL":        func(a *attachment) error { return release(t.Context(), a) },
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newBench(t, pod("a", "10.9.9.9", corev1.PodRunning), pool("10.0.0.0-29", "10.0.0.0/29", map[string]v1alpha1.IPAllocation{}))
			a := cluster.unguarded()
			mustAllocate(t, a)
			cluster.after(0)
			meanwhile := true
			cluster.core.PrependReactor("list", "nodes", func(kt.Action) (bool, runtime.Object, error) {
				if meanwhile {
					meanwhile = false
					if err := again(a); err != nil {
						t.Error(err)
					}
					mustAllocate(t, a)
				}
				return false, nil, nil
			})
			if done := cluster.after(time.Minute); done.orphans != 1 || done.released != 0 {
				t.Errorf("reported %+v", done)
			}
			cluster.expect("after the run that would have released it", []string{"10.0.0.0-29:1"})
			// It is an orphan for as long as it is not announced, and starts over.
			cluster.after(time.Second)
			cluster.after(59 * time.Second)
			cluster.expect("within a minute", []string{"10.0.0.0-29:1"})
			cluster.after(time.Second)
			cluster.expect("after a minute", nil)
		})
	}
}

func TestAMarkedEntryIsStillItsContainers(t *testing.T) {
	const key = "10.0.0.0-29:1"
	setUp := func(t *testing.T) (*bench, *corev1.Pod) {
		vm := pod("a", "10.9.9.9", corev1.PodRunning)
		cluster := newBench(t, vm, pool("10.0.0.0-29", "10.0.0.0/29", map[string]v1alpha1.IPAllocation{}))
		mustAllocate(t, cluster.unguarded())
		cluster.after(0)
		if found := cluster.containerAt("10.0.0.0-29", "1"); found != "c/orphan" {
			t.Fatalf("the container is %s", found)
		}
		return cluster, vm
	}
	t.Run("for CHECK", func(t *testing.T) {
		cluster, _ := setUp(t)
		result := &current.Result{IPs: []*current.IPConfig{{Address: net.IPNet{IP: net.ParseIP("10.0.0.1"), Mask: net.CIDRMask(29, 32)}}}}
		if err := verify(t.Context(), cluster.unguarded(), result); err != nil {
			t.Error(err)
		}
	})
	t.Run("for DEL", func(t *testing.T) {
		cluster, _ := setUp(t)
		if err := release(t.Context(), cluster.unguarded()); err != nil {
			t.Error(err)
		}
		cluster.expect("after the DEL", nil)
	})
	t.Run("until it is announced", func(t *testing.T) {
		cluster, vm := setUp(t)
		announce(vm, "10.9.9.9", "10.0.0.1")
		cluster.update(vm)
		cluster.after(time.Minute)
		cluster.expect("announced", []string{key})
		if found := cluster.containerAt("10.0.0.0-29", "1"); found != "c" {
			t.Errorf("the container is %s", found)
		}
	})
	t.Run("until its pod is gone", func(t *testing.T) {
		cluster, vm := setUp(t)
		if err := cluster.core.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", vm.Name); err != nil {
			t.Fatal(err)
		}
		cluster.after(0)
		cluster.expect("after the pod", nil)
	})
}
