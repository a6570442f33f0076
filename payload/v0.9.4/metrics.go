//go:build !plugin

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/version"
)

// objectLimit is the largest object that etcd takes by default (--max-request-bytes).
const objectLimit = 1.5 * 1024 * 1024

// A poolReport is what one run knows of a pool.
type poolReport struct {
	namespace, name, within string
	// capacity is how many addresses the range has for use; of what a network leaves out of it, the pool does not know.
	capacity float64
	// allocated are the pool's own allocations, elsewhere those of the pools for which it stands.
	allocated, elsewhere int
	// leads: the pool stands for its range. It does not if it is a node's and there is a base pool.
	leads bool
	// orphans are allocations that no pod has, losses the addresses that pods have and the pool does not hold.
	orphans, losses int
	// bytes is the size of the pool as it is stored.
	bytes int
}

func newPoolReport(pool *v1alpha1.IPPool, within netip.Prefix) poolReport {
	encoded, err := json.Marshal(pool)
	if err != nil {
		panic(err) // it came as JSON
	}
	return poolReport{
		namespace: pool.Namespace, name: pool.Name, within: pool.Spec.Range,
		capacity: capacityOf(within), allocated: len(pool.Spec.Allocations), bytes: len(encoded),
	}
}

// capacityOf is the number of addresses without the range's first and last one, which the plugin never allocates.
func capacityOf(within netip.Prefix) float64 {
	if !within.IsValid() {
		return 0
	}
	return max(0, math.Exp2(float64(within.Addr().BitLen()-within.Bits()))-2)
}

// metrics is what Prometheus reads of the reconciler: the last run, and counts over all of them.
type metrics struct {
	lock              sync.Mutex
	pools             []poolReport
	last              report
	lastFailed        bool
	lastSuccess       time.Time
	runs              map[string]int
	released, dropped int

	perPool  []poolMetric
	perRun   []runMetric
	runsDesc *prometheus.Desc
	build    *prometheus.Desc
}

type poolMetric struct {
	desc *prometheus.Desc
	// ofRange: it is the range's and not the pool's, so that only the pool that stands for the range has it. Sums and minima
	// over the pools count each range once.
	ofRange bool
	value   func(poolReport) float64
}

type runMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*metrics) float64
}

func newMetrics() *metrics {
	return &metrics{
		runs:     map[string]int{"success": 0, "failure": 0},
		perPool:  metricsOfPools(),
		perRun:   metricsOfRuns(),
		runsDesc: prometheus.NewDesc("whereabouts_reconciler_runs_total", "Runs by their result.", []string{"result"}, nil),
		build: prometheus.NewDesc("whereabouts_build_info", "1, labelled with the versions of the build.", nil,
			prometheus.Labels{"version": version.Version, "go_version": runtime.Version()}),
	}
}

func metricsOfPools() []poolMetric {
	labels := []string{"pool_namespace", "pool", "range"}
	ofPool := func(name, help string, value func(poolReport) float64) poolMetric {
		return poolMetric{prometheus.NewDesc("whereabouts_ippool_"+name, help, labels, nil), false, value}
	}
	ofRange := func(name, help string, value func(poolReport) float64) poolMetric {
		help += " Of a range with pools of nodes, only the base pool has it."
		return poolMetric{prometheus.NewDesc("whereabouts_ippool_"+name, help, labels, nil), true, value}
	}
	return []poolMetric{
		ofRange("capacity_addresses", "Addresses of the pool's range, without the first and the last one. What a network excludes is not subtracted.",
			func(each poolReport) float64 { return each.capacity }),
		ofPool("allocated_addresses", "Allocations of the pool.",
			func(each poolReport) float64 { return float64(each.allocated) }),
		ofRange("free_addresses", "Capacity of the pool's range without the allocations of all pools of the range and its network_name.",
			func(each poolReport) float64 { return max(0, each.capacity-float64(each.allocated+each.elsewhere)) }),
		ofPool("orphaned_addresses", "Allocations that the last run found without a pod that has the address.",
			func(each poolReport) float64 { return float64(each.orphans) }),
		ofRange("lost_addresses", "Addresses of the pool's range that running pods announce in networks of Whereabouts and no pool holds for them.",
			func(each poolReport) float64 { return float64(each.losses) }),
		ofPool("object_bytes", "Size of the pool's object as JSON.",
			func(each poolReport) float64 { return float64(each.bytes) }),
		ofPool("object_size_ratio", "Size of the pool's object relative to etcd's default limit of 1.5 MiB.",
			func(each poolReport) float64 { return float64(each.bytes) / objectLimit }),
	}
}

func metricsOfRuns() []runMetric {
	ofRun := func(name, help string, kind prometheus.ValueType, value func(*metrics) float64) runMetric {
		return runMetric{prometheus.NewDesc("whereabouts_reconciler_"+name, help, nil, nil), kind, value}
	}
	return []runMetric{
		ofRun("last_run_timestamp_seconds", "When the last run began.", prometheus.GaugeValue,
			func(m *metrics) float64 { return seconds(m.last.began) }),
		ofRun("last_success_timestamp_seconds", "When the last run without an error began.", prometheus.GaugeValue,
			func(m *metrics) float64 { return seconds(m.lastSuccess) }),
		ofRun("last_run_duration_seconds", "How long the last run took.", prometheus.GaugeValue,
			func(m *metrics) float64 { return m.last.took.Seconds() }),
		ofRun("last_run_success", "1 if the last run had no error, 0 if it had one.", prometheus.GaugeValue,
			func(m *metrics) float64 { return map[bool]float64{false: 1}[m.lastFailed] }),
		ofRun("released_addresses_total", "Allocations that were released.", prometheus.CounterValue,
			func(m *metrics) float64 { return float64(m.released) }),
		ofRun("dropped_reservations_total", "Reservations against overlapping ranges that were deleted.", prometheus.CounterValue,
			func(m *metrics) float64 { return float64(m.dropped) }),
	}
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// observe takes over what a run found. Pools that could not be listed stay as they were.
func (m *metrics) observe(done report, err error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.last, m.lastFailed = done, err != nil
	if done.pools != nil {
		m.pools = done.pools
	}
	m.released += done.released
	m.dropped += done.dropped
	if err != nil {
		m.runs["failure"]++
		return
	}
	m.runs["success"]++
	m.lastSuccess = done.began
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, each := range m.perPool {
		to <- each.desc
	}
	for _, each := range m.perRun {
		to <- each.desc
	}
	to <- m.runsDesc
	to <- m.build
}

// Collect implements prometheus.Collector. Before the first run there is nothing to tell but the build.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.lock.Lock()
	defer m.lock.Unlock()
	to <- prometheus.MustNewConstMetric(m.build, prometheus.GaugeValue, 1)
	for result, count := range m.runs {
		to <- prometheus.MustNewConstMetric(m.runsDesc, prometheus.CounterValue, float64(count), result)
	}
	if m.last.began.IsZero() {
		return
	}
	for _, each := range m.perRun {
		if value := each.value(m); each.kind == prometheus.CounterValue || value >= 0 {
			to <- prometheus.MustNewConstMetric(each.desc, each.kind, value)
		}
	}
	for _, pool := range m.pools {
		for _, each := range m.perPool {
			if each.ofRange && !pool.leads {
				continue
			}
			to <- prometheus.MustNewConstMetric(each.desc, prometheus.GaugeValue, each.value(pool), pool.namespace, pool.name, pool.within)
		}
	}
}

func (m *metrics) handler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, each := range []prometheus.Collector{
		m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(each); err != nil {
			return nil, fmt.Errorf("registering the metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux, nil
}

// serve answers at an address until ctx is done; it returns when the address is taken, or cannot be.
func (m *metrics) serve(ctx context.Context, address string) error {
	handler, err := m.handler()
	if err != nil {
		return err
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serving the metrics: %w", err)
	}
	server := &http.Server{
		Handler: handler, MaxHeaderBytes: 1 << 14,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}
