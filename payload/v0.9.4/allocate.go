package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	assign "github.com/k8snetworkplumbingwg/whereabouts/pkg/allocate"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

const (
	// undoLimit is what an ADD that failed, maybe for want of time, has to give back what it got.
	undoLimit = 10 * time.Second
	// tries is how often an entry is written that others change meanwhile.
	tries       = 100
	betweenThem = 20 * time.Millisecond
)

// allocate returns an address of each range that no other interface has, be it of the same pod. When it fails, it gives back
// what it got.
//
// It stands for upstream's IPManagement, on the same pools, reservations and leases. That hangs when it loses the lease at
// once, forgets that the pool did not store an address, takes the reservation of another interface of the pod for its own,
// cuts offsets in IPv6 ranges to 63 bits, and ends the process when a node slice is missing.
//
// An address is an interface's by an entry of the pool and a reservation, which are written in this order: the reconcilers
// rely on it. Each is written only if it is not there, so that both hold without the lease as well.
func allocate(ctx context.Context, a *attachment) ([]net.IPNet, error) {
	if a.config.PodName == "" {
		return nil, errors.New("CNI_ARGS has no K8S_POD_NAME: the pod of the address is unknown")
	}
	places, lease, err := a.places(ctx)
	if err != nil || len(places) == 0 {
		return nil, err
	}
	var addresses []net.IPNet
	err = a.withLease(ctx, lease, func(ctx context.Context) error {
		var err error
		addresses, err = a.takeAll(ctx, places)
		return err
	})
	return addresses, err
}

// release gives back what this container's interface has, in each range on its own: whatever one range lacks does not keep
// the others.
func release(ctx context.Context, a *attachment) error {
	places, lease, err := a.places(ctx)
	if err != nil || len(places) == 0 {
		return err
	}
	return a.withLease(ctx, lease, func(ctx context.Context) error {
		var failed []error
		for _, each := range places {
			failed = append(failed, a.giveBack(ctx, each))
		}
		return errors.Join(failed...)
	})
}

// A grant is an address that the interface has, or is about to have.
type grant struct {
	entry
	at      place
	address net.IPNet
	// fresh: the pool did not hold it for this interface before.
	fresh bool
}

func (a *attachment) takeAll(ctx context.Context, places []place) ([]net.IPNet, error) {
	var granted []grant
	var addresses []net.IPNet
	for _, each := range places {
		got, err := a.take(ctx, each, addresses)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the range %s: %w", each.within.Range, err), a.undo(ctx, granted...))
		}
		granted, addresses = append(granted, got), append(addresses, got.address)
	}
	return addresses, nil
}

// take makes an address of a place the interface's, besides those that it got in its other ranges.
func (a *attachment) take(ctx context.Context, at place, others []net.IPNet) (grant, error) {
	// These have a reservation for another interface, from a pool whose range overlaps, or are this one's in another range.
	var foreign []types.IPReservation
	for _, each := range others {
		foreign = append(foreign, types.IPReservation{IP: each.IP, IsAllocated: true})
	}
	for attempt := 0; attempt < tries; {
		got, first, err := a.choose(ctx, at, foreign)
		if err != nil {
			return got, err
		}
		if !a.config.OverlappingRanges && !lasts(got.key) {
			return got, fmt.Errorf("%s is 2^63 or more above %s: other programs lose such entries of a pool, "+
				"so that it takes enable_overlapping_ranges to allocate it", got.ip, first)
		}
		mine, err := a.settle(ctx, got)
		switch {
		case err != nil:
			return got, err
		case mine == settled:
			return got, nil
		case mine == taken:
			foreign = append(foreign, types.IPReservation{IP: got.ip, IsAllocated: true})
		default:
			attempt++
			pause(ctx)
		}
		if err := ctx.Err(); err != nil {
			return got, err
		}
	}
	return grant{}, fmt.Errorf("the pool %s was changed by others during each of %d attempts", at.name(), tries)
}

// choose returns the address that the interface has in the pool, or one that nobody has, and where the range begins. One
// that the network leaves out by now, or that is foreign, it does not have.
func (a *attachment) choose(ctx context.Context, at place, foreign []types.IPReservation) (grant, net.IP, error) {
	pool, err := a.poolOrNew(ctx, at)
	if err != nil {
		return grant{}, nil, err
	}
	if pool == nil {
		return grant{}, nil, fmt.Errorf("the pool %s is created and deleted at the same time", at.name())
	}
	held, first, err := entries(pool)
	if err != nil {
		return grant{}, nil, err
	}
	_, network, err := net.ParseCIDR(at.within.Range)
	if err != nil {
		return grant{}, nil, err
	}
	podRef, occupied := a.config.GetPodRef(), slices.Clone(foreign)
	for _, each := range held {
		if each.PodRef == podRef && each.IfName == a.ifName && at.has(each.ip) && !slices.ContainsFunc(foreign, each.is) {
			return grant{each, at, net.IPNet{IP: each.ip, Mask: network.Mask}, false}, first, nil
		}
		occupied = append(occupied, types.IPReservation{IP: each.ip})
	}
	address, _, err := assign.AssignIP(at.within, occupied, a.container, podRef, a.ifName)
	if err != nil {
		return grant{}, nil, err
	}
	fresh := entry{v1alpha1.IPAllocation{ContainerID: a.container, PodRef: podRef, IfName: a.ifName}, entryKey(first, address.IP), address.IP}
	return grant{fresh, at, address, true}, first, nil
}

// verdict is whether an address is the interface's now.
type verdict int

const (
	// contested: the pool changed meanwhile.
	contested verdict = iota
	settled
	// taken: it is another interface's.
	taken
)

// settle writes what is missing for an address to be the interface's.
func (a *attachment) settle(ctx context.Context, got grant) (verdict, error) {
	var found *v1alpha1.OverlappingRangeIPReservation
	if a.config.OverlappingRanges {
		var err error
		if found, err = a.reservation(ctx, got.ip); err != nil {
			return contested, err
		}
		// One that names no interface may be that of another interface of the pod, which still has it.
		if found != nil && (!a.owns(found, a.config.GetPodRef()) || got.fresh && found.Spec.IfName == "") {
			return a.disown(ctx, got)
		}
	}
	done, err := a.enter(ctx, got)
	if err != nil {
		// Maybe it was written all the same.
		return contested, errors.Join(err, a.undo(ctx, got))
	}
	if !done {
		return contested, nil
	}
	if !a.config.OverlappingRanges || found != nil && !got.fresh && backs(found, got.at) {
		return settled, nil
	}
	done, err = a.reserveAnew(ctx, got, found)
	if err != nil {
		return contested, errors.Join(err, a.undo(ctx, got))
	}
	if !done {
		return taken, a.undo(ctx, got)
	}
	return settled, nil
}

// disown removes the entry of an address whose reservation is another interface's, so that another address can be taken.
func (a *attachment) disown(ctx context.Context, got grant) (verdict, error) {
	if got.fresh {
		return taken, nil
	}
	done, err := a.patch(ctx, got.at, append(got.unchanged(), edit{"remove", pathOf(got.key), nil})...)
	if !done || err != nil {
		return contested, err
	}
	return taken, nil
}

// reserveAnew makes the reservation of an address. One of this interface without an entry in this pool belongs to a DEL that
// has not ended, or is to come: it is not taken over, but replaced.
func (a *attachment) reserveAnew(ctx context.Context, got grant, old *v1alpha1.OverlappingRangeIPReservation) (bool, error) {
	if old != nil {
		if err := a.unreserve(ctx, old); err != nil {
			return false, err
		}
	}
	return a.reserve(ctx, got.at, got.ip)
}

// enter writes the entry of a pool for this container. One that the reconciler marked meanwhile is written anew, so that it
// is not released.
func (a *attachment) enter(ctx context.Context, got grant) (bool, error) {
	switch {
	case got.fresh:
		return a.patch(ctx, got.at, edit{"test", pathOf(got.key), nil}, edit{"add", pathOf(got.key), got.IPAllocation})
	case got.ContainerID == a.container:
		return true, nil
	}
	return a.patch(ctx, got.at, append(got.unchanged(), edit{"replace", pathOf(got.key) + "/id", a.container})...)
}

// undo gives back what this call was the first to write, in a time of its own. What was the interface's before is left to
// the DEL that follows an ADD that failed.
func (a *attachment) undo(ctx context.Context, granted ...grant) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	var failed []error
	for _, each := range granted {
		if each.fresh {
			failed = append(failed, a.giveBack(ctx, each.at))
		}
	}
	return errors.Join(failed...)
}

// giveBack removes what this container's interface has in one place: the entry first, which decides whose the reservation is.
// The reservation is the one of before: once the entry is gone, the next sandbox of the pod may have made its own.
func (a *attachment) giveBack(ctx context.Context, at place) error {
	for range tries {
		pool, err := a.pool(ctx, at)
		if pool == nil || err != nil {
			return err
		}
		held, _, err := entries(pool)
		if err != nil {
			return err
		}
		mine := a.held(held)
		if mine == nil {
			return nil
		}
		reserved, unread := a.backing(ctx, at, *mine)
		done, err := a.patch(ctx, at, append(mine.unchanged(), edit{"remove", pathOf(mine.key), nil})...)
		if err != nil {
			return errors.Join(unread, err)
		}
		if done && reserved != nil {
			return a.unreserve(ctx, reserved)
		}
		if done {
			return unread
		}
		if pause(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("the pool %s was changed by others during each of %d attempts", at.name(), tries)
}

// held returns this container's entry. Versions before 0.8 wrote entries without the interface's name: such a one is this
// interface's if the runtime remembers the address.
func (a *attachment) held(all []entry) *entry {
	var unnamed *entry
	for _, each := range all {
		if containerOf(each.IPAllocation) == a.container && each.IfName == a.ifName {
			return &each
		}
		if containerOf(each.IPAllocation) == a.container && each.IfName == "" && a.previous != nil && names(a.previous, &each) {
			unnamed = &each
		}
	}
	return unnamed
}

// backing returns the reservation that belongs to an entry of a place, or nil.
func (a *attachment) backing(ctx context.Context, at place, held entry) (*v1alpha1.OverlappingRangeIPReservation, error) {
	if !a.config.OverlappingRanges {
		return nil, nil
	}
	found, err := a.reservation(ctx, held.ip)
	if err != nil || found == nil || !a.owns(found, held.PodRef) || !backs(found, at) {
		return nil, err
	}
	return found, nil
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(betweenThem):
	}
}
