package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apitypes "k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

const (
	// requestLimit bounds each request, so that one that gets no answer leaves time for others.
	requestLimit = 10 * time.Second
	// perSecond is more than a call needs. client-go's own 5, after a burst of 10, made each dual-stack ADD wait.
	perSecond = 50
)

// An api has the requests of a call to the API server, in a namespace. The clients that are generated for client-go and upstream
// have them as well.
type api interface {
	leases(namespace string) leaseRequests
	pools(namespace string) poolRequests
	reservations(namespace string) reservationRequests
	slices(namespace string) sliceRequests
}

type leaseRequests interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (*coordinationv1.Lease, error)
	Create(ctx context.Context, made *coordinationv1.Lease, options metav1.CreateOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, made *coordinationv1.Lease, options metav1.UpdateOptions) (*coordinationv1.Lease, error)
	Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error)
}

type poolRequests interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (*v1alpha1.IPPool, error)
	List(ctx context.Context, options metav1.ListOptions) (*v1alpha1.IPPoolList, error)
	Create(ctx context.Context, made *v1alpha1.IPPool, options metav1.CreateOptions) (*v1alpha1.IPPool, error)
	Patch(ctx context.Context, name string, kind apitypes.PatchType, patch []byte, options metav1.PatchOptions,
		subresources ...string) (*v1alpha1.IPPool, error)
}

type reservationRequests interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (*v1alpha1.OverlappingRangeIPReservation, error)
	Create(ctx context.Context, made *v1alpha1.OverlappingRangeIPReservation,
		options metav1.CreateOptions) (*v1alpha1.OverlappingRangeIPReservation, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

type sliceRequests interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (*v1alpha1.NodeSlicePool, error)
}

// An endpoint is an api that knows these kinds alone. The generated clients come with all kinds of Kubernetes, and with what tests
// do with them: to set that up took half of the CPU time of a call.
type endpoint struct{ coordination, whereabouts group }

// A group is the way to the objects of an API group.
type group struct {
	client     *rest.RESTClient
	parameters runtime.ParameterCodec
}

func newEndpoint(config *rest.Config) (endpoint, error) {
	known := runtime.NewScheme()
	codecs, parameters := serializer.NewCodecFactory(known), runtime.NewParameterCodec(known)
	knownErr := errors.Join(coordinationv1.AddToScheme(known), v1alpha1.AddToScheme(known))
	transport, transportErr := rest.HTTPClientFor(config)
	if err := errors.Join(knownErr, transportErr); err != nil {
		return endpoint{}, err
	}
	groupOf := func(version schema.GroupVersion) (group, error) {
		own := rest.CopyConfig(config)
		own.APIPath, own.GroupVersion = "/apis", &version
		own.NegotiatedSerializer = codecs.WithoutConversion()
		client, err := rest.RESTClientForConfigAndClient(own, transport)
		return group{client, parameters}, err
	}
	coordination, coordinationErr := groupOf(coordinationv1.SchemeGroupVersion)
	whereabouts, whereaboutsErr := groupOf(v1alpha1.SchemeGroupVersion)
	return endpoint{coordination, whereabouts}, errors.Join(coordinationErr, whereaboutsErr)
}

func (e endpoint) leases(namespace string) leaseRequests {
	return objects[coordinationv1.Lease, *coordinationv1.Lease]{e.coordination, namespace, "leases"}
}

func (e endpoint) pools(namespace string) poolRequests {
	return poolObjects{objects[v1alpha1.IPPool, *v1alpha1.IPPool]{e.whereabouts, namespace, "ippools"}}
}

func (e endpoint) reservations(namespace string) reservationRequests {
	type kind = v1alpha1.OverlappingRangeIPReservation
	return objects[kind, *kind]{e.whereabouts, namespace, "overlappingrangeipreservations"}
}

func (e endpoint) slices(namespace string) sliceRequests {
	return objects[v1alpha1.NodeSlicePool, *v1alpha1.NodeSlicePool]{e.whereabouts, namespace, "nodeslicepools"}
}

// objects are those of a kind T in a namespace.
type objects[T any, P interface {
	*T
	runtime.Object
	metav1.Object
}] struct {
	group
	namespace, resource string
}

func (o objects[T, P]) to(request *rest.Request) *rest.Request {
	return request.Namespace(o.namespace).Resource(o.resource)
}

func (o objects[T, P]) done(ctx context.Context, request *rest.Request) (P, error) {
	answer := P(new(T))
	err := request.Do(ctx).Into(answer)
	return answer, err
}

// Get implements leaseRequests, poolRequests, reservationRequests and sliceRequests.
func (o objects[T, P]) Get(ctx context.Context, name string, options metav1.GetOptions) (P, error) {
	return o.done(ctx, o.to(o.client.Get()).Name(name).VersionedParams(&options, o.parameters))
}

// Create implements leaseRequests, poolRequests and reservationRequests.
func (o objects[T, P]) Create(ctx context.Context, made P, options metav1.CreateOptions) (P, error) {
	return o.done(ctx, o.to(o.client.Post()).VersionedParams(&options, o.parameters).Body(made))
}

// Update implements leaseRequests.
func (o objects[T, P]) Update(ctx context.Context, made P, options metav1.UpdateOptions) (P, error) {
	return o.done(ctx, o.to(o.client.Put()).Name(made.GetName()).VersionedParams(&options, o.parameters).Body(made))
}

// Patch implements poolRequests.
func (o objects[T, P]) Patch(ctx context.Context, name string, kind apitypes.PatchType, patch []byte, options metav1.PatchOptions,
	subresources ...string) (P, error) {
	to := o.to(o.client.Patch(kind)).Name(name).SubResource(subresources...)
	return o.done(ctx, to.VersionedParams(&options, o.parameters).Body(patch))
}

// Delete implements reservationRequests.
func (o objects[T, P]) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	return o.to(o.client.Delete()).Name(name).Body(&options).Do(ctx).Error()
}

// Watch implements leaseRequests.
func (o objects[T, P]) Watch(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
	options.Watch = true
	return o.to(o.client.Get()).VersionedParams(&options, o.parameters).Watch(ctx)
}

type poolObjects struct {
	objects[v1alpha1.IPPool, *v1alpha1.IPPool]
}

// List implements poolRequests.
func (p poolObjects) List(ctx context.Context, options metav1.ListOptions) (*v1alpha1.IPPoolList, error) {
	answer := &v1alpha1.IPPoolList{}
	err := p.to(p.client.Get()).VersionedParams(&options, p.parameters).Do(ctx).Into(answer)
	return answer, err
}

func loaderOf(kubeconfig string) clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{})
}

// apiOf returns the way to the API endpoint of a kubeconfig, and the namespace of its context.
func apiOf(kubeconfig string) (api, string, error) {
	loader := loaderOf(kubeconfig)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, "", err
	}
	now, found := raw.Contexts[raw.CurrentContext]
	if !found {
		return nil, "", fmt.Errorf("the kubeconfig has no context %q", raw.CurrentContext)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", err
	}
	namespace := now.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceSystem
	}
	config.QPS, config.Burst, config.Timeout = perSecond, perSecond, requestLimit
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return renewing{next, kubeconfig} })
	made, err := newEndpoint(config)
	return made, namespace, err
}
