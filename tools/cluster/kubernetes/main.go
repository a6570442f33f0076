// Command kubernetes holds every Kubernetes component that the test cluster runs, in one binary:
// the shared code is linked once, which halves build time and size. The name it is called by selects the component.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func component(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubelet":
		return newKubelet(kubelet.NewKubeletCommand)
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand()
	}
	return nil
}

// newKubelet calls a function that has taken a context only since Kubernetes 1.31: this file serves every version.
func newKubelet(constructor any) *cobra.Command {
	switch construct := constructor.(type) {
	case func(context.Context) *cobra.Command:
		return construct(context.Background())
	case func() *cobra.Command:
		return construct()
	}
	panic(fmt.Sprintf("a new way to make kubelet's command: %T", constructor))
}

func main() {
	name := filepath.Base(os.Args[0])
	command := component(name)
	if command == nil {
		fmt.Fprintf(os.Stderr, "%q names no component: call this binary by a link named kubectl, kubelet, kube-apiserver ...\n", name)
		os.Exit(2)
	}
	if name == "kubectl" {
		// kubectl reports its own errors; the runner for servers would print them a second time, with usage.
		if err := cli.RunNoErrOutput(command); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Run(command))
}
