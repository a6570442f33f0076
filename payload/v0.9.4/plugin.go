package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	cnitypes "github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/config"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/version"
)

const (
	// notAvailable is CNI's error code for a plugin that cannot serve an ADD.
	notAvailable = 50
	// statusLimit is short: runtimes ask for the status every few seconds, and wait for it.
	statusLimit = 5 * time.Second
	checkLimit  = 30 * time.Second
	// pluginGarbage lets a call keep four times what it uses. Collecting garbage is a tenth to a quarter of its work otherwise.
	pluginGarbage = 400
)

// plugin answers one call of the container runtime; without CNI_COMMAND it prints its version.
func plugin() {
	// A call is over before it would have to use memory sparingly.
	debug.SetGCPercent(pluginGarbage)
	calls := skel.CNIFuncs{Add: add, Check: check, Del: del, GC: collect, Status: status}
	skel.PluginMainFuncs(calls, cniversion.All, banner("whereabouts"))
}

func add(call *skel.CmdArgs) error {
	a, cniVersion, err := open(call)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), types.AddTimeLimit)
	defer cancel()
	defer turn(ctx, directoryOf(a.config.ConfigurationPath))()
	allocated, err := allocate(ctx, a)
	if err != nil {
		return logging.Errorf("allocating an address: %v", err)
	}
	result := &current.Result{DNS: a.config.DNS, Routes: a.config.Routes}
	for _, address := range allocated {
		result.IPs = append(result.IPs, &current.IPConfig{Address: address, Gateway: a.config.Gateway})
	}
	for _, static := range a.config.Addresses {
		result.IPs = append(result.IPs, &current.IPConfig{Address: static.Address, Gateway: static.Gateway})
	}
	return cnitypes.PrintResult(result, cniVersion)
}

// del reports success whatever it meets, so that a pod can always go: what it leaves behind is the reconciler's.
func del(call *skel.CmdArgs) error {
	a, _, err := open(call)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), types.DelTimeLimit)
		defer cancel()
		defer turn(ctx, directoryOf(a.config.ConfigurationPath))()
		// Without one, entries that do not name their interface are left to the reconciler.
		a.previous, _ = previousResult(call.StdinData)
		err = release(ctx, a)
	}
	if err != nil {
		_ = logging.Errorf("the addresses of container %s, interface %s (%s) are left to the reconciler: %v",
			call.ContainerID, call.IfName, call.Args, err)
	}
	return nil
}

// check fails unless the interface has, in pool and reservation, the addresses of the result of its ADD.
func check(call *skel.CmdArgs) error {
	a, _, err := open(call)
	if err != nil {
		return err
	}
	previous, err := previousResult(call.StdinData)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	return verify(ctx, a, previous)
}

// status fails with the code for a plugin that is not available unless an ADD could reach the pools now.
func status(call *skel.CmdArgs) error {
	a, _, err := open(call)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), statusLimit)
		defer cancel()
		_, err = a.api.pools(a.namespace).List(ctx, metav1.ListOptions{Limit: 1})
	}
	if err != nil {
		return cnitypes.NewError(notAvailable, "Whereabouts cannot reach its pools", err.Error())
	}
	return nil
}

// collect does nothing on purpose. The runtime names the attachments of this node and of one network that are valid. A pool
// belongs to all nodes and to each network with its range, and its entries name no node: those of others would be released.
// The reconciler, which sees all pods, does this work.
func collect(*skel.CmdArgs) error {
	logging.Verbosef("GC: addresses of attachments that are gone are left to the reconciler")
	return nil
}

// verify compares the addresses that the interface has with those of the result of its ADD.
func verify(ctx context.Context, a *attachment, previous *current.Result) error {
	places, _, err := a.places(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, each := range places {
		failed = append(failed, a.verify(ctx, each, previous))
	}
	return errors.Join(failed...)
}

func (a *attachment) verify(ctx context.Context, base place, previous *current.Result) error {
	at, mine, err := a.kept(ctx, base)
	if err != nil {
		return err
	}
	if mine == nil || mine.PodRef != a.config.GetPodRef() {
		return fmt.Errorf("the pool %s has no address for %s of %s, container %s", at.name(), a.ifName, a.config.GetPodRef(), a.container)
	}
	if !names(previous, mine) {
		return fmt.Errorf("the pool %s has %s for %s of %s, which is not in prevResult", at.name(), mine.ip, a.ifName, a.config.GetPodRef())
	}
	if !a.config.OverlappingRanges {
		return nil
	}
	found, err := a.reservation(ctx, mine.ip)
	switch {
	case err != nil:
		return err
	case found == nil:
		return fmt.Errorf("%s has no reservation", mine.ip)
	case !a.owns(found, mine.PodRef):
		return fmt.Errorf("the reservation of %s is %s's of %s", mine.ip, found.Spec.IfName, found.Spec.PodRef)
	}
	return nil
}

// kept returns this container's entry, or nil, and where it is, or would be: in the base pool or in this node's own.
func (a *attachment) kept(ctx context.Context, base place) (place, *entry, error) {
	shared, err := a.pool(ctx, base)
	if err != nil {
		return base, nil, err
	}
	if shared == nil {
		return base, nil, fmt.Errorf("there is no pool %s", base.name())
	}
	all, _, err := entries(shared)
	if mine := a.held(all); mine != nil || err != nil || !beside(shared) {
		return base, mine, err
	}
	own, err := a.ownPlace(base)
	if err != nil {
		return base, nil, err
	}
	mine, err := a.pool(ctx, own)
	if mine == nil || err != nil {
		return own, nil, err
	}
	all, _, err = entries(mine)
	return own, a.held(all), err
}

func names(result *current.Result, mine *entry) bool {
	for _, each := range result.IPs {
		if each.Address.IP.Equal(mine.ip) {
			return true
		}
	}
	return false
}

func previousResult(data []byte) (*current.Result, error) {
	var network cnitypes.PluginConf
	if err := json.Unmarshal(data, &network); err != nil {
		return nil, err
	}
	if network.RawPrevResult == nil {
		return nil, cnitypes.NewError(cnitypes.ErrInvalidNetworkConfig, "CHECK requires prevResult, the result of the ADD", "")
	}
	if err := cniversion.ParsePrevResult(&network); err != nil {
		return nil, err
	}
	return current.NewResultFromResult(network.PrevResult)
}

func open(call *skel.CmdArgs) (*attachment, string, error) {
	ipam, cniVersion, err := config.LoadIPAMConfig(call.StdinData, call.Args)
	if err != nil {
		return nil, "", logging.Errorf("reading the IPAM configuration: %v", err)
	}
	logging.Debugf("container %q, pod %q, interface %q: %+v", call.ContainerID, ipam.GetPodRef(), call.IfName, *ipam)
	api, namespace, err := apiOf(ipam.Kubernetes.KubeConfigPath)
	if err != nil {
		return nil, "", logging.Errorf("reading %s: %v", ipam.Kubernetes.KubeConfigPath, err)
	}
	a := &attachment{config: *ipam, namespace: namespace, container: call.ContainerID, ifName: call.IfName, api: api}
	how, err := allocationOf(call.StdinData)
	if err != nil {
		return nil, "", logging.Errorf("reading the IPAM configuration: %v", err)
	}
	a.perNode = a.allocates(how)
	return a, cniVersion, nil
}

func banner(name string) string {
	return name + " " + version.GetFullVersionWithRuntimeInfo()
}
