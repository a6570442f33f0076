package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/kubeconfig"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/preflight"
)

// AccountFlag is the flag of the commands that ask the API server.
func AccountFlag(set *flag.FlagSet) *string {
	return set.String("service-account-dir", "/var/run/secrets/kubernetes.io/serviceaccount", "directory of token and ca.crt")
}

// TerminationLogFlag is the flag of the commands whose result an operator shall see in the pod.
func TerminationLogFlag(set *flag.FlagSet) *string {
	return set.String("termination-log", "/dev/termination-log", "file of the container's termination message; empty: none")
}

// Client makes an API client from what the pod was given.
func Client(env Env, accountDir string) (*kube.Client, error) {
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

// Judge reports the problems of the cluster and returns an error when one of them blocks, or when looking failed with one.
func Judge(ctx context.Context, env Env, c *kube.Client, terminationLog string, problems []preflight.Problem, failure error) error {
	if failure != nil {
		problems = append([]preflight.Problem{{Text: fault.Line(failure.Error()), Blocks: true}}, problems...)
	}
	if len(problems) == 0 {
		fmt.Fprintln(env.Stderr, "preflight: the cluster meets the requirements of this version")
		return nil
	}
	tell(ctx, env, c, terminationLog, problems)
	if failure != nil {
		return failure
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
			fmt.Fprintf(env.Stderr, "preflight: no termination message: %s\n", fault.Line(err.Error()))
		}
	}
	pod, ok := kube.PodOf(c.Token)
	if !ok {
		fmt.Fprintln(env.Stderr, "preflight: no Event: the token does not name a pod")
		return
	}
	if err := preflight.PostEvents(ctx, c, pod, env.Program, problems, time.Now()); err != nil {
		fmt.Fprintf(env.Stderr, "preflight: no Event: %s\n", fault.Line(err.Error()))
	}
}
