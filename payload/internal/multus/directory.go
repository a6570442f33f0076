package multus

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
)

// read gives the files of the configuration directory that a runtime would read, ours excepted.
func read(p node.Package, dir hostfs.Dir) ([]candidate, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, p.HostError("list", dir.Path(), dir, p.Keys.ConfDir, err)
	}
	var found []candidate
	for _, name := range names {
		if name == ConfFile || !slices.Contains(confSuffixes(), filepath.Ext(name)) {
			continue
		}
		text, err := readFile(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errDirectory):
			continue // removed in between; or no file
		case errors.Is(err, fs.ErrPermission):
			err = p.HostError("read", dir.Path()+"/"+name, dir, p.Keys.ConfDir, err)
		}
		found = append(found, candidate{name, text, err})
	}
	return found, nil
}

var errDirectory = errors.New("is a directory")

func readFile(dir hostfs.Dir, name string) ([]byte, error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, errDirectory
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, errors.New("is a symbolic link: put the file itself there")
	case !info.Mode().IsRegular():
		return nil, hostfs.ErrNotRegular
	}
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return node.ReadLimited(f)
}

// upstream are the names that upstream's ways of installing Multus leave on a node.
func upstream() []string { return []string{"00-multus.conf", "00-multus.conflist", "multus.d"} }

// remains gives the configurations that need our plugin's file although ours is gone, and what else upstream left.
func remains(dir hostfs.Dir) (need, left []string, err error) {
	names, err := dir.Names()
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case name == ConfFile:
		case needsPlugin(dir, name):
			need = append(need, name)
		case slices.Contains(upstream(), name):
			left = append(left, name)
		}
	}
	return need, left, nil
}

func needsPlugin(dir hostfs.Dir, name string) bool {
	if !slices.Contains(confSuffixes(), filepath.Ext(name)) {
		return false
	}
	text, err := readFile(dir, name)
	if err == nil {
		_, err = parseConf(name, text)
	}
	return errors.Is(err, errOwn) && !errors.Is(err, errShim)
}
