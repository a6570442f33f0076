// Package crashtest kills a process at each single call by which it changes the host.
//
// The victim is the test's own binary, started again: the kernel ends it as it ends any process on kill -9, with what it had
// written so far, and drops its locks.
package crashtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
)

// Victim works on the world under root; every directory it changes is opened by open.
type Victim func(root string, open hostfs.Opener) error

const (
	rootVariable = "CRASHTEST_ROOT"
	atVariable   = "CRASHTEST_AT"
)

// Main is a package's TestMain: it runs the tests or, when Killed started this process, the victim.
func Main(m *testing.M, victim Victim) {
	root := os.Getenv(rootVariable)
	if root == "" {
		os.Exit(m.Run())
	}
	at, err := strconv.Atoi(os.Getenv(atVariable))
	if err == nil {
		err = victim(root, dying(at))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Open opens directories of the real file system, for what comes before and after the victim.
var Open = hostfstest.Unsynced(hostfs.Open)

// dying opens directories in which it kills the process before the given changing call, counted from 1.
func dying(at int) hostfs.Opener {
	var calls atomic.Int64
	return hostfstest.Wrap(Open, func(string, string) error {
		if calls.Add(1) == int64(at) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
}

// ForEachCall runs try with 1, 2, 3 ... until it says that the victim came to its end; that must not be before the call least,
// or the victim's work has moved to where the test does not see it.
func ForEachCall(t *testing.T, least int, try func(at int) (killed bool)) {
	t.Helper()
	for at := 1; !t.Failed(); at++ {
		if try(at) {
			continue
		}
		if at <= least {
			t.Fatalf("the victim ended after %d changing calls, expected at least %d", at-1, least)
		}
		return
	}
}

// Killed runs the victim on the world under root and tells whether it was killed: it is not when it makes fewer calls.
func Killed(t *testing.T, root string, at int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rootVariable+"="+root, atVariable+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("the victim failed at call %d: %v: %s", at, err, out)
	}
	return killed
}
