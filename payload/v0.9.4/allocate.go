package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

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
// An address is an interface's by an entry of a pool and a reservation, which are written in this order: the reconcilers
// rely on it. Each is written only if it is not there, so that both hold without the lease as well. Of all nodes that enter
// an address in pools of their own, one makes the reservation; the others remove their entries and take another address.
func allocate(ctx context.Context, a *attachment) ([]net.IPNet, error) {
	if a.config.PodName == "" {
		return nil, errors.New("CNI_ARGS has no K8S_POD_NAME: the pod of the address is unknown")
	}
	places, lease, err := a.places(ctx)
	if err != nil || len(places) == 0 {
		return nil, err
	}
	if a.perNode {
		return a.takeAll(ctx, places, func() {})
	}
	var addresses []net.IPNet
	err = a.withLease(ctx, lease, func(ctx context.Context, leave func()) error {
		var err error
		addresses, err = a.takeAll(ctx, places, leave)
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
	all := func(ctx context.Context, _ func()) error {
		var failed []error
		for _, each := range places {
			failed = append(failed, a.giveBackAll(ctx, each))
		}
		return errors.Join(failed...)
	}
	if a.perNode {
		return all(ctx, nil)
	}
	return a.withLease(ctx, lease, all)
}

// A grant is an address that the interface has, or is about to have.
type grant struct {
	entry
	at      place
	address net.IPNet
	// fresh: no pool held it for this interface before.
	fresh bool
	// first is the address that offsets in the pool count from, and version the pool's as it was read.
	first   net.IP
	version string
	// reserving: the address needs a reservation, as there are other pools that may hold it.
	reserving bool
}

// occupied are the addresses that an interface cannot have, besides those of the pools that it reads.
type occupied struct {
	// foreign have a reservation for another interface, from a pool whose range overlaps, or are this one's in another range.
	foreign []types.IPReservation
	// elsewhere are those of all pools of the network. They are read only once an address was not to be had.
	elsewhere []types.IPReservation
	collided  bool
}

// takeAll makes an address of each range the interface's. It calls entered when all have their entries: the next call finds
// them in the pools then, and need not wait for the reservations.
func (a *attachment) takeAll(ctx context.Context, places []place, entered func()) ([]net.IPNet, error) {
	var granted []grant
	var addresses []net.IPNet
	for i, each := range places {
		last := func() {
			if i == len(places)-1 {
				entered()
			}
		}
		got, err := a.take(ctx, each, addresses, last)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the range %s: %w", each.within.Range, err), a.undo(ctx, granted...))
		}
		granted, addresses = append(granted, got), append(addresses, got.address)
	}
	return addresses, nil
}

// take makes an address of a range the interface's, besides those that it got in its other ranges.
func (a *attachment) take(ctx context.Context, base place, others []net.IPNet, entered func()) (grant, error) {
	var not occupied
	for _, each := range others {
		not.foreign = append(not.foreign, types.IPReservation{IP: each.IP, IsAllocated: true})
	}
	for attempt := 0; attempt < tries; {
		got, err := a.choose(ctx, base, not)
		if err != nil {
			return got, err
		}
		if !got.reserving && !lasts(got.key) {
			return got, fmt.Errorf("%s is 2^63 or more above %s: other programs lose such entries of a pool, "+
				"so that it takes enable_overlapping_ranges to allocate it", got.ip, got.first)
		}
		mine, err := a.settle(ctx, got, not.collided, entered)
		switch {
		case err != nil:
			return got, err
		case mine == settled:
			return got, nil
		case mine == taken:
			not.foreign = append(not.foreign, types.IPReservation{IP: got.ip, IsAllocated: true})
			if not.elsewhere, err = a.elsewhere(ctx); err != nil {
				return got, err
			}
			not.collided = true
		default:
			attempt++
			pause(ctx)
		}
		if err := ctx.Err(); err != nil {
			return got, err
		}
	}
	return grant{}, fmt.Errorf("the pools of the range were changed by others during each of %d attempts", tries)
}

// choose returns the address that the interface has in a pool, or one that nobody has. One that the network leaves out by
// now, or that is foreign, it does not have.
func (a *attachment) choose(ctx context.Context, base place, not occupied) (grant, error) {
	read, err := a.stocks(ctx, base)
	if err != nil {
		return grant{}, err
	}
	_, network, err := net.ParseCIDR(base.within.Range)
	if err != nil {
		return grant{}, err
	}
	podRef, all := a.config.GetPodRef(), slices.Concat(not.foreign, not.elsewhere)
	made := func(from stock, its entry, fresh bool) grant {
		return grant{
			entry: its, at: from.place, address: net.IPNet{IP: its.ip, Mask: network.Mask}, fresh: fresh,
			first: from.first, version: from.object.ResourceVersion, reserving: a.reserving(from.object),
		}
	}
	for _, from := range read {
		for _, each := range from.entries {
			if each.PodRef == podRef && each.IfName == a.ifName && base.has(each.ip) && !slices.ContainsFunc(not.foreign, each.is) {
				return made(from, each, false), nil
			}
			all = append(all, types.IPReservation{IP: each.ip})
		}
	}
	into := read[0]
	ip, err := into.assign(*network, all)
	if err != nil {
		return grant{}, err
	}
	allocation := v1alpha1.IPAllocation{ContainerID: a.container, PodRef: podRef, IfName: a.ifName}
	return made(into, entry{allocation, entryKey(into.first, ip), ip}, true), nil
}

// reserving tells whether the addresses of a pool need reservations: because the network asks for it, or because nodes have
// pools of their own over the range.
func (a *attachment) reserving(from *v1alpha1.IPPool) bool {
	return a.config.OverlappingRanges || beside(from) || nodeOf(from) != ""
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

// settle writes what is missing for an address to be the interface's. A reservation is looked for beforehand if it has to be
// there, or if there was one for another address: mostly there is none.
func (a *attachment) settle(ctx context.Context, got grant, look bool, entered func()) (verdict, error) {
	var found *v1alpha1.OverlappingRangeIPReservation
	if got.reserving && (look || !got.fresh) {
		var err error
		if found, err = a.reservation(ctx, got.ip); err != nil {
			return contested, err
		}
		if found != nil && !a.replaceable(found, got) {
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
	entered()
	if !got.reserving || found != nil && !got.fresh && backs(found, got.at) {
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

// replaceable tells whether a reservation may be this interface's. One that names no interface may be that of another
// interface of the pod, which still has it, and one for the pool of another node that of an earlier pod, which may still run.
func (a *attachment) replaceable(found *v1alpha1.OverlappingRangeIPReservation, got grant) bool {
	if !a.owns(found, a.config.GetPodRef()) {
		return false
	}
	return !got.fresh || found.Spec.IfName != "" && !a.ofAnotherNode(found)
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
// has not ended, or is to come: it is not taken over, but replaced. done is false when it is another interface's.
func (a *attachment) reserveAnew(ctx context.Context, got grant, old *v1alpha1.OverlappingRangeIPReservation) (done bool, err error) {
	if old == nil {
		if done, err = a.reserve(ctx, got.at, got.ip); done || err != nil {
			return done, err
		}
		if old, err = a.reservation(ctx, got.ip); old == nil || err != nil || !a.replaceable(old, got) {
			return false, err
		}
	}
	if err := a.unreserve(ctx, old); err != nil {
		return false, err
	}
	return a.reserve(ctx, got.at, got.ip)
}

// enter writes the entry of a pool for this container. One that the reconciler marked meanwhile is written anew, so that it
// is not released.
func (a *attachment) enter(ctx context.Context, got grant) (bool, error) {
	switch {
	case got.fresh && got.reserving:
		return a.patch(ctx, got.at, edit{"test", pathOf(got.key), nil}, edit{"add", pathOf(got.key), got.IPAllocation})
	case got.fresh:
		// The pool alone keeps this address, so it must still be the only one over its range.
		return a.patch(ctx, got.at, edit{"test", "/metadata/resourceVersion", got.version}, edit{"add", pathOf(got.key), got.IPAllocation})
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
			_, err := a.giveBack(ctx, each.at)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// giveBackAll removes what this container's interface has in the pools of a range.
func (a *attachment) giveBackAll(ctx context.Context, base place) error {
	found, err := a.giveBack(ctx, base)
	if !beside(found) && !a.perNode {
		return err
	}
	own, noPlace := a.ownPlace(base)
	if noPlace != nil {
		return err
	}
	_, ownErr := a.giveBack(ctx, own)
	return errors.Join(err, ownErr)
}

// giveBack removes what this container's interface has in one pool, and returns the pool as it was read: the entry first,
// which decides whose the reservation is. The reservation is the one of before: once the entry is gone, the next sandbox of
// the pod may have made its own.
func (a *attachment) giveBack(ctx context.Context, at place) (*v1alpha1.IPPool, error) {
	for range tries {
		pool, err := a.pool(ctx, at)
		if pool == nil || err != nil {
			return pool, err
		}
		held, _, err := entries(pool)
		if err != nil {
			return pool, err
		}
		mine := a.held(held)
		if mine == nil {
			return pool, nil
		}
		var reserved *v1alpha1.OverlappingRangeIPReservation
		var unread error
		if a.reserving(pool) {
			reserved, unread = a.backing(ctx, at, *mine)
		}
		done, err := a.patch(ctx, at, append(mine.unchanged(), edit{"remove", pathOf(mine.key), nil})...)
		if err != nil {
			return pool, errors.Join(unread, err)
		}
		if done && reserved != nil {
			return pool, a.unreserve(ctx, reserved)
		}
		if done {
			return pool, unread
		}
		if pause(ctx); ctx.Err() != nil {
			return pool, ctx.Err()
		}
	}
	return nil, fmt.Errorf("the pool %s was changed by others during each of %d attempts", at.name(), tries)
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
	found, err := a.reservation(ctx, held.ip)
	if err != nil || found == nil || !a.owns(found, held.PodRef) || !backs(found, at) {
		return nil, err
	}
	return found, nil
}

func pause(ctx context.Context) { pauseFor(ctx, betweenThem) }

func pauseFor(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}
