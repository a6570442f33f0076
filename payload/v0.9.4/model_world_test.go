package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

const (
	graceOfModel = 30 * time.Second
	// announcedWithin is how old an interface of a running pod gets before its annotation names it: less than patience.
	announcedWithin = patience - 5*time.Second
)

// modelNetworks are what the pods of a sequence can be attached to. Ranges of one network name overlap; they are small, so
// that they get full.
var modelNetworks = []modelNetwork{
	{name: "four", ranges: []string{"10.0.0.0/29"}, overlapping: true},
	{name: "four-wide", ranges: []string{"10.0.0.0/28"}, overlapping: true},
	{name: "blue", networkName: "blue", ranges: []string{"10.0.0.0/29"}, overlapping: true},
	{name: "blue-wide", networkName: "blue", ranges: []string{"10.0.0.0/28"}, overlapping: true},
	{name: "six", ranges: []string{"fd00::/125"}, overlapping: true},
	{name: "both", ranges: []string{"fd00::/126", "10.0.0.0/30"}, overlapping: true},
	{name: "nested", ranges: []string{"10.0.0.0/28", "10.0.0.0/29"}, overlapping: true},
	{name: "twice", networkName: "twice", ranges: []string{"10.8.0.0/29", "10.8.0.0/29"}},
	{name: "far", ranges: []string{"fd00:1::/64"}, start: "fd00:1::8000:0:0:1", overlapping: true},
	{name: "four-alone", ranges: []string{"10.0.0.0/29"}},
	{name: "alone", networkName: "alone", ranges: []string{"10.0.0.0/29"}},
	{name: "sliced", networkName: "fast", ranges: []string{"10.9.0.0/24"}, slice: "/29", overlapping: true},
}

var modelSlices = map[string]string{"n1": "10.9.0.0/29", "n2": "10.9.0.8/29"}

type modelNetwork struct {
	name, networkName, slice, start string
	ranges                          []string
	overlapping                     bool
}

// bases are the names of the network's pools, which all nodes write, or of its slices on a node, and their ranges.
func (n *modelNetwork) bases(node string) (names, ranges []string) {
	if n.slice != "" {
		part := modelSlices[node]
		return []string{kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: part, NetworkName: n.networkName, NodeName: node})}, []string{part}
	}
	for _, each := range n.ranges {
		names = append(names, kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each, NetworkName: n.networkName}))
	}
	return names, n.ranges
}

// owns are the names of the pools that a node may have of its own.
func (n *modelNetwork) owns(node string) (names []string) {
	if n.slice != "" {
		return nil
	}
	for _, each := range n.ranges {
		names = append(names, kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each, NetworkName: n.networkName, NodeName: node}))
	}
	return names
}

// A modelNode is a node as it is: down when nothing on it reaches the API server, dead when nothing on it runs.
type modelNode struct {
	name       string
	down, dead bool
	// expires: a pod past its grace period counts as gone, for the node is unreachable.
	unreachable bool
	// perNode is the way of allocation in its whereabouts.conf.
	perNode bool
}

// A modelPod is a pod as the API server and its node have it.
type modelPod struct {
	name, uid string
	node      *modelNode
	phase     corev1.PodPhase
	notReady  bool
	expires   time.Time
	announced []*modelInterface
	annotated bool

	wants      []want
	container  string
	interfaces []*modelInterface
	// busy: the runtime is at work on it. up: its sandbox has all that it wants.
	busy, up bool
}

type want struct {
	ifName string
	net    *modelNetwork
}

// A modelInterface is an interface of one sandbox. While it is live its addresses are in use.
type modelInterface struct {
	want
	pod       *modelPod
	container string
	ips       []net.IP
	live      bool
	since     time.Time
}

func (i *modelInterface) String() string {
	return fmt.Sprintf("%s of %s (%s) in %s with %s", i.ifName, i.pod.name, i.container, i.net.name, i.ips)
}

// A leaving is what the control loop sees of a pod that was deleted.
type leaving struct {
	pod   *modelPod
	pools map[string]*v1alpha1.IPPool
}

// A world is a cluster as it is, beside what its API server knows.
type world struct {
	*server
	now        time.Time
	nodes      []*modelNode
	nets       []*modelNetwork
	pods       []*modelPod
	all        []*modelInterface
	late       []*modelInterface
	leaving    []leaving
	reconciler *reconciler
	run        *process
	places     map[string]string
	counter    int
	problem    string
}

func newWorld(r *rand.Rand, places map[string]string) *world {
	w := &world{server: newServer(), now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), places: places}
	w.turn.Lock()
	w.after = w.check
	w.errors = []float64{0, 0.03, 0.15}[r.IntN(3)]
	for _, i := range r.Perm(len(modelNetworks))[:2+r.IntN(2)] {
		w.nets = append(w.nets, &modelNetworks[i])
	}
	slices := &v1alpha1.NodeSlicePool{ObjectMeta: metav1.ObjectMeta{Name: "fast", Namespace: namespace}}
	for _, name := range []string{"n1", "n2"} {
		node := &modelNode{name: name, perNode: r.IntN(3) > 0}
		w.nodes = append(w.nodes, node)
		w.putNode(node, corev1.ConditionTrue)
		slices.Status.Allocations = append(slices.Status.Allocations, v1alpha1.NodeSliceAllocation{NodeName: name, SliceRange: modelSlices[name]})
	}
	must(w.Create(v1alpha1.SchemeGroupVersion.WithResource("nodeslicepools"), slices, namespace))
	w.restart()
	return w
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) restart() {
	w.reconciler = newReconciler(clients{}, func() time.Time { return w.now })
	w.reconciler.log = slog.New(slog.DiscardHandler)
}

func (w *world) next(prefix string) string {
	w.counter++
	return fmt.Sprint(prefix, w.counter)
}

func (w *world) fail(format string, arguments ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, arguments...)
		w.log("FAILED: %s", w.problem)
	}
}

// put stores an object as it is now.
func (w *world) put(resource string, in, name string, object k8sruntime.Object) {
	kind := corev1.SchemeGroupVersion.WithResource(resource)
	if _, err := w.Get(kind, in, name); apierrors.IsNotFound(err) {
		must(w.Create(kind, object, in))
		return
	}
	must(w.Update(kind, object, in))
}

func (w *world) putNode(node *modelNode, ready corev1.ConditionStatus, taints ...string) {
	made := aNode(ready, taints...)
	made.Name = node.name
	w.put("nodes", "", node.name, made)
}

func (w *world) putPod(p *modelPod) {
	made := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.name, Namespace: "default", UID: apitypes.UID(p.uid)},
		Spec:       corev1.PodSpec{NodeName: p.node.name},
		Status:     corev1.PodStatus{Phase: p.phase},
	}
	if p.annotated {
		status := []string{`{"name":"cni","default":true,"ips":["10.200.0.1"]}`}
		for _, each := range p.announced {
			status = append(status, fmt.Sprintf(`{"name":"default/%s","interface":%q,"ips":["%s"]}`, each.net.name, each.ifName,
				strings.Trim(strings.ReplaceAll(fmt.Sprint(each.ips), " ", `","`), "[]")))
		}
		made.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": "[" + strings.Join(status, ",") + "]"}
	}
	ready := corev1.ConditionTrue
	if p.notReady {
		ready = corev1.ConditionFalse
	}
	made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: ready}}
	if !p.expires.IsZero() {
		made.DeletionTimestamp = &metav1.Time{Time: p.expires}
	}
	w.put("pods", "default", p.name, made)
}

func (w *world) attachment(i *modelInterface, api clients) *attachment {
	config := types.IPAMConfig{
		Name: i.net.name, PodName: i.pod.name, PodNamespace: "default", OverlappingRanges: i.net.overlapping,
		NetworkName: i.net.networkName, NodeSliceSize: i.net.slice, ConfigurationPath: w.places[i.pod.node.name],
		LeaderLeaseDuration: 1500, LeaderRenewDeadline: 1000, LeaderRetryPeriod: 500,
	}
	for _, each := range i.net.ranges {
		config.IPRanges = append(config.IPRanges, types.RangeConfiguration{Range: each, RangeStart: net.ParseIP(i.net.start)})
	}
	a := &attachment{config: config, namespace: namespace, container: i.container, ifName: i.ifName, api: api}
	a.perNode = i.pod.node.perNode && a.needsLease() == nil
	return a
}

// add is an ADD; the interface is live as soon as it succeeded.
func (w *world) add(i *modelInterface) bool {
	i.since = w.now
	w.all = append(w.all, i)
	if i.pod.node.down {
		return false
	}
	before := w.entriesOf(i)
	p := w.start(w.next("ADD ")+" "+i.String(), i.pod.node.name, func(ctx context.Context, api clients) error {
		got, err := allocate(ctx, w.attachment(i, api))
		if err != nil {
			return err
		}
		w.turn.Lock()
		defer w.turn.Unlock()
		for _, each := range got {
			i.ips = append(i.ips, each.IP)
		}
		i.live = true
		w.log("    %s is live", i)
		return nil
	})
	err := w.endOf(p)
	if err != nil && p.failed == 0 && !p.killed && before == 0 && w.entriesOf(i) > 0 {
		w.fail("%s failed by itself and left what it got: %v", p, err)
	}
	return err == nil
}

// del is a DEL. What it does not release is left to the reconciler.
func (w *world) del(i *modelInterface) {
	i.live = false
	if i.pod.node.down {
		return
	}
	p := w.start(w.next("DEL ")+" "+i.String(), i.pod.node.name, func(ctx context.Context, api clients) error {
		return release(ctx, w.attachment(i, api))
	})
	_ = w.endOf(p)
}

// setUp makes a new sandbox with all interfaces. broken is how many get their addresses before another plugin fails.
func (w *world) setUp(p *modelPod, broken int, tidy bool) {
	p.busy, p.up, p.container, p.interfaces = true, false, w.next("c"), nil
	w.act(func() {
		defer func() { p.busy = false }()
		for n, each := range p.wants {
			made := &modelInterface{want: each, pod: p, container: p.container}
			p.interfaces = append(p.interfaces, made)
			if n == broken || !w.add(made) {
				w.tearDown(p, tidy)
				return
			}
		}
		p.up = true
	})
}

// tearDown ends a sandbox; unless it is tidy the DELs come later, or never.
func (w *world) tearDown(p *modelPod, tidy bool) {
	p.up = false
	for _, each := range p.interfaces {
		each.live = false
	}
	for _, each := range slices.Backward(p.interfaces) {
		if tidy {
			w.del(each)
		} else {
			w.late = append(w.late, each)
		}
	}
	p.interfaces = nil
}

// dies is that nothing of a pod runs any more.
func (p *modelPod) dies() {
	p.up = false
	for _, each := range p.interfaces {
		each.live = false
	}
}

// remove removes a pod of which nothing runs from the API server.
func (w *world) remove(p *modelPod) {
	w.pods = slices.DeleteFunc(w.pods, func(each *modelPod) bool { return each == p })
	must(w.server.Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", p.name))
	w.leaving = append(w.leaving, leaving{p, w.pools()})
	w.log("  the pod %s is gone", p.name)
}

func (w *world) announce(p *modelPod) {
	p.phase, p.notReady, p.annotated = corev1.PodRunning, false, true
	p.announced = slices.Clone(p.interfaces)
	w.putPod(p)
	w.log("  %s announces %s", p.name, p.announced)
}

// unannounced returns the oldest live interface that the annotation of a running pod lacks.
func (p *modelPod) unannounced() *modelInterface {
	if p.phase != corev1.PodRunning || p.notReady || !p.annotated {
		return nil
	}
	for _, each := range p.interfaces {
		if each.live && !slices.Contains(p.announced, each) {
			return each
		}
	}
	return nil
}

// pass lets time pass, at most until the oldest interface has to be announced.
func (w *world) pass(by time.Duration) {
	until := w.now.Add(by)
	for _, p := range w.pods {
		if i := p.unannounced(); i != nil && i.since.Add(announcedWithin).Before(until) {
			if p.up && !p.busy && !p.node.down {
				w.announce(p)
			} else if end := i.since.Add(announcedWithin); end.After(w.now) {
				until = end
			} else {
				until = w.now
			}
		}
	}
	if until.After(w.now) {
		w.now = until
	}
	w.expire()
	w.log("  it is %s", w.now.Format(time.TimeOnly))
}

// expire lets die what is beyond its grace period on a node that does not answer: by definition nobody uses its addresses.
func (w *world) expire() {
	for _, p := range w.pods {
		if p.node.unreachable && !p.expires.IsZero() && !w.now.Before(p.expires) {
			p.dies()
		}
	}
}

func (w *world) reconcile() *process {
	if w.run != nil && slices.Contains(w.running, w.run) {
		return w.run
	}
	used := w.reconciler
	w.run = w.start(w.next("reconciler "), "", func(ctx context.Context, api clients) error {
		used.api = api
		_, err := used.run(ctx)
		return err
	})
	return w.run
}

// collect is what the control loop does for a pod that was deleted: upstream's for base pools, with its code from where it
// releases, and ours for the node's own.
func (w *world) collect(gone leaving) {
	w.start(w.next("control loop ")+" "+gone.pod.name, gone.pod.node.name, func(ctx context.Context, api clients) error {
		var own []*v1alpha1.IPPool
		for _, name := range slices.Sorted(maps.Keys(gone.pools)) {
			if each := gone.pools[name]; nodeOf(each) == gone.pod.node.name {
				own = append(own, each)
			}
		}
		if err := collectFrom(ctx, api, own, "default/"+gone.pod.name); err != nil || !gone.pod.annotated {
			return err
		}
		for _, i := range gone.pod.announced {
			if err := collectOf(ctx, w.attachment(i, api), gone.pools); err != nil {
				return err
			}
		}
		return nil
	})
}

func collectOf(ctx context.Context, a *attachment, pools map[string]*v1alpha1.IPPool) error {
	for _, each := range a.config.IPRanges {
		found := pools[kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: each.Range, NetworkName: a.config.NetworkName})]
		if found == nil {
			return fmt.Errorf("no pool for %s", each.Range)
		}
		for _, key := range slices.Sorted(maps.Keys(found.Spec.Allocations)) {
			allocation := found.Spec.Allocations[key]
			if allocation.PodRef != a.config.GetPodRef() {
				continue
			}
			now, err := patient{its(a).core}.CoreV1().Pods("default").Get(ctx, a.config.PodName, metav1.GetOptions{})
			switch {
			case err == nil && now.DeletionTimestamp == nil:
				continue
			case err != nil && !apierrors.IsNotFound(err):
				return err
			}
			gone := *a
			gone.container, gone.ifName = allocation.ContainerID, allocation.IfName
			gone.api = clients{core: its(a).core, whereabouts: keeping{its(a).whereabouts}}
			_, _ = kubernetes.IPManagementKubernetesUpdate(ctx, types.Deallocate, upstreams(&gone), gone.config)
		}
	}
	return nil
}

// finish lets everything that was begun come to its end.
func (w *world) finish(r *rand.Rand) {
	for w.problem == "" && w.answer(r) {
	}
	w.wait()
}
