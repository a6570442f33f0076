package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"carvelwright.dev/payload/internal/crashtest"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/node/nodetest"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(boundedRoot); root != "" {
		installBounded(root)
	}
	crashtest.Main(m, func(root string, open hostfs.Opener) error {
		_, err := node.Install(context.Background(), open, nodetest.At(root).Spec)
		return err
	})
}

// An install announces one refresher and leaves nothing else.
const announced = 1

func TestKillBeforeEachChangingCall(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w nodetest.World){
		"fresh": func(*testing.T, nodetest.World) {},
		"upgrade": func(t *testing.T, w nodetest.World) {
			install(t, w)
			w.SetPlugin(t, "v2")
			w.SetToken(t, "token-2")
			w.SetConf(t, "debug")
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
				crashtest.ForEachCall(t, 28, func(at int) bool {
					when := fmt.Sprintf("killed before call %d", at)
					w := kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
					prepare(t, w)
					allowed := w.Before(t).Or(w.Wanted(t))
					killed := crashtest.Killed(t, w.Root, at)
					allowed.Check(t, when)
					w.CheckSecrecy(t, when)
					w.CheckOrder(t, when)
					install(t, w)
					w.CheckWhole(t, when+", then installed again", announced)
					return killed
				})
			})
		})
	}
}

// Every call that changes the host fails once, with the errors of a full, broken or forbidding disk in turn.
func TestErrorAtEachChangingCall(t *testing.T) {
	causes := []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EACCES, syscall.EROFS}
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		crashtest.ForEachCall(t, 28, func(at int) bool {
			cause := causes[at%len(causes)]
			w := kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
			failed := installFailing(t, w, at, cause)
			if failed == "" {
				return false
			}
			w.CheckSecrecy(t, failed)
			w.CheckOrder(t, failed)
			install(t, w)
			w.CheckWhole(t, failed+" failed, then installed again", announced)
			return true
		})
	})
}

// installFailing installs while the given changing call fails, and gives that call; "" when there are fewer.
func installFailing(t *testing.T, w nodetest.World, at int, cause syscall.Errno) (failed string) {
	t.Helper()
	calls := 0
	open := hostfstest.Wrap(crashtest.Open, func(call, name string) error {
		if calls++; calls == at {
			failed = call + " " + name
			return cause
		}
		return nil
	})
	_, err := node.Install(context.Background(), open, w.Spec)
	if failed == "" {
		return ""
	}
	if err == nil {
		t.Fatalf("%q failed and the install did not say so", failed)
	}
	if !strings.Contains(err.Error(), cause.Error()) {
		t.Errorf("%q: the message hides the cause: %v", failed, err)
	}
	return failed
}
