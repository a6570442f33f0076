// Package nodetest makes a node's directories and a pod's inputs for tests.
package nodetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/whereabouts"
)

// CA is a certificate that can be parsed; nobody has its key.
const CA = `-----BEGIN CERTIFICATE-----
MIIBQDCB86ADAgECAhQMvRnmLmH+j/HJ9HuYNiKASGDQ2DAFBgMrZXAwFTETMBEG
A1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjMxNDM4MDlaGA8yMTI2MTAzMDE0Mzgw
OVowFTETMBEGA1UEAwwKa3ViZXJuZXRlczAqMAUGAytlcAMhANtbbObUddVlIbsd
fIYm5HnyMstacL5cvygymyKC5QXMo1MwUTAdBgNVHQ4EFgQUaoEwIhSG6jMPBMIa
oRK5qw5/N50wHwYDVR0jBBgwFoAUaoEwIhSG6jMPBMIaoRK5qw5/N50wDwYDVR0T
AQH/BAUwAwEB/zAFBgMrZXADQQDhJxCHZ6Ev+Y62MOnSLdrxhutCb947LnzGXuMy
xhkLFC0gjTHdsqrdiIq3Z5LKovx03+uCYfyifgbQBIj9qN0N
-----END CERTIFICATE-----
`

// World is a node and a pod in a directory of its own.
type World struct {
	Root string
	Spec node.Spec
}

// New makes a world under root whose plugin says version.
func New(t testing.TB, root, version string) World {
	t.Helper()
	w := At(root)
	for _, dir := range []string{w.Spec.ConfDir, w.Spec.BinDir, w.Spec.ServiceAccountDir, filepath.Dir(w.Spec.ConfigFile)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.SetPlugin(t, version)
	w.SetToken(t, "token-1")
	w.SetConf(t, "info")
	Write(t, filepath.Join(w.Spec.ServiceAccountDir, "ca.crt"), CA, 0o644)
	return w
}

// At gives the world under root as it is.
func At(root string) World {
	return World{Root: root, Spec: node.Spec{
		Package:           whereabouts.Package(),
		ConfDir:           filepath.Join(root, "host", "net.d"),
		HostConfDir:       "/etc/cni/net.d",
		BinDir:            filepath.Join(root, "host", "bin"),
		Source:            filepath.Join(root, "image", "whereabouts"),
		ConfigFile:        filepath.Join(root, "pod", "conf", "whereabouts.conf"),
		NodeName:          "node-1.example.org",
		Namespace:         "kube-system",
		ServiceAccountDir: filepath.Join(root, "pod", "sa"),
		APIHost:           "10.96.0.1",
		APIPort:           "443",
	}}
}

// SetPlugin makes the image's plugin one that says version: a script, large enough to be written in several pieces.
func (w World) SetPlugin(t testing.TB, version string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho 'CNI whereabouts %s linux/amd64' >&2\nexit 0\n# %s\n", version, strings.Repeat(version, 60_000))
	Write(t, w.Spec.Source, script, 0o755)
}

// SetToken changes the pod's token as the kubelet does: as a whole, by a rename.
func (w World) SetToken(t testing.TB, token string) {
	t.Helper()
	Write(t, filepath.Join(w.Spec.ServiceAccountDir, "token"), token, 0o600)
}

// Token gives the pod's token.
func (w World) Token(t testing.TB) string {
	t.Helper()
	return Read(t, filepath.Join(w.Spec.ServiceAccountDir, "token"))
}

// SetConf changes the ConfigMap's whereabouts.conf.
func (w World) SetConf(t testing.TB, level string) {
	t.Helper()
	Write(t, w.Spec.ConfigFile, fmt.Sprintf(`{"datastore": "kubernetes", "log_level": %q, "configuration_path": "/etc/cni/net.d/whereabouts.d",
  "kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}}`+"\n", level), 0o644)
}

// Host gives the path of a file in whereabouts.d.
func (w World) Host(name string) string {
	return filepath.Join(w.Spec.ConfDir, whereabouts.SubDir, name)
}

// Plugin gives the path of the host's plugin.
func (w World) Plugin() string { return filepath.Join(w.Spec.BinDir, whereabouts.PluginFile) }

// Write replaces a file as a whole and makes its directory.
func Write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// Read reads a file that must be there.
func Read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
