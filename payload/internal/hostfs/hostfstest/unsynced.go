package hostfstest

import (
	"io/fs"

	"carvelwright.dev/payload/internal/hostfs"
)

// Unsynced gives an Opener whose directories and files leave it to the kernel when the disk is written. A process that is
// killed loses nothing by that, and a test of hundreds of them is not about the disk.
func Unsynced(open hostfs.Opener) hostfs.Opener {
	return func(path string) (hostfs.Dir, error) {
		d, err := open(path)
		if err != nil {
			return nil, err
		}
		return unsyncedDir{d}, nil
	}
}

type unsyncedDir struct{ hostfs.Dir }

func (unsyncedDir) Sync() error { return nil }

func (d unsyncedDir) Sub(name string) (hostfs.Dir, error) {
	sub, err := d.Dir.Sub(name)
	if err != nil {
		return nil, err
	}
	return unsyncedDir{sub}, nil
}

func (d unsyncedDir) Create(name string, mode fs.FileMode) (hostfs.File, error) {
	f, err := d.Dir.Create(name, mode)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ hostfs.File }

func (unsyncedFile) Sync() error { return nil }
