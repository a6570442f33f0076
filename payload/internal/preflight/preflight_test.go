package preflight_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/kube/kubetest"
	"carvelwright.dev/payload/internal/networks"
	"carvelwright.dev/payload/internal/preflight"
)

const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

type m = map[string]any

func text() m { return m{"type": "string"} }

func crd(version string, properties m) m {
	return m{"spec": m{"versions": []m{
		{"name": "v0", "served": true},
		{"name": version, "served": true, "schema": m{"openAPIV3Schema": m{"type": "object", "properties": properties}}},
	}}}
}

// good is a cluster that has everything.
func good(t *testing.T) *kubetest.Server {
	s := kubetest.New(t, "secret")
	owner := m{"type": "object", "properties": m{"id": text(), "podref": text(), "ifname": text()}, "required": []string{"id", "podref"}}
	s.Objects[crds+"network-attachment-definitions.k8s.cni.cncf.io"] = crd("v1", m{})
	s.Objects[crds+"ippools.whereabouts.cni.cncf.io"] = crd("v1alpha1", m{"spec": m{"properties": m{"range": text(),
		"allocations": m{"additionalProperties": owner}}}})
	s.Objects[crds+"overlappingrangeipreservations.whereabouts.cni.cncf.io"] = crd("v1alpha1", m{"spec": m{
		"properties": m{"podref": text(), "ifname": text(), "containerid": text()}, "required": []string{"podref"}}})
	s.Objects[crds+"nodeslicepools.whereabouts.cni.cncf.io"] = crd("v1alpha1", m{
		"spec": m{"properties": m{"range": text(), "sliceSize": text()}}, "status": m{"properties": m{"allocations": m{"items": m{}}}}})
	s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "192.168.20.0-24", m{"10": m{"id": "x", "podref": "default/a"}})}
	s.Lists[ipam.ReservationsPath] = []any{reservation("kube-system", "192.168.20.10", "default/a")}
	return s
}

func pool(namespace, name string, allocations m) m {
	return m{"metadata": m{"name": name, "namespace": namespace}, "spec": m{"range": "192.168.20.0/24", "allocations": allocations}}
}

func reservation(namespace, name, ref string) m {
	return m{"metadata": m{"name": name, "namespace": namespace}, "spec": m{"podref": ref}}
}

const goodConf = `{"leader_lease_duration": 1500, "leader_renew_deadline": 1000, "leader_retry_period": 500}`

const (
	nadCRD         = crds + "network-attachment-definitions.k8s.cni.cncf.io"
	poolCRD        = crds + "ippools.whereabouts.cni.cncf.io"
	reservationCRD = crds + "overlappingrangeipreservations.whereabouts.cni.cncf.io"
	sliceCRD       = crds + "nodeslicepools.whereabouts.cni.cncf.io"
)

func holder(ref string) m { return m{"id": "x", "podref": ref} }

// poolSchema is an IPPool CRD whose allocations have the given fields.
func poolSchema(required []string, fields ...string) m {
	properties := m{}
	for _, field := range fields {
		properties[field] = text()
	}
	return crd("v1alpha1", m{"spec": m{"properties": m{"range": text(),
		"allocations": m{"additionalProperties": m{"properties": properties, "required": required}}}}})
}

func ranged(cidr string, keys ...string) m {
	allocations := m{}
	for _, key := range keys {
		allocations[key] = holder("default/a")
	}
	return m{"metadata": m{"name": "p", "namespace": "kube-system"}, "spec": m{"range": cidr, "allocations": allocations}}
}

// whereabouts is a network of the namespace blue with these settings of Whereabouts.
func whereabouts(name, settings string) m {
	return m{"metadata": m{"namespace": "blue", "name": name}, "spec": m{"config": `{"ipam":{"type":"whereabouts",` + settings + `}}`}}
}

// mixed has networks of one range, with reservations and without.
func mixed(s *kubetest.Server) {
	s.Lists[networks.Path] = []any{
		whereabouts("a", `"range":"10.0.0.0/24"`), whereabouts("b", `"range":"10.0.0.9/24","enable_overlapping_ranges":false`),
		whereabouts("c", `"ipRanges":[{"range":"10.0.0.0/24"}],"enable_overlapping_ranges":true`),
		// Another name, or another range, is another pool.
		whereabouts("d", `"range":"10.0.0.0/24","network_name":"d","enable_overlapping_ranges":false`),
		whereabouts("e", `"range":"10.0.1.0/24","enable_overlapping_ranges":false`),
	}
}

// Wanted are words of each problem in order, behind "!" if it blocks and "?" if it is a warning. What blocks is what makes a
// program of Whereabouts fail, hang or give an address twice.
func TestPreflight(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(s *kubetest.Server)
		conf  string
		want  []string
	}{
		"fit":            {func(*kubetest.Server) {}, goodConf, nil},
		"fresh cluster":  {func(s *kubetest.Server) { s.Lists = nil }, "{}", nil},
		"no Multus":      {func(s *kubetest.Server) { delete(s.Objects, nadCRD) }, "{}", []string{"!network-attachment-definitions.k8s.cni.cncf.io is missing"}},
		"no pools":       {func(s *kubetest.Server) { delete(s.Objects, poolCRD) }, "{}", []string{"!ippools"}},
		"no reservation": {func(s *kubetest.Server) { delete(s.Objects, reservationCRD) }, "{}", []string{"!overlappingrange"}},
		"no node slices": {func(s *kubetest.Server) { delete(s.Objects, sliceCRD) }, "{}", []string{"!nodeslicepools"}},
		"CRDs before 0.8.0": {func(s *kubetest.Server) {
			s.Objects[reservationCRD] = crd("v1alpha1", m{"spec": m{"properties": m{"podref": text()}}})
		}, "{}", []string{"!spec.ifname is unknown", "?spec.podref is not required"}},
		"pool without ifname":       {func(s *kubetest.Server) { s.Objects[poolCRD] = poolSchema([]string{"podref"}, "id", "podref") }, "{}", []string{"!spec.allocations.*.ifname is unknown"}},
		"pool with optional podref": {func(s *kubetest.Server) { s.Objects[poolCRD] = poolSchema([]string{"id"}, "id", "podref", "ifname") }, "{}", []string{"?spec.allocations.*.podref is not required"}},
		"other version":             {func(s *kubetest.Server) { s.Objects[nadCRD] = crd("v2", m{}) }, "{}", []string{"!version v1 is missing"}},
		"not served": {func(s *kubetest.Server) {
			s.Objects[nadCRD] = m{"spec": m{"versions": []m{{"name": "v1", "served": false}}}}
		}, "{}", []string{"!not served"}},
		"status subresource": {func(s *kubetest.Server) {
			s.Objects[sliceCRD].(m)["spec"].(m)["versions"].([]m)[1]["subresources"] = m{"status": m{}}
		}, "{}", []string{"!subresource"}},
		"stray allocations": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "p", m{"12": holder(""), "x": holder("a/b"), "999": holder("a/b")})}
			s.Lists[ipam.ReservationsPath] = []any{reservation("kube-system", "192.168.20.10", "")}
		}, "{}", []string{"?192.168.20.12 (allocation 12) has no podref", "?outside of", "?not a number", "?reservation kube-system/192.168.20.10 has no podref"}},
		"allocation that lacks podref, new API server": {func(s *kubetest.Server) {
			s.Objects["/version"] = m{"major": "1", "minor": "30"}
			s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "p", m{"12": m{"id": "x"}})}
		}, "{}", []string{"?192.168.20.12 (allocation 12) has no podref"}},
		"allocation that lacks podref, old API server": {func(s *kubetest.Server) {
			s.Objects["/version"] = m{"major": "1", "minor": "29+"}
			s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "p", m{"12": m{"id": "x"}, "13": m{"podref": "a/b"}, "14": holder("")})}
		}, "{}", []string{"!192.168.20.12 (allocation 12) lacks", "!192.168.20.13 (allocation 13) lacks", "?192.168.20.14 (allocation 14) has no podref"}},
		"allocation that lacks podref, API server that does not say": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "p", m{"12": m{"id": "x"}})}
		}, "{}", []string{"!192.168.20.12 (allocation 12) lacks"}},
		"pools that the plugin cannot write": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{ranged("10.0.0.0/8", "-1"), ranged("10.0.0.0/8", "4294967295")}
		}, "{}", []string{"!cannot change the pool", "!cannot change the pool"}},
		"keys that it drops": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{ranged("10.0.0.0/8", "99999999999999999999"), ranged("fd00::/64", "-1")}
		}, "{}", []string{"?remove the entry", "?remove the entry"}},
		"pool in use in another namespace": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{pool("whereabouts", "p", m{"1": holder("a/b"), "2": holder("a/c")})}
			s.Lists[ipam.ReservationsPath] = []any{reservation("whereabouts", "r", "a/b")}
		}, "{}", []string{"!pool whereabouts/p lies outside of kube-system and holds 2 addresses", "?reservation whereabouts/r lies outside"}},
		"empty pool in another namespace": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{pool("whereabouts", "p", nil)}
		}, "{}", []string{"?pool whereabouts/p lies outside of kube-system: nothing uses it"}},
		"bad range":  {func(s *kubetest.Server) { s.Lists[ipam.PoolsPath] = []any{ranged("x", "1")} }, "{}", []string{"!not a CIDR"}},
		"bad leases": {func(*kubetest.Server) {}, `{"leader_lease_duration": 1000}`, []string{"!leader_lease_duration 1000 ms must be longer"}},
		"gateway that a pod can get": {func(s *kubetest.Server) {
			s.Lists[networks.Path] = []any{m{"metadata": m{"namespace": "blue", "name": "mac"},
				"spec": m{"config": `{"ipam":{"type":"whereabouts","range":"10.0.0.0/24","range_start":"10.9.0.0","gateway":"10.0.0.1"}}`}}}
		}, "{}", []string{"?network blue/mac: range_start 10.9.0.0", "?network blue/mac: the gateway 10.0.0.1"}},
		"pool nearly full": {func(s *kubetest.Server) {
			allocations := m{}
			for i := range 10_500 {
				allocations[strconv.Itoa(i)] = m{"id": strings.Repeat("c", 64), "podref": "default/some-deployment-5d4f8c7b9-abcde"}
			}
			pool := ranged("10.0.0.0/16")
			pool["spec"].(m)["allocations"] = allocations
			s.Lists[ipam.PoolsPath] = []any{pool}
		}, "{}", []string{"?pool kube-system/p: 10500 allocations take"}},
		"allocation that is none": {func(*kubetest.Server) {}, `{"allocation": "per_node"}`,
			[]string{`!allocation is "per_node", expected lease or per-node: set the package value whereabouts.config.allocation`}},
		"allocation by the lease": {mixed, `{"allocation": "lease"}`, nil},
		"allocation per node, reservations here and not there": {mixed, `{"allocation": "per-node"}`,
			[]string{"?networks blue/b have the range 10.0.0.0/24 of network blue/a, blue/c with enable_overlapping_ranges: false"}},
		"allocation per node, a pool's name is too long": {func(s *kubetest.Server) {
			s.Lists[networks.Path] = []any{
				whereabouts("a", `"range":"10.0.0.0/24","network_name":"`+strings.Repeat("n", 200)+`"`),
				whereabouts("b", `"range":"10.0.0.0/24"`), whereabouts("c", `"range":"fd00::/64","node_slice_size":"/80","network_name":"`+strings.Repeat("n", 250)+`"`),
			}
			s.Lists[ipam.NodesPath] = []any{m{"metadata": m{"name": "short"}}, m{"metadata": m{"name": strings.Repeat("x", 41)}}}
		}, `{"allocation": "per-node"}`, []string{"?would have 254 characters, and 253 are possible"}},
		"broken conf": {func(*kubetest.Server) {}, "{", []string{"!whereabouts.conf cannot be read"}},
		"what blocks comes first": {func(s *kubetest.Server) {
			s.Lists[ipam.PoolsPath] = []any{pool("kube-system", "p", m{"12": holder("")}), ranged("x")}
		}, `{"leader_retry_period": 5000}`, []string{"!not a CIDR", "!leader_retry_period", "?has no podref"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := good(t)
			c.spoil(s)
			problems, err := preflight.Run(context.Background(), s.Client(t), "kube-system", []byte(c.conf))
			if err != nil {
				t.Fatal(err)
			}
			if len(problems) != len(c.want) {
				t.Fatalf("found %+v", problems)
			}
			for i, problem := range problems {
				if !strings.Contains(problem.Text, c.want[i][1:]) || problem.Blocks != (c.want[i][0] == '!') || strings.Contains(problem.Text, "\n") {
					t.Errorf("%+v, want %q in one line", problem, c.want[i])
				}
			}
		})
	}
}

func TestNotBeingAllowedToLookIsAnError(t *testing.T) {
	for _, path := range []string{crds, ipam.PoolsPath, ipam.ReservationsPath, networks.Path} {
		s := good(t)
		s.Refuse = func(r *http.Request) int {
			if strings.HasPrefix(r.URL.Path, path) {
				return http.StatusForbidden
			}
			return 0
		}
		if _, err := preflight.Run(context.Background(), s.Client(t), "kube-system", []byte("{}")); !kube.HasStatus(err, http.StatusForbidden) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLeaseProblems(t *testing.T) {
	conf := func(lease, renew, retry int) []byte {
		return fmt.Appendf(nil, `{"leader_lease_duration":%d,"leader_renew_deadline":%d,"leader_retry_period":%d}`, lease, renew, retry)
	}
	for _, good := range [][]byte{[]byte("{}"), conf(1500, 1000, 500), conf(1001, 1000, 833), conf(15000, 10000, 2000)} {
		if problems := preflight.LeaseProblems(good); len(problems) != 0 {
			t.Errorf("%s: %+v", good, problems)
		}
	}
	for _, bad := range [][]byte{conf(1000, 1000, 500), conf(1500, 600, 500), conf(1500, 1000, 834), conf(-1, 1000, 500), conf(1500, 1000, -5),
		[]byte(`{"leader_retry_period": 900}`), []byte(`{"leader_retry_period": "500"}`), []byte("")} {
		if problems := preflight.LeaseProblems(bad); len(problems) != 1 {
			t.Errorf("%s: %+v", bad, problems)
		}
	}
}

func TestMessageFitsTheTerminationMessage(t *testing.T) {
	var problems []preflight.Problem
	for i := range 200 {
		problems = append(problems, preflight.Problem{Text: fmt.Sprintf("problem %d %s", i, strings.Repeat("ä", 30)), Blocks: true})
	}
	text := preflight.Message(problems)
	if len(text) > 4096 || len(text) < 3900 || !utf8.ValidString(text) || !strings.HasSuffix(text, " more\n") {
		t.Errorf("%d bytes, end %q", len(text), text[len(text)-40:])
	}
	shown := strings.Count(text, "problem ")
	if !strings.Contains(text, fmt.Sprintf("... and %d more\n", 200-shown)) {
		t.Errorf("%d shown: %q", shown, text[len(text)-40:])
	}
	if got := preflight.Message([]preflight.Problem{{Text: "a", Blocks: true}, {Text: "b"}}); got != "a\nwarning: b\n" {
		t.Errorf("%q", got)
	}
	if got := preflight.Message([]preflight.Problem{{Text: strings.Repeat("ä", 5000)}}); len(got) > 1025 || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestEvents(t *testing.T) {
	s := kubetest.New(t, "secret")
	var problems []preflight.Problem
	for i := range 30 {
		problems = append(problems, preflight.Problem{Text: fmt.Sprintf("problem %d", i), Blocks: i < 3})
	}
	pod := kube.PodRef{Namespace: "kube-system", Name: "whereabouts-x", UID: "u-1"}
	// The container is started again while something blocks.
	for range 2 {
		if err := preflight.PostEvents(context.Background(), s.Client(t), pod, "test-installer", problems, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	events := s.Posted()
	if len(events) != 10 {
		t.Fatalf("%d events", len(events))
	}
	e := events[2]
	involved := e["involvedObject"].(m)
	if e["path"] != "/api/v1/namespaces/kube-system/events" || e["message"] != "problem 2" || e["type"] != "Warning" || e["reason"] != "PreflightFailed" ||
		involved["name"] != "whereabouts-x" || involved["uid"] != "u-1" || involved["kind"] != "Pod" || e["lastTimestamp"] != "1970-01-01T00:00:00Z" {
		t.Errorf("%v", e)
	}
	if e := events[3]; e["reason"] != "PreflightWarning" || e["message"] != "problem 3" {
		t.Errorf("%v", e)
	}
	s.Refuse = func(*http.Request) int { return http.StatusForbidden }
	if err := preflight.PostEvents(context.Background(), s.Client(t), pod, "test-installer", problems, time.Unix(0, 0)); !kube.HasStatus(err, http.StatusForbidden) {
		t.Errorf("%v", err)
	}
}

func FuzzLeaseProblems(f *testing.F) {
	f.Add([]byte(goodConf))
	f.Add([]byte(`{"leader_lease_duration": 9223372036854775807, "leader_renew_deadline": 9223372036854775806, "leader_retry_period": 1}`))
	f.Fuzz(func(t *testing.T, conf []byte) {
		for _, problem := range preflight.LeaseProblems(conf) {
			if strings.Contains(problem.Text, "\n") || problem.Text == "" {
				t.Errorf("%q", problem.Text)
			}
		}
	})
}
