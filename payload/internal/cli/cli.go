// Package cli is the command line of whereabouts-installer.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"syscall"

	"carvelwright.dev/payload/internal/fault"
)

// Env is what the program takes from its surroundings.
type Env struct {
	Version string
	Getenv  func(string) string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

type command struct {
	name    string
	summary string
	run     func(ctx context.Context, env Env, args []string) error
}

func commands() []command {
	return []command{
		{"install", "install the plugin and its files on the node, then exit (init container)", install},
		{"refresh", "keep the files and the token up to date until SIGTERM (container)", runRefresh},
		{"probe", "probe readiness|liveness: report the state of the refresh container", runProbe},
		{"preflight", "check that the cluster meets the requirements of this version (init container)", runPreflight},
		{"cleanup", "remove the plugin and its files from the node", runCleanup},
		{"audit", "compare address pools and reservations with the pods' addresses", runAudit},
	}
}

// Main runs one command and gives the process's exit code.
func Main(env Env, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := dispatch(ctx, env, args)
	if err == nil {
		return int(fault.OK)
	}
	if errors.Is(err, flag.ErrHelp) {
		return int(fault.OK)
	}
	fmt.Fprintf(env.Stderr, "whereabouts-installer: %s\n", oneLine(err))
	return int(fault.CodeOf(err))
}

func oneLine(err error) string { return fault.Line(err.Error()) }

func dispatch(ctx context.Context, env Env, args []string) error {
	if len(args) == 0 {
		usage(env.Stderr)
		return &fault.Error{Code: fault.Usage, What: "no command given"}
	}
	switch args[0] {
	case "--version", "-version", "version":
		fmt.Fprintf(env.Stdout, "whereabouts-installer %s\n", env.Version)
		return nil
	case "--help", "-help", "-h", "help":
		usage(env.Stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, env, args[1:])
		}
	}
	return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("unknown command %q", args[0]), Do: "run whereabouts-installer --help"}
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Usage: whereabouts-installer COMMAND [FLAGS]\n\nCommands (COMMAND --help lists the flags):\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "  --version  print the version\n\nExit codes:\n")
	for _, m := range fault.Meanings() {
		fmt.Fprintf(w, "  %2d  %s\n", m.Code, m.Text)
	}
}

// parse reads a command's flags; every flag named in required must not be empty.
func parse(env Env, set *flag.FlagSet, args []string, required ...string) error {
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(env.Stdout, "Usage: whereabouts-installer %s [FLAGS]\n", set.Name())
		set.SetOutput(env.Stdout)
		set.PrintDefaults()
		return err
	}
	hint := fmt.Sprintf("run whereabouts-installer %s --help", set.Name())
	if err != nil {
		return &fault.Error{Code: fault.Usage, What: set.Name(), Err: err, Do: hint}
	}
	if set.NArg() > 0 {
		return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("%s: unexpected argument %q", set.Name(), set.Arg(0)), Do: hint}
	}
	for _, name := range required {
		if set.Lookup(name).Value.String() == "" {
			return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("%s: --%s is missing or empty", set.Name(), name), Do: hint}
		}
	}
	return nil
}

func absolute(set *flag.FlagSet, names ...string) error {
	for _, name := range names {
		value := set.Lookup(name).Value.String()
		if value != "" && !filepath.IsAbs(value) {
			return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("%s: --%s %q is not an absolute path", set.Name(), name, value)}
		}
	}
	return nil
}
