// Package hostfs is the only way by which the installer reads and changes a directory of the node.
//
// A file is never written in place: Replace writes beside it and renames. Everything that changes the host goes through the
// Dir interface, so that a test can break, or kill the process at, each single call.
package hostfs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Dir is one open directory. Names are single path elements inside it; it does not follow a link out of itself.
type Dir interface {
	// Path is the directory's path as this process sees it; for messages and for running a file in it.
	Path() string
	Lstat(name string) (fs.FileInfo, error)
	// Open opens a regular file for reading and refuses everything else.
	Open(name string) (io.ReadCloser, error)
	Names() ([]string, error)
	// Sub opens a directory in this one.
	Sub(name string) (Dir, error)
	// Lock takes the advisory lock on the directory itself: it needs no file, and the kernel drops it when a process dies.
	Lock(ctx context.Context) (unlock func(), err error)
	// IsHeld tells whether a process that lives holds the file that CreateHeld made.
	IsHeld(name string) (bool, error)

	// CreateHeld makes a new empty file and holds a lock on it until release is called or the process dies. The file stays.
	CreateHeld(name string) (release func(), err error)
	Mkdir(name string, mode fs.FileMode) error
	// Create makes a new file; one that exists is an error.
	Create(name string, mode fs.FileMode) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes renames and removals in the directory durable.
	Sync() error
	Close() error
}

// File is a file that is being written.
type File interface {
	io.Writer
	Chmod(mode fs.FileMode) error
	// EndWriting says that the file is whole. From then on it can be run: the kernel runs nothing that is open for writing.
	EndWriting() error
	// Sync makes the content durable, also after EndWriting.
	Sync() error
	Close() error
}

// Opener opens a directory by path.
type Opener func(path string) (Dir, error)

// Open opens a directory of the real file system.
func Open(path string) (Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR} // os.OpenRoot gives no testable error
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &rootDir{root}, nil
}

type rootDir struct{ root *os.Root }

func (d *rootDir) Path() string { return d.root.Name() }

func (d *rootDir) Lstat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }

func (d *rootDir) Open(name string) (io.ReadCloser, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	// Should a pipe take the file's place in between, opening it must not hang.
	return d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func (d *rootDir) Names() ([]string, error) {
	self, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	return self.Readdirnames(-1)
}

func (d *rootDir) Sub(name string) (Dir, error) {
	sub, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &rootDir{sub}, nil
}

func (d *rootDir) Lock(ctx context.Context) (func(), error) {
	self, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(self.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = self.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = self.Close()
			return nil, &fs.PathError{Op: "lock", Path: d.Path(), Err: err}
		}
		select {
		case <-ctx.Done():
			_ = self.Close()
			return nil, &fs.PathError{Op: "lock", Path: d.Path(), Err: ErrLocked}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *rootDir) IsHeld(name string) (bool, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func (d *rootDir) CreateHeld(name string) (func(), error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return func() { _ = f.Close() }, nil
}

func (d *rootDir) Mkdir(name string, mode fs.FileMode) error { return d.root.Mkdir(name, mode) }

func (d *rootDir) Create(name string, mode fs.FileMode) (File, error) {
	w, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	// Open before the first byte is written: fsync tells a descriptor of the write errors since it was opened.
	r, err := d.root.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, errors.Join(err, w.Close(), d.root.Remove(name))
	}
	return &rootFile{w, r}, nil
}

// rootFile has a descriptor for writing, and one that stays when writing has ended.
type rootFile struct{ w, r *os.File }

func (f *rootFile) Write(p []byte) (int, error) { return f.w.Write(p) }

func (f *rootFile) Chmod(mode fs.FileMode) error { return f.w.Chmod(mode) }

func (f *rootFile) EndWriting() error { return f.w.Close() }

func (f *rootFile) Sync() error { return f.r.Sync() }

func (f *rootFile) Close() error {
	_ = f.w.Close() // closed already unless writing failed
	return f.r.Close()
}

func (d *rootDir) Rename(from, to string) error { return d.root.Rename(from, to) }

func (d *rootDir) Remove(name string) error { return d.root.Remove(name) }

func (d *rootDir) Sync() error {
	self, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	return self.Sync()
}

func (d *rootDir) Close() error { return d.root.Close() }

// ErrNotRegular says that a name is a link, directory, pipe or device where a plain file belongs.
var ErrNotRegular = errors.New("not a regular file")

// ErrLocked says that another process kept the directory's lock for longer than the caller would wait.
var ErrLocked = errors.New("another installer is working on this directory")

// Program is the name of the program that writes: its temporary files begin with it, so that it removes its own alone.
type Program string

const tempSuffix = ".tmp"

func (p Program) tempPrefix() string { return "." + string(p) + "-" }

func (p Program) tempName(name string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, as crypto/rand documents
	return p.tempPrefix() + name + "-" + hex.EncodeToString(random[:]) + tempSuffix
}

// Replace puts a file in place as a whole: a reader, or a node that loses power, sees the old file or the new one.
//
// check, when not nil, is given the finished temporary file's name before it takes the target's place; its error stops that.
// It works while the disk does. The mode is set before the file is synced so that one fsync makes both durable.
func (p Program) Replace(d Dir, name string, mode fs.FileMode, content io.Reader, check func(temp string) error) (err error) {
	temp := p.tempName(name)
	// 0600 until it is whole: it may hold a token, and nobody shall run half a binary.
	f, err := d.Create(temp, 0o600)
	if err != nil {
		return fmt.Errorf("create a file beside %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = d.Remove(temp)
		}
	}()
	if err := fill(f, mode, content); err != nil {
		return errors.Join(err, f.Close())
	}
	if check == nil {
		check = func(string) error { return nil }
	}
	checked := make(chan error, 1)
	go func() { checked <- check(temp) }()
	synced := errors.Join(f.Sync(), f.Close())
	if err := errors.Join(<-checked, synced); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		return err
	}
	return d.Sync()
}

func fill(f File, mode fs.FileMode, content io.Reader) error {
	// A plain writer and reader: io.Copy must not find a shortcut past the File interface.
	_, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, make([]byte, 256<<10))
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.EndWriting()
	}
	return err
}

// RemoveLeftovers removes the temporary files of the program's processes that were killed. The caller holds the directory's lock, so a
// temporary file that is there belongs to nobody.
func (p Program) RemoveLeftovers(d Dir) (removed []string, err error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, p.tempPrefix()) || !strings.HasSuffix(name, tempSuffix) {
			continue
		}
		if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// Owner gives the uid that a file belongs to.
func Owner(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
