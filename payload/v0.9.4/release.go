//go:build !plugin

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

const (
	// writers work at a time. What they do is limited by the client's requests in a second.
	writers = 8
	// atOnce is how many allocations one patch removes: four operations each, of which the API server takes 10,000.
	atOnce = 2000
)

// attempts is how often a pool is written that changes meanwhile.
var attempts = wait.Backoff{Steps: 6, Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5}

// An outcome is why an allocation is there no more.
type outcome int

const (
	releasedByUs outcome = iota
	removedByOthers
)

// release removes the allocations that were judged from their pools, and tells which are there no more.
func (r *reconciler) release(ctx context.Context, taken *snapshot, found judgement) (map[int]outcome, error) {
	byPool := map[string]map[string]int{}
	for _, i := range found.released {
		each := found.claims[i]
		if byPool[each.pool] == nil {
			byPool[each.pool] = map[string]int{}
		}
		byPool[each.pool][each.key] = i
	}
	freed, failed, lock := map[int]outcome{}, []error(nil), sync.Mutex{}
	names := slices.Sorted(maps.Keys(byPool))
	workqueue.ParallelizeUntil(ctx, writers, len(names), func(piece int) {
		wanted := byPool[names[piece]]
		for keys := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), atOnce) {
			part := map[string]v1alpha1.IPAllocation{}
			for _, key := range keys {
				part[key] = found.claims[wanted[key]].IPAllocation
			}
			outcomes, err := r.releaseFrom(ctx, names[piece], part)
			lock.Lock()
			for key, how := range outcomes {
				freed[wanted[key]] = how
			}
			failed = append(failed, err)
			lock.Unlock()
		}
	})
	for i, how := range freed {
		if each := found.claims[i]; how == releasedByUs {
			r.log.Info("released", "address", fmt.Sprint(each.address), "pod", each.PodRef, "pool", each.pool)
		}
	}
	return freed, errors.Join(append(failed, ctx.Err())...)
}

// releaseFrom removes allocations from a pool, each only as long as it is still the same one. When the pool refuses, it is
// read again, and what became another allocation meanwhile is left alone.
func (r *reconciler) releaseFrom(ctx context.Context, name string, wanted map[string]v1alpha1.IPAllocation) (map[string]outcome, error) {
	namespace, bare, _ := strings.Cut(name, "/")
	pools := r.api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace)
	outcomes := map[string]outcome{}
	var refused error
	err := wait.ExponentialBackoffWithContext(ctx, attempts, func(ctx context.Context) (bool, error) {
		_, refused = pools.Patch(ctx, bare, apitypes.JSONPatchType, removal(wanted), metav1.PatchOptions{})
		if refused == nil {
			for key := range wanted {
				outcomes[key] = releasedByUs
			}
			return true, nil
		}
		fresh, err := r.allocationsOf(ctx, namespace, bare)
		if err != nil {
			refused = err
			return false, nil
		}
		for key, allocation := range wanted {
			now, there := fresh[key]
			if !there {
				outcomes[key] = removedByOthers
			}
			if now != allocation {
				delete(wanted, key)
			}
		}
		return len(wanted) == 0, nil
	})
	if err != nil {
		return outcomes, fmt.Errorf("releasing %d addresses of the pool %s: %w", len(wanted), name, errors.Join(refused, ctx.Err()))
	}
	return outcomes, nil
}

// allocationsOf reads one pool again, by a list, which the reconciler may do anyway. A pool that is gone has none.
func (r *reconciler) allocationsOf(ctx context.Context, namespace, name string) (map[string]v1alpha1.IPAllocation, error) {
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
	found, err := r.api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).List(ctx, only)
	if err != nil {
		return nil, err
	}
	for _, each := range found.Items {
		if each.Name == name {
			return each.Spec.Allocations, nil
		}
	}
	return nil, nil
}

type operation struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value,omitempty"`
}

// removal is a patch that takes allocations out of a pool, or does nothing when one of them is another one by now. It
// does not depend on the rest of the pool, which may change as often as it likes.
func removal(allocations map[string]v1alpha1.IPAllocation) []byte {
	var patch []operation
	for _, key := range slices.Sorted(maps.Keys(allocations)) {
		patch = append(patch, unchanged(key, allocations[key])...)
		patch = append(patch, operation{Operation: "remove", Path: escaped(key)})
	}
	return encode(append(patch, operation(unmanaged)))
}

// unchanged are the tests that a pool still has this very allocation.
func unchanged(key string, each v1alpha1.IPAllocation) []operation {
	path := escaped(key)
	tests := []operation{{"test", path + "/id", each.ContainerID}, {"test", path + "/podref", each.PodRef}}
	if each.IfName != "" {
		tests = append(tests, operation{"test", path + "/ifname", each.IfName})
	}
	return tests
}

func escaped(key string) string {
	return pathOf(strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
}

func encode(patch []operation) []byte {
	encoded, err := json.Marshal(patch)
	if err != nil {
		panic(err) // strings only
	}
	return encoded
}

// relabel marks the orphans of pods that run, and takes the mark from those that their pods have after all. What is marked
// now has been seen as an orphan since.
func (r *reconciler) relabel(ctx context.Context, taken *snapshot, found judgement, w *watch) error {
	failed, lock := []error(nil), sync.Mutex{}
	workqueue.ParallelizeUntil(ctx, writers, len(found.relabelled), func(piece int) {
		before := found.claims[found.relabelled[piece]]
		after := before
		if after.ContainerID = containerOf(before.IPAllocation); !marked(before.IPAllocation) {
			after.ContainerID += orphanMark
		}
		done, err := r.rename(ctx, before, after.ContainerID)
		lock.Lock()
		defer lock.Unlock()
		failed = append(failed, err)
		if done && marked(after.IPAllocation) {
			w.now[after.name(taken.pods[after.PodRef])] = r.now()
		}
	})
	return errors.Join(append(failed, ctx.Err())...)
}

// rename changes the container ID of an allocation that is still the same one. done is false when it is not.
func (r *reconciler) rename(ctx context.Context, each claim, container string) (done bool, err error) {
	namespace, bare, _ := strings.Cut(each.pool, "/")
	patch := encode(append(unchanged(each.key, each.IPAllocation), operation{"replace", escaped(each.key) + "/id", container}, operation(unmanaged)))
	var refused error
	err = wait.ExponentialBackoffWithContext(ctx, attempts, func(ctx context.Context) (bool, error) {
		_, refused = r.api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).
			Patch(ctx, bare, apitypes.JSONPatchType, patch, metav1.PatchOptions{})
		return refused == nil || apierrors.IsInvalid(refused) || apierrors.IsNotFound(refused), nil
	})
	if err != nil {
		return false, fmt.Errorf("marking the entry %s of the pool %s: %w", each.key, each.pool, errors.Join(refused, ctx.Err()))
	}
	return refused == nil, nil
}

// drop deletes reservations that no allocation backs, by pod, and tells how many.
func (r *reconciler) drop(ctx context.Context, taken *snapshot, stale map[string][]v1alpha1.OverlappingRangeIPReservation) (int, error) {
	dropped, failed, lock := 0, []error(nil), sync.Mutex{}
	podRefs := slices.Sorted(maps.Keys(stale))
	workqueue.ParallelizeUntil(ctx, writers, len(podRefs), func(piece int) {
		count, err := r.dropOf(ctx, taken, podRefs[piece], stale[podRefs[piece]])
		lock.Lock()
		defer lock.Unlock()
		dropped += count
		failed = append(failed, err)
	})
	return dropped, errors.Join(append(failed, ctx.Err())...)
}

// dropOf deletes the reservations of one pod, unless the pod has come back or announces the address by now. Upstream's
// plugin, which nodes may have during a rollout, takes over a reservation of its pod without a write: its version does not tell.
func (r *reconciler) dropOf(ctx context.Context, taken *snapshot, podRef string, stale []v1alpha1.OverlappingRangeIPReservation) (int, error) {
	pod, err := r.podNow(ctx, podRef)
	if err != nil {
		return 0, fmt.Errorf("reading the pod %s again: %w", podRef, err)
	}
	dropped, failed := 0, []error(nil)
	for _, each := range stale {
		if !r.stillStale(taken, each, pod) {
			continue
		}
		err := r.api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(each.Namespace).
			Delete(ctx, each.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
				UID: &each.UID, ResourceVersion: &each.ResourceVersion,
			}})
		switch {
		case err == nil:
			dropped++
			r.log.Info("dropped a reservation", "reservation", each.Name, "pod", podRef)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			failed = append(failed, fmt.Errorf("deleting the reservation %s: %w", each.Name, err))
		}
	}
	return dropped, errors.Join(failed...)
}

// podNow reads a pod again; of one that is not there it returns nil.
func (r *reconciler) podNow(ctx context.Context, podRef string) (*podView, error) {
	namespace, name, named := strings.Cut(podRef, "/")
	if !named {
		return nil, nil
	}
	pod, err := r.api.core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return viewPod(pod), nil
}

// stillStale judges a reservation by its pod as it is now.
func (r *reconciler) stillStale(taken *snapshot, each v1alpha1.OverlappingRangeIPReservation, pod *podView) bool {
	podRef := each.Spec.PodRef
	before := taken.pods[podRef]
	switch taken.standing(podRef, pod, r.now()) {
	case gone:
		// A pod that came meanwhile may be bound to a node that came meanwhile.
		return pod == nil || before != nil && before.uid == pod.uid
	case running:
		return before != nil && before.uid == pod.uid && !backed(each, announcedNames(pod))
	}
	return podRef == ""
}
