// Package program is the command line of multus-installer.
package program

import (
	"context"
	"flag"

	"carvelwright.dev/payload/internal/cli"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/multus"
)

// New gives the program.
func New() cli.Program {
	return cli.Program{
		Package: multus.Package(),
		Meanings: map[fault.Code]string{
			fault.Input:   "an input of the pod is missing or wrong: token, CA, API server address, multus.json",
			fault.Refused: "cleanup: the package still runs on the node, or something else needs the plugin (--force overrides)",
		},
		Preflight: runPreflight,
	}
}

func runPreflight(ctx context.Context, env cli.Env, args []string) error {
	set := flag.NewFlagSet("preflight", flag.ContinueOnError)
	account := cli.AccountFlag(set)
	namespace := set.String("namespace", "", "the namespace of the package, in which other DaemonSets of Multus are looked for")
	terminationLog := cli.TerminationLogFlag(set)
	if err := cli.Parse(env, set, args, "service-account-dir", "namespace"); err != nil {
		return err
	}
	c, err := cli.Client(env, *account)
	if err != nil {
		return err
	}
	problems, err := multus.Preflight(ctx, c, *namespace)
	return cli.Judge(ctx, env, c, *terminationLog, problems, err)
}
