// Package hostfstest breaks the host's file system for tests: it stands between the installer and a real directory and calls
// a hook before every call that changes something.
package hostfstest

import (
	"context"
	"io"
	"io/fs"

	"carvelwright.dev/payload/internal/hostfs"
)

// Hook is told the call and the name it is for. Its error becomes the call's; it may also end the process.
type Hook func(call, name string) error

// Wrap gives an Opener whose directories ask hook first.
func Wrap(open hostfs.Opener, hook Hook) hostfs.Opener {
	return func(path string) (hostfs.Dir, error) {
		d, err := open(path)
		if err != nil {
			return nil, err
		}
		return dir{d, hook}, nil
	}
}

type dir struct {
	d    hostfs.Dir
	hook Hook
}

func (w dir) Path() string                             { return w.d.Path() }
func (w dir) Lstat(name string) (fs.FileInfo, error)   { return w.d.Lstat(name) }
func (w dir) Open(name string) (io.ReadCloser, error)  { return w.d.Open(name) }
func (w dir) Names() ([]string, error)                 { return w.d.Names() }
func (w dir) Lock(ctx context.Context) (func(), error) { return w.d.Lock(ctx) }
func (w dir) IsHeld(name string) (bool, error)         { return w.d.IsHeld(name) }
func (w dir) Close() error                             { return w.d.Close() }
func (w dir) ask(call, name string, do func() error) error {
	if err := w.hook(call, name); err != nil {
		return &fs.PathError{Op: call, Path: name, Err: err}
	}
	return do()
}

func (w dir) Sub(name string) (hostfs.Dir, error) {
	d, err := w.d.Sub(name)
	if err != nil {
		return nil, err
	}
	return dir{d, w.hook}, nil
}

func (w dir) CreateHeld(name string) (release func(), err error) {
	err = w.ask("create held", name, func() (err error) { release, err = w.d.CreateHeld(name); return err })
	return release, err
}

func (w dir) Mkdir(name string, mode fs.FileMode) error {
	return w.ask("mkdir", name, func() error { return w.d.Mkdir(name, mode) })
}

func (w dir) Create(name string, mode fs.FileMode) (hostfs.File, error) {
	var f hostfs.File
	err := w.ask("create", name, func() (err error) { f, err = w.d.Create(name, mode); return err })
	if err != nil {
		return nil, err
	}
	return file{f, name, w}, nil
}

func (w dir) Rename(from, to string) error {
	return w.ask("rename", to, func() error { return w.d.Rename(from, to) })
}

func (w dir) Remove(name string) error {
	return w.ask("remove", name, func() error { return w.d.Remove(name) })
}

func (w dir) Sync() error { return w.ask("sync directory", w.d.Path(), w.d.Sync) }

type file struct {
	f    hostfs.File
	name string
	d    dir
}

// Write writes in two halves with a question between them: a write that was cut short.
func (w file) Write(p []byte) (int, error) {
	half := len(p) / 2
	n, total := 0, 0
	err := w.d.ask("write", w.name, func() (err error) { n, err = w.f.Write(p[:half]); return err })
	total += n
	if err == nil {
		err = w.d.ask("write the rest", w.name, func() (err error) { n, err = w.f.Write(p[half:]); return err })
		total += n
	}
	if err != nil {
		return min(total, half), err
	}
	return total, nil
}

func (w file) Chmod(mode fs.FileMode) error {
	return w.d.ask("chmod", w.name, func() error { return w.f.Chmod(mode) })
}

func (w file) EndWriting() error { return w.d.ask("end writing", w.name, w.f.EndWriting) }

func (w file) Sync() error { return w.d.ask("fsync", w.name, w.f.Sync) }

func (w file) Close() error {
	err := w.d.hook("close", w.name)
	if closeErr := w.f.Close(); err == nil {
		err = closeErr // closed in any case: a descriptor must not leak into the test
	}
	return err
}
