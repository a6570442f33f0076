package hostfs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
)

func open(t *testing.T, path string) hostfs.Dir {
	t.Helper()
	dir, err := hostfs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func TestOpenWantsADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hostfs.Open(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v", err)
	}
}

func TestOpenFileRefusesPipesAndLinksOut(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600), os.WriteFile(outside, nil, 0o600),
		os.Symlink(outside, filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	dir := open(t, root)
	for _, name := range []string{"pipe", "link", "."} {
		if f, err := dir.Open(name); err == nil {
			_ = f.Close()
			t.Errorf("opened %s", name)
		}
	}
	if _, err := dir.Sub("link"); err == nil {
		t.Error("went out of the directory by a link")
	}
}

// A failing check leaves the old file, and nothing beside it.
func TestReplaceStopsAtTheCheck(t *testing.T) {
	root := t.TempDir()
	dir := open(t, root)
	if err := hostfs.Program("test").Replace(dir, "f", 0o644, strings.NewReader("old"), nil); err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	err := hostfs.Program("test").Replace(dir, "f", 0o644, strings.NewReader("new"), func(temp string) error {
		if text, err := os.ReadFile(filepath.Join(root, temp)); err != nil || string(text) != "new" {
			t.Errorf("the check saw %q %v", text, err)
		}
		return no
	})
	if !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(filepath.Join(root, "f"))
	if names, _ := dir.Names(); err != nil || string(text) != "old" || len(names) != 1 {
		t.Errorf("%q %v %v", text, err, names)
	}
}

// What a node that loses power finds depends on this order alone.
func TestReplaceSyncsBeforeAndAfterTheRename(t *testing.T) {
	var calls []string
	wrapped := hostfstest.Wrap(hostfs.Open, func(call, name string) error {
		calls = append(calls, call)
		return nil
	})
	dir, err := wrapped(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := hostfs.Program("test").Replace(dir, "f", 0o600, strings.NewReader("text"), nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(calls, ", "); got != "create, write, write the rest, chmod, end writing, fsync, close, rename, sync directory" {
		t.Errorf("%s", got)
	}
}

func TestModeDoesNotDependOnTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	root := t.TempDir()
	if err := hostfs.Program("test").Replace(open(t, root), "f", 0o755, strings.NewReader(""), nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "f")); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestLock(t *testing.T) {
	root := t.TempDir()
	unlock, err := open(t, root).Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := open(t, root).Lock(ctx); !errors.Is(err, hostfs.ErrLocked) {
		t.Errorf("%v", err)
	}
	unlock()
	if _, err := open(t, root).Lock(context.Background()); err != nil {
		t.Error(err)
	}
}
