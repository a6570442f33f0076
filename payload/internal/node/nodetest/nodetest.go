// Package nodetest makes a node's directories and a pod's inputs for tests.
package nodetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/multus"
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

// Kind is a package of which there can be a world.
type Kind string

// The kinds.
const (
	Whereabouts Kind = "whereabouts"
	Multus      Kind = "multus"
)

// Each runs a test for each package.
func Each(t *testing.T, test func(t *testing.T, kind Kind)) {
	for _, kind := range []Kind{Whereabouts, Multus} {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

// New makes a world of Whereabouts under root whose plugin says version.
func New(t testing.TB, root, version string) World {
	t.Helper()
	return Whereabouts.New(t, root, version)
}

// New makes a world under root whose plugin says version.
func (k Kind) New(t testing.TB, root, version string) World {
	t.Helper()
	Write(t, filepath.Join(root, kindFile), string(k), 0o600)
	w := At(root)
	for _, dir := range []string{w.Spec.ConfDir, w.Spec.BinDir, w.Spec.ServiceAccountDir, filepath.Dir(w.Spec.ConfigFile)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.SetPlugin(t, version)
	w.SetToken(t, "token-1")
	w.SetConf(t, "error")
	Write(t, filepath.Join(w.Spec.ServiceAccountDir, "ca.crt"), CA, 0o644)
	if k == Multus {
		w.SetPrimary(t, "10.244.0.0/24")
	}
	return w
}

// kindFile tells a process that is started for a world what kind it is.
const kindFile = "kind"

// At gives the world under root as it is.
func At(root string) World {
	p := whereabouts.Package()
	if kind, _ := os.ReadFile(filepath.Join(root, kindFile)); Kind(kind) == Multus {
		p = multus.Package()
	}
	spec := node.Spec{
		Package:           p,
		ConfDir:           filepath.Join(root, "host", "net.d"),
		HostConfDir:       "/etc/cni/net.d",
		BinDir:            filepath.Join(root, "host", "bin"),
		Source:            filepath.Join(root, "image", p.Plugin),
		ConfigFile:        filepath.Join(root, "pod", "conf", p.Config),
		NodeName:          "node-1.example.org",
		Namespace:         "kube-system",
		ServiceAccountDir: filepath.Join(root, "pod", "sa"),
		APIHost:           "10.96.0.1",
		APIPort:           "443",
	}
	if p.Network != nil {
		spec.HostBinDir = "/opt/cni/bin"
	}
	return World{Root: root, Spec: spec}
}

// SetPlugin makes the image's plugin one that says version: a script, large enough to be written in several pieces.
func (w World) SetPlugin(t testing.TB, version string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho 'CNI %s %s linux/amd64' >&2\nexit 0\n# %s\n", w.Spec.Package.Plugin, version, strings.Repeat(version, 60_000))
	Write(t, w.Spec.Source, script, 0o755)
}

// PrimaryFile is the primary network's configuration in a world of Multus.
const PrimaryFile = "10-primary.conflist"

// SetPrimary makes the primary network's configuration, for which subnet stands.
func (w World) SetPrimary(t testing.TB, subnet string) {
	t.Helper()
	Write(t, filepath.Join(w.Spec.ConfDir, PrimaryFile), fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "ipam": {"type": "host-local", "subnet": %q}}, {"type": "portmap", "capabilities": {"portMappings": true}}]}`+"\n", subnet), 0o644)
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

// SetConf changes the log level in the ConfigMap's settings.
func (w World) SetConf(t testing.TB, level string) {
	t.Helper()
	text := fmt.Sprintf(`{"datastore": "kubernetes", "log_level": %q, "configuration_path": "/etc/cni/net.d/whereabouts.d",
  "kubernetes": {"kubeconfig": "/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"}}`+"\n", level)
	if w.Spec.Package.Network != nil {
		text = fmt.Sprintf(`{"logLevel": %q, "binDir": "/opt/cni/bin"}`+"\n", level)
	}
	Write(t, w.Spec.ConfigFile, text, 0o644)
}

// Host gives the path of a file in the package's directory.
func (w World) Host(name string) string {
	return filepath.Join(w.Spec.ConfDir, w.Spec.Package.SubDir, name)
}

// Kubeconfig gives the path of the host's kubeconfig.
func (w World) Kubeconfig() string { return w.Host(w.Spec.Package.Kubeconfig) }

// Conf gives the path of the file on the host that has the settings.
func (w World) Conf() string {
	if network := w.Spec.Package.Network; network != nil {
		return filepath.Join(w.Spec.ConfDir, network.File)
	}
	return w.Host(whereabouts.ConfFile)
}

// Plugin gives the path of the host's plugin.
func (w World) Plugin() string { return filepath.Join(w.Spec.BinDir, w.Spec.Package.Plugin) }

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
