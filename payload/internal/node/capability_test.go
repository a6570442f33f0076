package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/values"
)

const (
	capDACOverride = 1
	prCapBSetDrop  = 24
	boundedRoot    = "BOUNDED_ROOT"
)

// bounded runs an install on the world under root as a container does whose capabilities are all dropped but those to keep.
func bounded(t *testing.T, root string, keep ...int) (fault.Code, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has capabilities to drop")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), boundedRoot+"="+root, "BOUNDED_KEEP="+fmt.Sprint(keep))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return fault.Code(cmd.ProcessState.ExitCode()), string(out)
}

// installBounded is what bounded starts: it drops the capabilities, becomes itself anew without them, and installs.
func installBounded(root string) {
	if keep := os.Getenv("BOUNDED_KEEP"); keep != "" {
		runtime.LockOSThread() // the bounding set is a thread's, until execve makes it the process's
		kept := strings.Fields(strings.Trim(keep, "[]"))
		for number, errno := 0, syscall.Errno(0); errno != syscall.EINVAL; number++ { // EINVAL: there is no such capability any more
			if slices.Contains(kept, strconv.Itoa(number)) {
				continue
			}
			if _, _, errno = syscall.RawSyscall(syscall.SYS_PRCTL, prCapBSetDrop, uintptr(number), 0); errno != 0 && errno != syscall.EINVAL {
				panic(errno)
			}
		}
		panic(syscall.Exec(os.Args[0], os.Args, []string{boundedRoot + "=" + root}))
	}
	_, err := node.Install(context.Background(), hostfs.Open, nodetest.At(root).Spec)
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(int(fault.CodeOf(err)))
}

// strangers makes the host's directories another user's.
func strangers(t *testing.T, w nodetest.World) {
	t.Helper()
	for _, dir := range []string{w.Spec.BinDir, w.Spec.ConfDir} {
		if err := os.Chown(dir, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectoriesOfAnotherUser(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give directories away")
		}
		w := kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
		strangers(t, w)
		code, out := bounded(t, w.Root)
		if code != fault.Host {
			t.Errorf("code %d", code)
		}
		for _, word := range []string{"permission denied", "uid 1000", "mode 0755", "DAC_OVERRIDE", w.Spec.Package.Keys.DACOverride} {
			if !strings.Contains(out, word) {
				t.Errorf("%q does not say %q", out, word)
			}
		}
		if entries, _ := os.ReadDir(w.Spec.BinDir); len(entries) != 0 {
			t.Errorf("left behind: %v", entries)
		}
		if code, out := bounded(t, w.Root, capDACOverride); code != fault.OK {
			t.Errorf("with DAC_OVERRIDE alone: %d %s", code, out)
		}
		w.CheckWhole(t, "with DAC_OVERRIDE alone", announced)
	})
}

// Without any capability root is a user like another, in directories that are its own.
func TestNoCapabilityIsNeeded(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		w := kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
		if code, out := bounded(t, w.Root); code != fault.OK {
			t.Errorf("%d %s", code, out)
		}
		if os.Geteuid() == 0 {
			w.CheckWhole(t, "without capabilities", announced)
		}
	})
}

// Where the owner is not the reason, the value that adds DAC_OVERRIDE is not the advice.
func TestPermissionThatDACOverrideWouldNotGive(t *testing.T) {
	w := nodetest.New(t, filepath.Join(t.TempDir(), "w"), "v1")
	if err := os.Chmod(w.Spec.BinDir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(w.Spec.BinDir, 0o755) })
	code, out := bounded(t, w.Root)
	if code != fault.Host || !strings.Contains(out, "mode 0555") || !strings.Contains(out, "SELinux") || strings.Contains(out, values.DACOverride) {
		t.Errorf("%d %s", code, out)
	}
}
