package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	nadfake "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/client/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	corefake "k8s.io/client-go/kubernetes/fake"
	kubetest "k8s.io/client-go/testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/config"
	wbfake "github.com/k8snetworkplumbingwg/whereabouts/pkg/generated/clientset/versioned/fake"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// macvlan is a configuration with an IPAM section of Whereabouts.
func macvlan(ipam string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "net", "type": "macvlan", "ipam": {"type": "whereabouts", %s}}`, ipam)
}

func attachmentOf(name, config string) *nadv1.NetworkAttachmentDefinition {
	return &nadv1.NetworkAttachmentDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "tenant", UID: "u"},
		Spec:       nadv1.NetworkAttachmentDefinitionSpec{Config: config},
	}
}

// bad are configurations of which upstream's controller makes a panic, gigabytes, an error without an end, or a pool that
// serves nobody; each with what the Event says.
var bad = map[string][2]string{
	"ipv6":          {macvlan(`"range": "fd00::/64", "node_slice_size": "/72"`), "IPv4"},
	"ipv6-as-list":  {macvlan(`"ipRanges": [{"range": "fd00::/64"}], "node_slice_size": "/72"`), "IPv4"},
	"mapped":        {macvlan(`"range": "::ffff:10.0.0.0/104", "node_slice_size": "/112"`), "IPv4"},
	"beyond-32":     {macvlan(`"range": "10.0.0.0/8", "node_slice_size": "/40"`), "/40"},
	"no-addresses":  {macvlan(`"range": "10.0.0.0/24", "node_slice_size": "/31"`), "/31"},
	"too-many":      {macvlan(`"range": "10.0.0.0/8", "node_slice_size": "/28"`), "1048576"},
	"larger":        {macvlan(`"range": "10.0.0.0/24", "node_slice_size": "/16"`), "/16"},
	"negative":      {macvlan(`"range": "10.0.0.0/24", "node_slice_size": "-8"`), "/-8"},
	"no-number":     {macvlan(`"range": "10.0.0.0/24", "node_slice_size": "many"`), "many"},
	"no-range":      {macvlan(`"node_slice_size": "/28"`), "0"},
	"two-ranges":    {macvlan(`"range": "10.0.0.0/24", "ipRanges": [{"range": "fd00::/64"}], "node_slice_size": "/28"`), "2"},
	"no-cidr":       {macvlan(`"range": "10.0.0.0", "node_slice_size": "/28"`), "CIDR"},
	"no-start":      {macvlan(`"range": "x-10.0.0.9/24", "node_slice_size": "/28"`), "address"},
	"empty-range":   {macvlan(`"ipRanges": [{}], "node_slice_size": "/28"`), "CIDR"},
	"bad-name":      {macvlan(`"range": "10.0.0.0/24", "node_slice_size": "/28", "network_name": "Ünnamed"`), "network_name"},
	"wrong-type":    {macvlan(`"range": 10, "node_slice_size": "/28"`), "ipam"},
	"malformed":     {`{"cniVersion"`, "cannot be read"},
	"no-object":     {`[]`, "cannot be read"},
	"no-plugins":    {`{"cniVersion": "1.0.0", "name": "net"}`, "plugins"},
	"empty-plugins": {`{"cniVersion": "1.0.0", "name": "net", "plugins": []}`, "plugins"},
	"null-plugin":   {`{"cniVersion": "1.0.0", "name": "net", "plugins": [null]}`, "plugins"},
	"in-a-list": {`{"name": "net", "plugins": [{"type": "macvlan", "ipam": {"type": "whereabouts", "range": "fd00::/64",
		"node_slice_size": "/72"}}]}`, "IPv4"},
}

// others are configurations that are none of Whereabouts' business: no Event, no pool.
var others = map[string]string{
	"on-disk":     ``,
	"null":        `{"type": "macvlan", "ipam": null}`,
	"text":        `{"type": "macvlan", "ipam": "dhcp"}`,
	"host-local":  `{"type": "macvlan", "ipam": {"type": "host-local", "range": {}, "node_slice_size": 7}}`,
	"second":      `{"name": "net", "plugins": [{"type": "bridge"}, {"type": "macvlan", "ipam": {"type": "whereabouts", "range": "fd00::/64", "node_slice_size": "/72"}}]}`,
	"without-ips": `{"type": "macvlan"}`,
}

// good are configurations whose range is divided, whatever else they name: the slices of the pool.
var good = map[string]struct {
	config, pool string
	slices       int
}{
	"plain": {macvlan(`"range": "10.1.0.0/24", "node_slice_size": "/28", "network_name": "plain"`), "plain", 16},
	"listed": {`{"cniVersion": "1.0.0", "name": "listed", "plugins": [{"type": "macvlan", "ipam": {"type": "whereabouts",
		"ipRanges": [{"range": "10.2.0.0/24"}], "node_slice_size": "26", "network_name": "listed"}}]}`, "listed", 4},
	"with-files": {macvlan(`"range": "10.3.0.10-10.3.0.99/24", "node_slice_size": "/30", "network_name": "files",
		"configuration_path": "/dev/zero", "Log_File": "/nonexistent/log", "kubernetes": {"kubeconfig": "/nonexistent"}`), "files", 64},
	"the-most": {macvlan(`"range": "10.128.0.0/9", "node_slice_size": "/22", "network_name": "most"`), "most", 8192},
	"by-name":  {strings.Replace(macvlan(`"range": "10.4.0.0/24", "node_slice_size": "/24"`), `"net"`, `"by-name"`, 1), "by-name", 1},
}

// whereaboutsConf is a whereabouts.conf as the controllers have it.
func whereaboutsConf(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "whereabouts.conf")
	writeFile(t, name, `{"kubernetes": {"kubeconfig": "/unused"}}`)
	return name
}

func TestNetworksThatCannotBeDividedGetAnEventAndTheOthersAreDivided(t *testing.T) {
	core, wb, networks := corefake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}), wbfake.NewSimpleClientset(), nadfake.NewSimpleClientset()
	create := func(name, config string) {
		if _, err := networks.K8sCniCncfIoV1().NetworkAttachmentDefinitions("tenant").
			Create(t.Context(), attachmentOf(name, config), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, each := range bad {
		create(name, each[0])
	}
	for name, config := range others {
		create(name, config)
	}
	for name, each := range good {
		create(name, each.config)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- divide(ctx, clients{core: core, whereabouts: wb, networks: networks}, namespace, whereaboutsConf(t))
	}()
	var pools []v1alpha1.NodeSlicePool
	told := map[string]string{}
	for ctx.Err() == nil && (len(pools) < len(good) || len(told) < len(bad)) {
		time.Sleep(10 * time.Millisecond)
		found, err := wb.WhereaboutsV1alpha1().NodeSlicePools(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		events, err := core.CoreV1().Events("tenant").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pools = found.Items
		for _, each := range events.Items {
			told[each.InvolvedObject.Name] = each.InvolvedObject.Kind + ": " + each.Message
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for name, each := range bad {
		if !strings.HasPrefix(told[name], "NetworkAttachmentDefinition: ") || !strings.Contains(told[name], each[1]) {
			t.Errorf("%s: event %q, want one with %q", name, told[name], each[1])
		}
		delete(told, name)
	}
	if len(told) > 0 {
		t.Errorf("events of others: %q", told)
	}
	sizes := map[string]int{}
	for _, each := range pools {
		sizes[each.Name] = len(each.Status.Allocations)
	}
	for name, each := range good {
		if sizes[each.pool] != each.slices {
			t.Errorf("%s: %d slices, want %d", name, sizes[each.pool], each.slices)
		}
	}
	if len(sizes) != len(good) {
		t.Errorf("pools: %v", sizes)
	}
}

func TestTheControlLoopSeesWhatItNeedsOfANetwork(t *testing.T) {
	conf := whereaboutsConf(t)
	ignored := map[string]error{}
	transform := screen(conf, anyNetwork, func(attachment *nadv1.NetworkAttachmentDefinition, why error) { ignored[attachment.Name] = why })
	seen := func(name, text string) *types.IPAMConfig {
		screened, err := transform(attachmentOf(name, text))
		if err != nil {
			t.Fatal(err)
		}
		read, err := config.LoadIPAMConfiguration([]byte(screened.(*nadv1.NetworkAttachmentDefinition).Spec.Config), "")
		if err != nil {
			return nil
		}
		return read
	}
	dual := seen("dual", macvlan(`"range": "10.0.0.5-10.0.0.9/24", "exclude": ["10.0.0.6/32"], "ipRanges": [{"range": "fd00::/64", "range_start": "fd00::9"}],
		"network_name": "blue", "enable_overlapping_ranges": false, "configuration_path": "/dev/zero", "leader_lease_duration": 3000`))
	if dual == nil || len(dual.IPRanges) != 2 || dual.NetworkName != "blue" || dual.OverlappingRanges || dual.LeaderLeaseDuration != 3000 || dual.Name != "net" {
		t.Fatalf("%+v", dual)
	}
	first, second := dual.IPRanges[0], dual.IPRanges[1]
	if first.Range != "10.0.0.0/24" || first.RangeStart.String() != "10.0.0.5" || first.RangeEnd.String() != "10.0.0.9" ||
		!slices.Equal(first.OmitRanges, []string{"10.0.0.6/32"}) || second.Range != "fd00::/64" || second.RangeStart.String() != "fd00::9" {
		t.Errorf("%+v", dual.IPRanges)
	}
	if plain := seen("plain", macvlan(`"range": "10.0.0.0/24", "range_end": "10.0.0.7"`)); plain == nil || !plain.OverlappingRanges || plain.IPRanges[0].RangeEnd.String() != "10.0.0.7" {
		t.Errorf("%+v", plain)
	}
	if len(ignored) > 0 {
		t.Errorf("ignored: %v", ignored)
	}
	for name, each := range bad {
		if seen(name, each[0]); strings.Contains(each[1], "plugins") && ignored[name] == nil {
			t.Errorf("%s is not ignored", name)
		}
	}
}

func TestTheControlLoopLeavesTheAddressesOfASuccessorThatIsDeletedAlone(t *testing.T) {
	networks, network := nadfake.NewSimpleClientset(), attachmentOf("net1", macvlan(`"range": "10.0.0.0/29"`))
	network.Namespace = "default"
	if _, err := networks.K8sCniCncfIoV1().NetworkAttachmentDefinitions("default").
		Create(t.Context(), network, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	entries := map[string]v1alpha1.IPAllocation{
		"1": {ContainerID: "c-successor", PodRef: "default/a", IfName: "net1"}, "2": {ContainerID: "c-last", PodRef: "default/last", IfName: "net1"},
	}
	held := pool("10.0.0.0-29", "10.0.0.0/29", entries)
	held.ResourceVersion = "1"
	core := corefake.NewClientset(pod("a", "10.0.0.1", corev1.PodRunning), pod("last", "10.0.0.2", corev1.PodRunning))
	api := clients{core, wbfake.NewSimpleClientset(held, reservation("10.0.0.1", "default/a"), reservation("10.0.0.2", "default/last")), networks}
	successor := pod("a", "", corev1.PodRunning)
	successor.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	core.PrependReactor("get", "pods", func(action kubetest.Action) (bool, runtime.Object, error) {
		return action.(kubetest.GetAction).GetName() == "a", successor, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- collectDeleted(ctx, api, "n1", informers.NewSharedInformerFactory(core, 0), whereaboutsConf(t))
	}()
	watched := func(each kubetest.Action) bool { return each.Matches("watch", "pods") }
	for ctx.Err() == nil && !slices.ContainsFunc(core.Actions(), watched) {
		time.Sleep(time.Millisecond)
	}
	// The loop takes one after the other: when the last one's address is released, it has seen to the first one's.
	for _, name := range []string{"a", "last"} {
		if err := core.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "default", name); err != nil {
			t.Fatal(err)
		}
	}
	for ctx.Err() == nil && slices.Contains(left(t, api), "10.0.0.2 default/last") {
		time.Sleep(10 * time.Millisecond)
	}
	expectLeft(t, api, "10.0.0.0-29 1 default/a", "10.0.0.1 default/a")
	// It is told of no other node's pools.
	asked := map[string]int{}
	for _, each := range faked(api).Actions() {
		if watch, is := each.(kubetest.WatchAction); is && each.GetVerb() == "watch" && each.GetResource().Resource == "ippools" {
			asked[watch.GetWatchRestrictions().Labels.String()]++
		}
	}
	if asked["!"+nodeOfPool] == 0 || asked[nodeOfPool+"=n1"] == 0 || len(asked) != 2 {
		t.Errorf("watched %v", asked)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheControlLoopKeepsEntriesThatItCannotRead(t *testing.T) {
	gone := v1alpha1.IPAllocation{ContainerID: "c-a", PodRef: "default/a", IfName: "net1"}
	lives := v1alpha1.IPAllocation{ContainerID: "c-b", PodRef: "default/b", IfName: "net1"}
	held := pool("fd00---64", "fd00::/64", map[string]v1alpha1.IPAllocation{"1": gone, "9223372036854775809": lives})
	held.ResourceVersion = "1"
	api := cluster(held, reservation("fd00--1", "default/a"))
	a := attached(clients{core: api.core, whereabouts: keeping{api.whereabouts}}, "a", "net1", "fd00::/64")
	if _, err := kubernetes.IPManagement(t.Context(), types.Deallocate, a.config, upstreams(a)); err != nil {
		t.Fatal(err)
	}
	expectLeft(t, api, "fd00---64 9223372036854775809 default/b")
}
