package node

import (
	"context"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"carvelwright.dev/payload/internal/hostfs"
)

// Guard keeps the plugin on the host right without reading 50 MB at each look: it reads the file again only when the kernel
// says that it is another file, or was written, renamed, or changed in mode or owner. It is for several callers at once.
type Guard struct {
	Package Package
	Source  string

	mutex sync.Mutex
	seen  *identity
}

type identity struct {
	dev, ino     uint64
	size         int64
	mode, uid    uint32
	mtime, ctime syscall.Timespec
}

func identify(info fs.FileInfo) *identity {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return &identity{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mode, stat.Uid, stat.Mtim, stat.Ctim}
}

// Check tells whether the host's plugin is the image's.
func (g *Guard) Check(bin hostfs.Dir) (bool, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	info, err := bin.Lstat(g.Package.Plugin)
	if err == nil {
		if now := identify(info); now != nil && g.seen != nil && *now == *g.seen {
			return true, nil
		}
	}
	right, err := g.Package.PluginMatches(bin, g.Source)
	if right && info != nil {
		// The identity from before the reading: a change during it is then seen at the next look.
		g.seen = identify(info)
	}
	return right, err
}

// Ensure puts the image's plugin back when the host's is not the same, and tells whether it did. It waits for the directory's
// lock at most so long; writing and running the plugin take the time that the node needs for it.
func (g *Guard) Ensure(ctx context.Context, bin hostfs.Dir, wait time.Duration) (changed bool, err error) {
	if right, err := g.Check(bin); right || err != nil {
		return false, err
	}
	unlock, err := g.Package.Lock(ctx, bin, g.Package.Keys.BinDir, wait)
	if err != nil {
		return false, err
	}
	defer unlock()
	return g.Package.EnsurePlugin(ctx, bin, g.Source)
}
