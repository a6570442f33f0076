package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	kt "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// nodePool is the pool of a node beside a base pool.
func nodePool(name, node, within string, allocations map[string]v1alpha1.IPAllocation) *v1alpha1.IPPool {
	made := pool(name, within, allocations)
	made.Annotations = map[string]string{nodeOfPool: node}
	return made
}

// basePool is a pool that nodes have pools of their own beside.
func basePool(name, within string, allocations map[string]v1alpha1.IPAllocation) *v1alpha1.IPPool {
	made := pool(name, within, allocations)
	made.Annotations = map[string]string{hasNodePools: "true"}
	return made
}

func node(name string) *corev1.Node {
	made := aNode(corev1.ConditionTrue)
	made.Name = name
	return made
}

// poolNames are the pools that are there.
func (b *bench) poolNames() []string {
	b.t.Helper()
	found, err := b.wb.WhereaboutsV1alpha1().IPPools("").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, each := range found.Items {
		names = append(names, each.Name)
	}
	return names
}

func TestTheBasePoolOfANodesPoolIsFoundByItsName(t *testing.T) {
	for name, test := range map[string]struct{ node, within, base string }{
		"10.0.0.0-24":             {"", "10.0.0.0/24", "10.0.0.0-24"},
		"n1-10.0.0.0-24":          {"n1", "10.0.0.0/24", "10.0.0.0-24"},
		"blue-n1-10.0.0.0-24":     {"n1", "10.0.0.0/24", "blue-10.0.0.0-24"},
		"n1-fd00--0-64":           {"n1", "fd00::0/64", "fd00--0-64"},
		"blue-red-n1.a-fd00---64": {"n1.a", "fd00::/64", "blue-red-fd00---64"},
		"of another kind":         {"n1", "10.0.0.0/24", "of another kind"},
		"n1-10.0.0.0-24 no range": {"n1", "", "n1-10.0.0.0-24 no range"},
		"another-n1-10.0.0.0-24":  {"n1", "10.0.0.0/24", "another-10.0.0.0-24"},
		"n1-10.0.0.0-25":          {"n1", "10.0.0.0/24", "n1-10.0.0.0-25"},
		"n1-n1-10.0.0.0-24":       {"n1", "10.0.0.0/24", "n1-10.0.0.0-24"},
	} {
		if got := baseOf(nodePool(name, test.node, test.within, nil)); got != test.base {
			t.Errorf("%s: %s, want %s", name, got, test.base)
		}
	}
}

func TestNodePoolsAreReconciledAsOthers(t *testing.T) {
	const within = "10.0.0.0/24"
	moved := pod("moved", "10.0.0.5", corev1.PodRunning)
	cluster := newBench(t, node("n1"), node("n2"), moved,
		basePool("10.0.0.0-24", within, map[string]v1alpha1.IPAllocation{"1": held("base", "c1"), "2": held("gone", "c2")}),
		nodePool("n1-10.0.0.0-24", "n1", within, map[string]v1alpha1.IPAllocation{
			"3": held("one", "c3"), "4": held("gone", "c4"), "6": held("moved", "c6"),
		}),
		nodePool("n2-10.0.0.0-24", "n2", within, map[string]v1alpha1.IPAllocation{"5": held("moved", "c5")}),
		pod("base", "10.0.0.1", corev1.PodRunning), pod("one", "10.0.0.3", corev1.PodRunning),
		reservation("10.0.0.1", "default/base"), reservation("10.0.0.2", "default/gone"), reservation("10.0.0.3", "default/one"),
		reservation("10.0.0.4", "default/gone"), reservation("10.0.0.5", "default/moved"), reservation("10.0.0.6", "default/moved"),
	)
	if done := cluster.after(0); done.released != 2 || done.dropped != 2 || done.orphans != 3 {
		t.Errorf("reported %+v", done)
	}
	cluster.expect("pods that are gone", []string{"10.0.0.0-24:1", "n1-10.0.0.0-24:3", "n1-10.0.0.0-24:6", "n2-10.0.0.0-24:5"},
		"10.0.0.1", "10.0.0.3", "10.0.0.5", "10.0.0.6")
	if found := cluster.containerAt("n1-10.0.0.0-24", "6"); found != "c6/orphan" {
		t.Errorf("the container of the orphan is %s", found)
	}
	cluster.after(time.Minute)
	cluster.after(time.Minute)
	cluster.expect("what a pod left on its former node", []string{"10.0.0.0-24:1", "n1-10.0.0.0-24:3", "n2-10.0.0.0-24:5"},
		"10.0.0.1", "10.0.0.3", "10.0.0.5")
}

func TestAnAddressThatTwoPoolsHoldStaysWithThePodThatHasIt(t *testing.T) {
	const within = "10.0.0.0/24"
	// The second node was killed after its entry, before it lost the reservation.
	cluster := newBench(t, node("n1"), node("n2"), basePool("10.0.0.0-24", within, nil),
		nodePool("n1-10.0.0.0-24", "n1", within, map[string]v1alpha1.IPAllocation{"1": held("has", "c1")}),
		nodePool("n2-10.0.0.0-24", "n2", within, map[string]v1alpha1.IPAllocation{"1": held("killed", "c2")}),
		pod("has", "10.0.0.1", corev1.PodRunning), pod("killed", "10.0.0.2", corev1.PodRunning),
		reservation("10.0.0.1", "default/has"))
	for range 3 {
		cluster.after(time.Minute)
	}
	cluster.expect("after three runs", []string{"n1-10.0.0.0-24:1"}, "10.0.0.1")
}

func TestEmptyPoolsOfNodesThatAreGoneAreDeleted(t *testing.T) {
	const within = "10.0.0.0/24"
	lost := pod("lost", "10.0.0.3", corev1.PodRunning)
	lost.Spec.NodeName = "gone"
	cluster := newBench(t, node("n1"), lost,
		basePool("10.0.0.0-24", within, nil), nodePool("n1-10.0.0.0-24", "n1", within, nil),
		nodePool("gone-10.0.0.0-24", "gone", within, map[string]v1alpha1.IPAllocation{"3": held("lost", "c")}),
		// A slice of a node is not marked.
		pool("gone-10.0.1.0-26", "10.0.1.0/26", nil),
		reservation("10.0.0.3", "default/lost"))
	kept := []string{"10.0.0.0-24", "gone-10.0.1.0-26", "n1-10.0.0.0-24"}
	if done := cluster.after(0); done.released != 1 || done.discarded != 0 {
		t.Errorf("reported %+v", done)
	}
	done := cluster.after(0)
	if done.discarded != 1 || len(done.pools) != len(kept) {
		t.Errorf("reported %+v", done)
	}
	if names := cluster.poolNames(); !slices.Equal(names, kept) {
		t.Errorf("the pools are %q, want %q", names, kept)
	}
}

func TestWithoutTheListOfNodesNoPoolIsDeleted(t *testing.T) {
	cluster := newBench(t, nodePool("gone-10.0.0.0-24", "gone", "10.0.0.0/24", nil))
	cluster.core.PrependReactor("list", "nodes", func(kt.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no right"))
	})
	if _, err := cluster.run(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("error %v", err)
	}
	if names := cluster.poolNames(); len(names) != 1 {
		t.Errorf("the pools are %q", names)
	}
}

func TestANodesPoolIsDeletedOnlyAsItWasRead(t *testing.T) {
	for name, test := range map[string]struct {
		refusal error
		failed  bool
	}{
		"written meanwhile": {apierrors.NewConflict(schema.GroupResource{}, "p", errors.New("another one by now")), false},
		"gone meanwhile":    {apierrors.NewNotFound(schema.GroupResource{}, "p"), false},
		"refused":           {apierrors.NewForbidden(schema.GroupResource{}, "p", errors.New("no right")), true},
	} {
		t.Run(name, func(t *testing.T) {
			empty := nodePool("gone-10.0.0.0-24", "gone", "10.0.0.0/24", nil)
			empty.UID = "u"
			cluster := newBench(t, empty)
			cluster.wb.PrependReactor("delete", "ippools", func(action kt.Action) (bool, runtime.Object, error) {
				only := action.(kt.DeleteActionImpl).DeleteOptions.Preconditions
				if only == nil || only.UID == nil || *only.UID != "u" || only.ResourceVersion == nil || *only.ResourceVersion != "1" {
					t.Errorf("preconditions %+v", only)
				}
				return true, nil, test.refusal
			})
			done, err := cluster.run(t.Context())
			if (err != nil) != test.failed || done.discarded != 0 || len(done.pools) != 1 {
				t.Errorf("reported %+v, error %v", done, err)
			}
		})
	}
}

func TestMetricsOfARangeWithNodePoolsCountItOnce(t *testing.T) {
	const within = "10.0.0.0/29"
	lost := pod("lost", "", corev1.PodRunning)
	announceIn(lost, "default/net1", "10.0.0.6")
	cluster := newBench(t, node("0"), node("n2"), lost,
		// By name, a node's pool comes before the base pool.
		nodePool("0-10.0.0.0-29", "0", within, map[string]v1alpha1.IPAllocation{"2": held("one", "c"), "3": held("gone", "c")}),
		basePool("10.0.0.0-29", within, map[string]v1alpha1.IPAllocation{"1": held("base", "c")}),
		nodePool("n2-10.0.0.0-29", "n2", within, map[string]v1alpha1.IPAllocation{"4": held("two", "c")}),
		// Another network, whose base pool was deleted.
		nodePool("blue-0-10.0.0.0-29", "0", within, map[string]v1alpha1.IPAllocation{"1": held("three", "c")}),
		nodePool("blue-n2-10.0.0.0-29", "n2", within, map[string]v1alpha1.IPAllocation{"2": held("four", "c")}),
		pod("base", "10.0.0.1", corev1.PodRunning), pod("one", "10.0.0.2", corev1.PodRunning), pod("two", "10.0.0.4", corev1.PodRunning),
		pod("three", "10.0.0.1", corev1.PodRunning), pod("four", "10.0.0.2", corev1.PodRunning))
	cluster.after(0)
	cluster.at = cluster.at.Add(time.Minute)
	seen := newMetrics()
	seen.observe(cluster.run(t.Context()))
	text := scrape(t, seen)
	line := func(metric, name, value string) string {
		return "whereabouts_ippool_" + metric + `{pool="` + name + `",pool_namespace="kube-system",range="` + within + `"} ` + value
	}
	wantLines(t, text,
		line("capacity_addresses", "10.0.0.0-29", "6"), line("free_addresses", "10.0.0.0-29", "3"), line("lost_addresses", "10.0.0.0-29", "1"),
		line("capacity_addresses", "blue-0-10.0.0.0-29", "6"), line("free_addresses", "blue-0-10.0.0.0-29", "4"),
		line("allocated_addresses", "0-10.0.0.0-29", "1"), line("allocated_addresses", "10.0.0.0-29", "1"),
		line("allocated_addresses", "n2-10.0.0.0-29", "1"), line("orphaned_addresses", "n2-10.0.0.0-29", "0"))
	for _, metric := range []string{"capacity_addresses", "free_addresses", "lost_addresses"} {
		if count := strings.Count(text, "\nwhereabouts_ippool_"+metric+"{"); count != 2 {
			t.Errorf("%d series of %s for two ranges", count, metric)
		}
	}
}

func TestAWriteOfAPoolForgetsWhoWroteItsFields(t *testing.T) {
	cluster := newBench(t, pod("runs", "10.9.9.9", corev1.PodRunning),
		pool("p", "10.0.0.0/24", map[string]v1alpha1.IPAllocation{"1": held("gone", ""), "2": held("runs", "c")}))
	patches := 0
	cluster.wb.PrependReactor("patch", "ippools", func(action kt.Action) (bool, runtime.Object, error) {
		var edits []struct {
			Op, Path string
			Value    json.RawMessage
		}
		if err := json.Unmarshal(action.(kt.PatchAction).GetPatch(), &edits); err != nil {
			t.Fatal(err)
		}
		last := edits[len(edits)-1]
		if last.Op != "add" || last.Path != "/metadata/managedFields" || string(last.Value) != "[{}]" {
			t.Errorf("the last edit is %+v", last)
		}
		patches++
		return false, nil, nil
	})
	cluster.after(0)
	cluster.expect("the release and the mark", []string{"p:2"})
	if patches != 2 || cluster.containerAt("p", "2") != "c/orphan" {
		t.Errorf("%d patches", patches)
	}
}

func TestANodesLabelIsOneWhateverItsName(t *testing.T) {
	long := strings.Repeat("a-long-name.", 20)
	seen := map[string]string{}
	for _, node := range []string{"n1", "n1.example.org", strings.Repeat("a", 63), long + "a", long + "b"} {
		label := labelOf(node)
		if problems := validation.IsValidLabelValue(label); len(problems) > 0 {
			t.Errorf("%s: %s: %v", node, label, problems)
		}
		if other := seen[label]; other != "" {
			t.Errorf("%s and %s have the label %s", node, other, label)
		}
		seen[label] = node
		if len(node) <= 63 && label != node {
			t.Errorf("%s: %s", node, label)
		}
	}
}
