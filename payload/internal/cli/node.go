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
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/node"
	"carvelwright.dev/payload/internal/probe"
	"carvelwright.dev/payload/internal/refresh"
)

// nodeFlags are the flags that install and refresh share.
func (p Program) nodeFlags(env Env, set *flag.FlagSet) *node.Spec {
	s := &node.Spec{Package: p.Package, APIHost: env.Getenv("KUBERNETES_SERVICE_HOST"), APIPort: env.Getenv("KUBERNETES_SERVICE_PORT")}
	set.StringVar(&s.Source, "source", "/usr/local/bin/"+p.Package.Plugin, "the image's plugin")
	set.StringVar(&s.ConfDir, "conf-dir", "", "the host's CNI configuration directory, as mounted here")
	set.StringVar(&s.HostConfDir, "host-conf-dir", "", "the same directory as the host sees it")
	set.StringVar(&s.ConfigFile, "config", "", p.Package.Config+" with the settings")
	set.StringVar(&s.NodeName, "node-name", "", "the node's name in the cluster")
	set.StringVar(&s.Namespace, "namespace", "", "the namespace of the package, which the kubeconfig names")
	set.StringVar(&s.ServiceAccountDir, "service-account-dir", "/var/run/secrets/kubernetes.io/serviceaccount", "directory of token and ca.crt")
	if p.Package.Network != nil {
		set.StringVar(&s.HostBinDir, "host-bin-dir", "", "the CNI binary directory as the host sees it")
	}
	return s
}

var nodeRequired = []string{"source", "conf-dir", "host-conf-dir", "config", "node-name", "namespace", "service-account-dir"}

var nodePaths = []string{"source", "conf-dir", "host-conf-dir", "config", "service-account-dir", "bin-dir", "host-bin-dir"}

func (p Program) questions() []string {
	questions := []string{probe.Readiness, probe.Liveness}
	if p.Package.Network != nil {
		questions = append(questions, probe.State)
	}
	return questions
}

func (p Program) probe(_ context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("probe", flag.ContinueOnError)
	stateDir := set.String("state-dir", "", "the --state-dir of refresh")
	timeout := set.Duration("timeout", 3*time.Second, "how long to wait for the response")
	question := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		question, args = args[0], args[1:]
	}
	if err := Parse(env, set, args, "state-dir"); err != nil {
		return err
	}
	if !slices.Contains(p.questions(), question) {
		return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("probe: unknown probe %q", question),
			Do: "use one of: " + strings.Join(p.questions(), ", ")}
	}
	text, err := probe.Ask(*stateDir, question, *timeout)
	if err == nil && text != "" {
		fmt.Fprintln(env.Stdout, text)
	}
	return err
}

func (p Program) install(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("install", flag.ContinueOnError)
	spec := p.nodeFlags(env, set)
	set.StringVar(&spec.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here")
	if err := Parse(env, set, args, append(nodeRequired, "bin-dir")...); err != nil {
		return err
	}
	if err := absolute(set, nodePaths...); err != nil {
		return err
	}
	start := time.Now()
	done, err := node.Install(ctx, hostfs.Open, *spec)
	for _, path := range done.Written {
		fmt.Fprintf(env.Stderr, "install: wrote %s\n", path)
	}
	if done.Network != "" {
		fmt.Fprintf(env.Stderr, "install: %s\n", fault.Line(done.Network))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "install: the node has the plugin and its files (%d written, %d ms)\n", len(done.Written), time.Since(start).Milliseconds())
	return nil
}

// refreshMemory is a soft limit for the Go heap of a process that otherwise keeps what it needed once.
const refreshMemory = 16 << 20

// stopTimeout is how long the loop may take to end after SIGTERM. A pass cut off by it leaves the host whole: files are
// replaced by renaming.
const stopTimeout = 700 * time.Millisecond

func (p Program) refresh(ctx context.Context, env Env, args []string) error {
	set := flag.NewFlagSet("refresh", flag.ContinueOnError)
	spec := p.nodeFlags(env, set)
	set.StringVar(&spec.BinDir, "bin-dir", "", "the host's CNI binary directory, as mounted here; if set, the plugin is kept up to date too")
	stateDir := set.String("state-dir", "", "a volume of the pod for the socket of probe; if not set, there is no socket")
	daemonSet := new(string)
	if p.Package.Network != nil {
		set.StringVar(daemonSet, "daemonset", "", "NAMESPACE/NAME of the package's DaemonSet: if it is being removed at SIGTERM, "+
			p.Package.Network.File+" is removed, too")
	}
	if err := Parse(env, set, args, nodeRequired...); err != nil {
		return err
	}
	if err := absolute(set, append(nodePaths, "state-dir")...); err != nil {
		return err
	}
	if namespace, name, both := strings.Cut(*daemonSet, "/"); *daemonSet != "" && (!both || namespace == "" || name == "" || strings.Contains(name, "/")) {
		return &fault.Error{Code: fault.Usage, What: fmt.Sprintf("refresh: --daemonset %q is not NAMESPACE/NAME", *daemonSet)}
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
	if *daemonSet == "" {
		return untilStopped(ctx, stopTimeout, loop.Run)
	}
	loop.Removed = func() (bool, string) { return removed(env, spec.ServiceAccountDir, *daemonSet) }
	return untilStopped(ctx, farewellTimeout, loop.Run)
}

// The farewell ends within the pod's grace period of 5 s: what has to be done after the answer takes milliseconds.
const (
	askTimeout      = 1500 * time.Millisecond
	farewellTimeout = 4500 * time.Millisecond
)

// removed asks the API server, a second time if the first brings no answer, whether the DaemonSet is being removed.
func removed(env Env, serviceAccountDir, daemonSet string) (gone bool, why string) {
	namespace, name, _ := strings.Cut(daemonSet, "/")
	for range 2 {
		c, err := Client(env, serviceAccountDir)
		if err != nil {
			return false, err.Error()
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		gone, why = kube.DaemonSetRemoved(ctx, c, namespace, name)
		late := ctx.Err() != nil
		cancel()
		if gone || !late {
			break
		}
	}
	return gone, why
}

// untilStopped runs work to its end or, once ctx is done, for limit at most.
func untilStopped(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
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
	case <-time.After(limit):
		return nil
	}
}
