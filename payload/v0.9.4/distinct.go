package main

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// allocate returns an address of each range that no other interface has, be it of the same pod.
//
// A reservation against overlapping ranges belongs to a pod. Upstream takes that of another interface of the same pod
// for its own, gives the address a second time, and then reserves none of the further ranges' addresses.
func allocate(ctx context.Context, ipam *kubernetes.KubernetesIPAM) ([]net.IPNet, error) {
	allocated, err := request(ctx, ipam, ipam.Config)
	if err != nil {
		return nil, err
	}
	for i, within := range ipam.Config.IPRanges {
		if ipam.Config.OverlappingRanges {
			if allocated[i], err = distinct(ctx, ipam, within, allocated[i]); err != nil {
				return nil, err
			}
		}
		if err := stored(ctx, ipam, within, allocated[i].IP); err != nil {
			return nil, err
		}
	}
	return allocated, nil
}

// stored fails unless the pool has the address for this interface: upstream loses the error of a pool's update when
// the reservation that follows succeeds. It does not look into the pools of node slices, whose names upstream keeps.
func stored(ctx context.Context, ipam *kubernetes.KubernetesIPAM, within types.RangeConfiguration, address net.IP) error {
	if ipam.Config.NodeSliceSize != "" {
		return nil
	}
	pool, err := ipam.GetIPPool(ctx, kubernetes.PoolIdentifier{IpRange: within.Range, NetworkName: ipam.Config.NetworkName})
	if err != nil {
		return err
	}
	for _, each := range pool.Allocations() {
		if each.IP.Equal(address) && each.PodRef == ipam.Config.GetPodRef() && each.IfName == ipam.IfName {
			return nil
		}
	}
	return fmt.Errorf("%s was not stored in the pool of %s", address, within.Range)
}

// distinct returns address when its reservation is this interface's, and else another one of the range.
func distinct(ctx context.Context, ipam *kubernetes.KubernetesIPAM, within types.RangeConfiguration, address net.IPNet) (net.IPNet, error) {
	store, err := ipam.GetOverlappingRangeStore()
	if err != nil {
		return address, err
	}
	podRef, network := ipam.Config.GetPodRef(), ipam.Config.NetworkName
	// The ranges of other calls of this process must not see what is left out here.
	within.OmitRanges = slices.Clone(within.OmitRanges)
	for {
		reservation, err := store.GetOverlappingRangeIPReservation(ctx, address.IP, podRef, network)
		switch {
		case err != nil:
			return address, err
		case reservation == nil:
			return address, store.UpdateOverlappingRangeAllocation(ctx, types.Allocate, address.IP, podRef, ipam.IfName, network)
		// Reservations of version 0.7 and older do not name the interface.
		case reservation.Spec.IfName == ipam.IfName, reservation.Spec.IfName == "":
			return address, nil
		case slices.Contains(within.OmitRanges, address.IP.String()):
			return address, fmt.Errorf("%s is the address of the pod's %s already, and node slices leave nothing out",
				address.IP, reservation.Spec.IfName)
		}
		within.OmitRanges = append(within.OmitRanges, address.IP.String())
		if address, err = exchange(ctx, ipam, within); err != nil {
			return address, err
		}
	}
}

// exchange gives the interface's allocation in one range back, but not the reservation, and makes another one.
func exchange(ctx context.Context, ipam *kubernetes.KubernetesIPAM, within types.RangeConfiguration) (net.IPNet, error) {
	one := ipam.Config
	one.IPRanges = []types.RangeConfiguration{within}
	withoutReservation := one
	withoutReservation.OverlappingRanges = false
	if _, err := kubernetes.IPManagement(ctx, types.Deallocate, withoutReservation, ipam); err != nil {
		return net.IPNet{}, err
	}
	allocated, err := request(ctx, ipam, one)
	if err != nil {
		return net.IPNet{}, err
	}
	return allocated[0], nil
}

// request has upstream allocate an address of each range.
func request(ctx context.Context, ipam *kubernetes.KubernetesIPAM, config types.IPAMConfig) ([]net.IPNet, error) {
	allocated, err := kubernetes.IPManagement(ctx, types.Allocate, config, ipam)
	if err != nil {
		return nil, err
	}
	return allocated, complete(config.IPRanges, allocated)
}

// complete fails unless there is an address for each range: a plugin that loses the lease at once gets none, and no error.
func complete(ranges []types.RangeConfiguration, allocated []net.IPNet) error {
	if len(allocated) != len(ranges) {
		return fmt.Errorf("the lease was lost: %d addresses of %d ranges were allocated", len(allocated), len(ranges))
	}
	return nil
}
