package node

import (
	"context"
	"time"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/values"
)

// installLockTimeout is how long a second installer on the node waits for the first, which may be writing 50 MB to a slow disk.
const installLockTimeout = time.Minute

// Install puts the files and then the plugin on the host, and checks that the plugin runs. It returns the paths it wrote.
func Install(ctx context.Context, open hostfs.Opener, spec Spec) (written []string, err error) {
	files, err := spec.Files()
	if err != nil {
		return nil, err
	}
	bin, err := OpenDir(open, spec.BinDir, values.BinDir)
	if err != nil {
		return nil, err
	}
	defer bin.Close()
	written, err = installFiles(ctx, open, spec, files)
	if err != nil {
		return written, err
	}
	changed, err := installPlugin(ctx, bin, spec.Source)
	if changed {
		written = append(written, bin.Path()+"/"+PluginFile)
	}
	return written, err
}

func installFiles(ctx context.Context, open hostfs.Opener, spec Spec, files []File) (written []string, err error) {
	sub, err := OpenSubDir(open, spec.ConfDir)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	unlock, err := Lock(ctx, sub, values.ConfDir, installLockTimeout)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Announced before anything is written: a refresher of an older pod stands back instead of putting its own files back.
	mine, _, err := claim.Take(sub, claim.Announced)
	if err != nil {
		return nil, HostError("write a claim in", sub.Path(), sub, values.ConfDir, err)
	}
	written, err = EnsureAll(sub, files)
	if err != nil {
		_ = claim.Remove(sub, mine)
	}
	return written, err
}

// EnsureAll makes all files of whereabouts.d what they shall be and returns the paths it wrote. The caller holds the lock.
func EnsureAll(sub hostfs.Dir, files []File) (written []string, err error) {
	for _, file := range files {
		changed, err := Ensure(sub, file)
		if err != nil {
			return written, err
		}
		if changed {
			written = append(written, sub.Path()+"/"+file.Name)
		}
	}
	return written, nil
}

func installPlugin(ctx context.Context, bin hostfs.Dir, source string) (changed bool, err error) {
	unlock, err := Lock(ctx, bin, values.BinDir, installLockTimeout)
	if err != nil {
		return false, err
	}
	defer unlock()
	return EnsurePlugin(ctx, bin, source)
}
