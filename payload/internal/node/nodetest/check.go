package nodetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/hostfs"
)

// Paths are the files that the package keeps on a node.
func (w World) Paths() []string {
	paths := []string{w.Plugin(), w.Kubeconfig()}
	for _, name := range w.Spec.Package.OtherFiles {
		paths = append(paths, w.Host(name))
	}
	if w.Spec.Package.Network != nil {
		paths = append(paths, w.Conf())
	}
	return paths
}

// Found reads a file; a file that is not there gives "".
func Found(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// Wanted gives what each of the files shall hold.
func (w World) Wanted(t testing.TB) map[string]string {
	t.Helper()
	files, err := w.Spec.Files()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]string{w.Plugin(): Read(t, w.Spec.Source)}
	for _, file := range files {
		wanted[w.Host(file.Name)] = string(file.Content)
	}
	if w.Spec.Package.Network != nil {
		state, err := w.Spec.LookAtNetwork(hostfs.Open, "")
		if err != nil {
			t.Fatal(err)
		}
		wanted[w.Conf()] = string(state.Content)
	}
	return wanted
}

// Allowed gives what each path may hold at any moment of a change; "" stands for no file.
type Allowed map[string][]string

// Before begins with what the files hold now.
func (w World) Before(t testing.TB) Allowed {
	t.Helper()
	a := Allowed{}
	for _, path := range w.Paths() {
		a[path] = []string{Found(t, path)}
	}
	return a
}

// Or adds what the files shall hold in the end.
func (a Allowed) Or(wanted map[string]string) Allowed {
	for path, text := range wanted {
		a[path] = append(a[path], text)
	}
	return a
}

// Check fails when a file holds anything else: a part of a file above all.
func (a Allowed) Check(t testing.TB, when string) {
	t.Helper()
	for path, allowed := range a {
		if text := Found(t, path); !slices.Contains(allowed, text) {
			t.Errorf("%s: %s holds %d bytes that are neither the old nor the new content", when, path, len(text))
		}
	}
}

// CheckSecrecy: no file of the package's directory, temporary ones included, admits anyone but its owner, and no network
// configuration.
func (w World) CheckSecrecy(t testing.TB, when string) {
	t.Helper()
	for dir, ours := range map[string]string{w.Host(""): "", w.Spec.ConfDir: w.Spec.Package.Program} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if dir == w.Spec.ConfDir && !strings.Contains(entry.Name(), ours) && filepath.Join(dir, entry.Name()) != w.Conf() {
				continue
			}
			info, err := entry.Info()
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has mode %v", when, entry.Name(), info.Mode())
			}
		}
	}
}

// CheckOrder: what the runtime or another file of the package leads to is there. With a network configuration each new pod of
// the node needs the plugin, which needs its kubeconfig.
func (w World) CheckOrder(t testing.TB, when string) {
	t.Helper()
	if w.Spec.Package.Network == nil || Found(t, w.Conf()) == "" {
		return
	}
	for _, path := range []string{w.Plugin(), w.Kubeconfig()} {
		if Found(t, path) == "" {
			t.Errorf("%s: %s is there without %s", when, w.Conf(), path)
		}
	}
}

// CheckWhole: the host is as an undisturbed run leaves it, with that many claims and without any other trace of earlier ones.
func (w World) CheckWhole(t testing.TB, when string, claims int) {
	t.Helper()
	for path, text := range w.Wanted(t) {
		if Found(t, path) != text {
			t.Errorf("%s: %s is not what it shall be", when, path)
		}
	}
	if info, err := os.Stat(w.Plugin()); err != nil || info.Mode() != 0o755 {
		t.Errorf("%s: the plugin: %v %v", when, info, err)
	}
	w.CheckSecrecy(t, when)
	found := 0
	for _, dir := range []string{w.Host(""), w.Spec.BinDir, w.Spec.ConfDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			switch name := entry.Name(); {
			case w.Spec.Package.Claims().IsClaim(name):
				found++
			case strings.HasPrefix(name, "."):
				t.Errorf("%s: leftover %s in %s", when, name, dir)
			}
		}
	}
	if found != claims {
		t.Errorf("%s: %d claims, want %d", when, found, claims)
	}
}

// Tree describes all that lies at a path: names, modes and contents. A path that is not there gives "".
func Tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == root {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", path, info.Mode())
		if info.Mode().IsRegular() {
			fmt.Fprintf(&b, " %x", sha256.Sum256([]byte(Read(t, path))))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
