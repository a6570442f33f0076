// Package cleanup takes from a node what the package put there. It runs only when somebody asks for it.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/node"
)

const lockTimeout = 30 * time.Second

// shownHolders is how many of the pods that hold addresses a refusal names.
const shownHolders = 5

// Options say where and how thoroughly.
type Options struct {
	Package         node.Package
	ConfDir, BinDir string
	Source          string // the image's plugin: the host's must be the same unless Force
	Force           bool
}

// Holders refuses when a pool still has allocations: without the plugin the pods' DEL fails, and their addresses stay taken.
func Holders(pools []ipam.Pool) error {
	var holders []string
	for _, pool := range pools {
		for key, owner := range pool.Spec.Allocations {
			who := owner.PodRef
			if who == "" {
				who = fmt.Sprintf("nobody (allocation %s of pool %s)", key, pool.Metadata.Ref())
			}
			holders = append(holders, who)
		}
	}
	if len(holders) == 0 {
		return nil
	}
	slices.Sort(holders)
	count := len(holders)
	holders = slices.Compact(holders)
	shown := strings.Join(holders[:min(len(holders), shownHolders)], ", ")
	if len(holders) > shownHolders {
		shown += ", ..."
	}
	return &fault.Error{Code: fault.Refused, What: fmt.Sprintf("refuse to clean up: %d addresses are still held, by %s", count, shown),
		Do: "delete these pods first, or use --force (their DEL then fails on this node)"}
}

// Run removes the network configuration, the files and, last, the plugin: as long as it is there, a DEL fails for want of a file at worst and not with
// "plugin not found", which some runtimes take for a broken node. It checks everything before it removes anything, and what is
// gone already is no error, so that a cleanup that was interrupted can be repeated.
func Run(ctx context.Context, open hostfs.Opener, o Options) (removed []string, err error) {
	bin, err := o.Package.OpenDir(open, o.BinDir, o.Package.Keys.BinDir)
	if err != nil {
		return nil, err
	}
	defer bin.Close()
	if err := o.checkPlugin(bin); err != nil {
		return nil, err
	}
	conf, err := o.Package.OpenDir(open, o.ConfDir, o.Package.Keys.ConfDir)
	if err != nil {
		return nil, err
	}
	defer conf.Close()
	if err := o.checkNetwork(conf, bin); err != nil {
		return nil, err
	}
	if removed, err = o.removeFiles(ctx, conf); err != nil {
		return removed, err
	}
	return o.removePlugin(ctx, bin, removed)
}

func (o Options) checkPlugin(bin hostfs.Dir) error {
	path := bin.Path() + "/" + o.Package.Plugin
	info, err := bin.Lstat(o.Package.Plugin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return o.Package.HostError("inspect", path, bin, o.Package.Keys.BinDir, err)
	}
	if !info.Mode().IsRegular() {
		return &fault.Error{Code: fault.Refused, What: "refuse to remove", Path: path, Err: hostfs.ErrNotRegular,
			Do: "remove it by hand: the package did not install it"}
	}
	if o.Force {
		return nil
	}
	right, err := o.Package.PluginMatches(bin, o.Source)
	if err != nil {
		return err
	}
	if !right {
		return &fault.Error{Code: fault.Refused, What: "refuse to remove", Path: path, Err: errors.New("it is not this image's plugin"),
			Do: "use the image of the version that is installed, or --force"}
	}
	return nil
}

// removeFiles removes the network configuration, empties the package's directory of what is ours, the token first, and removes
// it when nothing else is in it.
func (o Options) removeFiles(ctx context.Context, conf hostfs.Dir) (removed []string, err error) {
	sub, err := o.openSubDir(conf)
	if errors.Is(err, fs.ErrNotExist) {
		return o.removeNetwork(conf)
	}
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	unlock, err := o.Package.Lock(ctx, sub, o.Package.Keys.ConfDir, lockTimeout)
	if err != nil {
		return nil, err
	}
	defer unlock()
	names, err := o.oursIn(sub)
	if err != nil {
		return nil, err
	}
	if removed, err = o.removeNetwork(conf); err != nil {
		return removed, err
	}
	for _, name := range names {
		path := conf.Path() + "/" + o.Package.SubDir
		switch err := sub.Remove(name); {
		case err == nil:
			removed = append(removed, path+"/"+name)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, o.Package.HostError("remove "+name+" in", path, conf, o.Package.Keys.ConfDir, err)
		}
	}
	return o.removeSubDir(conf, sub, removed)
}

// openSubDir opens the package's directory; the error is fs.ErrNotExist when there is none.
func (o Options) openSubDir(conf hostfs.Dir) (hostfs.Dir, error) {
	path := conf.Path() + "/" + o.Package.SubDir
	info, err := conf.Lstat(o.Package.SubDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, o.Package.HostError("look at", path, conf, o.Package.Keys.ConfDir, err)
	}
	if !info.IsDir() {
		return nil, &fault.Error{Code: fault.Refused, What: "refuse to remove", Path: path, Err: errors.New("it is not a directory"),
			Do: "remove it by hand: the package did not install it"}
	}
	sub, err := conf.Sub(o.Package.SubDir)
	if err != nil {
		return nil, o.Package.HostError("open", path, conf, o.Package.Keys.ConfDir, err)
	}
	return sub, nil
}

func (o Options) removeSubDir(conf, sub hostfs.Dir, removed []string) ([]string, error) {
	path := conf.Path() + "/" + o.Package.SubDir
	fail := func(what string, err error) error {
		return o.Package.HostError(what, path, conf, o.Package.Keys.ConfDir, err)
	}
	if err := sub.Sync(); err != nil {
		return removed, fail("write", err)
	}
	if left, err := sub.Names(); err != nil || len(left) > 0 {
		return removed, err // somebody else's files: their directory, too
	}
	if err := conf.Remove(o.Package.SubDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return removed, fail("remove", err)
	}
	removed = append(removed, path)
	if err := conf.Sync(); err != nil {
		return removed, fail("write", err)
	}
	return removed, nil
}

// oursIn lists what to remove, and refuses while a refresher lives that would put it back.
func (o Options) oursIn(sub hostfs.Dir) ([]string, error) {
	names := append([]string{o.Package.Kubeconfig}, o.Package.OtherFiles...)
	claims, err := o.Package.Claims().List(sub)
	if err != nil {
		return nil, o.Package.HostError("inspect the claims in", sub.Path(), sub, o.Package.Keys.ConfDir, err)
	}
	for _, c := range claims {
		if held, err := sub.IsHeld(c.Name); err == nil && held {
			return nil, &fault.Error{Code: fault.Refused, What: "refuse to clean up", Path: sub.Path(),
				Err: errors.New("the package still runs on this node and would install the files again"),
				Do:  "delete the package (its DaemonSet " + o.Package.DaemonSet + ") first"}
		}
		names = append(names, c.Name)
	}
	return names, nil
}

func (o Options) removePlugin(ctx context.Context, bin hostfs.Dir, removed []string) ([]string, error) {
	unlock, err := o.Package.Lock(ctx, bin, o.Package.Keys.BinDir, lockTimeout)
	if err != nil {
		return removed, err
	}
	defer unlock()
	path := bin.Path() + "/" + o.Package.Plugin
	err = bin.Remove(o.Package.Plugin)
	if errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	if err == nil {
		removed = append(removed, path)
		err = bin.Sync()
	}
	if err != nil {
		return removed, o.Package.HostError("remove", path, bin, o.Package.Keys.BinDir, err)
	}
	return removed, nil
}
