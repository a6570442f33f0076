package cleanup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/cleanup"
	"carvelwright.dev/payload/internal/crashtest"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/whereabouts"
)

// tree is all that the host holds.
func tree(t *testing.T, w nodetest.World) string {
	t.Helper()
	return nodetest.Tree(t, filepath.Join(w.Root, "host"))
}

// installed is a node with other people's files on which the package was installed; before is what it held without it.
func installed(t *testing.T, kind nodetest.Kind) (w nodetest.World, before string) {
	t.Helper()
	w = kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
	nodetest.Write(t, filepath.Join(w.Spec.BinDir, "macvlan"), "other", 0o755)
	nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "10-calico.conflist"), "{}", 0o644)
	before = tree(t, w)
	if _, err := node.Install(context.Background(), crashtest.Open, w.Spec); err != nil {
		t.Fatal(err)
	}
	return w, before
}

func options(w nodetest.World) cleanup.Options {
	return cleanup.Options{Package: w.Spec.Package, ConfDir: w.Spec.ConfDir, BinDir: w.Spec.BinDir, Source: w.Spec.Source}
}

func TestLeavesTheNodeAsItWas(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w, before := installed(t, kind)
		// What a killed installer left is the package's, too.
		for _, dir := range []string{w.Host(""), w.Spec.BinDir, filepath.Dir(w.Conf())} {
			nodetest.Write(t, filepath.Join(dir, "."+w.Spec.Package.Program+"-any-0011223344556677.tmp"), "half", 0o600)
		}
		removed, err := cleanup.Run(context.Background(), hostfs.Open, options(w))
		if err != nil {
			t.Fatal(err)
		}
		if after := tree(t, w); after != before {
			t.Errorf("left %v, was %v", after, before)
		}
		first := []string{w.Kubeconfig()}
		if kind == nodetest.Multus {
			first = []string{w.Conf(), w.Kubeconfig()}
		}
		if !slices.Equal(removed[:len(first)], first) || removed[len(removed)-1] != w.Plugin() {
			t.Errorf("order: %v", removed)
		}
		if removed, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil || len(removed) != 0 {
			t.Errorf("again: %v %v", removed, err)
		}
	})
}

func TestOthersFilesStay(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w, _ := installed(t, kind)
		nodetest.Write(t, w.Host("notes.txt"), "mine", 0o600)
		if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(w.Host(""))
		if err != nil || len(entries) != 1 {
			t.Errorf("%v %v", entries, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(w nodetest.World) func()
		word   string
		forced bool // --force helps
	}{
		"a refresher lives": {func(w nodetest.World) func() {
			dir, err := hostfs.Open(w.Host(""))
			if err != nil {
				t.Fatal(err)
			}
			_, release, err := claim.Program(whereabouts.Program).Take(dir, claim.Held)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}, "still runs on this node", false},
		"another plugin": {func(w nodetest.World) func() { nodetest.Write(t, w.Plugin(), "other", 0o755); return func() {} }, "not this image's plugin", true},
		"plugin is a link": {func(w nodetest.World) func() {
			os.Remove(w.Plugin())
			os.Symlink("/bin/sh", w.Plugin())
			return func() {}
		}, "not a regular file", false},
		"subdir is no dir": {func(w nodetest.World) func() {
			os.RemoveAll(w.Host(""))
			os.WriteFile(w.Spec.ConfDir+"/whereabouts.d", nil, 0o600)
			return func() {}
		}, "not a directory", false},
		"plugin's dir gone": {func(w nodetest.World) func() { os.RemoveAll(w.Spec.BinDir); return func() {} }, "no such file", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := installed(t, nodetest.Whereabouts)
			release := c.spoil(w)
			defer release()
			before := tree(t, w)
			for _, force := range []bool{false, true} {
				o := options(w)
				o.Force = force
				_, err := cleanup.Run(context.Background(), hostfs.Open, o)
				if force && c.forced {
					if err != nil {
						t.Errorf("--force: %v", err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.word) {
					t.Errorf("force=%v: %v", force, err)
				}
				if after := tree(t, w); after != before {
					t.Errorf("force=%v: refused, but removed something: %v", force, after)
				}
			}
		})
	}
}

// Each call that changes the host fails once: the plugin goes last whatever happens, and a second cleanup ends the work.
func TestErrorAtEachChangingCall(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		for at := 1; ; at++ {
			w, before := installed(t, kind)
			calls, failed := 0, ""
			open := hostfstest.Wrap(hostfs.Open, func(call, name string) error {
				if calls++; calls == at {
					failed = call + " " + name
					return syscall.EIO
				}
				return nil
			})
			_, err := cleanup.Run(context.Background(), open, options(w))
			if failed == "" {
				if at < 9 {
					t.Fatalf("only %d calls", at-1)
				}
				return
			}
			if err == nil || fault.CodeOf(err) != fault.Host {
				t.Errorf("%q failed: %v", failed, err)
			}
			_, pluginErr := os.Lstat(w.Plugin())
			_, confErr := os.Lstat(w.Host(""))
			if pluginErr != nil && confErr == nil {
				t.Errorf("%q failed: the plugin went before its files", failed)
			}
			w.CheckOrder(t, failed)
			if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil {
				t.Errorf("%q failed, then again: %v", failed, err)
			}
			if after := tree(t, w); after != before {
				t.Errorf("%q failed, then again: left %v", failed, after)
			}
		}
	})
}

func TestHolders(t *testing.T) {
	var empty, full ipam.Pool
	if err := cleanup.Holders([]ipam.Pool{empty}); err != nil {
		t.Error(err)
	}
	full.Metadata.Name, full.Metadata.Namespace = "p", "kube-system"
	full.Spec.Allocations = map[string]ipam.Owner{"1": {PodRef: "default/a"}, "2": {PodRef: "default/a"}, "3": {}}
	ofANode := full
	ofANode.Metadata.Annotations = map[string]string{"whereabouts.tanzu.vmware.com/node": "n1"}
	if err := cleanup.Holders([]ipam.Pool{empty, ofANode}); fault.CodeOf(err) != fault.Refused {
		t.Errorf("what a node's own pool holds is held: %v", err)
	}
	err := cleanup.Holders([]ipam.Pool{empty, full})
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.Refused {
		t.Fatalf("%v", err)
	}
	for _, word := range []string{"3 addresses", "default/a, nobody", "allocation 3 of pool kube-system/p", "--force"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

// Multus' file in the binary directory is upstream's, too: while upstream's configuration is there, the node needs it.
func TestPluginThatUpstreamNeedsStays(t *testing.T) {
	const upstream = `{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig"}`
	w, _ := installed(t, nodetest.Multus)
	nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "00-multus.conf"), upstream, 0o600)
	nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "multus.d", "multus.kubeconfig"), "theirs", 0o600)
	before := tree(t, w)
	_, err := cleanup.Run(context.Background(), hostfs.Open, options(w))
	if fault.CodeOf(err) != fault.Refused || !strings.Contains(err.Error(), "00-multus.conf") || tree(t, w) != before {
		t.Errorf("%v", err)
	}
	forced := options(w)
	forced.Force = true
	if _, err := cleanup.Run(context.Background(), hostfs.Open, forced); err != nil {
		t.Error(err)
	}
	warnings := strings.Join(cleanup.Leftovers(hostfs.Open, forced), "\n")
	if !strings.Contains(warnings, "00-multus.conf needs the plugin") || !strings.Contains(warnings, "multus.d is of another installation") {
		t.Error(warnings)
	}
	if nodetest.Read(t, filepath.Join(w.Spec.ConfDir, "00-multus.conf")) != upstream {
		t.Error("upstream's configuration was changed")
	}
	nodetest.Read(t, filepath.Join(w.Spec.ConfDir, "multus.d", "multus.kubeconfig"))
}

// Thick Multus has a plugin file of its own: its configuration is worth a warning and holds nothing up.
func TestThickMultusHoldsNothingUp(t *testing.T) {
	w, _ := installed(t, nodetest.Multus)
	nodetest.Write(t, filepath.Join(w.Spec.ConfDir, "00-multus.conf"), `{"name": "multus-cni-network", "type": "multus-shim"}`, 0o600)
	if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil {
		t.Error(err)
	}
	if warnings := cleanup.Leftovers(hostfs.Open, options(w)); len(warnings) != 1 || !strings.Contains(warnings[0], "00-multus.conf is of another") {
		t.Errorf("%q", warnings)
	}
}

func TestNetworkConfigurationThatIsALink(t *testing.T) {
	w, _ := installed(t, nodetest.Multus)
	if err := errors.Join(os.Remove(w.Conf()), os.Symlink(nodetest.PrimaryFile, w.Conf())); err != nil {
		t.Fatal(err)
	}
	before := tree(t, w)
	if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); fault.CodeOf(err) != fault.Refused || tree(t, w) != before {
		t.Errorf("%v", err)
	}
}

// With its directory gone, the network configuration is all the more one that must not stay.
func TestNetworkConfigurationWithoutTheDirectory(t *testing.T) {
	w, before := installed(t, nodetest.Multus)
	if err := os.RemoveAll(w.Host("")); err != nil {
		t.Fatal(err)
	}
	if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil || tree(t, w) != before {
		t.Errorf("%v", err)
	}
}
