package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
)

// subDirMode: the directory holds a bearer token, and only root (the container runtime, which runs the plugin) has business
// there. With 0755 the token's safety would hang on each file's mode alone. A directory that exists keeps its mode.
const subDirMode = 0o700

// OpenSubDir opens the package's directory on the host and makes it first when it is not there.
func (p Package) OpenSubDir(open hostfs.Opener, confDir string) (hostfs.Dir, error) {
	parent, err := p.OpenDir(open, confDir, p.Keys.ConfDir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	path := parent.Path() + "/" + p.SubDir
	info, err := parent.Lstat(p.SubDir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = parent.Mkdir(p.SubDir, subDirMode); err == nil {
			err = parent.Sync()
		} else if errors.Is(err, fs.ErrExist) {
			err = nil // another installer was quicker
		}
		if err == nil {
			info, err = parent.Lstat(p.SubDir)
		}
	}
	if err != nil {
		return nil, p.HostError("create the directory", path, parent, p.Keys.ConfDir, err)
	}
	if !info.IsDir() {
		return nil, notPlain(path, info, "directory", p.Keys.ConfDir)
	}
	dir, err := parent.Sub(p.SubDir)
	if err != nil {
		return nil, p.HostError("open the directory", path, parent, p.Keys.ConfDir, err)
	}
	return dir, nil
}

// OpenDir opens a mounted host directory; key is the package value that chose it.
func (p Package) OpenDir(open hostfs.Opener, path, key string) (hostfs.Dir, error) {
	dir, err := open(path)
	if err == nil {
		return dir, nil
	}
	e := &fault.Error{Code: fault.Host, What: "open the host's directory", Path: path, Err: cause(err)}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Do = fmt.Sprintf("set the package value %s to the directory that this node's container runtime uses", key)
	case errors.Is(err, fs.ErrPermission):
		e.Do = p.permissionAdvice(path)
	}
	return nil, e
}

// Ensure makes a file what it shall be and tells whether it had to write.
func (p Package) Ensure(dir hostfs.Dir, file File) (changed bool, err error) {
	right, err := p.Matches(dir, file)
	if err != nil || right {
		return false, err
	}
	if err := p.temporary().Replace(dir, file.Name, file.Mode, bytes.NewReader(file.Content), nil); err != nil {
		return false, p.HostError("write", dir.Path()+"/"+file.Name, dir, p.Keys.ConfDir, err)
	}
	return true, nil
}

// Matches tells whether the host's file has the content, mode and owner it shall have. A symbolic link, or anything else
// that is no plain file, is an error: somebody manages it by other means.
func (p Package) Matches(dir hostfs.Dir, file File) (bool, error) {
	path := dir.Path() + "/" + file.Name
	info, err := dir.Lstat(file.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, p.HostError("inspect", path, dir, p.Keys.ConfDir, err)
	}
	if !info.Mode().IsRegular() {
		return false, notPlain(path, info, "file", p.Keys.ConfDir)
	}
	if info.Mode() != file.Mode || hostfs.Owner(info) != os.Geteuid() || info.Size() != int64(len(file.Content)) {
		return false, nil
	}
	f, err := dir.Open(file.Name)
	if err != nil {
		return false, nil // what cannot be read is replaced
	}
	defer f.Close()
	text, err := ReadLimited(f)
	return err == nil && bytes.Equal(text, file.Content), nil
}

// Lock takes the lock of a host directory, for which it waits at most so long, and clears what killed installers left in it.
func (p Package) Lock(ctx context.Context, dir hostfs.Dir, key string, wait time.Duration) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	unlock, err = dir.Lock(ctx)
	if err != nil {
		e := &fault.Error{Code: fault.Host, What: "lock", Path: dir.Path(), Err: cause(err)}
		if errors.Is(err, hostfs.ErrLocked) {
			e.Do = "wait for the other pod of the package on this node to end"
		}
		return nil, e
	}
	if _, err := p.temporary().RemoveLeftovers(dir); err != nil {
		unlock()
		return nil, p.HostError("remove leftovers in", dir.Path(), dir, key, err)
	}
	return unlock, nil
}

// HostError turns a failed call on a host directory into what an operator can act on.
func (p Package) HostError(what, path string, dir hostfs.Dir, key string, err error) *fault.Error {
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	e := &fault.Error{Code: fault.Host, What: what, Path: path, Err: cause(err)}
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Do = p.permissionAdvice(dir.Path())
	case errors.Is(err, syscall.EROFS):
		e.Do = fmt.Sprintf("set the package value %s to a writable directory: this one is read-only", key)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Do = "free space on the node's disk; the file that was there is untouched"
	case errors.Is(err, fs.ErrNotExist):
		e.Do = fmt.Sprintf("set the package value %s to a directory that remains: this one was removed", key)
	}
	return e
}

func notPlain(path string, info fs.FileInfo, want, key string) *fault.Error {
	found := "is not a plain " + want
	if info.Mode()&fs.ModeSymlink != 0 {
		found = "is a symbolic link"
	} else if info.IsDir() {
		found = "is a directory"
	}
	return &fault.Error{Code: fault.Host, What: "refuse to write to", Path: path, Err: errors.New(found),
		Do: fmt.Sprintf("remove it (something else manages it), or set the package value %s to another directory", key)}
}

// cause strips the operation and path that the os package puts before the reason: the message has its own.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// permissionAdvice tells apart the two reasons why root inside a container is refused: a directory of another uid without
// the capability to pass over it, and everything else (SELinux, AppArmor, an immutable directory).
func (p Package) permissionAdvice(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Sprintf("set the package value %s to true if the directory belongs to another user", p.Keys.DACOverride)
	}
	owner, mode := hostfs.Owner(info), info.Mode().Perm()
	if owner != os.Geteuid() && !hasDACOverride() {
		return fmt.Sprintf("the directory belongs to uid %d with mode %04o and this container (uid %d) lacks DAC_OVERRIDE: set the package value %s to true",
			owner, mode, os.Geteuid(), p.Keys.DACOverride)
	}
	return fmt.Sprintf("the directory belongs to uid %d with mode %04o, this container runs as uid %d: look for SELinux, AppArmor or an immutable flag on the node",
		owner, mode, os.Geteuid())
}

// hasDACOverride reads the effective capabilities; CAP_DAC_OVERRIDE is bit 1.
func hasDACOverride() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if mask, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits&(1<<1) != 0
		}
	}
	return false
}
