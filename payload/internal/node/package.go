package node

import (
	"errors"

	"carvelwright.dev/payload/internal/claim"
	"carvelwright.dev/payload/internal/hostfs"
)

// Package describes what a package keeps on a node. Everything else in this module that works on a node asks it for names and
// contents, and knows neither Whereabouts nor Multus.
type Package struct {
	// Title is the plugin's name in messages.
	Title string
	// Program is the installer's name. Temporary files and claims begin with it.
	Program string
	// DaemonSet is the name of the DaemonSet that runs the installer.
	DaemonSet string
	// Plugin is the plugin's file in the binary directory.
	Plugin string
	// SubDir is the package's directory in the configuration directory, and Kubeconfig the plugin's kubeconfig in it.
	SubDir, Kubeconfig string
	// OtherFiles are those of SubDir beside the kubeconfig, as Files makes them.
	OtherFiles []string
	// User is the name of the kubeconfig's user and context.
	User string
	// Config is what messages call the file with the settings.
	Config string
	// Keys are the package's data values.
	Keys Keys
	// Files checks the settings and gives the other files of SubDir in the order in which they are written.
	Files func(s Spec, config []byte) ([]File, error)
	// Network is nil for a plugin that the runtime does not call by itself.
	Network *Network
}

// Keys are the data values that messages tell an operator to set.
type Keys struct {
	BinDir, ConfDir, DACOverride string
}

// Network is the network configuration by which the runtime calls the plugin: one file in the configuration directory itself.
// It is written last and removed first, since from it on each new pod of the node needs the plugin and its kubeconfig.
type Network struct {
	File string
	// Make gives the file's content from what lies in the configuration directory; an error that is ErrWaiting when what it
	// needs is not there yet. previous is the file that it was made from before; empty if that is not known.
	Make func(s Spec, config []byte, dir hostfs.Dir, previous string) (Made, error)
	// Remains gives the files of the configuration directory that need the plugin although ours is gone, and those that another
	// installation left and that do not.
	Remains func(dir hostfs.Dir) (need, left []string, err error)
}

// Made is a network configuration.
type Made struct {
	Content []byte
	From    string // the file that it was made from
	Why     string // from which file it was made, and why from this one
}

// ErrWaiting says that the network configuration cannot be made yet. What is on the host stays.
var ErrWaiting = errors.New("nothing is changed until then")

// Claims are those of the package's installers.
func (p Package) Claims() claim.Program { return claim.Program(p.Program) }

func (p Package) temporary() hostfs.Program { return hostfs.Program(p.Program) }
