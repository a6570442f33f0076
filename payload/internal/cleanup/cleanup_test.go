package cleanup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
func installed(t *testing.T) (w nodetest.World, before string) {
	t.Helper()
	w = nodetest.New(t, filepath.Join(t.TempDir(), "w"), "v1")
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
	w, before := installed(t)
	// What a killed installer left is the package's, too.
	nodetest.Write(t, w.Host(".whereabouts-installer-whereabouts.conf-0011223344556677.tmp"), "half", 0o600)
	nodetest.Write(t, filepath.Join(w.Spec.BinDir, ".whereabouts-installer-whereabouts-0011223344556677.tmp"), "half", 0o600)
	removed, err := cleanup.Run(context.Background(), hostfs.Open, options(w))
	if err != nil {
		t.Fatal(err)
	}
	if after := tree(t, w); after != before {
		t.Errorf("left %v, was %v", after, before)
	}
	if removed[0] != w.Host(whereabouts.KubeconfigFile) || removed[len(removed)-1] != w.Plugin() {
		t.Errorf("order: %v", removed)
	}
	if removed, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil || len(removed) != 0 {
		t.Errorf("again: %v %v", removed, err)
	}
}

func TestOthersFilesStay(t *testing.T) {
	w, _ := installed(t)
	nodetest.Write(t, w.Host("notes.txt"), "mine", 0o600)
	if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(w.Host(""))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
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
			w, _ := installed(t)
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
	for at := 1; ; at++ {
		w, before := installed(t)
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
		if _, err := cleanup.Run(context.Background(), hostfs.Open, options(w)); err != nil {
			t.Errorf("%q failed, then again: %v", failed, err)
		}
		if after := tree(t, w); after != before {
			t.Errorf("%q failed, then again: left %v", failed, after)
		}
	}
}

func TestHolders(t *testing.T) {
	var empty, full ipam.Pool
	if err := cleanup.Holders([]ipam.Pool{empty}); err != nil {
		t.Error(err)
	}
	full.Metadata.Name, full.Metadata.Namespace = "p", "kube-system"
	full.Spec.Allocations = map[string]ipam.Owner{"1": {PodRef: "default/a"}, "2": {PodRef: "default/a"}, "3": {}}
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
