package cleanup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
)

// checkNetwork refuses to remove a network configuration that is no plain file, and a plugin that another network configuration
// needs: the runtime would start no pod.
func (o Options) checkNetwork(conf, bin hostfs.Dir) error {
	network := o.Package.Network
	if network == nil {
		return nil
	}
	path := conf.Path() + "/" + network.File
	info, err := conf.Lstat(network.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o.Package.HostError("inspect", path, conf, o.Package.Keys.ConfDir, err)
	}
	if err == nil && !info.Mode().IsRegular() {
		return &fault.Error{Code: fault.Refused, What: "refuse to remove", Path: path, Err: hostfs.ErrNotRegular,
			Do: "remove it by hand: the package did not install it"}
	}
	if _, err := bin.Lstat(o.Package.Plugin); err != nil || o.Force {
		return nil
	}
	need, _, err := network.Remains(conf)
	if err != nil {
		return o.Package.HostError("look at", conf.Path(), conf, o.Package.Keys.ConfDir, err)
	}
	if len(need) > 0 {
		return &fault.Error{Code: fault.Refused, What: "refuse to remove", Path: bin.Path() + "/" + o.Package.Plugin,
			Err: fmt.Errorf("%s in %s needs it: no pod of the node would start", strings.Join(need, ", "), conf.Path()),
			Do:  "remove what installed that file, then the file, or use --force"}
	}
	return nil
}

// removeNetwork removes the network configuration: from then on new pods get the primary network alone.
func (o Options) removeNetwork(conf hostfs.Dir) (removed []string, err error) {
	if o.Package.Network == nil {
		return nil, nil
	}
	gone, err := o.Package.RemoveNetwork(conf)
	if gone {
		removed = append(removed, conf.Path()+"/"+o.Package.Network.File)
	}
	return removed, err
}

// Leftovers gives a warning for each file that another installation of the same plugin left on the node. It is theirs, and stays.
func Leftovers(open hostfs.Opener, o Options) (warnings []string) {
	if o.Package.Network == nil {
		return nil
	}
	conf, err := open(o.ConfDir)
	if err != nil {
		return nil // the cleanup itself has said so
	}
	defer conf.Close()
	need, left, err := o.Package.Network.Remains(conf)
	if err != nil {
		return nil
	}
	for _, name := range need {
		warnings = append(warnings, fmt.Sprintf("%s/%s needs the plugin %s: remove the file, or no pod of the node starts", conf.Path(), name, o.Package.Plugin))
	}
	for _, name := range left {
		warnings = append(warnings, fmt.Sprintf("%s/%s is of another installation of %s: remove it by hand", conf.Path(), name, o.Package.Title))
	}
	return warnings
}
