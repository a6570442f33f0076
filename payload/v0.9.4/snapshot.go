//go:build !plugin

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	nadutils "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/utils"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/pager"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// A snapshot is what the reconciler judges by. It is read in this order, on which every judgement relies:
//
//   - Reservations, then pools: the plugin writes the pool first, so a reservation of this list whose allocation is not in
//     these pools has lost it.
//   - Pools, then pods: the pod exists before it is allocated an address, so a pod that is missing here is gone.
//   - Pods, then nodes: the node exists before the pod is bound to it, so a node that is missing here is gone.
type snapshot struct {
	reservations []v1alpha1.OverlappingRangeIPReservation
	pools        []v1alpha1.IPPool
	pods         map[string]*podView
	// nodes is nil when they could not be listed: then no node is lost.
	nodes map[string]nodeView
	// networks are the configurations of the network attachments, as far as they could be listed.
	networks map[string]string
}

// A podView is what matters of a pod; 5,000 whole ones would need some 50 MB.
type podView struct {
	uid      apitypes.UID
	node     string
	finished bool
	// starting: its sandbox, or the network of its sandbox, is not ready.
	starting bool
	// expires is when a deleted pod has to be gone, or zero.
	expires time.Time
	// announced are the addresses of its network-status annotation, and secondary those that are not of the cluster's
	// default network; readable tells whether there is such an annotation.
	announced []netip.Addr
	secondary []located
	readable  bool
}

// located is an address in a network attachment, by NAMESPACE/NAME.
type located struct {
	network string
	address netip.Addr
}

type nodeView struct {
	ready, outOfService, unreachable bool
}

// takeSnapshot lists what the cluster holds. With an error the snapshot is nil, or lacks the nodes or the networks.
func takeSnapshot(ctx context.Context, api clients) (*snapshot, error) {
	taken := &snapshot{pods: map[string]*podView{}}
	whereabouts := api.whereabouts.WhereaboutsV1alpha1()
	err := everyPage(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return whereabouts.OverlappingRangeIPReservations(metav1.NamespaceAll).List(ctx, options)
	}, func(each runtime.Object) {
		taken.reservations = append(taken.reservations, *each.(*v1alpha1.OverlappingRangeIPReservation))
	})
	if err != nil {
		return nil, fmt.Errorf("listing the reservations: %w", err)
	}
	err = everyPage(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return whereabouts.IPPools(metav1.NamespaceAll).List(ctx, options)
	}, func(each runtime.Object) { taken.pools = append(taken.pools, *each.(*v1alpha1.IPPool)) })
	if err != nil {
		return nil, fmt.Errorf("listing the pools: %w", err)
	}
	if err := taken.addPods(ctx, api); err != nil {
		return nil, fmt.Errorf("listing the pods: %w", err)
	}
	var failed []error
	if err := taken.addNodes(ctx, api); err != nil {
		failed = append(failed, fmt.Errorf("listing the nodes (no node counts as lost without them): %w", err))
	}
	// Without Multus' CRD there are none.
	if err := taken.addNetworks(ctx, api); err != nil && !apierrors.IsNotFound(err) {
		failed = append(failed, fmt.Errorf("listing the network attachments (some losses are not counted without them): %w", err))
	}
	return taken, errors.Join(failed...)
}

// addPods reduces each page to what matters before it asks for the next one.
func (s *snapshot) addPods(ctx context.Context, api clients) error {
	return everyPage(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		page, err := api.core.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			page.Items[i] = essence(&page.Items[i])
		}
		return page, nil
	}, func(each runtime.Object) {
		pod := each.(*corev1.Pod)
		s.pods[pod.Namespace+"/"+pod.Name] = viewPod(pod)
	})
}

func (s *snapshot) addNodes(ctx context.Context, api clients) error {
	nodes := map[string]nodeView{}
	err := everyPage(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return api.core.CoreV1().Nodes().List(ctx, options)
	}, func(each runtime.Object) {
		node := each.(*corev1.Node)
		nodes[node.Name] = viewNode(node)
	})
	if err == nil {
		s.nodes = nodes
	}
	return err
}

func (s *snapshot) addNetworks(ctx context.Context, api clients) error {
	s.networks = map[string]string{}
	return everyPage(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return api.networks.K8sCniCncfIoV1().NetworkAttachmentDefinitions(metav1.NamespaceAll).List(ctx, options)
	}, func(each runtime.Object) {
		network := each.(*nadv1.NetworkAttachmentDefinition)
		s.networks[network.Namespace+"/"+network.Name] = network.Spec.Config
	})
}

// everyPage hands over each object of a list that is read in pages, of one version of the list. A list that expires
// meanwhile is read anew in one piece.
func everyPage(ctx context.Context, list pager.ListPageFunc, take func(runtime.Object)) error {
	whole, _, err := pager.New(list).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return meta.EachListItem(whole, func(each runtime.Object) error {
		take(each)
		return nil
	})
}

// essence is a pod with no more than viewPod looks at.
func essence(pod *corev1.Pod) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			DeletionTimestamp: pod.DeletionTimestamp, Annotations: pod.Annotations,
		},
		Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, Conditions: pod.Status.Conditions},
	}
}

func viewPod(pod *corev1.Pod) *podView {
	phase := pod.Status.Phase
	view := &podView{
		uid:      pod.UID,
		node:     pod.Spec.NodeName,
		finished: phase == corev1.PodSucceeded || phase == corev1.PodFailed,
		starting: phase == corev1.PodPending,
	}
	for _, each := range pod.Status.Conditions {
		if each.Type == corev1.PodReadyToStartContainers && each.Status == corev1.ConditionFalse {
			view.starting = true
		}
	}
	if pod.DeletionTimestamp != nil {
		view.expires = pod.DeletionTimestamp.Time
	}
	view.readable = view.readStatus(pod) == nil
	return view
}

// readStatus takes over the addresses that the network-status annotation names. Multus names at least the default network
// there: an annotation that names none says nothing about the pod.
func (p *podView) readStatus(pod *corev1.Pod) error {
	statuses, err := nadutils.GetNetworkStatus(pod)
	if err != nil {
		return err
	}
	if len(statuses) == 0 {
		return errors.New("it has no network")
	}
	for _, status := range statuses {
		for _, text := range status.IPs {
			address, err := netip.ParseAddr(text)
			if err != nil {
				return err
			}
			address = address.Unmap()
			p.announced = append(p.announced, address)
			if !status.Default {
				p.secondary = append(p.secondary, located{status.Name, address})
			}
		}
	}
	return nil
}

func viewNode(node *corev1.Node) nodeView {
	var view nodeView
	for _, each := range node.Status.Conditions {
		if each.Type == corev1.NodeReady {
			view.ready = each.Status == corev1.ConditionTrue
		}
	}
	for _, each := range node.Spec.Taints {
		view.outOfService = view.outOfService || each.Key == corev1.TaintNodeOutOfService
		view.unreachable = view.unreachable || each.Key == corev1.TaintNodeUnreachable
	}
	return view
}
