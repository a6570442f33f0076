package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lookLimit bounds the request that finds out who holds a lease.
const lookLimit = 2 * time.Second

var errLost = errors.New("the lease was lost at once")

// withLease does work while it holds a lease, and gives the lease back. It ends when ctx does: with an error that says who
// holds the lease if work has not begun by then. A lease that is lost meanwhile does not end work, whose writes are safe
// without it: the lease only spares calls from getting in each other's way.
func (a *attachment) withLease(ctx context.Context, name string, work func(context.Context) error) error {
	electing, stop := context.WithCancel(ctx)
	defer stop()
	led, ended := make(chan struct{}), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Name: name, Namespace: a.namespace},
			Client:    a.api.core.CoordinationV1(),
			// Upstream's is the pod's name alone, so that two calls for one pod hold the lease at a time.
			LockConfig: resourcelock.ResourceLockConfig{
				Identity: fmt.Sprintf("%s/%s/%s", a.config.GetPodRef(), a.ifName, a.container),
			},
		},
		LeaseDuration:   milliseconds(a.config.LeaderLeaseDuration),
		RenewDeadline:   milliseconds(a.config.LeaderRenewDeadline),
		RetryPeriod:     milliseconds(a.config.LeaderRetryPeriod),
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(led) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("leader_lease_duration, leader_renew_deadline, leader_retry_period: %w", err)
	}
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	select {
	case <-led:
	case <-ended:
		return a.notLed(ctx, name)
	case <-ctx.Done():
		return a.notLed(ctx, name)
	}
	err = work(ctx)
	stop()
	<-ended
	return err
}

// notLed is why a lease was not to be had.
func (a *attachment) notLed(ctx context.Context, name string) error {
	why := errLost
	if ctx.Err() != nil {
		why = context.Cause(ctx)
	}
	return fmt.Errorf("waiting for the lease %s/%s: %w; %s", a.namespace, name, why, a.holder(ctx, name))
}

func (a *attachment) holder(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
	defer cancel()
	lease, err := a.api.core.CoordinationV1().Leases(a.namespace).Get(ctx, name, metav1.GetOptions{})
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
