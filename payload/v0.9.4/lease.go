package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
)

const (
	// lookLimit bounds the request that finds out who holds a lease.
	lookLimit = 2 * time.Second
	// leastSpread and mostSpread bound the time within which calls that have waited for as long as each other try to get a
	// lease that has become free. Each that loses doubles its own, and one that others forestall takes a
	// little off, so that it fits the number of calls after a few turns.
	leastSpread = 5 * time.Millisecond
	mostSpread  = 500 * time.Millisecond
	// slower is by which part one that is forestalled makes it less.
	slower = 16
	// waitedBefore is the annotation of a lease that tells for how many milliseconds its last holder had waited, and the lease's
	// transitions by then: MILLISECONDS@TRANSITIONS. Who has not waited for as long yet lets the older ones go first: by a part
	// of what is missing, which leaves time for a request between two calls if they come one after the other, and by mostBehind
	// at most. Upstream's holders leave the annotation as it is; from the transitions one sees that it is not theirs.
	waitedBefore = "whereabouts.tanzu.vmware.com/waited"
	partBehind   = 2
	mostBehind   = 500 * time.Millisecond
	// nearTurn is how long before its turn a call begins to watch the lease. Until then it reads the lease once in mostNap at
	// least, as those in front of it may have given up.
	nearTurn = 300 * time.Millisecond
	mostNap  = time.Second
	// newBehind is the most for a call that finds the lease free when it comes: who waits for it has it long before.
	newBehind = 50 * time.Millisecond
	// renewFactor is the least ratio of the renew deadline to the retry period, as with client-go's elections.
	renewFactor = 1.2
)

// An election is the way of one call to a lease. It works on the fields that client-go's elections use, by which upstream's
// plugin holds the same lease, but takes three requests where those take seven: nobody else writes a lease that is held, so
// that it is released without being read; it is renewed only when work takes long; and whoever waits is told of the release
// by a watch, where those ask again and again, and leave the lease unused in between.
type election struct {
	leases         leaseRequests
	name, identity string
	// duration is how long a lease is valid that is not renewed, period when it is renewed, and when it is looked at anew if
	// nothing tells of it; deadline bounds the release.
	duration, deadline, period time.Duration
	// seen is the lease as it was read or written last, and since when it is known to be so; absent tells whether there was
	// none, and current whether it is to be relied on.
	seen            *coordinationv1.Lease
	since           time.Time
	absent, current bool
	// news are the changes of the lease once it was asked for them; nil if there is no way to be told.
	news  <-chan apiwatch.Event
	asked bool
	stop  func()
	// spread is within which time this call tries to get a lease that has become free, and waits since when it knows that
	// others are after it as well. Both are zero before.
	spread time.Duration
	waits  time.Time
	// complaint is the error that was logged last.
	complaint string
}

// withLease does work while it holds a lease, and gives the lease back: when work calls leave, or at its end. It ends when ctx
// does: with an error that says who holds the lease if work has not begun by then. A lease that is lost meanwhile does not end
// work, whose writes are safe without it: the lease only spares calls from getting in each other's way.
func (a *attachment) withLease(ctx context.Context, name string, work func(ctx context.Context, leave func()) error) error {
	e, err := a.election(name)
	if err != nil {
		return err
	}
	if err := e.acquire(ctx); err != nil {
		return fmt.Errorf("waiting for the lease %s/%s: %w; %s", a.namespace, name, err, a.holder(ctx, name))
	}
	holding, leave := context.WithCancel(ctx)
	released := make(chan struct{})
	go func() {
		defer close(released)
		e.renew(holding)
		<-holding.Done()
		e.release(ctx)
	}()
	err = work(ctx, leave)
	leave()
	<-released
	return err
}

func (a *attachment) election(name string) (*election, error) {
	e := &election{
		leases: a.api.leases(a.namespace), name: name, stop: func() {},
		// Upstream's is the pod's name alone, so that two calls for one pod hold the lease at a time.
		identity: fmt.Sprintf("%s/%s/%s", a.config.GetPodRef(), a.ifName, a.container),
		duration: milliseconds(a.config.LeaderLeaseDuration),
		deadline: milliseconds(a.config.LeaderRenewDeadline),
		period:   milliseconds(a.config.LeaderRetryPeriod),
	}
	if e.period <= 0 || e.duration <= e.deadline || float64(e.deadline) <= renewFactor*float64(e.period) {
		return nil, fmt.Errorf("leader_lease_duration %s, leader_renew_deadline %s, leader_retry_period %s: "+
			"the first must be longer than the second, and that longer than %g x the third, which is more than 0",
			e.duration, e.deadline, e.period, renewFactor)
	}
	return e, nil
}

// acquire waits for the lease until ctx is done.
func (e *election) acquire(ctx context.Context) error {
	defer func() { e.stop() }()
	for ctx.Err() == nil {
		if err := e.look(ctx); err != nil {
			e.pause(ctx, err)
			continue
		}
		if !e.free() {
			e.queue(leastSpread)
			e.await(ctx)
			continue
		}
		if !e.keepsFree(ctx) {
			continue
		}
		done, err := e.take(ctx)
		switch {
		case done:
			return nil
		case err != nil:
			e.pause(ctx, err)
		default:
			e.queue(2 * e.spread)
			e.await(ctx)
		}
	}
	return context.Cause(ctx)
}

// pause waits before a request that failed is made again. It logs why it failed, unless that is what it logged last.
func (e *election) pause(ctx context.Context, err error) {
	if complaint := err.Error(); complaint != e.complaint && ctx.Err() == nil {
		e.complaint = complaint
		_ = logging.Errorf("asking for the lease %s, which is tried again every %s: %s", e.name, e.period, complaint)
	}
	pauseFor(ctx, e.period)
}

// queue notes that others are after the lease, and the spread that it takes.
func (e *election) queue(spread time.Duration) {
	e.spread = min(max(e.spread, spread, leastSpread), mostSpread)
	if e.waits.IsZero() {
		e.waits = time.Now()
	}
}

// waited is how long this call has been waiting for others.
func (e *election) waited() time.Duration {
	if e.waits.IsZero() {
		return 0
	}
	return time.Since(e.waits)
}

// look reads the lease unless it is known. One that is not there is nobody's.
func (e *election) look(ctx context.Context) error {
	if e.current {
		return nil
	}
	found, err := e.leases.Get(ctx, e.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		e.missing()
		return nil
	case err == nil:
		e.see(found)
	}
	return err
}

func (e *election) missing() {
	e.seen, e.absent, e.current = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: e.name}}, true, true
}

func (e *election) see(lease *coordinationv1.Lease) {
	if e.seen == nil || e.seen.ResourceVersion != lease.ResourceVersion {
		e.since = time.Now()
	}
	e.seen, e.absent, e.current = lease, false, true
}

// free tells whether nobody holds the lease, or its holder has not renewed it in time. Clocks of nodes differ: what counts is
// for how long this call has seen it unchanged.
func (e *election) free() bool {
	holder := e.seen.Spec.HolderIdentity
	return holder == nil || *holder == "" || !time.Now().Before(e.expiry())
}

func (e *election) expiry() time.Time {
	valid := e.duration
	if length := e.seen.Spec.LeaseDurationSeconds; length != nil {
		valid = time.Duration(*length) * time.Second
	}
	return e.since.Add(valid)
}

// behind is how long this call lets others go first.
func (e *election) behind() time.Duration {
	most := mostBehind
	if e.waits.IsZero() {
		most = newBehind
	}
	return min(max(e.remains()/partBehind, 0), most)
}

// keepsFree lets others go first, waits at random within the spread, and tells whether the lease is free until then.
func (e *election) keepsFree(ctx context.Context) bool {
	length := e.behind()
	if e.spread > 0 {
		length += rand.N(e.spread)
	}
	if length == 0 {
		return true
	}
	limit := time.After(length)
	for {
		select {
		case event, open := <-e.news:
			if e.hear(event, open); !e.current || !e.free() {
				// Others were quicker, so that there is no need to try later still the next time.
				e.spread = max(e.spread-e.spread/slower, leastSpread)
				return false
			}
		case <-limit:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// transitions is how often the lease has changed hands.
func (e *election) transitions() int32 {
	if count := e.seen.Spec.LeaseTransitions; count != nil {
		return *count
	}
	return 0
}

// remains is how much longer this call has to wait than it has by now, if it waits for as long as the last holder of the lease.
func (e *election) remains() time.Duration {
	length, of, _ := strings.Cut(e.seen.Annotations[waitedBefore], "@")
	last, err := strconv.Atoi(length)
	if err != nil || of != strconv.Itoa(int(e.transitions())) {
		return 0
	}
	return milliseconds(last) - e.waited()
}

// nap waits for a part of the time that remains. Meanwhile it does not watch the lease: in a crowd of calls that all do, each
// change costs more than an allocation.
func (e *election) nap(ctx context.Context, remains time.Duration) {
	e.stop()
	e.stop, e.news, e.asked, e.current = func() {}, nil, false, false
	pauseFor(ctx, min(remains*3/4, mostNap))
}

// await waits for the next change of the lease, but not longer than it is valid. Without news it looks anew after about a
// period.
func (e *election) await(ctx context.Context) {
	if remains := e.remains(); remains > nearTurn {
		e.nap(ctx, remains)
		return
	}
	if !e.asked {
		e.follow(ctx)
	}
	limit := e.period/2 + rand.N(e.period)
	if e.news != nil && e.current {
		limit = time.Until(e.expiry())
	}
	select {
	case event, open := <-e.news:
		e.hear(event, open)
	case <-time.After(limit):
		e.current = e.current && e.news != nil
	case <-ctx.Done():
	}
}

// follow asks for the changes of the lease since it was seen. Where that is not possible, as without the right to it, there
// will be no news.
func (e *election) follow(ctx context.Context) {
	e.asked = true
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, e.name).String()
	changes, err := e.leases.Watch(ctx, metav1.ListOptions{FieldSelector: only, ResourceVersion: e.seen.ResourceVersion})
	if err == nil {
		e.news, e.stop = changes.ResultChan(), changes.Stop
	}
}

func (e *election) hear(event apiwatch.Event, open bool) {
	lease, is := event.Object.(*coordinationv1.Lease)
	switch {
	case !open, !is:
		e.news, e.current = nil, false
	case event.Type == apiwatch.Deleted:
		e.missing()
	default:
		e.see(lease)
	}
}

// take makes the lease this call's. done is false when another one was first.
func (e *election) take(ctx context.Context) (done bool, err error) {
	transitions := e.transitions() + 1
	now, annotations := metav1.NowMicro(), map[string]string{}
	maps.Copy(annotations, e.seen.Annotations)
	annotations[waitedBefore] = fmt.Sprintf("%d@%d", e.waited().Milliseconds(), transitions)
	e.seen.Annotations = annotations
	return e.write(ctx, coordinationv1.LeaseSpec{
		HolderIdentity: &e.identity, LeaseDurationSeconds: wholeSeconds(e.duration), AcquireTime: &now, RenewTime: &now,
		LeaseTransitions: &transitions,
	})
}

// write changes the lease as it was seen. done is false when it was changed by another one meanwhile.
func (e *election) write(ctx context.Context, spec coordinationv1.LeaseSpec) (done bool, err error) {
	wanted := e.seen.DeepCopy()
	wanted.Spec = spec
	var written *coordinationv1.Lease
	if e.absent {
		written, err = e.leases.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		written, err = e.leases.Update(ctx, wanted, metav1.UpdateOptions{})
	}
	if err == nil {
		e.see(written)
		return true, nil
	}
	e.current = false
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	return false, err
}

// renew renews the lease once in each period, until ctx is done or another one has it.
func (e *election) renew(ctx context.Context) {
	for pauseFor(ctx, e.period); ctx.Err() == nil; pauseFor(ctx, e.period) {
		now, spec := metav1.NowMicro(), e.seen.Spec
		spec.RenewTime = &now
		if done, err := e.write(ctx, spec); !done && err == nil {
			return
		}
	}
}

// release gives the lease back, in a time of its own. When that fails, the others wait until it expires.
func (e *election) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.deadline)
	defer cancel()
	nobody, now := "", metav1.NowMicro()
	for range 2 {
		done, _ := e.write(ctx, coordinationv1.LeaseSpec{
			HolderIdentity: &nobody, LeaseDurationSeconds: wholeSeconds(time.Second), AcquireTime: &now, RenewTime: &now,
			LeaseTransitions: e.seen.Spec.LeaseTransitions,
		})
		// A renewal that was done, but not answered in time, made another version of it.
		if done || e.look(ctx) != nil || e.seen.Spec.HolderIdentity == nil || *e.seen.Spec.HolderIdentity != e.identity {
			return
		}
	}
}

func (a *attachment) holder(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
	defer cancel()
	lease, err := a.api.leases(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Sprintf("its holder is unknown: %v", err)
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" {
		return "nobody holds it now"
	}
	return fmt.Sprintf("%s holds it since %s, and renewed it at %s", *spec.HolderIdentity, instant(spec.AcquireTime), instant(spec.RenewTime))
}

func instant(at *metav1.MicroTime) string {
	if at == nil {
		return "an unknown time"
	}
	return at.UTC().Format(time.RFC3339)
}

func milliseconds(number int) time.Duration { return time.Duration(number) * time.Millisecond }

// wholeSeconds is a duration as a lease has it: in whole seconds, at least one.
func wholeSeconds(length time.Duration) *int32 {
	whole := max(int32(length/time.Second), 1)
	return &whole
}
