package refresh_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
	"carvelwright.dev/payload/internal/whereabouts"
)

// never is a poll that does not come within a test: what is healed then was healed by an event.
const never = time.Hour

type running struct {
	*refresh.Loop
	stop  func()
	mutex sync.Mutex
	lines []string
}

func (r *running) log() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return strings.Join(r.lines, "\n")
}

// start runs a refresher until the test ends or stop is called; stop waits for its end.
func start(t *testing.T, spec node.Spec, poll time.Duration, change ...func(*refresh.Loop)) *running {
	t.Helper()
	r := &running{}
	r.Loop = refresh.New(spec, func(format string, args ...any) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.lines = append(r.lines, fmt.Sprintf(format, args...))
	})
	r.Poll = poll
	for _, f := range change {
		f(r.Loop)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(r.stop)
	return r
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func holds(path, text string) func() bool {
	return func() bool {
		found, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(found), text)
	}
}

func ready(r *running) func() bool {
	return func() bool { return answer(r.Loop, probe.Readiness) == nil }
}

// kubelet projects a token as it does in a pod: a directory per version and one link that is renamed.
func kubelet(t *testing.T, dir string, version int, token string) {
	t.Helper()
	data := fmt.Sprintf("..2026_%d", version)
	nodetest.Write(t, filepath.Join(dir, data, "token"), token, 0o600)
	nodetest.Write(t, filepath.Join(dir, data, "ca.crt"), nodetest.CA, 0o600)
	link := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"token", "ca.crt"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if version > 0 {
		if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", version-1))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokenRotation(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		t.Parallel()
		w := kind.New(t, t.TempDir(), "v1")
		w.Spec.ServiceAccountDir = filepath.Join(w.Root, "projected")
		kubelet(t, w.Spec.ServiceAccountDir, 0, "secret-0")
		p := &passes{}
		r := start(t, w.Spec, never, p.count)
		for version := 1; version < 4; version++ {
			p.quiet(t)
			token := fmt.Sprintf("secret-%d", version)
			kubelet(t, w.Spec.ServiceAccountDir, version, token)
			eventually(t, token, holds(w.Kubeconfig(), token))
		}
		if strings.Contains(r.log(), "secret") {
			t.Errorf("the log shows a token:\n%s", r.log())
		}
	})
}

func TestConfChange(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		t.Parallel()
		w := kind.New(t, t.TempDir(), "v1")
		p := &passes{}
		r := start(t, w.Spec, never, p.count)
		eventually(t, "ready", ready(r))
		p.quiet(t)
		w.SetConf(t, "panic")
		eventually(t, "new conf", holds(w.Conf(), "panic"))
	})
}

// A container that starts with another API server address makes the kubeconfig anew.
func TestAPIServerAddressChange(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	r := start(t, w.Spec, never)
	eventually(t, "first address", holds(w.Host(whereabouts.KubeconfigFile), "https://10.96.0.1:443"))
	r.stop()
	w.Spec.APIHost, w.Spec.APIPort = "fd00:10:96::1", "6443"
	start(t, w.Spec, never)
	eventually(t, "second address", holds(w.Host(whereabouts.KubeconfigFile), "https://[fd00:10:96::1]:6443"))
}

// whole looks at the host by other means than the refresher does.
func whole(w nodetest.World) bool {
	files, err := w.Spec.Files()
	if err != nil {
		return false
	}
	source, err := os.ReadFile(w.Spec.Source)
	if err != nil {
		return false
	}
	right := is(w.Plugin(), string(source), 0o755)
	for _, file := range files {
		right = right && is(w.Host(file.Name), string(file.Content), 0o600)
	}
	if w.Spec.Package.Network == nil {
		return right
	}
	state, err := w.Spec.LookAtNetwork(hostfs.Open, "")
	return right && err == nil && is(w.Conf(), string(state.Content), 0o600)
}

func is(path, text string, mode os.FileMode) bool {
	found, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode() == mode && string(found) == text
}

func TestRestoresWhatSomebodyDeletesOrEdits(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	p := &passes{}
	r := start(t, w.Spec, never, p.count)
	eventually(t, "ready", ready(r))
	for name, harm := range map[string]func(){
		"kubeconfig deleted":      func() { os.Remove(w.Host(whereabouts.KubeconfigFile)) },
		"kubeconfig edited":       func() { os.WriteFile(w.Host(whereabouts.KubeconfigFile), []byte("mine"), 0o600) },
		"kubeconfig opened":       func() { os.Chmod(w.Host(whereabouts.KubeconfigFile), 0o644) },
		"conf truncated":          func() { os.Truncate(w.Host(whereabouts.ConfFile), 0) },
		"nodename replaced":       func() { nodetest.Write(t, w.Host(whereabouts.NodeNameFile), "other", 0o600) },
		"whereabouts.d deleted":   func() { os.RemoveAll(w.Host("")) },
		"plugin deleted":          func() { os.Remove(w.Plugin()) },
		"plugin replaced":         func() { nodetest.Write(t, w.Plugin(), "#!/bin/sh\n", 0o755) },
		"plugin no longer for us": func() { os.Chmod(w.Plugin(), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			p.quiet(t)
			harm()
			eventually(t, "ready again", func() bool { return whole(w) && ready(r)() })
		})
	}
	r.stop()
	if len(r.lines) < 10 {
		t.Errorf("too few repairs were logged:\n%s", r.log())
	}
}

// The refresher's own writes are events, too: they end, or it would never be idle.
func TestOwnEventsDie(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		t.Parallel()
		w := kind.New(t, t.TempDir(), "v1")
		p := &passes{}
		r := start(t, w.Spec, never, p.count)
		eventually(t, "ready", ready(r))
		w.SetToken(t, "token-2")
		eventually(t, "written", func() bool { return whole(w) })
		p.quiet(t)
	})
}

// To the kernel a directory that is made anew is another one, which nobody watches.
func TestWatchesADirectoryThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	p := &passes{}
	r := start(t, w.Spec, never, p.count)
	eventually(t, "ready", ready(r))
	for i := range 3 {
		must(t, os.Rename(w.Host(""), filepath.Join(w.Root, fmt.Sprint("gone-", i))))
		eventually(t, "made anew", func() bool { return whole(w) })
		p.quiet(t)
		must(t, os.Remove(w.Host(whereabouts.ConfFile)))
		eventually(t, "mended in the new directory", func() bool { return whole(w) })
	}
}

// The poll heals what inotify cannot see: here the directory behind a link, which is exchanged as a whole.
func TestPollHealsAMissedEvent(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	first, second := filepath.Join(w.Root, "first"), filepath.Join(w.Root, "second")
	kubelet(t, first, 0, "secret-first")
	kubelet(t, second, 0, "secret-second")
	w.Spec.ServiceAccountDir = filepath.Join(w.Root, "link")
	if err := os.Symlink(first, w.Spec.ServiceAccountDir); err != nil {
		t.Fatal(err)
	}
	r := start(t, w.Spec, 50*time.Millisecond)
	eventually(t, "ready", ready(r))
	time.Sleep(300 * time.Millisecond) // until the refresher's own writes have caused no more events
	if err := os.Symlink(second, w.Spec.ServiceAccountDir+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.Spec.ServiceAccountDir+".new", w.Spec.ServiceAccountDir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other token", holds(w.Host(whereabouts.KubeconfigFile), "secret-second"))
}

func TestEndLeavesTheFilesAndNoClaim(t *testing.T) {
	w := nodetest.New(t, t.TempDir(), "v1")
	r := start(t, w.Spec, never)
	eventually(t, "ready", ready(r))
	r.stop()
	nodetest.Read(t, w.Host(whereabouts.KubeconfigFile))
	nodetest.Read(t, w.Plugin())
	entries, err := os.ReadDir(w.Host(""))
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestTroubleIsLoggedOnceAndHeals(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	r := start(t, w.Spec, 20*time.Millisecond)
	eventually(t, "ready", ready(r))
	token := filepath.Join(w.Spec.ServiceAccountDir, "token")
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	eventually(t, "complaint", func() bool { return strings.Contains(r.log(), "token") })
	if ready(r)() {
		t.Error("ready without a token")
	}
	time.Sleep(200 * time.Millisecond) // several polls
	w.SetToken(t, "secret-again")
	eventually(t, "healed", func() bool { return strings.Contains(r.log(), "recovered: the files are up to date") })
	if n := strings.Count(r.log(), "read the service account token"); n != 1 {
		t.Errorf("complained %d times", n)
	}
}

// Old and new pod side by side: the newer one keeps the files, neither undoes the other's work, and the old one takes over
// again when the new one goes: at once when it ends, and at the next poll when it was killed.
func TestRollingUpdateAndRollback(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		t.Parallel()
		w := kind.New(t, t.TempDir(), "v1")
		old := start(t, w.Spec, 100*time.Millisecond)
		eventually(t, "old ready", ready(old))

		n := w
		n.Spec.ServiceAccountDir = filepath.Join(w.Root, "new-sa")
		kubelet(t, n.Spec.ServiceAccountDir, 0, "secret-new")
		n.Spec.Source = filepath.Join(w.Root, "new-image", "plugin")
		n.SetPlugin(t, "v2")
		if _, err := node.Install(context.Background(), hostfs.Open, n.Spec); err != nil {
			t.Fatal(err)
		}
		eventually(t, "old stands back", func() bool { return strings.Contains(old.log(), "newer pod") })
		before := old.log()
		time.Sleep(400 * time.Millisecond) // several polls of the old one
		if old.log() != before || !holds(w.Kubeconfig(), "secret-new")() || !holds(w.Plugin(), "v2")() {
			t.Fatalf("the old pod undid the new one's install:\n%s", old.log())
		}
		if !ready(old)() {
			t.Error("the old pod is not ready while the new one keeps the files")
		}

		newer := start(t, n.Spec, never)
		eventually(t, "new ready", ready(newer))
		old.stop()
		time.Sleep(100 * time.Millisecond)
		if !ready(newer)() || strings.Contains(newer.log(), "newer pod") {
			t.Errorf("the new pod lost the files:\n%s", newer.log())
		}

		again := start(t, w.Spec, 100*time.Millisecond)
		eventually(t, "rolled back", holds(w.Kubeconfig(), "token-1"))
		eventually(t, "new one stands back", func() bool { return strings.Contains(newer.log(), "newer pod") })
		again.stop()
		eventually(t, "new one is back", holds(w.Kubeconfig(), "secret-new"))
	})
}

// A refresher that was killed leaves its claim without a holder: it does not count.
func TestClaimOfAKilledRefresherDoesNotCount(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	r := start(t, w.Spec, 50*time.Millisecond)
	eventually(t, "ready", ready(r))
	dir, err := hostfs.Open(w.Host(""))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, release, err := claim.Program(whereabouts.Program).Take(dir, claim.Held)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "stands back", func() bool { return strings.Contains(r.log(), "newer pod") })
	nodetest.Write(t, w.Host(whereabouts.ConfFile), "theirs", 0o600)
	release() // as the kernel does for a killed process: the file stays
	eventually(t, "back", func() bool { return strings.Contains(r.log(), "maintains the files again") && ready(r)() })
}

// A disk that fails now and then does not end the loop, and never leaves less than a whole file.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	w := nodetest.New(t, t.TempDir(), "v1")
	var mutex sync.Mutex
	calls := 0
	r := start(t, w.Spec, 20*time.Millisecond, func(l *refresh.Loop) {
		l.Open = hostfstest.Wrap(hostfs.Open, func(string, string) error {
			mutex.Lock()
			defer mutex.Unlock()
			if calls++; calls%7 == 0 && calls < 100 {
				return os.ErrPermission
			}
			return nil
		})
	})
	for version := range 5 {
		token := fmt.Sprintf("secret-%d", version)
		w.SetToken(t, token)
		eventually(t, token, holds(w.Host(whereabouts.KubeconfigFile), token))
	}
	eventually(t, "ready", ready(r))
	if !strings.Contains(r.log(), "permission denied") {
		t.Error("no failure was logged")
	}
}

func answer(l *refresh.Loop, question string) error {
	_, err := l.Answer(question)
	return err
}
