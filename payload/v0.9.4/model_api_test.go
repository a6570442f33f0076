package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	nadclient "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned"
	nadfake "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned/fake"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corefake "k8s.io/client-go/kubernetes/fake"
	coordinationtyped "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coretyped "k8s.io/client-go/kubernetes/typed/core/v1"
	kubetest "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbclient "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
	wbtyped "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/typed/whereabouts.cni.cncf.io/v1alpha1"
)

// versioned is what the fake clientsets keep their objects in, with the versions and preconditions of an API server.
type versioned struct {
	kubetest.ObjectTracker
	written int
	// past are the pools as they were, by name, each with the version from which they were so; nil is gone.
	past map[string][]state
}

type state struct {
	from int
	pool *v1alpha1.IPPool
}

// remember notes a pool as it is now.
func (v *versioned) remember(resource schema.GroupVersionResource, in, name string) {
	if resource.Resource != "ippools" {
		return
	}
	then := state{from: v.written}
	if found, err := v.Get(resource, in, name); err == nil {
		then.pool = found.(*v1alpha1.IPPool).DeepCopy()
	}
	v.past[name] = append(v.past[name], then)
}

// poolSince is a pool as it was at a version, or at any time since: it is for the API server to choose.
func (v *versioned) poolSince(name, since string) (*v1alpha1.IPPool, error) {
	oldest, err := strconv.Atoi(since)
	must(err)
	var possible []state
	for _, each := range v.past[name] {
		if each.from <= oldest {
			possible = nil
		}
		possible = append(possible, each)
	}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "ippools"}, name)
	if len(possible) == 0 {
		return nil, gone
	}
	// Half of the time the oldest one, which is the worst.
	chosen := possible[0]
	if v.written%2 == 0 {
		chosen = possible[len(possible)-1]
	}
	if chosen.pool == nil {
		return nil, gone
	}
	return chosen.pool.DeepCopy(), nil
}

// modelScheme knows all that the model stores. It takes longer to make than a sequence takes.
var modelScheme = sync.OnceValues(func() (*k8sruntime.Scheme, k8sruntime.Decoder) {
	known := k8sruntime.NewScheme()
	for _, add := range []func(*k8sruntime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		must(add(known))
	}
	return known, serializer.NewCodecFactory(known).UniversalDecoder()
})

func newVersioned() *versioned {
	return &versioned{ObjectTracker: kubetest.NewObjectTracker(modelScheme()), past: map[string][]state{}}
}

func (v *versioned) next(object k8sruntime.Object) metav1.Object {
	found, err := meta.Accessor(object)
	if err != nil {
		panic(err)
	}
	v.written++
	found.SetResourceVersion(strconv.Itoa(v.written))
	return found
}

func (v *versioned) Create(resource schema.GroupVersionResource, object k8sruntime.Object, in string, options ...metav1.CreateOptions) error {
	made := v.next(object)
	if made.GetUID() == "" {
		made.SetUID(apitypes.UID("u" + made.GetResourceVersion()))
	}
	defer v.remember(resource, in, made.GetName())
	return v.ObjectTracker.Create(resource, object, in, options...)
}

func (v *versioned) Update(resource schema.GroupVersionResource, object k8sruntime.Object, in string, options ...metav1.UpdateOptions) error {
	defer v.remember(resource, in, v.next(object).GetName())
	return v.ObjectTracker.Update(resource, object, in, options...)
}

func (v *versioned) Patch(resource schema.GroupVersionResource, object k8sruntime.Object, in string, options ...metav1.PatchOptions) error {
	defer v.remember(resource, in, v.next(object).GetName())
	return v.ObjectTracker.Patch(resource, object, in, options...)
}

func (v *versioned) Delete(resource schema.GroupVersionResource, in, name string, options ...metav1.DeleteOptions) error {
	found, err := v.Get(resource, in, name)
	if err != nil {
		return err
	}
	now, err := meta.Accessor(found)
	if err != nil {
		return err
	}
	for _, each := range options {
		only := each.Preconditions
		if only != nil && (only.UID != nil && *only.UID != now.GetUID() ||
			only.ResourceVersion != nil && *only.ResourceVersion != now.GetResourceVersion()) {
			return apierrors.NewConflict(resource.GroupResource(), name, errors.New("the precondition does not hold"))
		}
	}
	v.written++
	defer v.remember(resource, in, name)
	return v.ObjectTracker.Delete(resource, in, name, options...)
}

// A process is one run of a program: a call of the plugin, a run of a controller.
type process struct {
	name, node string
	killed     bool
	// failed is how many of its requests failed.
	failed int
	cancel context.CancelFunc
	ended  chan error
}

var errKilled = errors.New("killed")

// A request waits until the model lets the server answer it.
type request struct {
	by   *process
	what string
	fate chan fate
}

// fate is what becomes of a request.
type fate int

const (
	answered fate = iota
	// refused by the server, or for a conflict.
	refused
	conflicting
	// lost: done, and the answer does not arrive.
	lost
)

// A server answers requests one at a time, in the order that the model chooses.
type server struct {
	*versioned
	core        kubernetes.Interface
	whereabouts wbclient.Interface
	// networks are none: the model looks for no losses.
	networks nadclient.Interface
	// turn is held by whoever changes the model: the events, what the nodes do, the end of a process. Programs run without it.
	turn sync.Mutex
	// lock guards waiting.
	lock    sync.Mutex
	waiting []*request
	running []*process
	// last is whose request was answered last.
	last *process
	// errors is the share of requests that fail.
	errors float64
	// trace is what happened, if it is kept.
	keep  bool
	trace []string
	// after is called after each request.
	after func()
}

func (s *server) log(format string, arguments ...any) {
	if s.keep {
		s.trace = append(s.trace, fmt.Sprintf(format, arguments...))
	}
}

func newServer() *server {
	objects, core, whereabouts, networks := newVersioned(), &corefake.Clientset{}, &wbfake.Clientset{}, &nadfake.Clientset{}
	core.AddReactor("*", "*", kubetest.ObjectReaction(objects))
	whereabouts.AddReactor("*", "*", kubetest.ObjectReaction(objects))
	networks.AddReactor("list", "*", func(kubetest.Action) (bool, k8sruntime.Object, error) {
		return true, &nadv1.NetworkAttachmentDefinitionList{}, nil
	})
	return &server{versioned: objects, core: core, whereabouts: whereabouts, networks: networks}
}

// start starts a process; what it does with the clients waits for the model.
func (s *server) start(name, node string, do func(context.Context, clients) error) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{name: name, node: node, cancel: cancel, ended: make(chan error, 1)}
	s.running = append(s.running, p)
	way := gate{s, p}
	api := clients{core: gatedCore{s.core, way, &freeLease{}}, whereabouts: gatedWhereabouts{s.whereabouts, way}, networks: s.networks}
	go func() {
		err := errKilled
		defer func() {
			cancel()
			s.turn.Lock()
			defer s.turn.Unlock()
			s.running = slices.DeleteFunc(s.running, func(each *process) bool { return each == p })
			if err != nil {
				s.log("    %s ends: %v", name, err)
			} else {
				s.log("    %s ends", name)
			}
			p.ended <- err
		}()
		err = do(ctx, api)
	}()
	return p
}

// wait lets all others have their turn, until they wait for an answer or for time to pass.
func (s *server) wait() {
	s.turn.Unlock()
	defer s.turn.Lock()
	synctest.Wait()
}

// act does something beside the events, in turn with them.
func (s *server) act(do func()) {
	go func() {
		s.turn.Lock()
		defer s.turn.Unlock()
		do()
	}()
}

// endOf waits for the end of a process, and lets others have their turn meanwhile.
func (s *server) endOf(p *process) error {
	s.turn.Unlock()
	defer s.turn.Lock()
	return <-p.ended
}

// settle waits until every process waits for an answer, or has ended.
func (s *server) settle() {
	for range 1000 {
		s.wait()
		if len(s.waiting) > 0 || len(s.running) == 0 {
			return
		}
		// Longer than any pause between two tries.
		s.turn.Unlock()
		time.Sleep(2 * time.Second)
		s.turn.Lock()
	}
	panic(fmt.Sprint(s.running, " neither ask nor end"))
}

// answer lets the server answer one request, and tells whether there was one.
func (s *server) answer(r *rand.Rand) bool {
	s.settle()
	if len(s.waiting) == 0 {
		return false
	}
	slices.SortFunc(s.waiting, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.by.name, b.by.name), cmp.Compare(a.what, b.what))
	})
	i := r.IntN(len(s.waiting))
	// Every other time the same process goes on, so that one also gets far ahead of the others.
	if same := slices.IndexFunc(s.waiting, func(each *request) bool { return each.by == s.last }); same >= 0 && r.IntN(2) == 0 {
		i = same
	}
	next := s.waiting[i]
	s.last = next.by
	s.waiting = slices.Delete(s.waiting, i, i+1)
	what := answered
	if r.Float64() < s.errors {
		what = fate(1 + r.IntN(3))
		next.by.failed++
	}
	s.log("    %s: %s%s", next.by.name, next.what, [...]string{"", " is refused", " conflicts", " is done, and the answer is lost"}[what])
	next.fate <- what
	s.wait()
	s.after()
	return true
}

// kill ends a process at the request that it is at.
func (s *server) kill(p *process) {
	p.killed = true
	for {
		i := slices.IndexFunc(s.waiting, func(each *request) bool { return each.by == p })
		if i < 0 {
			break
		}
		next := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		next.fate <- refused
		s.wait()
	}
}

// A gate is a process's way to the server.
type gate struct {
	server *server
	by     *process
}

func through[T any](ctx context.Context, g gate, verb, kind, name string, do func() (T, error)) (T, error) {
	var none T
	if g.by.killed {
		runtime.Goexit()
	}
	next := &request{g.by, verb + " " + kind + " " + name, make(chan fate)}
	g.server.lock.Lock()
	g.server.waiting = append(g.server.waiting, next)
	g.server.lock.Unlock()
	what := <-next.fate
	if g.by.killed {
		runtime.Goexit()
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	resource := schema.GroupResource{Resource: kind}
	switch {
	case what == refused, what == conflicting && (verb == "get" || verb == "list"):
		return none, apierrors.NewInternalError(errors.New("etcd has no leader"))
	case what == conflicting:
		return none, apierrors.NewConflict(resource, name, errors.New("changed meanwhile"))
	}
	got, err := do()
	if what == lost {
		return none, apierrors.NewTimeoutError("no answer", 1)
	}
	// The fake clientset does not say so as the API server does.
	if known := apierrors.APIStatus(nil); verb == "patch" && err != nil && !errors.As(err, &known) {
		err = apierrors.NewInvalid(schema.GroupKind{Kind: kind}, name, nil)
	}
	return got, err
}

type gatedWhereabouts struct {
	wbclient.Interface
	way gate
}

func (g gatedWhereabouts) WhereaboutsV1alpha1() wbtyped.WhereaboutsV1alpha1Interface {
	return gatedGroup{g.Interface.WhereaboutsV1alpha1(), g.way}
}

type gatedGroup struct {
	wbtyped.WhereaboutsV1alpha1Interface
	way gate
}

func (g gatedGroup) IPPools(in string) wbtyped.IPPoolInterface {
	return gatedPools{g.WhereaboutsV1alpha1Interface.IPPools(in), g.way}
}

func (g gatedGroup) OverlappingRangeIPReservations(in string) wbtyped.OverlappingRangeIPReservationInterface {
	return gatedReservations{g.WhereaboutsV1alpha1Interface.OverlappingRangeIPReservations(in), g.way}
}

type gatedPools struct {
	wbtyped.IPPoolInterface
	way gate
}

func (g gatedPools) Get(ctx context.Context, name string, options metav1.GetOptions) (*v1alpha1.IPPool, error) {
	return through(ctx, g.way, "get", "pool", name, func() (*v1alpha1.IPPool, error) {
		if options.ResourceVersion != "" {
			return g.way.server.poolSince(name, options.ResourceVersion)
		}
		return g.IPPoolInterface.Get(ctx, name, options)
	})
}

func (g gatedPools) List(ctx context.Context, options metav1.ListOptions) (*v1alpha1.IPPoolList, error) {
	return through(ctx, g.way, "list", "pool", options.FieldSelector, func() (*v1alpha1.IPPoolList, error) { return g.IPPoolInterface.List(ctx, options) })
}

func (g gatedPools) Create(ctx context.Context, made *v1alpha1.IPPool, options metav1.CreateOptions) (*v1alpha1.IPPool, error) {
	return through(ctx, g.way, "create", "pool", made.Name, func() (*v1alpha1.IPPool, error) { return g.IPPoolInterface.Create(ctx, made, options) })
}

func (g gatedPools) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	_, err := through(ctx, g.way, "delete", "pool", name, func() (any, error) {
		return nil, g.IPPoolInterface.Delete(ctx, name, options)
	})
	return err
}

func (g gatedPools) Patch(ctx context.Context, name string, kind apitypes.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (*v1alpha1.IPPool, error) {
	return through(ctx, g.way, "patch", "pool", name+" "+string(data), func() (*v1alpha1.IPPool, error) {
		return g.IPPoolInterface.Patch(ctx, name, kind, data, options, subresources...)
	})
}

type gatedReservations struct {
	wbtyped.OverlappingRangeIPReservationInterface
	way gate
}

type reserved = v1alpha1.OverlappingRangeIPReservation

func (g gatedReservations) Get(ctx context.Context, name string, options metav1.GetOptions) (*reserved, error) {
	return through(ctx, g.way, "get", "reservation", name, func() (*reserved, error) {
		return g.OverlappingRangeIPReservationInterface.Get(ctx, name, options)
	})
}

func (g gatedReservations) List(ctx context.Context, options metav1.ListOptions) (*v1alpha1.OverlappingRangeIPReservationList, error) {
	return through(ctx, g.way, "list", "reservation", "", func() (*v1alpha1.OverlappingRangeIPReservationList, error) {
		return g.OverlappingRangeIPReservationInterface.List(ctx, options)
	})
}

func (g gatedReservations) Create(ctx context.Context, made *reserved, options metav1.CreateOptions) (*reserved, error) {
	return through(ctx, g.way, "create", "reservation", made.Name+" of "+made.Spec.PodRef, func() (*reserved, error) {
		return g.OverlappingRangeIPReservationInterface.Create(ctx, made, options)
	})
}

func (g gatedReservations) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	_, err := through(ctx, g.way, "delete", "reservation", name, func() (any, error) {
		return nil, g.OverlappingRangeIPReservationInterface.Delete(ctx, name, options)
	})
	return err
}

type gatedCore struct {
	kubernetes.Interface
	way   gate
	lease coordinationtyped.LeaseInterface
}

func (g gatedCore) CoreV1() coretyped.CoreV1Interface {
	return gatedCoreV1{g.Interface.CoreV1(), g.way}
}

func (g gatedCore) CoordinationV1() coordinationtyped.CoordinationV1Interface {
	return freeLeases{lease: g.lease}
}

type gatedCoreV1 struct {
	coretyped.CoreV1Interface
	way gate
}

func (g gatedCoreV1) Pods(in string) coretyped.PodInterface {
	return gatedPods{g.CoreV1Interface.Pods(in), g.way}
}

func (g gatedCoreV1) Nodes() coretyped.NodeInterface {
	return gatedNodes{g.CoreV1Interface.Nodes(), g.way}
}

type gatedPods struct {
	coretyped.PodInterface
	way gate
}

func (g gatedPods) Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.Pod, error) {
	return through(ctx, g.way, "get", "pod", name, func() (*corev1.Pod, error) { return g.PodInterface.Get(ctx, name, options) })
}

func (g gatedPods) List(ctx context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
	return through(ctx, g.way, "list", "pod", "", func() (*corev1.PodList, error) { return g.PodInterface.List(ctx, options) })
}

type gatedNodes struct {
	coretyped.NodeInterface
	way gate
}

func (g gatedNodes) List(ctx context.Context, options metav1.ListOptions) (*corev1.NodeList, error) {
	return through(ctx, g.way, "list", "node", "", func() (*corev1.NodeList, error) { return g.NodeInterface.List(ctx, options) })
}

// freeLeases are leases that each process has for itself, so that none waits: pools and reservations have to be right
// without them.
type freeLeases struct {
	coordinationtyped.CoordinationV1Interface
	lease coordinationtyped.LeaseInterface
}

func (f freeLeases) Leases(string) coordinationtyped.LeaseInterface { return f.lease }

type freeLease struct {
	coordinationtyped.LeaseInterface
	lock sync.Mutex
	now  *coordinationv1.Lease
}

func (f *freeLease) Get(_ context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.now == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, name)
	}
	return f.now.DeepCopy(), nil
}

func (f *freeLease) Create(_ context.Context, made *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.now = made.DeepCopy()
	return made, nil
}

func (f *freeLease) Update(ctx context.Context, made *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return f.Create(ctx, made, metav1.CreateOptions{})
}

func (p *process) String() string { return p.name }
