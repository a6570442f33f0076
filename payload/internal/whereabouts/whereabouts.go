// Package whereabouts describes what the package Whereabouts keeps on a node.
package whereabouts

import (
	"fmt"
	"path/filepath"

	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/values"
)

// Names on the host; the plugin looks for them there.
const (
	SubDir         = "whereabouts.d"
	ConfFile       = "whereabouts.conf"
	KubeconfigFile = "whereabouts.kubeconfig"
	NodeNameFile   = "nodename"
	PluginFile     = "whereabouts"
)

// Program is the installer's name.
const Program = "whereabouts-installer"

// Package describes it.
func Package() node.Package {
	return node.Package{
		Title:      "Whereabouts",
		Program:    Program,
		DaemonSet:  "whereabouts",
		Plugin:     PluginFile,
		SubDir:     SubDir,
		Kubeconfig: KubeconfigFile,
		OtherFiles: []string{ConfFile, NodeNameFile},
		User:       "whereabouts",
		Config:     ConfFile,
		Keys:       node.Keys{BinDir: values.BinDir, ConfDir: values.ConfDir, DACOverride: values.DACOverride},
		Files:      files,
	}
}

func files(s node.Spec, config []byte) ([]node.File, error) {
	if err := checkConf(s.HostConfDir, config); err != nil {
		return nil, err
	}
	return []node.File{
		{Name: ConfFile, Mode: 0o600, Content: config},
		{Name: NodeNameFile, Mode: 0o600, Content: []byte(s.NodeName)},
	}, nil
}

// checkConf refuses what would fail every ADD of the node later: no JSON object, or paths to files that are not written.
func checkConf(hostConfDir string, text []byte) error {
	var conf struct {
		ConfigurationPath string `json:"configuration_path"`
		Kubernetes        struct {
			Kubeconfig string `json:"kubeconfig"`
		} `json:"kubernetes"`
	}
	if err := node.Object(text, &conf); err != nil {
		return err
	}
	dir := filepath.Join(hostConfDir, SubDir)
	if want := filepath.Join(dir, KubeconfigFile); filepath.Clean(conf.Kubernetes.Kubeconfig) != want {
		return fmt.Errorf("kubernetes.kubeconfig is %q, but the kubeconfig is written to %s on the host (value %s)",
			conf.Kubernetes.Kubeconfig, want, values.ConfDir)
	}
	if conf.ConfigurationPath != "" && filepath.Clean(conf.ConfigurationPath) != dir {
		return fmt.Errorf("configuration_path is %q, but nodename is written to the directory %s on the host (value %s)",
			conf.ConfigurationPath, dir, values.ConfDir)
	}
	return nil
}
