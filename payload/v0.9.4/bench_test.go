package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	nadclient "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	wbclient "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned"
)

const (
	benchPools = 200
	// In each pool.
	benchPods, benchGone = 25, 5
)

// counted counts the requests that pass, by verb and resource.
type counted struct {
	lock sync.Mutex
	seen map[string]int
	http.RoundTripper
}

func (c *counted) RoundTrip(request *http.Request) (*http.Response, error) {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	if request.Method != http.MethodGet || !slices.Contains([]string{"pods", "nodes", "ippools", "overlappingrangeipreservations"}, resource) {
		resource = parts[len(parts)-2]
	}
	c.lock.Lock()
	c.seen[request.Method+" "+resource]++
	c.lock.Unlock()
	return c.RoundTripper.RoundTrip(request)
}

// BenchmarkReconcile runs the reconciler once against the API server of RECONCILE_KUBECONFIG, which has Whereabouts' CRDs
// and is otherwise empty. `make bench-reconcile` starts one.
func BenchmarkReconcile(b *testing.B) {
	file := os.Getenv("RECONCILE_KUBECONFIG")
	if file == "" {
		b.Skip("RECONCILE_KUBECONFIG names no API server: make bench-reconcile starts one")
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		b.Fatal(err)
	}
	requests := &counted{seen: map[string]int{}}
	tuned := rest.CopyConfig(config)
	tuned.QPS, tuned.Burst = reconcilerQPS, reconcilerBurst
	tuned.Wrap(func(inner http.RoundTripper) http.RoundTripper {
		requests.RoundTripper = inner
		return requests
	})
	api := clients{core: kubernetes.NewForConfigOrDie(tuned), whereabouts: wbclient.NewForConfigOrDie(tuned), networks: nadclient.NewForConfigOrDie(tuned)}
	config.QPS, config.Burst = 2000, 2000
	seed(b, kubernetes.NewForConfigOrDie(config), wbclient.NewForConfigOrDie(config))
	for b.Loop() {
		clear(requests.seen)
		worker := newReconciler(api, time.Now)
		worker.log = slog.New(slog.DiscardHandler)
		done, err := worker.run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if want := benchPools * benchGone; done.released != want || done.dropped != want {
			b.Fatalf("released %d, dropped %d, want %d of each", done.released, done.dropped, want)
		}
		total := 0
		for _, each := range slices.Sorted(maps.Keys(requests.seen)) {
			total += requests.seen[each]
			fmt.Printf("%6d %s\n", requests.seen[each], each)
		}
		fmt.Printf("%6d requests in %.1f s: %d pods, %d pools, %d addresses released, %d reservations dropped\n",
			total, done.took.Seconds(), benchPools*benchPods, benchPools, done.released, done.dropped)
	}
}

// seed makes the pools, the pods that run, and the allocations and reservations of pods that are gone.
func seed(b *testing.B, core kubernetes.Interface, whereabouts wbclient.Interface) {
	b.Helper()
	const together = 32
	ctx, cancel := context.WithCancelCause(b.Context())
	workqueue.ParallelizeUntil(ctx, together, benchPools, func(piece int) {
		if err := seedPool(ctx, core, whereabouts, piece); err != nil {
			cancel(err)
		}
	})
	if err := context.Cause(ctx); err != nil {
		b.Fatal(err)
	}
}

func seedPool(ctx context.Context, core kubernetes.Interface, whereabouts wbclient.Interface, piece int) error {
	within := fmt.Sprintf("10.0.%d.0/24", piece)
	made := pool(fmt.Sprintf("10.0.%d.0-24", piece), within, map[string]v1alpha1.IPAllocation{})
	for i := 1; i <= benchPods+benchGone; i++ {
		name, address := fmt.Sprintf("p-%d-%d", piece, i), fmt.Sprintf("10.0.%d.%d", piece, i)
		made.Spec.Allocations[fmt.Sprint(i)] = held(name, strings.Repeat("c", 64))
		if i > benchPods {
			reserved := reservation(address, "default/"+name)
			if _, err := whereabouts.WhereaboutsV1alpha1().OverlappingRangeIPReservations(namespace).
				Create(ctx, reserved, metav1.CreateOptions{}); err != nil {
				return err
			}
			continue
		}
		runs := pod(name, address, corev1.PodRunning)
		runs.Spec.Containers = []corev1.Container{{Name: "c", Image: "example.com/c"}}
		stored, err := core.CoreV1().Pods(runs.Namespace).Create(ctx, runs, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		stored.Status.Phase = corev1.PodRunning
		if _, err := core.CoreV1().Pods(runs.Namespace).UpdateStatus(ctx, stored, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	_, err := whereabouts.WhereaboutsV1alpha1().IPPools(namespace).Create(ctx, made, metav1.CreateOptions{})
	return err
}
