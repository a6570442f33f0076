package cli

import (
	"context"
	"flag"
	"fmt"

	"carvelwright.dev/payload/internal/cleanup"
	"carvelwright.dev/payload/internal/hostfs"
)

func (p Program) cleanup(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("cleanup", flag.ContinueOnError)
	o := cleanup.Options{Package: p.Package}
	set.StringVar(&o.ConfDir, "conf-dir", "", "the host's CNI configuration directory, as mounted here")
	set.StringVar(&o.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here")
	set.StringVar(&o.Source, "source", "/usr/local/bin/"+p.Package.Plugin, "the image's plugin; the host's must be identical")
	required, force := []string{"conf-dir", "bin-dir", "source"}, "clean up even if the plugin differs or another configuration needs it"
	account := new(string)
	if p.Released != nil {
		account = AccountFlag(set)
		required = append(required, "service-account-dir")
		force = "clean up even if pods hold addresses or the plugin differs; do not query the API server"
	}
	set.BoolVar(&o.Force, "force", false, force)
	if err := Parse(env, set, args, required...); err != nil {
		return err
	}
	if err := absolute(set, "conf-dir", "bin-dir", "source"); err != nil {
		return err
	}
	if !o.Force && p.Released != nil {
		if err := p.Released(ctx, env, *account); err != nil {
			return err
		}
	}
	removed, err := cleanup.Run(ctx, hostfs.Open, o)
	for _, path := range removed {
		fmt.Fprintf(env.Stderr, "cleanup: removed %s\n", path)
	}
	if err != nil {
		return err
	}
	for _, warning := range cleanup.Leftovers(hostfs.Open, o) {
		fmt.Fprintf(env.Stderr, "cleanup: warning: %s\n", warning)
	}
	fmt.Fprintf(env.Stderr, "cleanup: the node has no files of the package (%d removed)\n", len(removed))
	return nil
}
