// Package multus describes what the package Multus keeps on a node: the thin plugin, its kubeconfig, and the network
// configuration that is made from the primary network's.
package multus

import (
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/values"
)

// Names on the host. They are not upstream's (00-multus.conf, multus.d), which may be there too: ours sorts before them.
const (
	SubDir         = "multus-cni.d"
	KubeconfigFile = "multus.kubeconfig"
	PluginFile     = "multus"
	ConfFile       = "00-multus-cni.conf"
)

// Program is the installer's name.
const Program = "multus-installer"

// DaemonSet is the name of the DaemonSet that runs it.
const DaemonSet = "multus-cni"

// Package describes it.
func Package() node.Package {
	return node.Package{
		Title:      "Multus",
		Program:    Program,
		DaemonSet:  DaemonSet,
		Plugin:     PluginFile,
		SubDir:     SubDir,
		Kubeconfig: KubeconfigFile,
		User:       "multus",
		Config:     "multus.json",
		Keys:       node.Keys{BinDir: values.MultusBinDir, ConfDir: values.MultusConfDir, DACOverride: values.MultusDACOverride},
		Files:      files,
		Network:    &node.Network{File: ConfFile, Make: makeConf, Remains: remains},
	}
}

// files gives none: all that Multus reads is the kubeconfig and the network configuration, which holds the settings.
func files(s node.Spec, config []byte) ([]node.File, error) {
	_, err := parseSettings(config, s.HostBinDir)
	return nil, err
}

func makeConf(s node.Spec, config []byte, dir hostfs.Dir, previous string) (node.Made, error) {
	settings, err := parseSettings(config, s.HostBinDir)
	if err != nil {
		return node.Made{}, s.ConfigError(err)
	}
	candidates, err := read(s.Package, dir)
	if err != nil {
		return node.Made{}, err
	}
	choice, err := choose(candidates, settings.PrimaryConfFile, previous)
	if err != nil {
		return node.Made{}, err
	}
	content, err := render(settings, choice.conf, s.HostPath(KubeconfigFile))
	return node.Made{Content: content, From: choice.file, Why: choice.why()}, err
}
