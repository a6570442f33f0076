package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubetest "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// scrape serves the metrics as the reconciler does and returns the lines of whereabouts'.
func scrape(t *testing.T, of *metrics) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	if err := of.serve(ctx, address); err == nil {
		t.Error("an address that is taken is no error")
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := of.serve(ctx, address); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	return string(body)
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, each := range lines {
		if !strings.Contains("\n"+text, "\n"+each+"\n") {
			t.Errorf("no line %q in\n%s", each, text)
		}
	}
}

func TestMetricsTellOfPoolsAndRuns(t *testing.T) {
	cluster := newBench(t,
		pool("four", "10.0.0.0/29", map[string]v1alpha1.IPAllocation{"1": held("a", "c"), "2": held("gone", "c"), "3": held("a", "c")}),
		pool("six", "fd00::/64", map[string]v1alpha1.IPAllocation{}),
		reservation("10.0.0.2", "default/gone"), pod("a", "10.0.0.1", corev1.PodRunning))
	seen := newMetrics()
	seen.observe(cluster.run(t.Context()))
	text := scrape(t, seen)
	four := `{pool="four",pool_namespace="kube-system",range="10.0.0.0/29"} `
	wantLines(t, text,
		"whereabouts_ippool_capacity_addresses"+four+"6", "whereabouts_ippool_allocated_addresses"+four+"2",
		"whereabouts_ippool_free_addresses"+four+"4", "whereabouts_ippool_orphaned_addresses"+four+"2",
		"whereabouts_ippool_lost_addresses"+four+"0",
		`whereabouts_ippool_capacity_addresses{pool="six",pool_namespace="kube-system",range="fd00::/64"} 1.8446744073709552e+19`,
		"whereabouts_reconciler_released_addresses_total 1", "whereabouts_reconciler_dropped_reservations_total 1",
		"whereabouts_reconciler_last_run_success 1", "whereabouts_reconciler_last_run_timestamp_seconds 1.893456e+09",
		`whereabouts_reconciler_runs_total{result="success"} 1`, `whereabouts_reconciler_runs_total{result="failure"} 0`)
	for _, each := range []string{"whereabouts_build_info{", "whereabouts_ippool_object_bytes{", "whereabouts_ippool_object_size_ratio{", "go_goroutines "} {
		if !strings.Contains(text, "\n"+each) {
			t.Errorf("no %s in\n%s", each, text)
		}
	}

	// A run that could not read anything takes no pool away, and one that found a pool deleted does.
	seen.observe(report{began: cluster.at.Add(time.Minute)}, errors.New("no API server"))
	wantLines(t, scrape(t, seen), "whereabouts_ippool_free_addresses"+four+"4", "whereabouts_reconciler_last_run_success 0",
		"whereabouts_reconciler_last_success_timestamp_seconds 1.893456e+09", `whereabouts_reconciler_runs_total{result="failure"} 1`)
	seen.observe(report{began: cluster.at.Add(time.Hour), pools: []poolReport{}}, nil)
	if text := scrape(t, seen); strings.Contains(text, "whereabouts_ippool_") {
		t.Errorf("a pool that is gone:\n%s", text)
	}
}

func TestAnAddressOfAnotherIPAMPluginIsNoLoss(t *testing.T) {
	hostLocal := `{"cniVersion": "1.0.0", "name": "net", "type": "macvlan", "ipam": {"type": "host-local", "subnet": "192.0.2.0/24"}}`
	for name, test := range map[string]struct {
		config    string
		witnessed bool
		losses    int
	}{
		"host-local":                     {hostLocal, true, 0},
		"Whereabouts'":                   {macvlan(`"range": "192.0.2.0/24"`), false, 1},
		"Whereabouts' in a list":         {`{"name": "net", "plugins": [{"type": "x"}, ` + macvlan(`"range": "192.0.2.0/24"`) + `]}`, false, 1},
		"a fixed one":                    {macvlan(`"range": "192.0.2.0/24", "addresses": [{"address": "192.0.2.7/24"}]`), true, 0},
		"on the nodes":                   {"", false, 0},
		"on the nodes, and Whereabouts'": {"", true, 1},
		"without IPAM":                   {`{"name": "net", "type": "macvlan"}`, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{pool("p", "192.0.2.0/24", map[string]v1alpha1.IPAllocation{"1": held("a", "c")}), pod("b", "", corev1.PodRunning)}
			announceIn(objects[1].(*corev1.Pod), "default/other", "192.0.2.7")
			if test.witnessed {
				witness := pod("a", "", corev1.PodRunning)
				announceIn(witness, "default/other", "192.0.2.1")
				objects = append(objects, witness)
			}
			cluster := newBench(t, objects...)
			cluster.network("other", test.config)
			cluster.after(0)
			if done := cluster.after(time.Minute); done.losses != test.losses {
				t.Errorf("%d losses, want %d", done.losses, test.losses)
			}
		})
	}
}

func TestWithoutTheListOfNetworksTheRestIsDone(t *testing.T) {
	for name, test := range map[string]struct {
		refusal error
		failed  bool
	}{
		"no CRD":   {apierrors.NewNotFound(schema.GroupResource{}, ""), false},
		"no right": {apierrors.NewForbidden(schema.GroupResource{}, "", nil), true},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newBench(t, pool("p", "192.0.2.0/24", map[string]v1alpha1.IPAllocation{"1": held("gone", "c")}))
			cluster.networks.PrependReactor("list", "*", func(kubetest.Action) (bool, runtime.Object, error) { return true, nil, test.refusal })
			if _, err := cluster.run(t.Context()); (err != nil) != test.failed {
				t.Error(err)
			}
			cluster.expect("after one run", nil)
		})
	}
}

func TestCapacityIsWhatThePluginCanAllocate(t *testing.T) {
	for within, want := range map[string]float64{
		"10.0.0.0/24": 254, "10.0.0.0/30": 2, "10.0.0.0/31": 0, "10.0.0.0/32": 0, "fd00::/126": 2, "fd00::/0": 3.402823669209385e38, "nonsense": 0,
	} {
		within := *pool("p", within, nil)
		if got := capacityOf(rangesOf([]v1alpha1.IPPool{within})[0]); got != want {
			t.Errorf("%s: %v, want %v", within.Spec.Range, got, want)
		}
	}
}

func TestRunsDoNotOverlap(t *testing.T) {
	scheduler, err := newScheduler()
	if err != nil {
		t.Fatal(err)
	}
	var running, overlaps atomic.Int32
	runs := make(chan struct{}, 100)
	_, err = scheduler.NewJob(gocron.DurationJob(time.Millisecond), gocron.NewTask(func() {
		if running.Add(1) > 1 {
			overlaps.Add(1)
		}
		time.Sleep(5 * time.Millisecond)
		running.Add(-1)
		runs <- struct{}{}
	}))
	if err != nil {
		t.Fatal(err)
	}
	scheduler.Start()
	for range 10 {
		<-runs
	}
	if err := scheduler.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if overlaps.Load() > 0 {
		t.Errorf("%d runs began while another one went on", overlaps.Load())
	}
}
