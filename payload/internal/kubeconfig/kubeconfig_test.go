package kubeconfig_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"testing"
	"unicode/utf8"

	"carvelwright.dev/payload/internal/kubeconfig"
)

func TestServerURL(t *testing.T) {
	for _, c := range []struct{ host, port, want string }{
		{"10.96.0.1", "443", "https://10.96.0.1:443"},
		{"fd00:10:96::1", "443", "https://[fd00:10:96::1]:443"},
		{"[fd00::1]", "6443", "https://[fd00::1]:6443"},
		{"::ffff:10.0.0.1", "443", "https://[::ffff:10.0.0.1]:443"},
		{"kubernetes.default.svc", "443", "https://kubernetes.default.svc:443"},
		{"api.example.org.", "0443", "https://api.example.org.:443"},
	} {
		if got, err := kubeconfig.ServerURL(c.host, c.port); err != nil || got != c.want {
			t.Errorf("%s %s: %q %v", c.host, c.port, got, err)
		}
	}
	for _, c := range []struct{ host, port string }{
		{"", "443"}, {"10.0.0.1", ""}, {"10.0.0.1", "0"}, {"10.0.0.1", "65536"}, {"10.0.0.1", "-1"}, {"10.0.0.1", "https"},
		{"a/b", "1"}, {"a b", "1"}, {"a@b", "1"}, {"-a", "1"}, {"a..b", "1"}, {"fe80::1%eth0", "1"}, {"[10.0.0.1", "1"}, {"https://x", "1"},
	} {
		if got, err := kubeconfig.ServerURL(c.host, c.port); err == nil {
			t.Errorf("%q %q gave %q", c.host, c.port, got)
		}
	}
}

func TestRenderKeepsAnyToken(t *testing.T) {
	text, err := kubeconfig.Render(kubeconfig.Access{Server: "https://x:1", CA: []byte("pem"), Token: `a"b\: {}#<&>`, Namespace: "kube-system"})
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		APIVersion     string
		Kind           string
		Clusters       []struct{ Cluster map[string]string }
		Users          []struct{ User struct{ Token string } }
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string
			Context map[string]string
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.APIVersion != "v1" || config.Kind != "Config" || config.Users[0].User.Token != `a"b\: {}#<&>` ||
		config.Clusters[0].Cluster["certificate-authority-data"] != "cGVt" || config.Contexts[0].Name != config.CurrentContext ||
		config.Contexts[0].Context["namespace"] != "kube-system" {
		t.Errorf("%s", text)
	}
	if _, err := kubeconfig.Render(kubeconfig.Access{Server: "https://x:1", Token: "t"}); err == nil {
		t.Error("rendered without a namespace")
	}
}

func FuzzServerURL(f *testing.F) {
	f.Add("10.96.0.1", "443")
	f.Add("fd00::1", "443")
	f.Add("[::1]", "1")
	f.Add("a.b-c.d_e", "65535")
	f.Fuzz(func(t *testing.T, host, port string) {
		text, err := kubeconfig.ServerURL(host, port)
		if err != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Port() == "" || u.Hostname() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
			t.Errorf("%q %q gave %q (%v)", host, port, text, err)
		}
	})
}

func FuzzRender(f *testing.F) {
	f.Add("https://[fd00::1]:443", "token", "kube-system", []byte("pem"))
	f.Add("", `"}],"users":[{"x":"`, "a\nb", []byte{0, 255})
	f.Fuzz(func(t *testing.T, server, token, namespace string, ca []byte) {
		text, err := kubeconfig.Render(kubeconfig.Access{Server: server, CA: ca, Token: token, Namespace: namespace})
		if err != nil {
			if namespace != "" {
				t.Error(err)
			}
			return
		}
		var config struct {
			Clusters []struct {
				Cluster struct {
					Server string
					CA     []byte `json:"certificate-authority-data"`
				}
			}
			Users    []struct{ User struct{ Token string } }
			Contexts []struct{ Context struct{ Namespace string } }
		}
		if err := json.Unmarshal(text, &config); err != nil || len(config.Users) != 1 || len(config.Clusters) != 1 || len(config.Contexts) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		same := func(want, got string) {
			if utf8.ValidString(want) && want != got {
				t.Errorf("%q became %q", want, got)
			}
		}
		same(token, config.Users[0].User.Token)
		same(server, config.Clusters[0].Cluster.Server)
		same(namespace, config.Contexts[0].Context.Namespace)
		if !bytes.Equal(ca, config.Clusters[0].Cluster.CA) {
			t.Errorf("CA %q became %q", ca, config.Clusters[0].Cluster.CA)
		}
	})
}
