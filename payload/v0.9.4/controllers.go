//go:build !plugin

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	nadclient "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned"
	nadinformers "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/controlloop"
	wbclient "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned"
	wbinformers "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/informers/externalversions"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
	nodecontroller "github.com/k8snetworkplumbingwg/whereabouts/pkg/node-controller"
)

const (
	controlLoopName   = "pod-ip-controlloop"
	nodeSlicesName    = "node-slice-controller"
	noResync          = 0
	nodeSliceResync   = 30 * time.Second
	namespaceVariable = "WHEREABOUTS_NAMESPACE"
)

// clients are the ways to the API server that the controllers share.
type clients struct {
	core        kubernetes.Interface
	whereabouts wbclient.Interface
	networks    nadclient.Interface
}

func (c clients) leases(namespace string) leaseRequests {
	return c.core.CoordinationV1().Leases(namespace)
}

func (c clients) pools(namespace string) poolRequests {
	return c.whereabouts.WhereaboutsV1alpha1().IPPools(namespace)
}

func (c clients) reservations(namespace string) reservationRequests {
	return c.whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace)
}

func (c clients) slices(namespace string) sliceRequests {
	return c.whereabouts.WhereaboutsV1alpha1().NodeSlicePools(namespace)
}

// connect finds the API server from within the cluster; tune changes how it is spoken to.
func connect(tune ...func(*rest.Config)) (clients, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return clients{}, fmt.Errorf("finding the API server: %w", err)
	}
	for _, each := range tune {
		each(config)
	}
	core, coreErr := kubernetes.NewForConfig(config)
	whereabouts, whereaboutsErr := wbclient.NewForConfig(config)
	networks, networksErr := nadclient.NewForConfig(config)
	return clients{core, whereabouts, networks}, errors.Join(coreErr, whereaboutsErr, networksErr)
}

// controlLoop gives back the addresses of pods that are deleted on this node.
func controlLoop(ctx context.Context, flags *flag.FlagSet, arguments []string) error {
	done, end, err := parseLogged(flags, arguments)
	if done || err != nil {
		return err
	}
	defer end()
	api, err := connect()
	if err != nil {
		return err
	}
	pods, err := controlloop.PodInformerFactory(api.core)
	if err != nil {
		return fmt.Errorf("watching the pods of this node: %w", err)
	}
	return collectDeleted(ctx, api, os.Getenv(nodeVariable), pods, controllersConf)
}

// collectDeleted runs upstream's control loop on the pods of a factory, which looks into the base pools, and beside it what
// looks into the node's own.
func collectDeleted(ctx context.Context, api clients, node string, pods informers.SharedInformerFactory, conf string) error {
	// In a large cluster the pools of other nodes change all the time.
	pools, mine := sharedPools(api), ownPools(api, node)
	networks := nadinformers.NewSharedInformerFactory(api.networks, noResync)
	events := record.NewBroadcaster()
	events.StartLogging(logging.Verbosef)
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.core.CoreV1().Events(corev1.NamespaceAll)})
	recorder := events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: controlLoopName})
	ignored := func(attachment *nadv1.NetworkAttachmentDefinition, why error) {
		_ = logging.Errorf("the network attachment %s/%s is ignored: %v", attachment.Namespace, attachment.Name, why)
	}
	attachments := networks.K8sCniCncfIo().V1().NetworkAttachmentDefinitions().Informer()
	if err := attachments.SetTransform(screen(conf, anyNetwork, ignored)); err != nil {
		return err
	}
	controller := controlloop.NewPodController(patient{api.core}, keeping{api.whereabouts}, pods, pools, networks, events, recorder)
	own, err := newCollector(api, node, pods, mine)
	if err != nil {
		return err
	}
	pods.Start(ctx.Done())
	networks.Start(ctx.Done())
	pools.Start(ctx.Done())
	mine.Start(ctx.Done())
	controller.Start(ctx.Done())
	own.run(ctx)
	controller.Shutdown()
	return nil
}

// nodeSlices divides the ranges of networks with node_slice_size among the nodes.
func nodeSlices(ctx context.Context, flags *flag.FlagSet, arguments []string) error {
	klog.InitFlags(flags)
	if done, err := parse(flags, arguments); done {
		return err
	}
	defer klog.Flush()
	namespace := os.Getenv(namespaceVariable)
	if namespace == "" {
		return fmt.Errorf("%s is not set: it names the namespace of the pools", namespaceVariable)
	}
	api, err := connect()
	if err != nil {
		return err
	}
	return divide(ctx, api, namespace, controllersConf)
}

// divide runs upstream's controller on the networks that it can divide. The others get an Event that says why not.
func divide(ctx context.Context, api clients, namespace, conf string) error {
	nodes := informers.NewSharedInformerFactory(api.core, nodeSliceResync)
	pools := wbinformers.NewSharedInformerFactory(api.whereabouts, nodeSliceResync)
	networks := nadinformers.NewSharedInformerFactory(api.networks, nodeSliceResync)
	known := runtime.NewScheme()
	if err := nadv1.AddToScheme(known); err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: api.core.CoreV1().Events(corev1.NamespaceAll)})
	recorder := events.NewRecorder(known, corev1.EventSource{Component: nodeSlicesName})
	refused := func(attachment *nadv1.NetworkAttachmentDefinition, why error) {
		klog.FromContext(ctx).Info("a network attachment is ignored", "attachment", klog.KObj(attachment), "why", why)
		recorder.Event(attachment, corev1.EventTypeWarning, "Ignored", why.Error())
	}
	attachments := networks.K8sCniCncfIo().V1().NetworkAttachmentDefinitions()
	if err := attachments.Informer().SetTransform(screen(conf, divisible, refused)); err != nil {
		return err
	}
	const sortResults = false
	controller := nodecontroller.NewController(
		ctx, api.core, api.whereabouts, api.networks,
		nodes.Core().V1().Nodes(), pools.Whereabouts().V1alpha1().NodeSlicePools(), attachments,
		sortResults, namespace,
	)
	nodes.Start(ctx.Done())
	pools.Start(ctx.Done())
	networks.Start(ctx.Done())
	const workers = 1
	return controller.Run(ctx, workers)
}

// parseLogged reads the flags of a role that logs as the plugin does; end has to be called before the process ends.
func parseLogged(flags *flag.FlagSet, arguments []string) (done bool, end func(), err error) {
	logs := addLogFlags(flags)
	if done, err := parse(flags, arguments); done {
		return done, nil, err
	}
	if end, err = logs.apply(); err != nil {
		fmt.Fprintln(flags.Output(), err)
	}
	return err != nil, end, err
}
