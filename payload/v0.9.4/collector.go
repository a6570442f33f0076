//go:build !plugin

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbinformers "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/informers/externalversions"
	wblisters "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/listers/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// mostRetries is how often the addresses of a deleted pod are looked for; then they are left to the reconciler.
const mostRetries = 5

// A collector gives back what pods that were deleted on this node hold in the node's own pools. Upstream's control loop does
// that for base pools. It looks at pools, not at networks, so that it does not need the pod's annotation.
type collector struct {
	api   clients
	node  string
	pools wblisters.IPPoolLister
	ready []cache.InformerSynced
	queue workqueue.TypedRateLimitingInterface[string]
}

// poolsWith watches the pools whose labels fit a selector.
func poolsWith(api clients, selector string) wbinformers.SharedInformerFactory {
	return wbinformers.NewSharedInformerFactoryWithOptions(api.whereabouts, noResync,
		wbinformers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = selector }))
}

// ownPools are the pools of a node, and sharedPools all that are no node's.
func ownPools(api clients, node string) wbinformers.SharedInformerFactory {
	return poolsWith(api, nodeOfPool+"="+labelOf(node))
}

func sharedPools(api clients) wbinformers.SharedInformerFactory {
	return poolsWith(api, "!"+nodeOfPool)
}

func newCollector(api clients, node string, pods informers.SharedInformerFactory, pools wbinformers.SharedInformerFactory) (*collector, error) {
	its := pools.Whereabouts().V1alpha1().IPPools()
	made := &collector{
		api: api, node: node, pools: its.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	handler, err := pods.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: made.deleted})
	if err != nil {
		return nil, fmt.Errorf("watching the pods of this node: %w", err)
	}
	made.ready = []cache.InformerSynced{handler.HasSynced, its.Informer().HasSynced}
	return made, nil
}

func (c *collector) deleted(object any) {
	if last, is := object.(cache.DeletedFinalStateUnknown); is {
		object = last.Obj
	}
	if pod, is := object.(*corev1.Pod); is {
		c.queue.Add(pod.Namespace + "/" + pod.Name)
	}
}

// run takes one pod after the other until ctx is done.
func (c *collector) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	cache.WaitForCacheSync(ctx.Done(), c.ready...)
	for {
		podRef, ended := c.queue.Get()
		if ended {
			return
		}
		err := collectFrom(ctx, c.api, c.own(), podRef)
		switch {
		case err == nil:
			c.queue.Forget(podRef)
		case c.queue.NumRequeues(podRef) < mostRetries:
			c.queue.AddRateLimited(podRef)
		default:
			c.queue.Forget(podRef)
			_ = logging.Errorf("the addresses of the deleted pod %s are left to the reconciler: %v", podRef, err)
		}
		c.queue.Done(podRef)
	}
}

// own are the node's own pools.
func (c *collector) own() []*v1alpha1.IPPool {
	all, err := c.pools.List(labels.Everything())
	if err != nil {
		return nil // a lister of a cache has no errors
	}
	var found []*v1alpha1.IPPool
	for _, each := range all {
		if node := nodeOf(each); node != "" && node == c.node {
			found = append(found, each)
		}
	}
	return found
}

// collectFrom gives back what a pod has in node pools, unless there is a pod of its name: that one's DELs are to come.
func collectFrom(ctx context.Context, api clients, pools []*v1alpha1.IPPool, podRef string) error {
	namespace, name, _ := strings.Cut(podRef, "/")
	var held []*attachment
	var places []place
	for _, pool := range pools {
		for _, each := range pool.Spec.Allocations {
			if each.PodRef == podRef {
				a, at := keeper(api, pool, each)
				a.config.PodNamespace, a.config.PodName = namespace, name
				held, places = append(held, a), append(places, at)
			}
		}
	}
	if len(held) == 0 {
		return nil
	}
	_, err := api.core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	var failed []error
	for i, a := range held {
		_, err := a.giveBack(ctx, places[i])
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// keeper is the attachment that has an allocation of a node's own pool, and the place of the pool.
func keeper(api clients, pool *v1alpha1.IPPool, each v1alpha1.IPAllocation) (*attachment, place) {
	id, _ := identityOf(pool)
	a := &attachment{
		config:    types.IPAMConfig{NetworkName: id.network, OverlappingRanges: true},
		namespace: pool.Namespace, container: containerOf(each), ifName: each.IfName, api: api,
	}
	return a, place{types.RangeConfiguration{Range: pool.Spec.Range}, id}
}
