package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/audit"
	"carvelwright.dev/payload/internal/cleanup"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/kubeconfig"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/preflight"
)

func accountFlag(set *flag.FlagSet) *string {
	return set.String("service-account-dir", "/var/run/secrets/kubernetes.io/serviceaccount", "directory of token and ca.crt")
}

// client makes an API client from what the pod was given.
func client(env Env, accountDir string) (*kube.Client, error) {
	spec := node.Spec{ServiceAccountDir: accountDir}
	token, err := spec.Token()
	if err != nil {
		return nil, err
	}
	caFile := filepath.Join(accountDir, "ca.crt")
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "read the cluster's CA certificate", Err: err}
	}
	server, err := kubeconfig.ServerURL(env.Getenv("KUBERNETES_SERVICE_HOST"), env.Getenv("KUBERNETES_SERVICE_PORT"))
	if err != nil {
		return nil, &fault.Error{Code: fault.Input, What: "the API server's address", Err: err,
			Do: "check KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT of the pod"}
	}
	return kube.New(server, token, ca)
}

func runPreflight(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("preflight", flag.ContinueOnError)
	account := accountFlag(set)
	namespace := set.String("namespace", "", "the namespace of the address pools")
	config := set.String("config", "", "whereabouts.conf")
	terminationLog := set.String("termination-log", "/dev/termination-log", "file of the container's termination message; empty: none")
	var limits []preflight.Limit
	set.Func("limit", "a package value that limits a container, as KEY=QUANTITY: warn if it is too low; may be repeated", func(text string) error {
		limit, err := preflight.ParseLimit(text)
		limits = append(limits, limit)
		return err
	})
	if err := parse(env, set, args, "service-account-dir", "namespace", "config"); err != nil {
		return err
	}
	conf, err := os.ReadFile(*config)
	if err != nil {
		return &fault.Error{Code: fault.Input, What: "read whereabouts.conf", Err: err}
	}
	c, err := client(env, *account)
	if err != nil {
		return err
	}
	problems, err := preflight.Run(ctx, c, *namespace, conf)
	problems = append(problems, preflight.LimitProblems(limits)...)
	if err != nil {
		problems = append([]preflight.Problem{{Text: oneLine(err), Blocks: true}}, problems...)
	}
	if len(problems) == 0 {
		fmt.Fprintln(env.Stderr, "preflight: the cluster meets the requirements of this version")
		return nil
	}
	tell(ctx, env, c, *terminationLog, problems)
	if err != nil {
		return err
	}
	return verdict(env, problems)
}

// verdict lets a cluster pass that has nothing worse than warnings.
func verdict(env Env, problems []preflight.Problem) error {
	blocking := 0
	for _, problem := range problems {
		if problem.Blocks {
			blocking++
		}
	}
	if blocking == 0 {
		fmt.Fprintf(env.Stderr, "preflight: the cluster meets the requirements of this version (%d warnings)\n", len(problems))
		return nil
	}
	return &fault.Error{Code: fault.Preflight, What: fmt.Sprintf("preflight: %d problems, %d warnings", blocking, len(problems)-blocking)}
}

// tell writes the problems everywhere an operator may look. That one of the places fails does not hide the problems.
func tell(ctx context.Context, env Env, c *kube.Client, terminationLog string, problems []preflight.Problem) {
	for _, problem := range problems {
		fmt.Fprintf(env.Stderr, "preflight: %s\n", problem.Line())
	}
	if terminationLog != "" {
		// Not created: where the kubelet did not mount it there is nobody to read it.
		f, err := os.OpenFile(terminationLog, os.O_WRONLY|os.O_TRUNC, 0)
		if err == nil {
			_, err = io.WriteString(f, preflight.Message(problems))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			fmt.Fprintf(env.Stderr, "preflight: no termination message: %s\n", oneLine(err))
		}
	}
	pod, ok := kube.PodOf(c.Token)
	if !ok {
		fmt.Fprintln(env.Stderr, "preflight: no Event: the token does not name a pod")
		return
	}
	if err := preflight.PostEvents(ctx, c, pod, problems, time.Now()); err != nil {
		fmt.Fprintf(env.Stderr, "preflight: no Event: %s\n", oneLine(err))
	}
}

func runCleanup(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("cleanup", flag.ContinueOnError)
	account := accountFlag(set)
	var o cleanup.Options
	set.StringVar(&o.ConfDir, "conf-dir", "", "the host's CNI configuration directory, as mounted here")
	set.StringVar(&o.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here")
	set.StringVar(&o.Source, "source", "/usr/local/bin/whereabouts", "the image's plugin; the host's must be identical")
	set.BoolVar(&o.Force, "force", false, "clean up even if pods hold addresses or the plugin differs; do not query the API server")
	if err := parse(env, set, args, "service-account-dir", "conf-dir", "bin-dir", "source"); err != nil {
		return err
	}
	if err := absolute(set, "conf-dir", "bin-dir", "source"); err != nil {
		return err
	}
	if !o.Force {
		c, err := client(env, *account)
		if err != nil {
			return err
		}
		pools, err := kube.List[ipam.Pool](ctx, c, ipam.PoolsPath)
		if err != nil && !kube.HasStatus(err, 404) { // no CRD, no addresses
			return err
		}
		if err := cleanup.Holders(pools); err != nil {
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
	fmt.Fprintf(env.Stderr, "cleanup: the node has no files of the package (%d removed)\n", len(removed))
	return nil
}

func runAudit(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("audit", flag.ContinueOnError)
	account := accountFlag(set)
	input := set.String("input", "", "instead of querying the API server, read a file (- for stdin) with the output of: "+
		audit.InputCommand)
	asJSON := set.Bool("json", false, "print the report as JSON")
	settle := set.Duration("settle", 5*time.Second, "check again after this time and report only what remains; 0: check once")
	if err := parse(env, set, args, "service-account-dir"); err != nil {
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

func auditFile(env Env, path string) (audit.Report, error) {
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

func auditCluster(ctx context.Context, env Env, account string, settle time.Duration) (audit.Report, error) {
	c, err := client(env, account)
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

func printReport(env Env, report audit.Report, asJSON bool) error {
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
