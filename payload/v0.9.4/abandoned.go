//go:build !plugin

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// identityOf tells the range, the network and the node of a node's pool, whose name is NODE-RANGE or NETWORK-NODE-RANGE. is is
// false for a pool without a node, and for one with another name.
func identityOf(pool *v1alpha1.IPPool) (id poolIdentifier, is bool) {
	id = poolIdentifier{ipRange: pool.Spec.Range, node: nodeOf(pool)}
	if id.node == "" || id.ipRange == "" {
		return id, false
	}
	network, is := strings.CutSuffix(pool.Name, id.name())
	id.network = strings.TrimSuffix(network, "-")
	return id, is
}

// baseOf returns the name of the base pool of a node's pool. A pool with another name is its own.
func baseOf(pool *v1alpha1.IPPool) string {
	id, is := identityOf(pool)
	if !is {
		return pool.Name
	}
	id.node = ""
	return id.name()
}

// leadersOf returns, for each pool, which one stands for all pools of its range and network: the base pool, or the first of
// them if there is none.
func leadersOf(pools []v1alpha1.IPPool) []int {
	byBase := map[string]int{}
	for i := range pools {
		base := pools[i].Namespace + "/" + baseOf(&pools[i])
		if _, found := byBase[base]; !found || nodeOf(&pools[i]) == "" {
			byBase[base] = i
		}
	}
	leaders := make([]int, len(pools))
	for i := range pools {
		leaders[i] = byBase[pools[i].Namespace+"/"+baseOf(&pools[i])]
	}
	return leaders
}

// abandoned returns the empty pools of nodes that are gone. Without the list of nodes there are none.
func (s *snapshot) abandoned() []*v1alpha1.IPPool {
	var found []*v1alpha1.IPPool
	for i := range s.pools {
		pool := &s.pools[i]
		if _, exists := s.nodes[nodeOf(pool)]; s.nodes != nil && nodeOf(pool) != "" && !exists && len(pool.Spec.Allocations) == 0 {
			found = append(found, pool)
		}
	}
	return found
}

// discard deletes pools that are still as they were read, and returns the NAMESPACE/NAME of those that it deleted.
func (r *reconciler) discard(ctx context.Context, pools []*v1alpha1.IPPool) (map[string]bool, error) {
	deleted, failed, lock := map[string]bool{}, []error(nil), sync.Mutex{}
	workqueue.ParallelizeUntil(ctx, writers, len(pools), func(piece int) {
		each := pools[piece]
		err := r.api.whereabouts.WhereaboutsV1alpha1().IPPools(each.Namespace).
			Delete(ctx, each.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
				UID: &each.UID, ResourceVersion: &each.ResourceVersion,
			}})
		lock.Lock()
		defer lock.Unlock()
		switch {
		case err == nil:
			deleted[poolName(each)] = true
			r.log.Info("deleted the empty pool of a node that is gone", "pool", poolName(each), "node", nodeOf(each))
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			failed = append(failed, fmt.Errorf("deleting the pool %s of the node %s, which is gone: %w", poolName(each), nodeOf(each), err))
		}
	})
	return deleted, errors.Join(append(failed, ctx.Err())...)
}
