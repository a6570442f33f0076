// Package preflight looks, before the plugin is used, for what makes Whereabouts fail later and silently.
package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/values"
)

const crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// requirement is what a CRD must have for this version of Whereabouts.
type requirement struct {
	name    string
	version string
	fields  []string // paths of properties in the schema; "*" stands for additionalProperties
	needed  []string // paths that must be listed as required
	why     string
}

// requirements follow the CRDs of Whereabouts v0.9.4: overlappingrangeipreservations changed at v0.8.0, nodeslicepools came
// with v0.9.0.
func requirements() []requirement {
	const update = "the CRDs are older than the plugin: every ADD would fail; update the package's CRDs first"
	return []requirement{
		{name: "network-attachment-definitions.k8s.cni.cncf.io", version: "v1",
			why: "without it the control loop waits for ever and no address is collected: install Multus first"},
		{name: "ippools.whereabouts.cni.cncf.io", version: "v1alpha1", why: update,
			fields: []string{"spec.range", "spec.allocations.*.id", "spec.allocations.*.podref", "spec.allocations.*.ifname"},
			needed: []string{"spec.allocations.*.podref"}},
		{name: "overlappingrangeipreservations.whereabouts.cni.cncf.io", version: "v1alpha1", why: update,
			fields: []string{"spec.podref", "spec.ifname"}, needed: []string{"spec.podref"}},
		{name: "nodeslicepools.whereabouts.cni.cncf.io", version: "v1alpha1", why: update,
			fields: []string{"spec.range", "spec.sliceSize", "status.allocations"}},
	}
}

type crd struct {
	Spec struct {
		Versions []struct {
			Name         string
			Served       bool
			Subresources struct{ Status *struct{} }
			Schema       struct {
				OpenAPIV3Schema schema `json:"openAPIV3Schema"`
			}
		}
	}
}

type schema struct {
	Properties           map[string]schema
	AdditionalProperties json.RawMessage // a schema, or a boolean
	Items                *schema
	Required             []string
}

// at walks to a property and tells also whether its parent requires it.
func (s schema) at(path string) (found, required bool) {
	for name := range strings.SplitSeq(path, ".") {
		if name == "*" {
			var next schema
			if json.Unmarshal(s.AdditionalProperties, &next) != nil {
				return false, false
			}
			s, required = next, false
			continue
		}
		next, ok := s.Properties[name]
		if !ok {
			return false, false
		}
		required = slices.Contains(s.Required, name)
		s = next
	}
	return true, required
}

// Run gives one line for each problem of the cluster. An error means that it could not look.
func Run(ctx context.Context, c *kube.Client, namespace string, conf []byte) (problems []string, err error) {
	for _, need := range requirements() {
		var found crd
		err := c.Get(ctx, crdPath+need.name, &found)
		switch {
		case kube.HasStatus(err, http.StatusNotFound):
			problems = append(problems, fmt.Sprintf("CRD %s is not there: %s", need.name, need.why))
		case err != nil:
			return problems, err
		default:
			problems = append(problems, need.check(found)...)
		}
	}
	objects, err := checkObjects(ctx, c, namespace)
	if err != nil {
		return problems, err
	}
	return append(append(problems, objects...), LeaseProblems(conf)...), nil
}

func (r requirement) check(found crd) (problems []string) {
	for _, version := range found.Spec.Versions {
		if version.Name != r.version {
			continue
		}
		if !version.Served {
			return []string{fmt.Sprintf("CRD %s: version %s is not served: %s", r.name, r.version, r.why)}
		}
		for _, path := range r.fields {
			if ok, _ := version.Schema.OpenAPIV3Schema.at(path); !ok {
				problems = append(problems, fmt.Sprintf("CRD %s: field %s is unknown: %s", r.name, path, r.why))
			}
		}
		for _, path := range r.needed {
			if ok, required := version.Schema.OpenAPIV3Schema.at(path); ok && !required {
				problems = append(problems, fmt.Sprintf("CRD %s: field %s is not required: %s", r.name, path, r.why))
			}
		}
		if strings.HasPrefix(r.name, "nodeslicepools.") && version.Subresources.Status != nil {
			problems = append(problems, fmt.Sprintf("CRD %s: status is a subresource: the controller's writes of it would be dropped; use the package's CRD", r.name))
		}
		return problems
	}
	return []string{fmt.Sprintf("CRD %s: version %s is missing: %s", r.name, r.version, r.why)}
}

// checkObjects looks at what an earlier version left. Collections whose CRD is missing are empty.
func checkObjects(ctx context.Context, c *kube.Client, namespace string) (problems []string, err error) {
	pools, err := kube.List[ipam.Pool](ctx, c, ipam.PoolsPath)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	for _, pool := range pools {
		problems = append(problems, poolProblems(pool, namespace)...)
	}
	reservations, err := kube.List[ipam.Reservation](ctx, c, ipam.ReservationsPath)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	for _, r := range reservations {
		if r.Metadata.Namespace != namespace {
			problems = append(problems, elsewhere("reservation", r.Metadata, namespace))
		}
		if r.Spec.PodRef == "" {
			problems = append(problems, fmt.Sprintf("reservation %s has no podref: it blocks its address for ever; delete it if no pod has the address", r.Metadata.Ref()))
		}
	}
	return problems, nil
}

func elsewhere(what string, m ipam.Meta, namespace string) string {
	return fmt.Sprintf("%s %s lies outside of %s: its addresses would be given out again; move it, or delete it when no pod has one of them",
		what, m.Ref(), namespace)
}

func poolProblems(pool ipam.Pool, namespace string) (problems []string) {
	if pool.Metadata.Namespace != namespace {
		problems = append(problems, elsewhere("pool", pool.Metadata, namespace))
	}
	if _, err := pool.Range(); err != nil {
		return append(problems, fmt.Sprintf("pool %s: %v: no pod can get an address of it", pool.Metadata.Ref(), err))
	}
	var keys []string
	for key := range pool.Spec.Allocations {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		addr, err := pool.Address(key)
		if err != nil {
			problems = append(problems, fmt.Sprintf("pool %s: %v: remove the entry", pool.Metadata.Ref(), err))
		} else if pool.Spec.Allocations[key].PodRef == "" {
			problems = append(problems, fmt.Sprintf("pool %s: %s (allocation %s) has no podref: it can block every change of the pool; remove the entry if no pod has the address",
				pool.Metadata.Ref(), addr, key))
		}
	}
	return problems
}

// The plugin's own values where whereabouts.conf has none, in milliseconds.
const (
	defaultLease = 1500
	defaultRenew = 1000
	defaultRetry = 500
)

// LeaseProblems checks the leader election's timing in whereabouts.conf: the plugin panics on every ADD unless
// lease > renew > 1.2 x retry.
func LeaseProblems(conf []byte) []string {
	var c struct {
		Lease int `json:"leader_lease_duration"`
		Renew int `json:"leader_renew_deadline"`
		Retry int `json:"leader_retry_period"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return []string{fmt.Sprintf("whereabouts.conf cannot be read: %s", strings.Join(strings.Fields(err.Error()), " "))}
	}
	lease, renew, retry := cmp.Or(c.Lease, defaultLease), cmp.Or(c.Renew, defaultRenew), cmp.Or(c.Retry, defaultRetry)
	const key = values.LeaderElection
	switch {
	case lease < 0 || renew < 0 || retry < 0:
		return []string{fmt.Sprintf("whereabouts.conf: lease timings %d/%d/%d ms must be positive: set the package values %s.*", lease, renew, retry, key)}
	case lease <= renew:
		return []string{fmt.Sprintf("whereabouts.conf: leader_lease_duration %d ms must be longer than leader_renew_deadline %d ms: set the package values %s.*", lease, renew, key)}
	case float64(renew) <= 1.2*float64(retry):
		return []string{fmt.Sprintf("whereabouts.conf: leader_renew_deadline %d ms must be longer than 1.2 x leader_retry_period %d ms: set the package values %s.*", renew, retry, key)}
	}
	return nil
}
