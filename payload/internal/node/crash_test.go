package node_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
)

// TestMain makes this test's binary the victim when it is asked to die: an install that is killed before its Nth changing call.
func TestMain(m *testing.M) {
	root, at := os.Getenv("VICTIM_ROOT"), os.Getenv("VICTIM_AT")
	if root == "" {
		os.Exit(m.Run())
	}
	stop, err := strconv.Atoi(at)
	if err != nil {
		panic(err)
	}
	calls := 0
	open := hostfstest.Wrap(hostfs.Open, func(string, string) error {
		if calls++; calls == stop {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
	if _, err := node.Install(context.Background(), open, nodetest.At(root).Spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// expected gives what each path on the host may hold: absent ("") where nothing was before, else old or new.
type expected map[string][]string

func (e expected) check(t *testing.T, when string) {
	t.Helper()
	for path, allowed := range e {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		ok := false
		for _, a := range allowed {
			ok = ok || string(text) == a
		}
		if !ok {
			t.Errorf("%s: %s holds %d bytes that are neither the old nor the new content", when, path, len(text))
		}
	}
}

// checkSecrecy: at no moment does a file with a token, temporary ones included, admit anyone but its owner.
func checkSecrecy(t *testing.T, w nodetest.World, when string) {
	t.Helper()
	entries, err := os.ReadDir(w.Host(""))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %s has mode %v", when, entry.Name(), info.Mode())
		}
	}
}

// checkWhole: the host is as an undisturbed install leaves it, without a trace of earlier ones.
func checkWhole(t *testing.T, w nodetest.World, when string) {
	t.Helper()
	files, err := w.Spec.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if nodetest.Read(t, w.Host(file.Name)) != string(file.Content) {
			t.Errorf("%s: %s is not what it shall be", when, file.Name)
		}
	}
	if nodetest.Read(t, w.Plugin()) != nodetest.Read(t, w.Spec.Source) {
		t.Errorf("%s: the plugin is not the image's", when)
	}
	info, err := os.Stat(w.Plugin())
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%s: the plugin's mode is %v (%v)", when, info.Mode(), err)
	}
	claims := 0
	for _, dir := range []string{w.Host(""), w.Spec.BinDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			switch name := entry.Name(); {
			case claim.IsClaim(name):
				claims++
			case strings.HasPrefix(name, "."):
				t.Errorf("%s: leftover %s in %s", when, name, dir)
			}
		}
	}
	if claims != 1 {
		t.Errorf("%s: %d claims, want the one that this install announced", when, claims)
	}
}

func TestKillBeforeEachChangingCall(t *testing.T) {
	for _, upgrade := range []bool{false, true} {
		t.Run(fmt.Sprintf("upgrade=%v", upgrade), func(t *testing.T) {
			for at := 1; ; at++ {
				if !killedInstall(t, upgrade, at) {
					if at < 25 {
						t.Fatalf("the install ended after %d calls: the test no longer sees the calls that write", at-1)
					}
					return
				}
			}
		})
	}
}

// killedInstall tells whether the victim was killed; it was not when it makes fewer calls than that.
func killedInstall(t *testing.T, upgrade bool, at int) bool {
	t.Helper()
	when := fmt.Sprintf("killed before call %d", at)
	w := nodetest.New(t, filepath.Join(t.TempDir(), "w"), "v1")
	paths := []string{w.Host(node.ConfFile), w.Host(node.KubeconfigFile), w.Host(node.NodeNameFile), w.Plugin()}
	allowed := expected{}
	if upgrade {
		install(t, w)
		for _, path := range paths {
			allowed[path] = append(allowed[path], nodetest.Read(t, path))
		}
		w.SetPlugin(t, "v2")
		w.SetToken(t, "token-2")
		w.SetConf(t, "debug")
		w.Spec.NodeName = "node-1.example.org"
	} else {
		for _, path := range paths {
			allowed[path] = []string{""}
		}
	}
	files, err := w.Spec.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		allowed[w.Host(file.Name)] = append(allowed[w.Host(file.Name)], string(file.Content))
	}
	allowed[w.Plugin()] = append(allowed[w.Plugin()], nodetest.Read(t, w.Spec.Source))

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VICTIM_ROOT="+w.Root, "VICTIM_AT="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("%s: %v: %s", when, err, out)
	}
	allowed.check(t, when)
	checkSecrecy(t, w, when)
	install(t, w)
	checkWhole(t, w, when+", then installed again")
	return killed
}

// Every call that changes the host fails once, with the errors of a full, broken or forbidding disk in turn.
func TestErrorAtEachChangingCall(t *testing.T) {
	causes := []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EACCES, syscall.EROFS}
	for at := 1; ; at++ {
		cause := causes[at%len(causes)]
		w := nodetest.New(t, filepath.Join(t.TempDir(), "w"), "v1")
		calls, failed := 0, ""
		open := hostfstest.Wrap(hostfs.Open, func(call, name string) error {
			if calls++; calls == at {
				failed = call + " " + name
				return cause
			}
			return nil
		})
		_, err := node.Install(context.Background(), open, w.Spec)
		if failed == "" {
			if at < 25 {
				t.Fatalf("the install made only %d calls: the test no longer sees those that write", at-1)
			}
			return
		}
		if err == nil {
			t.Fatalf("%q failed and the install did not say so", failed)
		}
		if !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("%q: the message hides the cause: %v", failed, err)
		}
		checkSecrecy(t, w, failed)
		install(t, w)
		checkWhole(t, w, failed+" failed, then installed again")
	}
}
