package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Between SIGTERM and the process's end there is nothing but this; in a bubble time is exact. That what works normally ends at
// once is told by package refresh.
func TestEndsWithinASecondOfSIGTERM(t *testing.T) {
	for name, c := range map[string]struct {
		work func(ctx context.Context) error
		want time.Duration
	}{
		"work that ends": {func(ctx context.Context) error { <-ctx.Done(); return nil }, 0},
		"work that needs a moment": {func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(stopTimeout / 2)
			return nil
		}, stopTimeout / 2},
		"work that hangs": {func(context.Context) error { time.Sleep(time.Hour); return nil }, stopTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, terminate := context.WithCancel(t.Context())
				time.AfterFunc(time.Minute, terminate)
				begin := time.Now()
				err := untilStopped(ctx, stopTimeout, c.work)
				if took := time.Since(begin) - time.Minute; err != nil || took != c.want || took >= time.Second {
					t.Errorf("ended %s after SIGTERM, want %s (%v)", took, c.want, err)
				}
				time.Sleep(2 * time.Hour) // the bubble wants all of its goroutines to end
			})
		})
	}
}

func TestFailureEndsIt(t *testing.T) {
	no := errors.New("no")
	if err := untilStopped(t.Context(), stopTimeout, func(context.Context) error { return no }); !errors.Is(err, no) {
		t.Error(err)
	}
}

// The farewell's parts, one after the other, end within the pod's grace period, with time to spare for the removal itself.
func TestFarewellFitsIntoTheGracePeriod(t *testing.T) {
	const grace, lock = 5 * time.Second, 500 * time.Millisecond
	if farewellTimeout >= grace || 2*askTimeout+lock >= farewellTimeout {
		t.Errorf("asking takes %s, all %s", 2*askTimeout, farewellTimeout)
	}
}
