package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"carvelwright.dev/payload/internal/fault"
)

// What is fuzzed here are the inputs' contents, without the files: those cost more than all the rest.
var fuzzed = Spec{Package: Package{User: "test"}, HostConfDir: "/etc/cni/net.d", ConfigFile: "/c/whereabouts.conf", NodeName: "node-1", Namespace: "kube-system", APIHost: "fd00::1", APIPort: "443"}

// refusal: what is refused is refused in one line that can be shown anywhere, without the token.
func refusal(t *testing.T, err error, secret string) {
	text := (&fault.Error{Code: fault.Input, What: "x", Err: err}).Error()
	if text != fault.Line(text) || !utf8.ValidString(text) {
		t.Errorf("%q", text)
	}
	if len(secret) > 20 && strings.Contains(text, secret) {
		t.Errorf("%q shows the token", text)
	}
}

func anyCA(f *testing.F) []byte {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		f.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func FuzzTokenAndCA(f *testing.F) {
	ca := anyCA(f)
	f.Add([]byte("e30.eyJhIjoxfQ.c2ln\n"), ca, "kube-system")
	f.Add([]byte("token with blanks in it"), []byte("-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"), "x")
	f.Add([]byte("token-without-a-namespace"), append(ca, "rest"...), "")
	f.Add([]byte("\x00token-with-a-control\x7f"), []byte{}, "a")
	f.Fuzz(func(t *testing.T, raw, ca []byte, namespace string) {
		token, err := parseToken(raw, "/t")
		if err != nil {
			refusal(t, err, strings.TrimSpace(string(raw)))
			return
		}
		spec := fuzzed
		spec.Namespace = namespace
		text, err := spec.render(token, ca, "/c")
		if err != nil {
			refusal(t, err, token)
			return
		}
		var config struct {
			Clusters []struct {
				Cluster struct {
					CA []byte `json:"certificate-authority-data"`
				}
			}
			Users    []struct{ User struct{ Token string } }
			Contexts []struct{ Context struct{ Namespace string } }
		}
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		if got := config.Users[0].User.Token; got != strings.TrimSpace(string(raw)) || got == "" {
			t.Errorf("token %q became %q", raw, got)
		}
		if got := config.Clusters[0].Cluster.CA; string(got) != string(ca) || !x509.NewCertPool().AppendCertsFromPEM(got) {
			t.Errorf("CA %q became %q", ca, got)
		}
		if got := config.Contexts[0].Context.Namespace; got == "" || (utf8.ValidString(namespace) && got != namespace) {
			t.Errorf("namespace %q became %q", namespace, got)
		}
	})
}
