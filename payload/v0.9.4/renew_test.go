package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// writeKubeconfig puts a kubeconfig with a token in the place of the one before.
func writeKubeconfig(t *testing.T, path string, server *tokenServer, token string) {
	t.Helper()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: c,\n"+
		"clusters: [{name: k, cluster: {server: %q, certificate-authority-data: %s}}],\n"+
		"users: [{name: u, user: {token: %q}}],\n"+
		"contexts: [{name: c, context: {cluster: k, user: u, namespace: kube-system}}]}\n",
		server.URL, base64.StdEncoding.EncodeToString(authority), token)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A tokenServer accepts one token, and remembers what it was asked.
type tokenServer struct {
	*httptest.Server
	accepted string
	asked    []string
	bodies   [][]byte
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	server := &tokenServer{accepted: "Bearer old"}
	server.Server = httptest.NewTLSServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		server.asked = append(server.asked, request.Method+" "+request.Header.Get("Authorization"))
		server.bodies = append(server.bodies, body)
		answer.Header().Set("Content-Type", "application/json")
		if request.Header.Get("Authorization") != server.accepted {
			answer.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(answer).Encode(apierrors.NewUnauthorized("Unauthorized").Status())
			return
		}
		_, _ = answer.Write([]byte(`{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}`))
	}))
	t.Cleanup(server.Close)
	return server
}

// callWith returns a server, a kubeconfig for it with a token, and the leases as a call sees them that begins with it.
func callWith(t *testing.T, token string) (*tokenServer, string, leaseRequests) {
	t.Helper()
	server, path := newTokenServer(t), filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, path, server, token)
	api, _, err := apiOf(path)
	if err != nil {
		t.Fatal(err)
	}
	return server, path, api.leases("kube-system")
}

func TestACallOutlivesTheTokenItBeganWith(t *testing.T) {
	server, path, leases := callWith(t, "old")
	if _, err := leases.Get(t.Context(), "whereabouts", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	writeKubeconfig(t, path, server, "new")
	server.accepted, server.asked, server.bodies = "Bearer new", nil, nil
	if _, err := leases.Get(t.Context(), "whereabouts", metav1.GetOptions{}); err != nil {
		t.Fatalf("GET with the token of then: %v", err)
	}
	holder := "default/pod/net1/sandbox"
	sent := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
	sent.Name = "whereabouts"
	if _, err := leases.Update(t.Context(), sent, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("PUT with the token of then: %v", err)
	}
	first, second := server.bodies[len(server.bodies)-2], server.bodies[len(server.bodies)-1]
	if !bytes.Contains(first, []byte(holder)) || !bytes.Equal(first, second) {
		t.Errorf("sent %q, then %q", first, second)
	}
	want := []string{"GET Bearer old", "GET Bearer new", "PUT Bearer old", "PUT Bearer new"}
	if fmt.Sprint(server.asked) != fmt.Sprint(want) {
		t.Errorf("asked %v, expected %v", server.asked, want)
	}
}

func TestWithoutAnotherTokenTheRefusalStands(t *testing.T) {
	server, path, leases := callWith(t, "stale")
	for _, change := range []func(){func() {}, func() { _ = os.Remove(path) }} {
		change()
		server.asked = nil
		_, err := leases.Get(t.Context(), "whereabouts", metav1.GetOptions{})
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("found %v, expected Unauthorized", err)
		}
		if len(server.asked) != 1 {
			t.Errorf("asked %v, expected one request", server.asked)
		}
	}
}
