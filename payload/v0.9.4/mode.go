package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/config"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// The ways of allocation, which whereabouts.conf names as `allocation`, or the ipam section of a network, which goes before it.
const (
	byLease = "lease"
	byNode  = "per-node"
)

// allocationOf reads the way of allocation: by lease where nothing is said. Upstream's configuration does not have it.
func allocationOf(call []byte) (string, error) {
	var network struct {
		IPAM struct {
			Allocation string `json:"allocation"`
			Path       string `json:"configuration_path"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(call, &network); err != nil {
		return "", err
	}
	from, found := "the network's ipam section", network.IPAM.Allocation
	if found == "" {
		var err error
		if _, from, err = config.GetFlatIPAM(false, &types.IPAMConfig{ConfigurationPath: network.IPAM.Path}); err != nil {
			return "", err
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		var conf struct {
			Allocation string `json:"allocation"`
		}
		if err := json.Unmarshal(data, &conf); err != nil {
			return "", fmt.Errorf("%s: %w", from, err)
		}
		found = conf.Allocation
	}
	switch found {
	case "", byLease:
		return byLease, nil
	case byNode:
		return byNode, nil
	}
	return "", fmt.Errorf("%s: allocation is %q, expected %s or %s", from, found, byLease, byNode)
}

// allocates tells whether the attachment's addresses are allocated per node, and says in the log why they are not, although
// that is the way of allocation here.
func (a *attachment) allocates(how string) (perNode bool) {
	if how != byNode || len(a.config.IPRanges) == 0 {
		return false
	}
	why := a.needsLease()
	if why != nil {
		logging.Verbosef("the lease is used, although allocation is %s: %v", byNode, why)
	}
	return why == nil
}

// needsLease is why addresses of a network cannot be allocated per node, or nil.
func (a *attachment) needsLease() error {
	switch {
	case !a.config.OverlappingRanges:
		return fmt.Errorf("the network has enable_overlapping_ranges false, so that no reservations keep the pools of nodes apart")
	case a.config.NodeSliceSize != "":
		return fmt.Errorf("the network has node_slice_size, so that each node has a range and a lease of its own")
	}
	for _, each := range a.config.IPRanges {
		if _, err := a.ownPlace(a.base(each)); err != nil {
			return err
		}
	}
	return nil
}
