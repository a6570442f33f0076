package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbclient "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned"
)

// A scribe answers each request alike, and writes down what it is asked.
type scribe struct {
	status int
	answer string
	asked  []string
}

func (s *scribe) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	s.asked = append(s.asked, fmt.Sprint(request.Method, " ", request.URL, " ", request.Header.Get("Content-Type"), " ", string(body)))
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(s.status)
	_, _ = io.WriteString(answer, s.answer)
}

// eachRequest makes each request that a call makes, and returns what comes of them.
func eachRequest(ctx context.Context, through api) []any {
	var all []any
	note := func(found any, err error) {
		all = append(all, found, err != nil, apierrors.ReasonForError(err))
	}
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "whereabouts", ResourceVersion: "7"}}
	held := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "fd00---64"}, Spec: v1alpha1.IPPoolSpec{Range: "fd00::/64"}}
	reserved := &v1alpha1.OverlappingRangeIPReservation{ObjectMeta: metav1.ObjectMeta{Name: "fd00--1"}}
	uid := apitypes.UID("u")
	only := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}

	note(through.leases("a").Get(ctx, "whereabouts", metav1.GetOptions{}))
	note(through.leases("a").Create(ctx, lease, metav1.CreateOptions{}))
	note(through.leases("a").Update(ctx, lease, metav1.UpdateOptions{}))
	note(through.pools("b").Get(ctx, "fd00---64", metav1.GetOptions{ResourceVersion: "5"}))
	note(through.pools("b").List(ctx, metav1.ListOptions{Limit: 1}))
	note(through.pools("b").Create(ctx, held, metav1.CreateOptions{}))
	note(through.pools("b").Patch(ctx, "fd00---64", apitypes.JSONPatchType, []byte(`[]`), metav1.PatchOptions{}))
	note(through.reservations("c").Get(ctx, "fd00--1", metav1.GetOptions{}))
	note(through.reservations("c").Create(ctx, reserved, metav1.CreateOptions{}))
	note(nil, through.reservations("c").Delete(ctx, "fd00--1", only))
	note(through.slices("d").Get(ctx, "fast", metav1.GetOptions{}))
	changes, err := through.leases("a").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=whereabouts", ResourceVersion: "7"})
	note(nil, err)
	if err == nil {
		for each := range changes.ResultChan() {
			note(each, nil)
		}
	}
	return all
}

func TestTheEndpointAsksWhatGeneratedClientsAsk(t *testing.T) {
	for status, answer := range map[int]string{
		http.StatusOK: `{"metadata": {"name": "x", "resourceVersion": "9", "annotations": {"a": "b"}}, "spec": {"holderIdentity": "h",
			"range": "fd00::/64", "allocations": {"1": {"id": "c", "podref": "default/p"}}, "podref": "default/p"}}`,
		http.StatusCreated:             `{"type": "MODIFIED", "object": {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}}`,
		http.StatusNotFound:            `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`,
		http.StatusConflict:            `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409}`,
		http.StatusUnprocessableEntity: `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422}`,
		http.StatusUnauthorized:        `nothing that is JSON`,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			all := &scribe{status: status, answer: answer}
			server := httptest.NewServer(all)
			t.Cleanup(server.Close)
			// Otherwise client-go writes its own kinds as protobuf.
			config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
			generated := clients{core: kubernetes.NewForConfigOrDie(config), whereabouts: wbclient.NewForConfigOrDie(config)}
			wanted := eachRequest(t.Context(), generated)
			asked := all.asked
			all.asked = nil
			own, err := newEndpoint(config)
			if err != nil {
				t.Fatal(err)
			}
			found := eachRequest(t.Context(), own)
			for i := range asked {
				if i < len(all.asked) && all.asked[i] != asked[i] {
					t.Errorf("asked   %s\nexpected %s", all.asked[i], asked[i])
				}
			}
			if len(all.asked) != len(asked) || len(asked) != 12 {
				t.Errorf("%d requests, expected %d", len(all.asked), len(asked))
			}
			if !reflect.DeepEqual(found, wanted) {
				t.Errorf("found    %+v\nexpected %+v", found, wanted)
			}
		})
	}
}

// TestThePluginLinksNoClientset holds what makes the plugin start quickly.
func TestThePluginLinksNoClientset(t *testing.T) {
	listed, err := exec.Command("go", "list", "-tags", "plugin", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, listed)
	}
	for _, each := range []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/gentype", "k8s.io/client-go/testing", "k8s.io/api/core/v1"} {
		if strings.Contains(string(listed), each+"\n") {
			t.Errorf("the plugin links %s", each)
		}
	}
}
