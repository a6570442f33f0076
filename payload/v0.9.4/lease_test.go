package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	coordinationtyped "k8s.io/client-go/kubernetes/typed/coordination/v1"
	kubetest "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// A leaseServer keeps one lease as an API server does, with versions and watches. Requests take time.
type leaseServer struct {
	kubernetes.Interface
	coordinationtyped.CoordinationV1Interface
	coordinationtyped.LeaseInterface
	lock     sync.Mutex
	now      *coordinationv1.Lease
	written  int
	watchers []*apiwatch.RaceFreeFakeWatcher
	// requests counts what is asked, by verb. refused verbs are not allowed.
	requests map[string]int
	refused  string
}

func newLeaseServer() *leaseServer { return &leaseServer{requests: map[string]int{}} }

func (s *leaseServer) CoordinationV1() coordinationtyped.CoordinationV1Interface { return s }
func (s *leaseServer) Leases(string) coordinationtyped.LeaseInterface            { return s }

func (s *leaseServer) asked(verb string) error {
	time.Sleep(time.Duration(1+rand.IntN(5)) * time.Millisecond)
	s.lock.Lock()
	s.requests[verb]++
	if verb == s.refused {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "whereabouts", errors.New("no right"))
	}
	return nil
}

func (s *leaseServer) Get(_ context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	err := s.asked("get")
	defer s.lock.Unlock()
	if err == nil && s.now == nil {
		err = apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, name)
	}
	return s.now.DeepCopy(), err
}

func (s *leaseServer) Create(_ context.Context, made *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	err := s.asked("create")
	defer s.lock.Unlock()
	if err == nil && s.now != nil {
		err = apierrors.NewAlreadyExists(schema.GroupResource{Resource: "leases"}, made.Name)
	}
	if err != nil {
		return nil, err
	}
	return s.store(made), nil
}

func (s *leaseServer) Update(_ context.Context, made *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	err := s.asked("update")
	defer s.lock.Unlock()
	if err == nil && s.now.ResourceVersion != made.ResourceVersion {
		err = apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, made.Name, errors.New("another version"))
	}
	if err != nil {
		return nil, err
	}
	return s.store(made), nil
}

func (s *leaseServer) store(made *coordinationv1.Lease) *coordinationv1.Lease {
	s.written++
	s.now = made.DeepCopy()
	s.now.ResourceVersion = strconv.Itoa(s.written)
	for _, each := range s.watchers {
		if !each.IsStopped() {
			each.Modify(s.now.DeepCopy())
		}
	}
	return s.now.DeepCopy()
}

func (s *leaseServer) Watch(_ context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	err := s.asked("watch")
	defer s.lock.Unlock()
	if err != nil {
		return nil, err
	}
	made := apiwatch.NewRaceFreeFake()
	s.watchers = append(s.watchers, made)
	if s.now != nil && s.now.ResourceVersion != options.ResourceVersion {
		made.Modify(s.now.DeepCopy())
	}
	return made, nil
}

// A section is what one call at a time does. It fails the test when there are two in it.
type section struct {
	t      *testing.T
	lock   sync.Mutex
	inside int
	turns  []string
}

func (s *section) work(who string, lasting time.Duration) {
	s.lock.Lock()
	s.inside++
	if s.inside > 1 {
		s.t.Errorf("%s works beside another", who)
	}
	s.turns = append(s.turns, who)
	s.lock.Unlock()
	time.Sleep(lasting)
	s.lock.Lock()
	s.inside--
	s.lock.Unlock()
}

func (s *leaseServer) call(name string) *attachment {
	return attached(clients{core: s}, name, "net1", "10.0.0.0/29")
}

func TestOneCallAtATimeHasTheLease(t *testing.T) {
	for _, refused := range []string{"", "watch"} {
		t.Run("refused "+refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, only := newLeaseServer(), &section{t: t}
				server.refused = refused
				var calls sync.WaitGroup
				for i := range 20 {
					calls.Go(func() {
						name := fmt.Sprint("p", i)
						err := server.call(name).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
							only.work(name, 20*time.Millisecond)
							return nil
						})
						if err != nil {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
				calls.Wait()
				if len(only.turns) != 20 {
					t.Errorf("%d had their turn", len(only.turns))
				}
			})
		})
	}
}

func TestALeaseThatBecomesFreeIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, only := newLeaseServer(), &section{t: t}
		began := time.Now()
		var calls sync.WaitGroup
		for i := range 2 {
			calls.Go(func() {
				for n := range 10 {
					name := fmt.Sprint("p", i, n)
					if err := server.call(name).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
						only.work(name, 10*time.Millisecond)
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		// Each turn is 10 ms and three or four requests of at most 5 ms. Who only looked once in 500 ms would take 5 s.
		if took := time.Since(began); took > time.Second {
			t.Errorf("20 turns took %s", took)
		}
	})
}

func TestWhoWaitsForLongerGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, only := newLeaseServer(), &section{t: t}
		const nodes, each = 20, 10
		var lock sync.Mutex
		var waited []time.Duration
		var calls sync.WaitGroup
		for i := range nodes {
			calls.Go(func() {
				for n := range each {
					name, began := fmt.Sprint("p", i, "-", n), time.Now()
					if err := server.call(name).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
						lock.Lock()
						waited = append(waited, time.Since(began))
						lock.Unlock()
						only.work(name, 20*time.Millisecond)
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		began := time.Now()
		calls.Wait()
		// In turn each call would wait for all other nodes once.
		turn := time.Since(began) / (nodes * each)
		slices.Sort(waited)
		t.Logf("a turn takes %s; the longest wait is %s, the median %s; requests: %v", turn, waited[len(waited)-1], waited[len(waited)/2], server.requests)
		if longest := waited[len(waited)-1]; longest > 5*nodes*turn {
			t.Errorf("one waited for %s, where a round of all takes %s", longest, nodes*turn)
		}
		if updates := server.requests["update"]; updates > 5*nodes*each {
			t.Errorf("%d updates in %d turns", updates, nodes*each)
		}
	})
}

func TestACrowdDoesNotKeepTheServerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, only := newLeaseServer(), &section{t: t}
		const crowd = 100
		var calls sync.WaitGroup
		began := time.Now()
		for i := range crowd {
			calls.Go(func() {
				name := fmt.Sprint("p", i)
				if err := server.call(name).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
					only.work(name, 20*time.Millisecond)
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		t.Logf("%d turns took %s; requests: %v", crowd, time.Since(began), server.requests)
		// Two are the least, to take and to give back; the others found that another call was first.
		if updates := server.requests["update"]; updates > 12*crowd {
			t.Errorf("%d updates in %d turns", updates, crowd)
		}
	})
}

func TestACallAloneMakesThreeRequestsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newLeaseServer()
		for range 2 {
			server.requests = map[string]int{}
			if err := server.call("a").withLease(t.Context(), "whereabouts", func(context.Context, func()) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if server.requests["get"] != 1 || server.requests["update"] != 2 || len(server.requests) != 2 {
			t.Errorf("requests: %v", server.requests)
		}
		if holder := *server.now.Spec.HolderIdentity; holder != "" {
			t.Errorf("%q still holds it", holder)
		}
	})
}

func TestALeaseWhoseHolderIsGoneIsTakenWhenItExpires(t *testing.T) {
	for _, refused := range []string{"", "watch"} {
		synctest.Test(t, func(t *testing.T) {
			server := newLeaseServer()
			server.refused = refused
			gone, length, at := "default/gone/net1/c", int32(1), metav1.NewMicroTime(time.Now().Add(time.Hour))
			server.store(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
				HolderIdentity: &gone, LeaseDurationSeconds: &length, RenewTime: &at,
			}})
			began := time.Now()
			if err := server.call("a").withLease(t.Context(), "whereabouts", func(context.Context, func()) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < time.Second || took > 3*time.Second {
				t.Errorf("taken after %s", took)
			}
		})
	}
}

func TestALeaseIsRenewedWhileWorkTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, only := newLeaseServer(), &section{t: t}
		var calls sync.WaitGroup
		for i := range 3 {
			calls.Go(func() {
				_ = server.call(fmt.Sprint("p", i)).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
					only.work(fmt.Sprint("p", i), 10*time.Second)
					return nil
				})
			})
		}
		calls.Wait()
	})
}

// TestUpstreamsElectionsAndOursTakeTurns has calls of both hold the same lease, as while a cluster is updated.
func TestUpstreamsElectionsAndOursTakeTurns(t *testing.T) {
	quietLogs(t)
	synctest.Test(t, func(t *testing.T) {
		server, only := newLeaseServer(), &section{t: t}
		var calls sync.WaitGroup
		for i := range 5 {
			calls.Go(func() {
				if err := server.call(fmt.Sprint("ours", i)).withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
					only.work("ours", 20*time.Millisecond)
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
			calls.Go(func() {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
					Lock: &resourcelock.LeaseLock{
						LeaseMeta: metav1.ObjectMeta{Name: "whereabouts", Namespace: namespace}, Client: server,
						LockConfig: resourcelock.ResourceLockConfig{Identity: fmt.Sprint("theirs", i)},
					},
					LeaseDuration: 1500 * time.Millisecond, RenewDeadline: time.Second, RetryPeriod: 500 * time.Millisecond,
					ReleaseOnCancel: true,
					Callbacks: leaderelection.LeaderCallbacks{
						OnStartedLeading: func(context.Context) {
							only.work("theirs", 20*time.Millisecond)
							stop()
						},
						OnStoppedLeading: func() {},
					},
				})
			})
		}
		calls.Wait()
		slices.Sort(only.turns)
		if len(only.turns) != 10 || only.turns[4] != "ours" || only.turns[5] != "theirs" {
			t.Errorf("turns: %q", only.turns)
		}
	})
}

// TestACallDoesNotGoByAWaitOfFormerTimes is a cluster in which a node has upstream's plugin, which keeps the annotation.
func TestACallDoesNotGoByAWaitOfFormerTimes(t *testing.T) {
	for _, holder := range []string{"", "upstream's"} {
		synctest.Test(t, func(t *testing.T) {
			server, transitions, length, at := newLeaseServer(), int32(4), int32(60), metav1.NowMicro()
			stored := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
				HolderIdentity: &holder, LeaseTransitions: &transitions, LeaseDurationSeconds: &length, RenewTime: &at,
			}}
			stored.Annotations = map[string]string{waitedBefore: "60000@3"}
			server.store(stored)
			began, nobody := time.Now(), ""
			time.AfterFunc(100*time.Millisecond, func() {
				server.lock.Lock()
				defer server.lock.Unlock()
				if released := server.now.DeepCopy(); *released.Spec.HolderIdentity == holder {
					released.Spec.HolderIdentity = &nobody
					server.store(released)
				}
			})
			var took time.Duration
			err := server.call("a").withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
				took = time.Since(began)
				return nil
			})
			if limit := 150 * time.Millisecond; err != nil || took > limit || holder == "" && took > 20*time.Millisecond {
				t.Errorf("held by %q: taken after %s, %v", holder, took, err)
			}
			if note := server.now.Annotations[waitedBefore]; !strings.HasSuffix(note, "@5") {
				t.Errorf("noted %q", note)
			}
		})
	}
}

func TestACallSaysOnceWhyItCannotAskForTheLease(t *testing.T) {
	name, before := filepath.Join(t.TempDir(), "log"), os.Stderr
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = file
	t.Cleanup(func() { os.Stderr = before })
	synctest.Test(t, func(t *testing.T) {
		server, has := newLeaseServer(), false
		server.refused = "get"
		var call sync.WaitGroup
		call.Go(func() {
			err := server.call("a").withLease(t.Context(), "whereabouts", func(context.Context, func()) error {
				has = true
				return nil
			})
			if err != nil || !has {
				t.Error(has, err)
			}
		})
		time.Sleep(5 * time.Second)
		server.lock.Lock()
		server.refused = ""
		server.lock.Unlock()
		call.Wait()
	})
	said, err := os.ReadFile(name)
	if count := strings.Count(string(said), "no right"); err != nil || count != 1 || !strings.Contains(string(said), "asking for the lease whereabouts") {
		t.Errorf("said %q, %v", said, err)
	}
}

func TestTheNextCallDoesNotWaitForTheReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, pools := newLeaseServer(), newServer().whereabouts
		api := clients{core: server, whereabouts: pools}
		faked(api).PrependReactor("create", "overlappingrangeipreservations", func(kubetest.Action) (bool, runtime.Object, error) {
			time.Sleep(time.Second)
			if holder := *server.now.Spec.HolderIdentity; holder != "" {
				t.Errorf("%s holds the lease while its reservation is made", holder)
			}
			return false, nil, nil
		})
		mustAllocate(t, attached(api, "a", "net1", "10.0.0.0/29"))
	})
}
