package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"carvelwright.dev/payload/internal/crashtest"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/hostfs/hostfstest"
	"carvelwright.dev/payload/internal/node/nodetest"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
)

func TestMain(m *testing.M) { crashtest.Main(m, untilReady) }

// untilReady is a refresher that ends, as on SIGTERM, when all is as it shall be.
func untilReady(root string, open hostfs.Opener) error {
	loop := refresh.New(nodetest.At(root).Spec, func(string, ...any) {})
	var claimed atomic.Bool // it has looked at the host: all may have been right before
	loop.Open = hostfstest.Wrap(open, func(call, _ string) error {
		claimed.Store(claimed.Load() || call == "create held")
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()
	for (!claimed.Load() || answer(loop, probe.Readiness) != nil) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	late := ctx.Err()
	cancel()
	return errors.Join(late, <-ended)
}

// The files are rewritten while the old ones are in use: token, conf and plugin have all changed.
func TestKillBeforeEachChangingCall(t *testing.T) {
	nodetest.Each(t, func(t *testing.T, kind nodetest.Kind) {
		crashtest.ForEachCall(t, 28, func(at int) bool {
			when := fmt.Sprintf("killed before call %d", at)
			w := kind.New(t, filepath.Join(t.TempDir(), "w"), "v1")
			if err := untilReady(w.Root, crashtest.Open); err != nil {
				t.Fatal(err)
			}
			w.SetPlugin(t, "v2")
			w.SetToken(t, "token-2")
			w.SetConf(t, "debug")
			allowed := w.Before(t).Or(w.Wanted(t))
			killed := crashtest.Killed(t, w.Root, at)
			allowed.Check(t, when)
			w.CheckSecrecy(t, when)
			if err := untilReady(w.Root, crashtest.Open); err != nil {
				t.Fatalf("%s, then started again: %v", when, err)
			}
			w.CheckWhole(t, when+", then started again", 0)
			return killed
		})
	})
}
