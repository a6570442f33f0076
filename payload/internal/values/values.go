// Package values names the package's data values that messages tell an operator to set: one place, so that they can be held
// against values-schema.yaml by a test.
package values

// Keys of values-schema.yaml.
const (
	BinDir         = "whereabouts.config.cni.bin_dir"
	ConfDir        = "whereabouts.config.cni.conf_dir"
	DACOverride    = "whereabouts.config.cni.dac_override"
	LeaderElection = "whereabouts.config.leader_election"
)
