package main

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corefake "k8s.io/client-go/kubernetes/fake"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
)

const namespace = "kube-system"

func pool(name, within string, allocations map[string]v1alpha1.IPAllocation) *v1alpha1.IPPool {
	return &v1alpha1.IPPool{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1alpha1.IPPoolSpec{Range: within, Allocations: allocations},
	}
}

func reservation(name, podRef string) *v1alpha1.OverlappingRangeIPReservation {
	return &v1alpha1.OverlappingRangeIPReservation{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1alpha1.OverlappingRangeIPReservationSpec{PodRef: podRef, IfName: "net1"},
	}
}

func pod(name, address string, phase corev1.PodPhase) *corev1.Pod {
	status := fmt.Sprintf(`[{"name": "default/net", "interface": "net1", "ips": [%q]}]`, address)
	annotations := map[string]string{"k8s.v1.cni.cncf.io/network-status": status}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Annotations: annotations},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func TestOnlyReservationsWithoutAnAllocationAreDropped(t *testing.T) {
	objects := []runtime.Object{
		pool("192.168.1.0-24", "192.168.1.0/24", map[string]v1alpha1.IPAllocation{"5": {PodRef: "default/a", IfName: "net1"}}),
		pool("blue-192.168.1.0-24", "192.168.1.0/24", map[string]v1alpha1.IPAllocation{"6": {PodRef: "default/b", IfName: "net1"}}),
		pool("fd00---64", "fd00::/64", map[string]v1alpha1.IPAllocation{"0": {PodRef: "default/a", IfName: "net1"}}),
		reservation("192.168.1.5", "default/a"),
		reservation("blue-192.168.1.6", "default/b"),
		reservation("fd00--0", "default/a"),
		reservation("192.168.1.7", "default/a"),
		reservation("blue-192.168.1.5", "default/b"),
		reservation("192.168.1.15", "default/gone"),
		reservation("192.168.1.8", "default/uses"),
		reservation("192.168.1.9", "default/ended"),
		reservation("192.168.1.10", ""),
	}
	pods := []runtime.Object{
		pod("a", "192.168.1.5", corev1.PodRunning),
		pod("uses", "192.168.1.8", corev1.PodRunning),
		pod("ended", "192.168.1.9", corev1.PodSucceeded),
	}
	api := clients{core: corefake.NewClientset(pods...), whereabouts: wbfake.NewSimpleClientset(objects...)}

	client := kubernetes.NewKubernetesClient(api.whereabouts, api.core)
	if err := dropStale(t.Context(), api, client); err != nil {
		t.Fatal(err)
	}

	left, err := client.ListOverlappingIPs()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, each := range left {
		names = append(names, each.Name)
	}
	slices.Sort(names)
	if want := []string{"192.168.1.5", "192.168.1.8", "blue-192.168.1.6", "fd00--0"}; !slices.Equal(names, want) {
		t.Fatalf("left: %q, want %q", names, want)
	}
}

func TestOnlyAddressesOfPodsThatAreGoneAreGivenBack(t *testing.T) {
	held := map[string]v1alpha1.IPAllocation{}
	for offset, name := range map[string]string{"1": "runs", "2": "other", "3": "starts", "4": "gone", "5": "ended", "6": "tainted"} {
		held[offset] = v1alpha1.IPAllocation{PodRef: "default/" + name, IfName: "net1"}
	}
	held["7"] = v1alpha1.IPAllocation{IfName: "net1"}
	full := pool("192.168.1.0-24", "192.168.1.0/24", held)
	full.ResourceVersion = "1"
	tainted := pod("tainted", "192.168.1.6", corev1.PodRunning)
	tainted.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager"},
	}
	starts := pod("starts", "", corev1.PodPending)
	starts.Annotations = nil
	api := clients{
		core: corefake.NewClientset(
			pod("runs", "192.168.1.1", corev1.PodRunning),
			pod("other", "192.168.1.9", corev1.PodRunning),
			starts, pod("ended", "192.168.1.5", corev1.PodSucceeded), tainted,
		),
		whereabouts: wbfake.NewSimpleClientset(full, reservation("192.168.1.3", "default/starts"), reservation("192.168.1.4", "default/gone")),
	}

	if err := giveBack(t.Context(), api); err != nil {
		t.Fatal(err)
	}

	client := kubernetes.NewKubernetesClient(api.whereabouts, api.core)
	pools, err := client.ListIPPools()
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, each := range pools[0].Allocations() {
		left = append(left, each.IP.String())
	}
	slices.Sort(left)
	// Of the one that belongs to no pod nobody knows whether it is in use.
	if want := []string{"192.168.1.1", "192.168.1.3", "192.168.1.7"}; !slices.Equal(left, want) {
		t.Errorf("left: %q, want %q", left, want)
	}
	reservations, err := client.ListOverlappingIPs()
	if err != nil {
		t.Fatal(err)
	}
	if len(reservations) != 1 || reservations[0].Name != "192.168.1.3" {
		t.Errorf("reservations: %+v", reservations)
	}
}

func TestAPoolThatCannotBeWrittenDoesNotKeepTheOthersFromIt(t *testing.T) {
	gone := map[string]v1alpha1.IPAllocation{"1": {PodRef: "default/gone"}}
	stale, good := pool("a", "192.168.1.0/24", gone), pool("b", "192.168.2.0/24", gone)
	good.ResourceVersion = "1"
	api := clients{core: corefake.NewClientset(), whereabouts: wbfake.NewSimpleClientset(stale, good)}

	if err := giveBack(t.Context(), api); err == nil {
		t.Error("no error")
	}

	found, err := api.whereabouts.WhereaboutsV1alpha1().IPPools(namespace).Get(t.Context(), "b", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Spec.Allocations) != 0 {
		t.Errorf("left: %v", found.Spec.Allocations)
	}
}
