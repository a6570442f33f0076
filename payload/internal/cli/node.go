package cli

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/hostfs"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
)

// nodeFlags are the flags that install and refresh share.
func nodeFlags(env Env, set *flag.FlagSet) *node.Spec {
	s := &node.Spec{APIHost: env.Getenv("KUBERNETES_SERVICE_HOST"), APIPort: env.Getenv("KUBERNETES_SERVICE_PORT")}
	set.StringVar(&s.Source, "source", "/usr/local/bin/whereabouts", "the image's plugin")
	set.StringVar(&s.ConfDir, "conf-dir", "", "the host's CNI configuration directory, as mounted here")
	set.StringVar(&s.HostConfDir, "host-conf-dir", "", "the same directory as the host sees it")
	set.StringVar(&s.ConfigFile, "config", "", "whereabouts.conf to copy")
	set.StringVar(&s.NodeName, "node-name", "", "the node's name in the cluster")
	set.StringVar(&s.Namespace, "namespace", "", "the namespace of the address pools")
	set.StringVar(&s.ServiceAccountDir, "service-account-dir", "/var/run/secrets/kubernetes.io/serviceaccount", "directory of token and ca.crt")
	return s
}

var nodeRequired = []string{"source", "conf-dir", "host-conf-dir", "config", "node-name", "namespace", "service-account-dir"}

var nodePaths = []string{"source", "conf-dir", "host-conf-dir", "config", "service-account-dir", "bin-dir"}

func runProbe(_ context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("probe", flag.ContinueOnError)
	stateDir := set.String("state-dir", "", "the --state-dir of refresh")
	timeout := set.Duration("timeout", 3*time.Second, "how long to wait for the response")
	question := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		question, args = args[0], args[1:]
	}
	if err := parse(env, set, args, "state-dir"); err != nil {
		return err
	}
	if !slices.Contains(probe.Questions(), question) {
		return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("probe: unknown probe %q", question),
			Do: "use one of: " + strings.Join(probe.Questions(), ", ")}
	}
	return probe.Ask(*stateDir, question, *timeout)
}

func install(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("install", flag.ContinueOnError)
	spec := nodeFlags(env, set)
	set.StringVar(&spec.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here")
	if err := parse(env, set, args, append(nodeRequired, "bin-dir")...); err != nil {
		return err
	}
	if err := absolute(set, nodePaths...); err != nil {
		return err
	}
	start := time.Now()
	written, err := node.Install(ctx, hostfs.Open, *spec)
	for _, path := range written {
		fmt.Fprintf(env.Stderr, "install: wrote %s\n", path)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "install: the node has the plugin and its files (%d written, %d ms)\n", len(written), time.Since(start).Milliseconds())
	return nil
}

// refreshMemory is a soft limit for the Go heap of a process that otherwise keeps what it needed once.
const refreshMemory = 16 << 20

// stopTimeout is how long the loop may take to end after SIGTERM. A pass cut off by it leaves the host whole: files are
// replaced by renaming.
const stopTimeout = 700 * time.Millisecond

func runRefresh(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("refresh", flag.ContinueOnError)
	spec := nodeFlags(env, set)
	set.StringVar(&spec.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here; if set, the plugin is kept up to date too")
	stateDir := set.String("state-dir", "", "a volume of the pod for the socket of probe; if not set, there is no socket")
	if err := parse(env, set, args, nodeRequired...); err != nil {
		return err
	}
	if err := absolute(set, append(nodePaths, "state-dir")...); err != nil {
		return err
	}
	debug.SetMemoryLimit(refreshMemory)
	var listener net.Listener
	if *stateDir != "" {
		var err error
		if listener, err = probe.Listen(*stateDir); err != nil {
			return err
		}
	}
	logger := log.New(env.Stderr, "refresh: ", log.LstdFlags|log.LUTC|log.Lmsgprefix)
	loop := refresh.New(*spec, logger.Printf)
	if listener != nil {
		go probe.Serve(ctx, listener, loop.Answer)
	}
	return untilStopped(ctx, loop.Run)
}

// untilStopped runs work to its end or, once ctx is done, for stopTimeout at most.
func untilStopped(ctx context.Context, work func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return nil
	}
}
