package kube_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/kube/kubetest"
)

type object struct{ Name string }

func TestListReadsAllPages(t *testing.T) {
	s := kubetest.New(t, "secret")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		s.Lists["/api/v1/pods"] = append(s.Lists["/api/v1/pods"], map[string]any{"name": name})
	}
	s.PageSize = 2
	items, err := kube.List[object](context.Background(), s.Client(t), "/api/v1/pods")
	if err != nil || len(items) != 5 || items[4].Name != "e" {
		t.Errorf("%v %v", items, err)
	}
}

func TestListBeginsAnewWhenItExpires(t *testing.T) {
	s := kubetest.New(t, "secret")
	s.Lists["/x"] = []any{object{"a"}, object{"b"}, object{"c"}}
	s.PageSize = 2
	expired := false
	s.Refuse = func(r *http.Request) int {
		if r.URL.Query().Get("continue") != "" && !expired {
			expired = true
			return http.StatusGone
		}
		return 0
	}
	items, err := kube.List[object](context.Background(), s.Client(t), "/x")
	if err != nil || len(items) != 3 {
		t.Errorf("%v %v", items, err)
	}
}

func TestRefusalsSayWhatToDoAndHideTheToken(t *testing.T) {
	for code, word := range map[int]string{401: "not valid", 403: "lacks this right", 500: "HTTP 500"} {
		s := kubetest.New(t, "secret")
		s.Echo = code == 401
		s.Refuse = func(*http.Request) int { return code }
		err := s.Client(t).Get(context.Background(), "/api/v1/pods", &object{})
		if fault.CodeOf(err) != fault.API || !kube.HasStatus(err, code) || !strings.Contains(err.Error(), word) ||
			!strings.Contains(err.Error(), "/api/v1/pods") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestUntrustedServerAndNonsense(t *testing.T) {
	s := kubetest.New(t, "secret")
	if _, err := kube.New("https://x", "t", []byte("no PEM")); fault.CodeOf(err) != fault.Input {
		t.Errorf("CA that is none: %v", err)
	}
	c := s.Client(t)
	s.Objects["/text"] = "a string"
	if err := c.Get(context.Background(), "/text", &object{}); fault.CodeOf(err) != fault.API {
		t.Errorf("nonsense: %v", err)
	}
	c.Server = "https://127.0.0.1:1"
	if err := c.Get(context.Background(), "/", nil); fault.CodeOf(err) != fault.API || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	stranger, err := kube.New("https://"+net.JoinHostPort(s.Address()), "secret", otherCA(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Get(context.Background(), "/text", nil); fault.CodeOf(err) != fault.API || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server with another CA: %v", err)
	}
}

func otherCA(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestPodOf(t *testing.T) {
	token := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	ref, ok := kube.PodOf(token(`{"kubernetes.io":{"namespace":"kube-system","pod":{"name":"p","uid":"u"}}}`))
	if !ok || ref != (kube.PodRef{Namespace: "kube-system", Name: "p", UID: "u"}) {
		t.Errorf("%v %v", ref, ok)
	}
	for _, bad := range []string{"", "a.b", "a.!.c", token("{}"), token("[]"), token(`{"kubernetes.io":7}`)} {
		if _, ok := kube.PodOf(bad); ok {
			t.Errorf("%q names a pod", bad)
		}
	}
}

func FuzzPodOf(f *testing.F) {
	f.Add("e30.eyJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6ImEiLCJwb2QiOnsibmFtZSI6InAiLCJ1aWQiOiJ1In19fQ.c2ln")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if ref, ok := kube.PodOf(token); ok && (ref.Name == "" || ref.Namespace == "") {
			t.Errorf("%+v names no pod", ref)
		}
	})
}
