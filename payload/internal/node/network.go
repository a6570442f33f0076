package node

import (
	"errors"
	"io/fs"

	"carvelwright.dev/payload/internal/hostfs"
)

// networkMode: the primary network's configuration, which is copied into the file, may hold what is not for everybody.
const networkMode = 0o600

// NetworkState is how the network configuration is on the host.
type NetworkState struct {
	Made
	Path    string // as this process sees it
	Right   bool   // it is on the host as it shall be
	Changed bool   // it was written
}

// LookAtNetwork tells how the network configuration is on the host, and writes nothing. previous is the file that the
// configuration was made from before; empty if that is not known.
func (s Spec) LookAtNetwork(open hostfs.Opener, previous string) (state NetworkState, err error) {
	dir, err := s.Package.OpenDir(open, s.ConfDir, s.Package.Keys.ConfDir)
	if err != nil {
		return state, err
	}
	defer dir.Close()
	state, file, err := s.makeNetwork(dir, previous)
	if err != nil {
		return state, err
	}
	state.Right, err = s.Package.Matches(dir, file)
	return state, err
}

// EnsureNetwork makes the network configuration what it shall be. The caller holds the lock of the package's directory. The
// error is ErrWaiting while the configuration cannot be made; one that is on the host stays then.
func (s Spec) EnsureNetwork(open hostfs.Opener, previous string) (state NetworkState, err error) {
	p := s.Package
	dir, err := p.OpenDir(open, s.ConfDir, p.Keys.ConfDir)
	if err != nil {
		return state, err
	}
	defer dir.Close()
	if _, err := p.temporary().RemoveLeftovers(dir); err != nil {
		return state, p.HostError("remove leftovers in", dir.Path(), dir, p.Keys.ConfDir, err)
	}
	state, file, err := s.makeNetwork(dir, previous)
	if err != nil {
		return state, err
	}
	state.Changed, err = p.Ensure(dir, file)
	state.Right = err == nil
	return state, err
}

func (s Spec) makeNetwork(dir hostfs.Dir, previous string) (state NetworkState, file File, err error) {
	state.Path = dir.Path() + "/" + s.Package.Network.File
	config, err := s.config()
	if err != nil {
		return state, file, err
	}
	state.Made, err = s.Package.Network.Make(s, config, dir, previous)
	return state, File{s.Package.Network.File, networkMode, state.Content}, err
}

// RemoveNetwork removes the network configuration from the configuration directory. The caller holds the lock of the package's
// directory, if there is one.
func (p Package) RemoveNetwork(dir hostfs.Dir) (removed bool, err error) {
	path := dir.Path() + "/" + p.Network.File
	fail := func(err error) error { return p.HostError("remove", path, dir, p.Keys.ConfDir, err) }
	if _, err := p.temporary().RemoveLeftovers(dir); err != nil {
		return false, fail(err)
	}
	err = dir.Remove(p.Network.File)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fail(err)
	}
	if err := dir.Sync(); err != nil {
		return true, fail(err)
	}
	return true, nil
}
