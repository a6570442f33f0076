package main

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/skel"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/config"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// plugin answers one call of the container runtime; without CNI_COMMAND it prints its version.
func plugin() {
	calls := skel.CNIFuncs{Add: add, Check: check, Del: del}
	skel.PluginMainFuncs(calls, cniversion.All, banner("whereabouts"))
}

func add(call *skel.CmdArgs) error {
	ipam, cniVersion, err := open(call)
	if err != nil {
		return err
	}
	defer shut(ipam)
	ctx, cancel := context.WithTimeout(context.Background(), types.AddTimeLimit)
	defer cancel()
	allocated, err := allocate(ctx, ipam)
	if err != nil {
		return logging.Errorf("allocating an address: %v", err)
	}
	result := &current.Result{DNS: ipam.Config.DNS, Routes: ipam.Config.Routes}
	for _, address := range allocated {
		result.IPs = append(result.IPs, &current.IPConfig{Address: address, Gateway: ipam.Config.Gateway})
	}
	for _, static := range ipam.Config.Addresses {
		result.IPs = append(result.IPs, &current.IPConfig{Address: static.Address, Gateway: static.Gateway})
	}
	return cnitypes.PrintResult(result, cniVersion)
}

// del reports success whatever happens, so that a pod can always go: what it leaves behind is the reconciler's.
func del(call *skel.CmdArgs) error {
	ipam, _, err := open(call)
	if err != nil {
		return err
	}
	defer shut(ipam)
	ctx, cancel := context.WithTimeout(context.Background(), types.DelTimeLimit)
	defer cancel()
	if _, err := kubernetes.IPManagement(ctx, types.Deallocate, ipam.Config, ipam); err != nil {
		_ = logging.Errorf("giving an address back: %v", err)
	}
	return nil
}

func check(*skel.CmdArgs) error {
	return errors.New("CNI CHECK is not implemented: set \"disableCheck\": true in the network's configuration")
}

func open(call *skel.CmdArgs) (*kubernetes.KubernetesIPAM, string, error) {
	ipamConfig, cniVersion, err := config.LoadIPAMConfig(call.StdinData, call.Args)
	if err != nil {
		return nil, "", logging.Errorf("reading the IPAM configuration: %v", err)
	}
	logging.Debugf("container %q, pod %q, interface %q: %+v", call.ContainerID, ipamConfig.GetPodRef(), call.IfName, *ipamConfig)
	ipam, err := kubernetes.NewKubernetesIPAM(call.ContainerID, call.IfName, *ipamConfig)
	if err != nil {
		return nil, "", logging.Errorf("reaching the API server: %v", err)
	}
	return ipam, cniVersion, nil
}

func shut(ipam *kubernetes.KubernetesIPAM) {
	if err := ipam.Close(); err != nil {
		_ = logging.Errorf("closing the connection to the API server: %v", err)
	}
}
