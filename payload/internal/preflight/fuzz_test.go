package preflight

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
)

func lines(t *testing.T, problems []Problem) {
	for _, p := range problems {
		if p.Text == "" || p.Text != fault.Line(p.Text) {
			t.Errorf("%q is not one line", p.Text)
		}
	}
}

func blocking(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Blocks })
}

// dig finds a property in a schema that was read without any type, as a second opinion.
func dig(schema any, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		object, _ := schema.(map[string]any)
		if name == "*" {
			schema = object["additionalProperties"]
		} else {
			properties, _ := object["properties"].(map[string]any)
			schema = properties[name]
		}
		if _, ok := schema.(map[string]any); !ok {
			return false
		}
	}
	return true
}

func FuzzCRD(f *testing.F) {
	f.Add([]byte(`{"spec":{"versions":[{"name":"v1alpha1","served":true,"schema":{"openAPIV3Schema":{"properties":{"spec":{"properties":{
	  "range":{},"allocations":{"additionalProperties":{"properties":{"id":{},"podref":{},"ifname":{}},"required":["podref"]}}}}}}}}]}}`))
	f.Add([]byte(`{"spec":{"versions":[{"name":"v1alpha1","served":true,"subresources":{"status":{}},"schema":{"openAPIV3Schema":{"properties":{
	  "spec":{"properties":{"range":{},"sliceSize":{},"podref":{},"ifname":{}}},"status":{"properties":{"allocations":{"items":{}}}}}}}}]}}`))
	f.Add([]byte(`{"spec":{"versions":[{"name":"v1","served":true},{"name":"v1alpha1","schema":{"openAPIV3Schema":{"additionalProperties":true}}}]}}`))
	f.Add([]byte(`{"spec":{"versions":[{"name":"v1alpha1","served":true,"schema":{"openAPIV3Schema":{"properties":{"spec":null}}}}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var found crd
		if json.Unmarshal(text, &found) != nil {
			return
		}
		for _, need := range requirements() {
			problems := need.check(found)
			lines(t, problems)
			if blocking(problems) {
				continue
			}
			for _, version := range found.Spec.Versions {
				if version.Name != need.Version {
					continue
				}
				again, err := json.Marshal(version.Schema.OpenAPIV3Schema)
				if err != nil {
					t.Fatal(err)
				}
				var plain any
				if err := json.Unmarshal(again, &plain); err != nil {
					t.Fatal(err)
				}
				for _, path := range need.Fields {
					if !dig(plain, path) {
						t.Errorf("%s passes without %s", need.Name, path)
					}
				}
				break
			}
		}
	})
}

func FuzzPoolProblems(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"p","namespace":"kube-system"},"spec":{"range":"192.168.20.0/24","allocations":{"10":{"id":"a","podref":""},"-1":{},"x":{}}}}`), true)
	f.Add([]byte(`{"metadata":{"name":"p\u001b\n","namespace":"x"},"spec":{"range":"fd00::/64","allocations":{"-1":{"id":"a","podref":"b"}}}}`), false)
	f.Add([]byte(`{"spec":{"range":"::ffff:1.2.3.4/96","allocations":{"4294967295":{}}}}`), false)
	f.Fuzz(func(t *testing.T, text []byte, strict bool) {
		var pool ipam.Pool
		if json.Unmarshal(text, &pool) != nil {
			return
		}
		problems := poolProblems(pool, "kube-system", func() bool { return strict })
		lines(t, problems)
		if _, err := pool.Range(); err != nil && !blocking(problems) {
			t.Error("a pool that stops the reconciler passes")
		}
	})
}
