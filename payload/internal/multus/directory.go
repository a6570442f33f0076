package multus

import (
	"errors"
	"fmt"
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
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in between
		}
		found = append(found, candidate{name, text, err})
	}
	return found, nil
}

func readFile(dir hostfs.Dir, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		if errors.Is(err, hostfs.ErrNotRegular) {
			return nil, errors.New("is not a regular file")
		}
		return nil, fmt.Errorf("cannot be read: %w", err)
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
