package main

import (
	"context"
	"os"
	"syscall"
	"time"
)

// turnLimit is how long a call waits for others of its node. One that hangs must not keep the others for ever: a turn only
// spares them from getting in each other's way, and is not what keeps addresses apart.
const turnLimit = 20 * time.Second

// turn waits until no other call of this node is at work, which holds the lock of the same directory, and returns what ends
// the turn. It returns without one at turnLimit, with ctx, and where there is nothing to lock.
func turn(ctx context.Context, directory string) (end func()) {
	shared, err := os.Open(directory)
	if err != nil {
		return func() {}
	}
	locked := make(chan error, 1)
	go func() {
		for {
			if err := syscall.Flock(int(shared.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
				locked <- err
				return
			}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	select {
	case <-locked:
		return func() { _ = shared.Close() }
	case <-ctx.Done():
		// The file stays open for the lock that is still to come: it ends with this process.
		return func() {}
	}
}
