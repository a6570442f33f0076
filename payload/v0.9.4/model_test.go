package main

import (
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/klog/v2"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/logging"
)

var (
	modelRuns = flag.Int("model.runs", 1500, "how many sequences TestModel runs")
	modelSeed = flag.Uint64("model.seed", 0, "the only sequence that TestModel runs, step by step")
)

// eventsOfModel are in a sequence.
const eventsOfModel = 40

// TestModel runs random sequences of what happens in a cluster, with the requests of all programs in any order. After each
// request no address may be in use twice, and each one in use has to be held; at the end nothing else may be held.
func TestModel(t *testing.T) {
	t.Setenv("NODENAME", "")
	quietLogs(t)
	places := map[string]string{}
	for name := range modelSlices {
		places[name] = t.TempDir()
		if err := os.WriteFile(filepath.Join(places[name], "nodename"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seeds := []uint64{*modelSeed}
	if *modelSeed == 0 {
		seeds = nil
		for i := range *modelRuns {
			seeds = append(seeds, uint64(i+1))
		}
	}
	began := time.Now()
	for i, seed := range seeds {
		events := newEvents(rand.New(rand.NewPCG(seed, 1)), eventsOfModel)
		problem, trace := sequence(t, seed, events, places, *modelSeed != 0)
		if *modelSeed != 0 {
			t.Log(strings.Join(trace, "\n"))
		}
		if problem == "" {
			continue
		}
		events = shrink(t, seed, events, places)
		problem, trace = sequence(t, seed, events, places, true)
		t.Fatalf("sequence %d, after %d of them in %s, replay with -model.seed=%d: %s\nwith %d events:\n%s",
			seed, i, time.Since(began).Round(time.Millisecond), seed, problem, len(events), strings.Join(trace, "\n"))
	}
}

// sequence runs the events of a seed, and returns what went wrong, and what happened if it is kept.
func sequence(t *testing.T, seed uint64, events []event, places map[string]string, keep bool) (problem string, trace []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(rand.New(rand.NewPCG(seed, 2)), places)
		w.keep = keep
		for _, each := range events {
			if w.happen(each); w.problem != "" {
				break
			}
		}
		if w.problem == "" {
			w.quiet(rand.New(rand.NewPCG(seed, 3)))
		}
		problem, trace = w.problem, w.trace
		w.end()
	})
	return problem, trace
}

// end ends what still runs.
func (w *world) end() {
	for _, node := range w.nodes {
		node.down = true
	}
	for len(w.running) > 0 {
		w.settle()
		for _, each := range slices.Clone(w.running) {
			w.kill(each)
		}
	}
	w.wait()
}

// shrink leaves out the events that the failure does not need.
func shrink(t *testing.T, seed uint64, events []event, places map[string]string) []event {
	t.Helper()
	for size := len(events) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(events); {
			fewer := slices.Delete(slices.Clone(events), at, at+size)
			if problem, _ := sequence(t, seed, fewer, places, false); problem != "" {
				events = fewer
			} else {
				at += size
			}
		}
	}
	return events
}

func quietLogs(t *testing.T) {
	t.Helper()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	logging.SetLogStderr(false)
	t.Cleanup(func() {
		klog.SetOutput(os.Stderr)
		klog.LogToStderr(true)
		logging.SetLogStderr(true)
	})
}
