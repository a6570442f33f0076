package refresh

import (
	"context"
	"time"

	"carvelwright.dev/payload/internal/claim"
)

// farewellLockTimeout: what holds the lock now may be an install of a newer pod, for which the configuration stays anyway.
const farewellLockTimeout = 500 * time.Millisecond

// farewell removes the network configuration, and nothing else, when the package itself is being removed: from then on this
// node's new pods would need a plugin whose kubeconfig nobody renews. In any doubt it stays.
func (l *Loop) farewell() {
	if l.Removed == nil || l.release == nil || l.Spec.Package.Network == nil {
		return
	}
	removed, why := l.Removed()
	if !removed {
		l.Logf("%s: %s stays", why, l.Spec.Package.Network.File)
		return
	}
	gone, err := l.removeNetwork()
	switch {
	case err != nil:
		l.Logf("%s, but %s could not be removed: %v", why, l.Spec.Package.Network.File, err)
	case gone:
		l.Logf("%s: removed %s", why, l.Spec.Package.Network.File)
	}
}

func (l *Loop) removeNetwork() (gone bool, err error) {
	p := l.Spec.Package
	dir, err := p.OpenDir(l.Open, l.Spec.ConfDir, p.Keys.ConfDir)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	sub, err := p.OpenSubDir(l.Open, l.Spec.ConfDir)
	if err != nil {
		return false, err
	}
	defer sub.Close()
	unlock, err := p.Lock(context.Background(), sub, p.Keys.ConfDir, farewellLockTimeout)
	if err != nil {
		return false, err
	}
	defer unlock()
	// A newer refresher sees to its own farewell. An install that only announced one does not count: its pod is being deleted too.
	top, found, err := p.Claims().Above(sub, l.mine.Number)
	if err != nil {
		return false, err
	}
	if found && top.Kind == claim.Held {
		l.Logf("a newer pod of the package maintains the files: %s stays", p.Network.File)
		return false, nil
	}
	return p.RemoveNetwork(dir)
}
