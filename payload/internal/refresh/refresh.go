// Package refresh keeps the plugin's files on the node right for as long as the pod lives.
package refresh

import (
	"context"
	"sync/atomic"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
)

// Timing of the loop.
const (
	// PollInterval heals what no event told: inotify does not see a change through another mount of some file systems.
	PollInterval = 30 * time.Second
	// settle gathers the events of one change (the kubelet renames, removes and makes several names) into one pass.
	settle = 100 * time.Millisecond
	// firstRetry and PollInterval bound the time from a failed pass to the next.
	firstRetry = time.Second
	// lockTimeout is short: the pass is tried again anyway.
	lockTimeout = 5 * time.Second
	// announcedFor is how long a refresher stands back for one that an install has announced but that has not come.
	announcedFor = time.Minute
)

// Loop is one refresher.
type Loop struct {
	Spec node.Spec
	Open hostfs.Opener
	Logf func(format string, args ...any)
	// Poll is PollInterval unless a test wants to see the healing, or the watching alone.
	Poll time.Duration
	// Removed, when not nil, is asked at the end whether the package is being removed from the cluster, and how it knows.
	Removed func() (removed bool, why string)
	// Watching begins to watch. A test whose time is not the kernel's gives its own.
	Watching func() (Watch, error)

	turned  atomic.Pointer[time.Time] // when the loop last came round
	standby atomic.Bool
	from    atomic.Pointer[string] // the file that the network configuration was last made from
	guard   node.Guard

	mine      claim.Claim
	release   func()
	announced claim.Claim
	since     time.Time
	lastErr   string
	why       string
	retry     time.Duration
}

// New gives a refresher for the real file system.
func New(spec node.Spec, logf func(format string, args ...any)) *Loop {
	return &Loop{Spec: spec, Open: hostfs.Open, Logf: logf, Poll: PollInterval, Watching: watchKernel, guard: node.Guard{Package: spec.Package, Source: spec.Source}}
}

// Run works until ctx is done, and then only takes its claim back: the files stay, for the running pods' DEL and for the next
// pod of the package, whose files these may be already. When the package itself is removed, its network configuration goes.
func (l *Loop) Run(ctx context.Context) error {
	defer l.withdraw()
	defer l.farewell()
	watch := l.beginWatch()
	defer watch.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now() // when the timer fires
	for {
		now := time.Now()
		l.turned.Store(&now)
		select {
		case <-ctx.Done():
			return nil
		case <-watch.Events:
			if soon := time.Now().Add(settle); soon.Before(due) {
				due = soon
				timer.Reset(settle)
			}
		case err := <-watch.Errors:
			l.Logf("watching: %v", err) // an event was lost: look now
			due = time.Now()
			timer.Reset(0)
		case <-timer.C:
			l.watchAll(watch)
			wait := l.next(l.pass(ctx), ctx.Err() != nil)
			due = time.Now().Add(wait)
			timer.Reset(wait)
		}
	}
}

// next logs how a pass went, each trouble once, and gives the time to the next one.
func (l *Loop) next(err error, ending bool) time.Duration {
	if err == nil || ending {
		if err == nil && l.lastErr != "" {
			l.Logf("recovered: the files are up to date")
			l.lastErr = ""
		}
		l.retry = firstRetry
		return l.Poll
	}
	if text := err.Error(); text != l.lastErr {
		l.Logf("%s", text)
		l.lastErr = text
	}
	wait := min(max(l.retry, firstRetry), l.Poll)
	l.retry = min(2*wait, PollInterval)
	return wait
}

// pass looks at everything once and puts right what is not.
func (l *Loop) pass(ctx context.Context) error {
	files, err := l.Spec.Files()
	if err != nil {
		return err
	}
	sub, err := l.Spec.Package.OpenSubDir(l.Open, l.Spec.ConfDir)
	if err != nil {
		return err
	}
	defer sub.Close()
	unlock, err := l.Spec.Package.Lock(ctx, sub, l.Spec.Package.Keys.ConfDir, lockTimeout)
	if err != nil {
		return err
	}
	defer unlock()
	if mine, err := l.keeps(sub); err != nil || !mine {
		return err
	}
	written, err := l.Spec.Package.EnsureAll(sub, files)
	for _, path := range written {
		l.Logf("wrote %s", path)
	}
	if err != nil {
		return err
	}
	if err := l.plugin(ctx); err != nil {
		return err
	}
	return l.network()
}

// network keeps the network configuration, and says from which file it is made when that is another one than before.
func (l *Loop) network() error {
	if l.Spec.Package.Network == nil {
		return nil
	}
	state, err := l.Spec.EnsureNetwork(l.Open, l.previous())
	if err == nil {
		l.from.Store(&state.From)
	}
	if state.Why != "" && state.Why != l.why {
		l.Logf("%s", state.Why)
		l.why = state.Why
	}
	if state.Changed {
		l.Logf("wrote %s", state.Path)
	}
	return err
}

func (l *Loop) plugin(ctx context.Context) error {
	if l.Spec.BinDir == "" {
		return nil
	}
	bin, err := l.Spec.Package.OpenDir(l.Open, l.Spec.BinDir, l.Spec.Package.Keys.BinDir)
	if err != nil {
		return err
	}
	defer bin.Close()
	changed, err := l.guard.Ensure(ctx, bin, lockTimeout)
	if changed {
		l.Logf("wrote %s/%s", bin.Path(), l.Spec.Package.Plugin)
	}
	return err
}

func (l *Loop) previous() string {
	if from := l.from.Load(); from != nil {
		return *from
	}
	return ""
}

// keeps tells whether this refresher is the one that keeps the files, and sees to its claim.
func (l *Loop) keeps(sub hostfs.Dir) (bool, error) {
	fail := func(err error) (bool, error) {
		return false, l.Spec.Package.HostError("inspect the claims in", sub.Path(), sub, l.Spec.Package.Keys.ConfDir, err)
	}
	top, found, err := l.Spec.Package.Claims().Above(sub, l.mine.Number)
	if err != nil {
		return fail(err)
	}
	// At the start everybody is above us, and we outrank them: the refresher that started last counts.
	if found && l.mine.Number > 0 && l.outranked(top) {
		return false, nil
	}
	if l.mine.Number > 0 && !found {
		if there, err := sub.IsHeld(l.mine.Name); err == nil && there {
			l.setStandby(false)
			return true, nil
		}
	}
	if l.release != nil {
		l.release()
		_ = claim.Remove(sub, l.mine)
	}
	l.mine, l.release, err = l.Spec.Package.Claims().Take(sub, claim.Held)
	if err != nil {
		return fail(err)
	}
	l.setStandby(false)
	return true, nil
}

// outranked tells whether to stand back for a claim above ours.
func (l *Loop) outranked(top claim.Claim) bool {
	if top.Kind == claim.Announced {
		if l.announced != top {
			l.announced, l.since = top, time.Now()
		}
		if time.Since(l.since) >= announcedFor {
			return false
		}
	}
	l.setStandby(true)
	return true
}

func (l *Loop) setStandby(standby bool) {
	was := l.standby.Swap(standby)
	switch {
	case standby && !was:
		l.Logf("a newer pod of the package runs on this node and maintains the files now")
	case was && !standby:
		l.Logf("the newer pod is gone; this pod maintains the files again")
	}
}

// withdraw takes the claim back, so that an older refresher that still lives need not wait for its poll.
func (l *Loop) withdraw() {
	if l.release == nil {
		return
	}
	if sub, err := l.Spec.Package.OpenSubDir(l.Open, l.Spec.ConfDir); err == nil {
		_ = claim.Remove(sub, l.mine)
		_ = sub.Close()
	}
	l.release()
}
