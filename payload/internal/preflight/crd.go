package preflight

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"carvelwright.dev/payload/internal/kube"
)

const crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// Requirement is what a CRD must have for a version of the plugin.
type Requirement struct {
	Name    string
	Version string
	Fields  []string // paths of properties in the schema; "*" stands for additionalProperties
	Needed  []string // paths that should be listed as required
	Why     string
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
	Properties           map[string]schema `json:"properties,omitempty"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties,omitempty"` // a schema, or a boolean
	Required             []string          `json:"required,omitempty"`
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

// CRDs gives the problems of CRDs that are required. An error means that it could not look.
func CRDs(ctx context.Context, c *kube.Client, needs []Requirement) (problems []Problem, err error) {
	for _, need := range needs {
		var found crd
		err := c.Get(ctx, crdPath+need.Name, &found)
		switch {
		case kube.HasStatus(err, http.StatusNotFound):
			problems = append(problems, Blocks("CRD %s is missing: %s", need.Name, need.Why))
		case err != nil:
			return problems, err
		default:
			problems = append(problems, need.check(found)...)
		}
	}
	return problems, nil
}

func (r Requirement) check(found crd) (problems []Problem) {
	for _, version := range found.Spec.Versions {
		if version.Name != r.Version {
			continue
		}
		if !version.Served {
			return []Problem{Blocks("CRD %s: version %s is not served: %s", r.Name, r.Version, r.Why)}
		}
		for _, path := range r.Fields {
			if ok, _ := version.Schema.OpenAPIV3Schema.at(path); !ok {
				problems = append(problems, Blocks("CRD %s: field %s is unknown: %s", r.Name, path, r.Why))
			}
		}
		for _, path := range r.Needed {
			if ok, required := version.Schema.OpenAPIV3Schema.at(path); ok && !required {
				problems = append(problems, Warns("CRD %s: field %s is not required: it is not the package's CRD, and accepts allocations that nothing can release; "+
					"update the package's CRDs", r.Name, path))
			}
		}
		if strings.HasPrefix(r.Name, "nodeslicepools.") && version.Subresources.Status != nil {
			problems = append(problems, Blocks("CRD %s: status is a subresource, so the controller's updates of it would be dropped; use the package's CRD", r.Name))
		}
		return problems
	}
	return []Problem{Blocks("CRD %s: version %s is missing: %s", r.Name, r.Version, r.Why)}
}
