package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

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
