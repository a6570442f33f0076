// Package values names the packages' data values that messages tell an operator to set: one place, so that they can be held
// against each values-schema.yaml by a test.
package values

// Keys of Whereabouts' values-schema.yaml.
const (
	BinDir         = "whereabouts.config.cni.bin_dir"
	ConfDir        = "whereabouts.config.cni.conf_dir"
	DACOverride    = "whereabouts.config.cni.dac_override"
	LeaderElection = "whereabouts.config.leader_election"
	Allocation     = "whereabouts.config.allocation"
)

// Keys of Multus' values-schema.yaml.
const (
	MultusBinDir      = "multus.config.cni.bin_dir"
	MultusConfDir     = "multus.config.cni.conf_dir"
	MultusDACOverride = "multus.config.cni.dac_override"
	MultusPrimaryConf = "multus.config.primary_conf_file"
)
