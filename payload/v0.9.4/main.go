//go:build !plugin

// Command whereabouts-controllers is every Whereabouts controller in one binary: it acts as what it is called, which is
// `ip-control-loop`, `ip-reconciler` or `node-slice-controller`. They share nearly all of their code. The plugin is a program of
// its own, with the tag `plugin`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
		fmt.Fprintf(os.Stderr, "%s: no such program: expected to be called as one of %s\n",
			name, strings.Join(slices.Sorted(maps.Keys(roles)), ", "))
		os.Exit(2)
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
