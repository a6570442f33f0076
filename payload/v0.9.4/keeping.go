//go:build !plugin

package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbclient "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned"
	wbtyped "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/typed/whereabouts.cni.cncf.io/v1alpha1"
)

// keeping is the client of a program of upstream's. Such a program writes a pool without the entries that it cannot read,
// those far above an IPv6 network; this client leaves them in the pool.
type keeping struct{ wbclient.Interface }

func (k keeping) WhereaboutsV1alpha1() wbtyped.WhereaboutsV1alpha1Interface {
	return keepingGroup{k.Interface.WhereaboutsV1alpha1()}
}

type keepingGroup struct {
	wbtyped.WhereaboutsV1alpha1Interface
}

func (k keepingGroup) IPPools(namespace string) wbtyped.IPPoolInterface {
	return keepingPools{k.WhereaboutsV1alpha1Interface.IPPools(namespace)}
}

type keepingPools struct{ wbtyped.IPPoolInterface }

func (k keepingPools) Patch(ctx context.Context, name string, kind apitypes.PatchType, data []byte, options metav1.PatchOptions,
	subresources ...string) (*v1alpha1.IPPool, error) {
	if kind == apitypes.JSONPatchType {
		var err error
		if data, err = withoutLosses(data); err != nil {
			return nil, err
		}
	}
	return k.IPPoolInterface.Patch(ctx, name, kind, data, options, subresources...)
}

// withoutLosses is a patch that does not remove entries that the program which made it cannot have read.
func withoutLosses(patch []byte) ([]byte, error) {
	var edits []edit
	if err := json.Unmarshal(patch, &edits); err != nil {
		return nil, err
	}
	return json.Marshal(slices.DeleteFunc(edits, func(each edit) bool {
		key, entry := strings.CutPrefix(each.Path, pathOf(""))
		return each.Operation == "remove" && entry && !lasts(key)
	}))
}

// patient is the core client of upstream's control loop. When the loop comes late to a pod that was deleted, there may be
// another one of its name. If that one is being deleted, the loop releases its addresses, although it uses them until its
// grace period ends; to this client it is a pod like others, whose addresses the loop leaves alone.
type patient struct{ kubernetes.Interface }

func (p patient) CoreV1() typedcorev1.CoreV1Interface { return patientGroup{p.Interface.CoreV1()} }

type patientGroup struct{ typedcorev1.CoreV1Interface }

func (p patientGroup) Pods(namespace string) typedcorev1.PodInterface {
	return patientPods{p.CoreV1Interface.Pods(namespace)}
}

type patientPods struct{ typedcorev1.PodInterface }

func (p patientPods) Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.Pod, error) {
	found, err := p.PodInterface.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	found.DeletionTimestamp = nil
	return found, nil
}
