package multus

import (
	"context"
	"net/http"
	"strings"

	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/preflight"
)

// Preflight gives the problems of the cluster. An error means that it could not look.
func Preflight(ctx context.Context, c *kube.Client, namespace string) ([]preflight.Problem, error) {
	problems, err := preflight.CRDs(ctx, c, []preflight.Requirement{{
		Name: "network-attachment-definitions.k8s.cni.cncf.io", Version: "v1",
		Why: "pods that name a network would not start; install the package's CRD",
	}})
	if err != nil {
		return problems, err
	}
	others, err := otherDaemonSets(ctx, c, namespace)
	return append(problems, others...), err
}

type daemonSet struct {
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Spec struct{ Containers []struct{ Image string } }
		}
	}
}

// otherDaemonSets warns of another installation of Multus. It does not block: a migration has both for a while.
func otherDaemonSets(ctx context.Context, c *kube.Client, namespace string) (problems []preflight.Problem, err error) {
	sets, err := kube.List[daemonSet](ctx, c, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets")
	if kube.HasStatus(err, http.StatusForbidden) {
		return []preflight.Problem{preflight.Warns("other DaemonSets of Multus cannot be looked for: %v", err)}, nil
	}
	for _, set := range sets {
		if set.Metadata.Name != DaemonSet && set.isMultus() {
			problems = append(problems, preflight.Warns(
				"DaemonSet %s/%s is another installation of Multus: remove it when this package runs on every node", namespace, set.Metadata.Name))
		}
	}
	return problems, err
}

func (d daemonSet) isMultus() bool {
	for _, container := range d.Spec.Template.Spec.Containers {
		if strings.Contains(container.Image, "multus") {
			return true
		}
	}
	return strings.Contains(d.Metadata.Name, "multus")
}
