// Command whereabouts is every Whereabouts program in one binary: it acts as what it is called.
//
// As `whereabouts` it is the CNI plugin; as `ip-control-loop`, `ip-reconciler` and `node-slice-controller` it is the
// controller of that name. They share nearly all of their code, so that one binary is a quarter of four.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/version"
)

var errUsage = errors.New("wrong command line")

// A role runs until ctx is done, or to its end, with the arguments after its name.
type role func(ctx context.Context, flags *flag.FlagSet, arguments []string) error

var roles = map[string]role{
	"ip-control-loop":       controlLoop,
	"ip-reconciler":         reconcile,
	"node-slice-controller": nodeSlices,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, known := roles[name]
	if !known {
		// Whatever a container runtime calls it, on a node it is the plugin.
		plugin()
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.NewFlagSet(name, flag.ContinueOnError), os.Args[1:])
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// parse reads a role's flags, among them -version; done says that there is nothing more to do.
func parse(flags *flag.FlagSet, arguments []string) (done bool, err error) {
	tell := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return true, err
	} else if err != nil {
		return true, errUsage
	}
	if *tell {
		fmt.Println(banner(flags.Name()))
	}
	return *tell, nil
}

func banner(name string) string {
	return name + " " + version.GetFullVersionWithRuntimeInfo()
}
