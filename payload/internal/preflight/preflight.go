// Package preflight looks, before the plugin is used, for what makes Whereabouts fail later and silently.
//
// What makes a program of Whereabouts fail, hang, or give an address twice blocks. What an operator ought to know but what only
// wastes addresses, or heals by itself, is a warning: an update must not stand still for one stray allocation.
package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/networks"
	"carvelwright.dev/payload/internal/values"
)

// Problem is one thing that does not fit.
type Problem struct {
	Text   string // one line, with the remedy
	Blocks bool
}

// Line is the problem as an operator reads it.
func (p Problem) Line() string {
	if p.Blocks {
		return p.Text
	}
	return "warning: " + p.Text
}

// Blocks is a problem that blocks.
func Blocks(format string, args ...any) Problem {
	return Problem{Text: fault.Line(fmt.Sprintf(format, args...)), Blocks: true}
}

// Warns is a problem that an operator ought to know.
func Warns(format string, args ...any) Problem {
	return Problem{Text: fault.Line(fmt.Sprintf(format, args...))}
}

// requirements follow the CRDs of Whereabouts v0.9.4: overlappingrangeipreservations changed at v0.8.0, nodeslicepools came
// with v0.9.0.
func requirements() []Requirement {
	const update = "the CRDs are older than the plugin, and every ADD would fail; update the package's CRDs first"
	return []Requirement{
		{Name: "network-attachment-definitions.k8s.cni.cncf.io", Version: "v1",
			Why: "without it the control loop waits forever and releases no address; install Multus first"},
		{Name: "ippools.whereabouts.cni.cncf.io", Version: "v1alpha1", Why: update,
			Fields: []string{"spec.range", "spec.allocations.*.id", "spec.allocations.*.podref", "spec.allocations.*.ifname"},
			Needed: []string{"spec.allocations.*.podref"}},
		{Name: "overlappingrangeipreservations.whereabouts.cni.cncf.io", Version: "v1alpha1", Why: update,
			Fields: []string{"spec.podref", "spec.ifname"}, Needed: []string{"spec.podref"}},
		{Name: "nodeslicepools.whereabouts.cni.cncf.io", Version: "v1alpha1", Why: update,
			Fields: []string{"spec.range", "spec.sliceSize", "status.allocations"}},
	}
}

// Run gives the problems of the cluster, those that block first. An error means that it could not look.
func Run(ctx context.Context, c *kube.Client, namespace string, conf []byte) (problems []Problem, err error) {
	problems, err = CRDs(ctx, c, requirements())
	if err != nil {
		return problems, err
	}
	objects, err := checkObjects(ctx, c, namespace)
	if err != nil {
		return problems, err
	}
	alone, allocation := Allocation(conf)
	if alone {
		if allocation, err = perNodeProblems(ctx, c); err != nil {
			return problems, err
		}
	}
	problems = slices.Concat(problems, objects, LeaseProblems(conf), allocation)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		switch {
		case a.Blocks == b.Blocks:
			return 0
		case a.Blocks:
			return -1
		}
		return 1
	})
	return problems, nil
}

// checkObjects looks at what an earlier version left. Collections whose CRD is missing are empty.
func checkObjects(ctx context.Context, c *kube.Client, namespace string) (problems []Problem, err error) {
	pools, err := kube.List[ipam.Pool](ctx, c, ipam.PoolsPath)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	// Asked only when an answer depends on it.
	strict := sync.OnceValue(func() bool { return validatesWhatStays(ctx, c) })
	for _, pool := range pools {
		problems = append(problems, poolProblems(pool, namespace, strict)...)
	}
	definitions, err := kube.List[networks.Definition](ctx, c, networks.Path)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	for _, warning := range slices.Concat(ipam.SizeWarnings(pools), networks.Warnings(definitions)) {
		problems = append(problems, Warns("%s", warning))
	}
	reservations, err := kube.List[ipam.Reservation](ctx, c, ipam.ReservationsPath)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	for _, r := range reservations {
		if r.Metadata.Namespace != namespace {
			problems = append(problems, Warns("reservation %s lies outside of %s: it protects no address there; delete it", r.Metadata.Ref(), namespace))
		}
		if r.Spec.PodRef == "" {
			problems = append(problems, Warns("reservation %s has no podref: nobody gets its address, and nothing releases it; delete it if no pod has the address", r.Metadata.Ref()))
		}
	}
	return problems, nil
}

// ratchetingMinor: since Kubernetes 1.30 an object that was invalid before a change may stay so in what the change does not touch.
const ratchetingMinor = 30

// validatesWhatStays tells whether the API server refuses every change of an object that has an invalid part.
func validatesWhatStays(ctx context.Context, c *kube.Client) bool {
	var version struct{ Major, Minor string }
	if c.Get(ctx, "/version", &version) != nil {
		return true
	}
	minor, err := strconv.Atoi(strings.TrimRight(version.Minor, "+"))
	return version.Major == "1" && (err != nil || minor < ratchetingMinor)
}

func poolProblems(pool ipam.Pool, namespace string, strict func() bool) (problems []Problem) {
	ref := pool.Metadata.Ref()
	if pool.Metadata.Namespace != namespace {
		if held := len(pool.Spec.Allocations); held > 0 {
			problems = append(problems, Blocks("pool %s lies outside of %s and holds %d addresses: they would be allocated again; move it, or delete it if no pod has one of them",
				ref, namespace, held))
		} else {
			problems = append(problems, Warns("pool %s lies outside of %s: nothing uses it; delete it", ref, namespace))
		}
	}
	if _, err := pool.Range(); err != nil {
		// The reconciler lists all pools and ends at the first whose range it cannot read.
		return append(problems, Blocks("pool %s: %v: no pod gets an address of it, and the reconciler releases none of any pool; delete it", ref, err))
	}
	for _, key := range slices.Sorted(maps.Keys(pool.Spec.Allocations)) {
		owner := pool.Spec.Allocations[key]
		addr, err := pool.Address(key)
		switch {
		case err != nil && unwritable(pool, key):
			problems = append(problems, Blocks("pool %s: %v: the plugin cannot change the pool any more; remove the entry", ref, err))
		case err != nil:
			problems = append(problems, Warns("pool %s: %v: remove the entry", ref, err))
		case owner.Incomplete && strict():
			problems = append(problems, Blocks("pool %s: %s (allocation %s) lacks its id or podref: the API server refuses every change of the pool; remove the entry if no pod has the address",
				ref, addr, key))
		case owner.PodRef == "":
			problems = append(problems, Warns("pool %s: %s (allocation %s) has no podref: nothing releases it; remove the entry if no pod has the address",
				ref, addr, key))
		}
	}
	return problems
}

// unwritable tells whether an allocation's key is one that the plugin reads as a number and then cannot turn into an
// address: it then fails to write the pool as a whole. Keys that are no number it drops.
func unwritable(pool ipam.Pool, key string) bool {
	prefix, err := pool.Range()
	if err != nil || !prefix.Addr().Unmap().Is4() {
		return false
	}
	offset, err := strconv.ParseInt(key, 10, 64)
	return err == nil && (offset < 0 || offset >= math.MaxUint32)
}

// The plugin's own values where whereabouts.conf has none, in milliseconds.
const (
	defaultLease = 1500
	defaultRenew = 1000
	defaultRetry = 500
)

// LeaseProblems checks the leader election's timing in whereabouts.conf: the plugin panics on every ADD unless
// lease > renew > 1.2 x retry.
func LeaseProblems(conf []byte) []Problem {
	var c struct {
		Lease int `json:"leader_lease_duration"`
		Renew int `json:"leader_renew_deadline"`
		Retry int `json:"leader_retry_period"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return []Problem{Blocks("whereabouts.conf cannot be read: %v", err)}
	}
	lease, renew, retry := cmp.Or(c.Lease, defaultLease), cmp.Or(c.Renew, defaultRenew), cmp.Or(c.Retry, defaultRetry)
	const key = values.LeaderElection
	switch {
	case lease < 0 || renew < 0 || retry < 0:
		return []Problem{Blocks("whereabouts.conf: lease timings %d/%d/%d ms must be positive: set the package values %s.*", lease, renew, retry, key)}
	case lease <= renew:
		return []Problem{Blocks("whereabouts.conf: leader_lease_duration %d ms must be longer than leader_renew_deadline %d ms: set the package values %s.*", lease, renew, key)}
	case float64(renew) <= 1.2*float64(retry):
		return []Problem{Blocks("whereabouts.conf: leader_renew_deadline %d ms must be longer than 1.2 x leader_retry_period %d ms: set the package values %s.*", renew, retry, key)}
	}
	return nil
}
