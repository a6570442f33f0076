// Package cli is the command line of the installers: what they share, and the frame for what each has of its own.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/node"
)

// Program is one installer.
type Program struct {
	Package node.Package
	// Meanings are its own texts for exit codes, beside those that mean the same in each installer.
	Meanings map[fault.Code]string
	// Preflight looks at the cluster.
	Preflight func(ctx context.Context, env Env, args []string) error
	// Released returns an error as long as the plugin's removal would harm the cluster; nil if only the node matters.
	Released func(ctx context.Context, env Env, serviceAccountDir string) error
	// More are its other commands.
	More []Command
}

// Env is what the program takes from its surroundings.
type Env struct {
	Program string // the installer's name; set by Main
	Version string
	Getenv  func(string) string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// Command is one of a program's commands.
type Command struct {
	Name    string
	Summary string
	Run     func(ctx context.Context, env Env, args []string) error
}

func (p Program) commands() []Command {
	return append([]Command{
		{"install", "install the plugin and its files on the node, then exit (init container)", p.install},
		{"refresh", "keep the files and the token up to date until SIGTERM (container)", p.refresh},
		{"probe", "probe " + strings.Join(p.questions(), "|") + ": report the state of the refresh container", p.probe},
		{"preflight", "check that the cluster meets the requirements of this version (init container)", p.Preflight},
		{"cleanup", "remove the plugin and its files from the node", p.cleanup},
	}, p.More...)
}

// Main runs one command and gives the process's exit code.
func Main(p Program, env Env, args []string) int {
	env.Program = p.Package.Program
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := p.dispatch(ctx, env, args)
	if err == nil {
		return int(fault.OK)
	}
	if errors.Is(err, flag.ErrHelp) {
		return int(fault.OK)
	}
	fmt.Fprintf(env.Stderr, "%s: %s\n", env.Program, fault.Line(err.Error()))
	return int(fault.CodeOf(err))
}

func (p Program) dispatch(ctx context.Context, env Env, args []string) error {
	if len(args) == 0 {
		p.usage(env.Stderr)
		return &fault.Error{Code: fault.Usage, What: "no command given"}
	}
	switch args[0] {
	case "--version", "-version", "version":
		fmt.Fprintf(env.Stdout, "%s %s\n", env.Program, env.Version)
		return nil
	case "--help", "-help", "-h", "help":
		p.usage(env.Stdout)
		return nil
	}
	for _, c := range p.commands() {
		if c.Name == args[0] {
			return c.Run(ctx, env, args[1:])
		}
	}
	return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("unknown command %q", args[0]), Do: "run " + env.Program + " --help"}
}

func (p Program) usage(w io.Writer) {
	fmt.Fprint(w, "Usage: "+p.Package.Program+" COMMAND [FLAGS]\n\nCommands (COMMAND --help lists the flags):\n")
	for _, c := range p.commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.Name, c.Summary)
	}
	fmt.Fprint(w, "  --version  print the version\n\nExit codes:\n")
	for _, m := range fault.Meanings(p.Meanings) {
		fmt.Fprintf(w, "  %2d  %s\n", m.Code, m.Text)
	}
}

// Parse reads a command's flags; every flag named in required must not be empty.
func Parse(env Env, set *flag.FlagSet, args []string, required ...string) error {
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(env.Stdout, "Usage: %s %s [FLAGS]\n", env.Program, set.Name())
		set.SetOutput(env.Stdout)
		set.PrintDefaults()
		return err
	}
	hint := fmt.Sprintf("run %s %s --help", env.Program, set.Name())
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
		known := set.Lookup(name)
		if known == nil {
			continue // not this program's
		}
		value := known.Value.String()
		if value != "" && !filepath.IsAbs(value) {
			return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("%s: --%s %q is not an absolute path", set.Name(), name, value)}
		}
	}
	return nil
}
