// Package program is the command line of whereabouts-installer.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/audit"
	"carvelwright.dev/payload/internal/cleanup"
	"carvelwright.dev/payload/internal/cli"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/preflight"
	"carvelwright.dev/payload/internal/whereabouts"
)

// New gives the program.
func New() cli.Program {
	return cli.Program{
		Package: whereabouts.Package(),
		Meanings: map[fault.Code]string{
			fault.Input:    "an input of the pod is missing or wrong: token, CA, API server address, whereabouts.conf",
			fault.Refused:  "cleanup: pods still hold addresses (--force overrides)",
			fault.Findings: "audit: duplicates, leaks or losses found",
		},
		Preflight: runPreflight,
		Released:  released,
		More:      []cli.Command{{Name: "audit", Summary: "compare address pools and reservations with the pods' addresses", Run: runAudit}},
	}
}

func runPreflight(ctx context.Context, env cli.Env, args []string) error {
	set := flag.NewFlagSet("preflight", flag.ContinueOnError)
	account := cli.AccountFlag(set)
	namespace := set.String("namespace", "", "the namespace of the address pools")
	config := set.String("config", "", "whereabouts.conf")
	terminationLog := cli.TerminationLogFlag(set)
	var limits []preflight.Limit
	set.Func("limit", "a package value that limits a container, as KEY=QUANTITY: warn if it is too low; may be repeated", func(text string) error {
		limit, err := preflight.ParseLimit(text)
		limits = append(limits, limit)
		return err
	})
	if err := cli.Parse(env, set, args, "service-account-dir", "namespace", "config"); err != nil {
		return err
	}
	conf, err := os.ReadFile(*config)
	if err != nil {
		return &fault.Error{Code: fault.Input, What: "read whereabouts.conf", Err: err}
	}
	c, err := cli.Client(env, *account)
	if err != nil {
		return err
	}
	problems, err := preflight.Run(ctx, c, *namespace, conf)
	problems = append(problems, preflight.LimitProblems(limits)...)
	return cli.Judge(ctx, env, c, *terminationLog, problems, err)
}

// released refuses as long as pods hold addresses.
func released(ctx context.Context, env cli.Env, account string) error {
	c, err := cli.Client(env, account)
	if err != nil {
		return err
	}
	pools, err := kube.List[ipam.Pool](ctx, c, ipam.PoolsPath)
	if err != nil && !kube.HasStatus(err, 404) { // no CRD, no addresses
		return err
	}
	return cleanup.Holders(pools)
}

func runAudit(ctx context.Context, env cli.Env, args []string) error {
	set := flag.NewFlagSet("audit", flag.ContinueOnError)
	account := cli.AccountFlag(set)
	input := set.String("input", "", "instead of querying the API server, read a file (- for stdin) with the output of: "+
		audit.InputCommand)
	asJSON := set.Bool("json", false, "print the report as JSON")
	settle := set.Duration("settle", 5*time.Second, "check again after this time and report only what remains; 0: check once")
	if err := cli.Parse(env, set, args, "service-account-dir"); err != nil {
		return err
	}
	if *settle < 0 {
		return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("audit: --settle %s is negative", *settle)}
	}
	var report audit.Report
	var err error
	if *input != "" {
		report, err = auditFile(env, *input)
	} else {
		report, err = auditCluster(ctx, env, *account, *settle)
	}
	if err != nil {
		return err
	}
	return printReport(env, report, *asJSON)
}

func auditFile(env cli.Env, path string) (audit.Report, error) {
	failed := func(err error) (audit.Report, error) {
		return audit.Report{}, &fault.Error{Code: fault.Input, What: "read the objects from", Path: path, Err: err}
	}
	in := env.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return failed(errors.Unwrap(err))
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return failed(err)
	}
	snapshot, err := audit.Parse(text)
	if err != nil {
		return failed(err)
	}
	return audit.Audit(snapshot), nil
}

func auditCluster(ctx context.Context, env cli.Env, account string, settle time.Duration) (audit.Report, error) {
	c, err := cli.Client(env, account)
	if err != nil {
		return audit.Report{}, err
	}
	look := func() (audit.Report, error) {
		snapshot, err := audit.Take(ctx, c)
		return audit.Audit(snapshot), err
	}
	report, err := look()
	if err != nil || len(report.Findings) == 0 || settle == 0 {
		return report, err
	}
	select {
	case <-ctx.Done():
		return report, ctx.Err()
	case <-time.After(settle):
	}
	later, err := look()
	return audit.Confirm(report, later), err
}

func printReport(env cli.Env, report audit.Report, asJSON bool) error {
	var text strings.Builder
	if asJSON {
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else {
		for _, finding := range report.Findings {
			text.WriteString(finding.Line() + "\n")
		}
		for _, warning := range report.Warnings {
			text.WriteString(fmt.Sprintf("%-9s %s\n", "warning", warning))
		}
		text.WriteString(report.Summary() + "\n")
	}
	if _, err := io.WriteString(env.Stdout, text.String()); err != nil {
		return err
	}
	if len(report.Findings) > 0 {
		return &fault.Error{Code: fault.Findings, What: fmt.Sprintf("audit: %d findings", len(report.Findings))}
	}
	return nil
}
