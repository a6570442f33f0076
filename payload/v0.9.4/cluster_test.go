package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	nadfake "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
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
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Status:     corev1.PodStatus{Phase: phase},
	}
	announce(made, address)
	return made
}

// announce makes a pod's network-status name these addresses, one for each network.
func announce(pod *corev1.Pod, addresses ...string) {
	var networks []string
	for i, each := range addresses {
		networks = append(networks, fmt.Sprintf(`{"name": "default/net%d", "interface": "net%d", "ips": [%q]}`, i+1, i+1, each))
	}
	pod.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": "[" + strings.Join(networks, ",") + "]"}
}

// announceIn makes a pod's network-status name an address of one network.
func announceIn(pod *corev1.Pod, network, address string) {
	pod.Annotations = map[string]string{
		"k8s.v1.cni.cncf.io/network-status": fmt.Sprintf(`[{"name": %q, "interface": "net1", "ips": [%q]}]`, network, address),
	}
}

// A bench is a cluster with a reconciler and a clock that only the test moves.
type bench struct {
	t        *testing.T
	core     *fake.Clientset
	wb       *wbfake.Clientset
	at       time.Time
	networks *nadfake.Clientset
	*reconciler
}

// newBench makes a cluster of pods, nodes, pools and reservations.
func newBench(t *testing.T, objects ...runtime.Object) *bench {
	t.Helper()
	var core, whereabouts []runtime.Object
	for _, each := range objects {
		switch each := each.(type) {
		case *corev1.Pod, *corev1.Node:
			core = append(core, each)
		case *v1alpha1.IPPool:
			each.ResourceVersion = "1"
			whereabouts = append(whereabouts, each)
		default:
			whereabouts = append(whereabouts, each)
		}
	}
	made := &bench{t: t, core: fake.NewClientset(core...), wb: wbfake.NewSimpleClientset(whereabouts...)}
	made.at = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	made.networks = nadfake.NewSimpleClientset()
	for _, name := range []string{"net1", "net2"} {
		made.network(name, macvlan(`"range": "192.0.2.0/24"`))
	}
	made.restart()
	return made
}

// network makes a network attachment of the namespace default.
func (b *bench) network(name, config string) {
	b.t.Helper()
	made := attachmentOf(name, config)
	made.Namespace = "default"
	if _, err := b.networks.K8sCniCncfIoV1().NetworkAttachmentDefinitions("default").Create(b.t.Context(), made, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) restart() {
	b.reconciler = newReconciler(clients{b.core, b.wb, b.networks}, func() time.Time { return b.at })
}

// after lets time pass and runs the reconciler, which must not fail.
func (b *bench) after(passed time.Duration) report {
	b.t.Helper()
	b.at = b.at.Add(passed)
	done, err := b.run(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

func (b *bench) update(pod *corev1.Pod) {
	b.t.Helper()
	if err := b.core.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), pod, pod.Namespace); err != nil {
		b.t.Fatal(err)
	}
}

// expect compares what the pools hold, as POOL:KEY, and the reservations.
func (b *bench) expect(when string, held []string, reserved ...string) {
	b.t.Helper()
	pools, err := b.wb.WhereaboutsV1alpha1().IPPools("").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var found []string
	for _, pool := range pools.Items {
		for key := range pool.Spec.Allocations {
			found = append(found, pool.Name+":"+key)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, held) {
		b.t.Errorf("%s: allocated %q, want %q", when, found, held)
	}
	reservations, err := b.wb.WhereaboutsV1alpha1().OverlappingRangeIPReservations("").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, each := range reservations.Items {
		names = append(names, each.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, reserved) {
		b.t.Errorf("%s: reserved %q, want %q", when, names, reserved)
	}
}

// add is an ADD of the plugin; it returns the address.
func (b *bench) add(podName, ifName, container string, within string) string {
	b.t.Helper()
	a := attached(clients{core: b.core, whereabouts: b.wb}, podName, ifName, within)
	a.container = container
	allocated, err := allocate(b.t.Context(), a)
	if err != nil {
		b.t.Fatal(err)
	}
	return allocated[0].IP.String()
}

func held(podName, container string) v1alpha1.IPAllocation {
	return v1alpha1.IPAllocation{PodRef: "default/" + podName, ContainerID: container, IfName: "net1"}
}

// containerAt is the container of one entry of a pool.
func (b *bench) containerAt(name, key string) string {
	b.t.Helper()
	found, err := b.wb.WhereaboutsV1alpha1().IPPools(namespace).Get(b.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return found.Spec.Allocations[key].ContainerID
}

// writePool is another writer of a pool.
func (b *bench) writePool(name string, change func(map[string]v1alpha1.IPAllocation)) {
	resource := v1alpha1.SchemeGroupVersion.WithResource("ippools")
	found, err := b.wb.Tracker().Get(resource, namespace, name)
	if err != nil {
		b.t.Fatal(err)
	}
	changed := found.(*v1alpha1.IPPool).DeepCopy()
	changed.ResourceVersion += "1"
	change(changed.Spec.Allocations)
	if err := b.wb.Tracker().Update(resource, changed, namespace); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) create(pod *corev1.Pod) {
	b.t.Helper()
	if err := b.core.Tracker().Add(pod); err != nil {
		b.t.Fatal(err)
	}
}
