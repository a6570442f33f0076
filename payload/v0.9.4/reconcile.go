package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	nadutils "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/utils"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// giveBack frees what the pools hold for pods that are there no more, and then the reservations without an allocation.
//
// It stands for upstream's ReconcileIPs, which takes addresses from the living: an allocation, when a pod needs a second
// longer to start than its first interface took, and every reservation of a network with a name, since it compares
// reservations with pods by names that it takes for the address alone.
func giveBack(ctx context.Context, api clients) error {
	client := kubernetes.NewKubernetesClient(api.whereabouts, api.core)
	// In this order: what a pod of the list was given after that is not in these pools, and is left alone.
	pools, err := client.ListIPPools()
	if err != nil {
		return err
	}
	pods, err := client.ListPods()
	if err != nil {
		return err
	}
	return errors.Join(freeOrphans(ctx, pools, byReference(pods)), dropStale(ctx, api, client))
}

func byReference(pods []corev1.Pod) map[string]*corev1.Pod {
	found := make(map[string]*corev1.Pod, len(pods))
	for i := range pods {
		found[pods[i].Namespace+"/"+pods[i].Name] = &pods[i]
	}
	return found
}

// freeOrphans writes each pool without its orphans; one that changed meanwhile is left to the next run.
func freeOrphans(ctx context.Context, pools []storage.IPPool, pods map[string]*corev1.Pod) error {
	var failed []error
	for _, pool := range pools {
		var kept []types.IPReservation
		allocations := pool.Allocations()
		for _, each := range allocations {
			if !orphan(each, pods[each.PodRef]) {
				kept = append(kept, each)
			} else {
				logging.Verbosef("giving back %s of %s", each.IP, each.PodRef)
			}
		}
		if len(kept) < len(allocations) {
			failed = append(failed, update(ctx, pool, kept))
		}
	}
	return errors.Join(failed...)
}

func update(ctx context.Context, pool storage.IPPool, kept []types.IPReservation) error {
	ctx, cancel := context.WithTimeout(ctx, storage.RequestTimeout)
	defer cancel()
	return pool.Update(ctx, kept)
}

// orphan tells whether nobody has an allocation's address. A pod that is starting announces its addresses only when it has
// them all, which takes as long as it takes; until then what it was given is its own.
func orphan(allocation types.IPReservation, pod *corev1.Pod) bool {
	switch {
	case allocation.PodRef == "":
		_ = logging.Errorf("%s is allocated to no pod", allocation.IP)
		return false
	case pod == nil, deletedByTaint(pod):
		return true
	case pod.Status.Phase == corev1.PodPending:
		return false
	}
	return !slices.Contains(announcedNames(pod), kubernetes.NormalizeIP(allocation.IP, kubernetes.UnnamedNetwork))
}

// deletedByTaint tells, as upstream does, whether a pod is being taken from a node that does not answer.
func deletedByTaint(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(each corev1.PodCondition) bool {
		return each.Type == corev1.DisruptionTarget && each.Status == corev1.ConditionTrue && each.Reason == "DeletionByTaintManager"
	})
}

// dropStale deletes each reservation that no pool has an allocation for.
func dropStale(ctx context.Context, api clients, client *kubernetes.Client) error {
	// The plugin allocates before it reserves: of what is reserved now, the pools read after this know.
	reservations, err := api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	pools, err := client.ListIPPools()
	if err != nil {
		return err
	}
	names := allocatedNames(pools)
	var failed []error
	for _, reservation := range reservations.Items {
		if !backed(reservation, names[reservation.Spec.PodRef]) {
			failed = append(failed, dropUnlessUsed(ctx, api, reservation))
		}
	}
	return errors.Join(failed...)
}

// dropUnlessUsed deletes a reservation without an allocation unless the pod has the address: then it is all that keeps
// the address from being given to others.
func dropUnlessUsed(ctx context.Context, api clients, reservation v1alpha1.OverlappingRangeIPReservation) error {
	used, err := isUsed(ctx, api, reservation)
	if err != nil {
		return err
	}
	if used {
		_ = logging.Errorf("reservation %s: %s has the address, and no pool has it allocated", reservation.Name, reservation.Spec.PodRef)
		return nil
	}
	logging.Verbosef("reservation %s of %s has no allocation", reservation.Name, reservation.Spec.PodRef)
	return drop(ctx, api, reservation)
}

// isUsed tells whether the pod that a reservation names has the address on an interface.
func isUsed(ctx context.Context, api clients, reservation v1alpha1.OverlappingRangeIPReservation) (bool, error) {
	namespace, name, named := strings.Cut(reservation.Spec.PodRef, "/")
	if !named {
		return false, nil
	}
	pod, err := api.core.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && backed(reservation, announcedNames(pod)), err
}

// announcedNames returns the addresses of a pod's interfaces as the names of reservations have them.
func announcedNames(pod *corev1.Pod) []string {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	statuses, err := nadutils.GetNetworkStatus(pod)
	if err != nil {
		return nil
	}
	var names []string
	for _, status := range statuses {
		for _, ip := range status.IPs {
			names = append(names, kubernetes.NormalizeIP(net.ParseIP(ip), kubernetes.UnnamedNetwork))
		}
	}
	return names
}

// drop deletes a reservation, but not one that another pod has made under the same name by now.
func drop(ctx context.Context, api clients, reservation v1alpha1.OverlappingRangeIPReservation) error {
	this := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &reservation.UID}}
	err := api.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(reservation.Namespace).
		Delete(ctx, reservation.Name, this)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// allocatedNames returns, for each pod, its addresses as the names of reservations have them.
func allocatedNames(pools []storage.IPPool) map[string][]string {
	names := map[string][]string{}
	for _, pool := range pools {
		for _, allocation := range pool.Allocations() {
			name := kubernetes.NormalizeIP(allocation.IP, kubernetes.UnnamedNetwork)
			names[allocation.PodRef] = append(names[allocation.PodRef], name)
		}
	}
	return names
}

// backed tells whether one of the addresses is what the reservation is for: its name is the address, or NETWORK-ADDRESS.
func backed(reservation v1alpha1.OverlappingRangeIPReservation, addresses []string) bool {
	for _, address := range addresses {
		if reservation.Name == address || strings.HasSuffix(reservation.Name, "-"+address) {
			return true
		}
	}
	return false
}
