package node

import (
	"context"
	"errors"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
)

// installLockTimeout is how long a second installer on the node waits for the first, which may be writing 50 MB to a slow disk.
const installLockTimeout = time.Minute

// Installed says what an install did.
type Installed struct {
	Written []string // paths, in the order of writing
	Network string   // what became of the network configuration; empty for a package without one
}

// Install puts the files, then the plugin, and last the network configuration on the host, and checks that the plugin runs.
// A network configuration that cannot be made yet is no error: the refresher makes it as soon as it can.
func Install(ctx context.Context, open hostfs.Opener, spec Spec) (done Installed, err error) {
	p := spec.Package
	files, err := spec.Files()
	if err != nil {
		return done, err
	}
	bin, err := p.OpenDir(open, spec.BinDir, p.Keys.BinDir)
	if err != nil {
		return done, err
	}
	defer bin.Close()
	sub, err := p.OpenSubDir(open, spec.ConfDir)
	if err != nil {
		return done, err
	}
	defer sub.Close()
	var mine claim.Claim
	mine, done.Written, err = installFiles(ctx, sub, p, files)
	if err != nil {
		return done, err
	}
	changed, err := installPlugin(ctx, bin, spec)
	if changed {
		done.Written = append(done.Written, bin.Path()+"/"+p.Plugin)
	}
	if err != nil || p.Network == nil {
		return done, err
	}
	return done, installNetwork(ctx, open, sub, spec, mine, &done)
}

func installFiles(ctx context.Context, sub hostfs.Dir, p Package, files []File) (mine claim.Claim, written []string, err error) {
	unlock, err := p.Lock(ctx, sub, p.Keys.ConfDir, installLockTimeout)
	if err != nil {
		return mine, nil, err
	}
	defer unlock()
	// Announced before anything is written: a refresher of an older pod stands back instead of putting its own files back.
	mine, _, err = p.Claims().Take(sub, claim.Announced)
	if err != nil {
		return mine, nil, p.HostError("write a claim in", sub.Path(), sub, p.Keys.ConfDir, err)
	}
	written, err = p.EnsureAll(sub, files)
	if err != nil {
		_ = claim.Remove(sub, mine)
	}
	return mine, written, err
}

// EnsureAll makes all files of the package's directory what they shall be and returns the paths it wrote. The caller holds
// the lock.
func (p Package) EnsureAll(sub hostfs.Dir, files []File) (written []string, err error) {
	for _, file := range files {
		changed, err := p.Ensure(sub, file)
		if err != nil {
			return written, err
		}
		if changed {
			written = append(written, sub.Path()+"/"+file.Name)
		}
	}
	return written, nil
}

func installPlugin(ctx context.Context, bin hostfs.Dir, spec Spec) (changed bool, err error) {
	unlock, err := spec.Package.Lock(ctx, bin, spec.Package.Keys.BinDir, installLockTimeout)
	if err != nil {
		return false, err
	}
	defer unlock()
	return spec.Package.EnsurePlugin(ctx, bin, spec.Source)
}

func installNetwork(ctx context.Context, open hostfs.Opener, sub hostfs.Dir, spec Spec, mine claim.Claim, done *Installed) error {
	p := spec.Package
	unlock, err := p.Lock(ctx, sub, p.Keys.ConfDir, installLockTimeout)
	if err != nil {
		return err
	}
	defer unlock()
	if err := ctx.Err(); err != nil {
		// The pod is being deleted, maybe with the package: there would be nobody to remove the configuration again.
		return &fault.Error{Code: fault.Internal, What: "stopped before " + p.Network.File + " was written", Err: err}
	}
	_, newer, err := p.Claims().Above(sub, mine.Number)
	if err != nil {
		return p.HostError("inspect the claims in", sub.Path(), sub, p.Keys.ConfDir, err)
	}
	if newer {
		done.Network = "a newer pod of the package maintains " + p.Network.File
		return nil
	}
	network, err := spec.EnsureNetwork(open, "")
	if errors.Is(err, ErrWaiting) {
		done.Network = err.Error()
		return nil
	}
	if network.Changed {
		done.Written = append(done.Written, network.Path)
	}
	done.Network = network.Why
	return err
}
