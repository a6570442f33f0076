package audit_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/audit"
	"carvelwright.dev/payload/internal/fault"
	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/kube/kubetest"
	"carvelwright.dev/payload/internal/networks"
)

// list is what kubectl prints for the given items.
func list(items ...string) []byte {
	return []byte(`{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",") + `]}`)
}

// pool has allocations written as "offset=podref".
func pool(name, cidr string, allocations ...string) string {
	var entries []string
	for _, a := range allocations {
		key, ref, _ := strings.Cut(a, "=")
		entries = append(entries, fmt.Sprintf(`%q:{"id":"c","podref":%q,"ifname":"net1"}`, key, ref))
	}
	return fmt.Sprintf(`{"kind":"IPPool","metadata":{"name":%q,"namespace":"kube-system"},"spec":{"range":%q,"allocations":{%s}}}`,
		name, cidr, strings.Join(entries, ","))
}

// nodePool is a pool that a node writes beside the one that all nodes share.
func nodePool(name, node, cidr string, allocations ...string) string {
	annotated := fmt.Sprintf(`"metadata":{"annotations":{"whereabouts.tanzu.vmware.com/node":%q},`, node)
	return strings.Replace(pool(name, cidr, allocations...), `"metadata":{`, annotated, 1)
}

func node(name string) string { return fmt.Sprintf(`{"kind":"Node","metadata":{"name":%q}}`, name) }

func reservation(name, ref string) string {
	return fmt.Sprintf(`{"kind":"OverlappingRangeIPReservation","metadata":{"name":%q,"namespace":"kube-system"},"spec":{"podref":%q}}`, name, ref)
}

// pod shows its addresses on the network default/mac; no addresses: no network-status yet.
func pod(name, phase string, addresses ...string) string {
	return podOn("default/mac", name, phase, addresses...)
}

func podOn(network, name, phase string, addresses ...string) string {
	annotations := "{}"
	if len(addresses) > 0 {
		status := fmt.Sprintf(`[{"name":"cbr0","default":true,"ips":["10.244.0.9"]},{"name":%q,"interface":"net1","ips":["%s"]}]`,
			network, strings.Join(addresses, `","`))
		annotations = fmt.Sprintf("{%q:%q}", ipam.StatusAnnotation, status)
	}
	return fmt.Sprintf(`{"kind":"Pod","metadata":{"name":%q,"namespace":"default","annotations":%s},"status":{"phase":%q}}`, name, annotations, phase)
}

// network is a definition of default/NAME whose addresses come from an IPAM plugin.
func network(name, plugin string) string {
	config := fmt.Sprintf(`{"type":"macvlan","ipam":{"type":%q,"range":"192.168.20.0/24"}}`, plugin)
	return fmt.Sprintf(`{"kind":"NetworkAttachmentDefinition","metadata":{"name":%q,"namespace":"default"},"spec":{"config":%q}}`, name, config)
}

func run(t *testing.T, items ...string) audit.Report {
	t.Helper()
	s, err := audit.Parse(list(items...))
	if err != nil {
		t.Fatal(err)
	}
	return audit.Audit(s)
}

const (
	a20 = "192.168.20.0-24"
	c20 = "192.168.20.0/24"
)

func TestAudit(t *testing.T) {
	for name, c := range map[string]struct {
		items []string
		want  []string // kind, address and a word of each finding
	}{
		"empty cluster": {nil, nil},
		"all well": {[]string{
			pool(a20, c20, "10=default/a", "11=default/b"), pool("fd00---64", "fd00::/64", "10=default/a"),
			reservation("192.168.20.10", "default/a"), reservation("192.168.20.11", "default/b"), reservation("fd00--a", "default/a"),
			pod("a", "Running", "192.168.20.10", "fd00::a"), pod("b", "Running", "192.168.20.11"), pod("other", "Running", "172.16.0.1"),
		}, nil},
		"pools of nodes, all well": {[]string{
			pool(a20, c20, "10=default/a"), nodePool("n1-"+a20, "n1", c20, "11=default/b"), nodePool("n2-"+a20, "n2", c20),
			nodePool("blue-n1-"+a20, "n1", c20, "10=default/c"), node("n1"), node("n2"),
			reservation("192.168.20.10", "default/a"), reservation("192.168.20.11", "default/b"), reservation("blue-192.168.20.10", "default/c"),
			pod("a", "Running", "192.168.20.10"), pod("b", "Running", "192.168.20.11"), podOn("default/blue", "c", "Running", "192.168.20.10"),
		}, nil},
		// One of them lost its reservation to the other, and was killed before it removed its entry.
		"an address in the pools of two nodes": {[]string{
			nodePool("n1-"+a20, "n1", c20, "10=default/a"), nodePool("n2-"+a20, "n2", c20, "10=default/b"), reservation("192.168.20.10", "default/a"),
			pod("a", "Running", "192.168.20.10"), pod("b", "Pending"),
		}, []string{"duplicate 192.168.20.10 is allocated to several pods"}},
		"an address in the base pool and in a node's, without a reservation": {[]string{
			pool(a20, c20, "10=default/a"), nodePool("n2-"+a20, "n2", c20, "10=default/b"), pod("a", "Running", "192.168.20.10"), pod("b", "Pending"),
		}, []string{"duplicate 192.168.20.10 is allocated to several pods"}},
		"pod starting and pod ending are on their way": {[]string{
			pool(a20, c20, "10=default/a", "11=default/b"), pod("a", "Pending"),
			`{"kind":"Pod","metadata":{"name":"b","namespace":"default","deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"phase":"Running"}}`,
		}, nil},
		"pod is gone":   {[]string{pool(a20, c20, "10=default/gone")}, []string{"leak 192.168.20.10 does not exist"}},
		"pod has ended": {[]string{pool(a20, c20, "10=default/a"), pod("a", "Succeeded", "192.168.20.10")}, []string{"leak 192.168.20.10 has ended"}},
		"no podref":     {[]string{pool(a20, c20, "10=")}, []string{"leak 192.168.20.10 without a podref"}},
		"from an earlier pod of that name": {[]string{pool(a20, c20, "10=default/a", "11=default/a"), pod("a", "Running", "192.168.20.11")},
			[]string{"leak 192.168.20.10 runs without it"}},
		"reservation alone": {[]string{reservation("192.168.20.10", "default/a"), pod("a", "Running", "172.16.0.1")}, []string{"leak  without an allocation"}},
		"reservation of another pod": {[]string{pool(a20, c20, "10=default/a"), reservation("192.168.20.10", "default/b"), pod("a", "Running", "192.168.20.10")},
			[]string{"leak  without an allocation"}},
		"address not written down": {[]string{network("mac", "whereabouts"), pool(a20, c20), pod("a", "Running", "192.168.20.10")},
			[]string{"loss 192.168.20.10 no pool holds"}},
		"address not written down, beside one that is": {[]string{pool(a20, c20, "11=default/b"), pod("a", "Running", "192.168.20.10"), pod("b", "Running", "192.168.20.11")},
			[]string{"loss 192.168.20.10 no pool holds"}},
		"another plugin's network": {[]string{network("local", "host-local"), pool(a20, c20),
			podOn("default/local", "a", "Running", "192.168.20.10"), podOn("default/local", "b", "Running", "192.168.20.10")}, nil},
		"network of which nothing is known": {[]string{pool(a20, c20), podOn("x/y", "a", "Running", "192.168.20.10"), podOn("x/y", "b", "Running", "192.168.20.10")}, nil},
		"address held for another": {[]string{pool(a20, c20, "10=default/b"), pod("a", "Running", "192.168.20.10"), pod("b", "Running", "192.168.20.10")},
			[]string{"duplicate 192.168.20.10 several pods", "loss 192.168.20.10 no pool holds"}},
		"one address, two spellings": {[]string{pool(a20, c20, "10=default/a", "010=default/b"), pod("a", "Running", "192.168.20.10"), pod("b", "Pending")},
			[]string{"duplicate 192.168.20.10 allocated to several"}},
		"overlapping ranges": {[]string{
			pool(a20, c20, "10=default/a"), pool("192.168.20.0-25", "192.168.20.0/25", "10=default/b"), reservation("192.168.20.10", "default/a"),
			podOn("x/one", "a", "Running", "192.168.20.10"), podOn("x/two", "b", "Running", "192.168.20.10"),
		}, []string{"duplicate 192.168.20.10 allocated to several"}},
		"overlapping ranges on purpose": {[]string{
			pool(a20, c20, "10=default/a"), pool("192.168.20.0-25", "192.168.20.0/25", "10=default/b"),
			podOn("x/one", "a", "Running", "192.168.20.10"), podOn("x/two", "b", "Running", "192.168.20.10"),
		}, nil},
		"two named networks": {[]string{
			pool("red-"+a20, c20, "10=default/a"), pool("blue-"+a20, c20, "10=default/b"),
			reservation("red-192.168.20.10", "default/a"), reservation("blue-192.168.20.10", "default/b"),
			podOn("x/red", "a", "Running", "192.168.20.10"), podOn("x/blue", "b", "Running", "192.168.20.10"),
		}, nil},
		"far out in a wide range, kept by the pool": {[]string{
			network("mac", "whereabouts"), pool("2001-db8----32", "2001:db8::/32", "9223372036854775808=default/a", "18446744073709551621=default/b"),
			reservation("2001-db8-0-0-8000--0", "default/a"), reservation("2001-db8-0-1--5", "default/b"),
			pod("a", "Running", "2001:db8:0:0:8000::"), pod("b", "Running", "2001:db8:0:1::5"),
		}, nil},
		"far out in a wide range, dropped from the pool by upstream's control loop": {[]string{
			network("mac", "whereabouts"), pool("2001-db8----32", "2001:db8::/32"), reservation("2001-db8-0-1--5", "default/b"),
			pod("b", "Running", "2001:db8:0:1::5"), pod("c", "Running", "2001:db8:0:1::6"),
		}, []string{"loss 2001:db8:0:1::6 no pool holds"}},
		"far out, and the reservation is another pod's": {[]string{
			network("mac", "whereabouts"), pool("2001-db8----32", "2001:db8::/32"), reservation("2001-db8-0-1--5", "default/b"),
			pod("b", "Pending"), pod("c", "Running", "2001:db8:0:1::5"),
		}, []string{"leak  without an allocation", "loss 2001:db8:0:1::5 no pool holds"}},
		"node slices": {[]string{
			pool("node-1-10.0.0.0-26", "10.0.0.0/26", "3=default/a"), reservation("10.0.0.3", "default/a"), pod("a", "Running", "10.0.0.3"),
		}, nil},
		"key that is no number": {[]string{pool(a20, c20, "x=default/a")}, []string{"broken  not a number"}},
		"range that is none":    {[]string{pool("p", "nonsense", "1=default/a")}, []string{"broken  not a CIDR"}},
		"broken network-status": {[]string{pool(a20, c20, "10=default/a"), strings.Replace(pod("a", "Running", "192.168.20.10"), "192.168.20.10", "x", 1)}, []string{"broken  not an address"}},
		"default network aside": {[]string{pool("10.244.0.0-24", "10.244.0.0/24"), pod("a", "Running", "172.16.0.1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			report := run(t, c.items...)
			if len(report.Findings) != len(c.want) {
				t.Fatalf("found %+v", report.Findings)
			}
			for i, f := range report.Findings {
				kind, rest, _ := strings.Cut(c.want[i], " ")
				address, word, _ := strings.Cut(rest, " ")
				if f.Kind != kind || f.Address != address || !strings.Contains(f.Reason, word) {
					t.Errorf("found %+v, want %q", f, c.want[i])
				}
				if strings.Contains(f.Line(), "\n") {
					t.Errorf("%q is more than one line", f.Line())
				}
			}
		})
	}
}

func TestALossIsOneOfTheBasePool(t *testing.T) {
	report := run(t, nodePool("n1-"+a20, "n1", c20), pool(a20, c20), network("mac", "whereabouts"), pod("a", "Running", "192.168.20.10"))
	if len(report.Findings) != 1 || report.Findings[0].Kind != audit.Loss || report.Findings[0].Object != "kube-system/"+a20 {
		t.Errorf("%+v", report.Findings)
	}
}

// What is no fault, or cannot be decided, is told and is no finding.
func TestAuditWarns(t *testing.T) {
	for name, c := range map[string]struct {
		items []string
		want  []string // words of each warning
	}{
		"nothing":              {[]string{pool("192.168.20.0-24", "192.168.20.0/24"), network("mac", "whereabouts")}, nil},
		"another plugin's":     {[]string{network("mac", "static"), pool("p", "192.168.20.0/24"), pod("a", "Running", "192.168.20.7")}, nil},
		"network not known":    {[]string{pool("p", "192.168.20.0/24"), pod("a", "Running", "192.168.20.7")}, []string{"192.168.20.7 on pod default/a, network default/mac"}},
		"gateway in the range": {[]string{strings.Replace(network("mac", "whereabouts"), `\"range\"`, `\"gateway\":\"192.168.20.1\",\"range\"`, 1)}, []string{`add "192.168.20.1/32" to exclude`}},
		"pool nearly full":     {[]string{crowded(8_500)}, []string{"pool kube-system/p: 8500 allocations take"}},
		"a pool of a node that is gone": {[]string{
			pool(a20, c20), nodePool("n1-"+a20, "n1", c20), nodePool("gone-"+a20, "gone", c20, "1=default/a"), pod("a", "Running", "192.168.20.1"), node("n1"),
		}, []string{"pool kube-system/gone-192.168.20.0-24 belongs to node gone, which does not exist, and holds 1 addresses"}},
		"nodes are not known": {[]string{nodePool("gone-"+a20, "gone", c20)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			report := run(t, c.items...)
			if report.Count(audit.Loss) != 0 || len(report.Warnings) != len(c.want) {
				t.Fatalf("%+v", report)
			}
			for i, word := range c.want {
				if !strings.Contains(report.Warnings[i], word) {
					t.Errorf("%q does not say %q", report.Warnings[i], word)
				}
			}
		})
	}
}

// crowded is a pool with so many allocations of containers whose IDs are as long as a runtime's.
func crowded(allocations int) string {
	var entries []string
	for i := range allocations {
		entries = append(entries, fmt.Sprintf(`"%d":{"id":"%064d","podref":"default/some-deployment-5d4f8c7b9-%05d","ifname":"net1"}`, i, i, i))
	}
	return `{"kind":"IPPool","metadata":{"name":"p","namespace":"kube-system"},"spec":{"range":"10.0.0.0/16","allocations":{` + strings.Join(entries, ",") + `}}}`
}

func TestParseRefusesNonsense(t *testing.T) {
	for _, bad := range []string{"", "[]", "{}", `{"kind":"PodList","items":[]}`, string(list(`{"kind":"Service"}`)), string(list("7")), string(list(`{"kind":"IPPool","spec":7}`))} {
		if _, err := audit.Parse([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestConfirmKeepsWhatStays(t *testing.T) {
	stays := pool("192.168.20.0-24", "192.168.20.0/24", "10=default/gone")
	first := run(t, stays, reservation("192.168.20.99", "default/quick"))
	second := run(t, stays, reservation("192.168.20.98", "default/quick"))
	report := audit.Confirm(first, second)
	if len(report.Findings) != 1 || report.Findings[0].Address != "192.168.20.10" || report.Reservations != 1 {
		t.Errorf("%+v", report)
	}
}

func TestTake(t *testing.T) {
	s := kubetest.New(t, "secret")
	s.Lists[ipam.PoolsPath] = []any{map[string]any{"metadata": map[string]any{"name": "192.168.20.0-24", "namespace": "kube-system"},
		"spec": map[string]any{"range": "192.168.20.0/24", "allocations": map[string]any{"1": map[string]any{"podref": "default/gone"}}}}}
	s.Lists[ipam.ReservationsPath] = nil
	s.Lists[ipam.PodsPath] = nil
	s.Lists[networks.Path] = []any{map[string]any{"metadata": map[string]any{"name": "mac"}, "spec": map[string]any{"config": "{}"}}}
	snapshot, err := audit.Take(context.Background(), s.Client(t))
	if report := audit.Audit(snapshot); err != nil || report.Count(audit.Leak) != 1 || len(snapshot.Networks) != 1 {
		t.Errorf("%+v %v", report, err)
	}
	s.Refuse = func(r *http.Request) int {
		if r.URL.Path == networks.Path {
			return http.StatusForbidden
		}
		return 0
	}
	if _, err := audit.Take(context.Background(), s.Client(t)); err != nil {
		t.Errorf("without the right to see networks an audit still says what it can: %v", err)
	}
	s.Refuse = func(r *http.Request) int {
		if r.URL.Path == ipam.PodsPath {
			return http.StatusForbidden
		}
		return 0
	}
	if _, err := audit.Take(context.Background(), s.Client(t)); !kube.HasStatus(err, http.StatusForbidden) {
		t.Errorf("without the right to see pods everything is a leak, so it must fail: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(list(pool("192.168.20.0-24", "192.168.20.0/24", "10=default/a", "x=")))
	f.Add(list(pool("n-fd00---64", "fd00::/64", "18446744073709551615=a"), reservation("n-fd00--1", "a"), pod("a", "Running", "fd00::1")))
	f.Add(list(pool("p", "10.0.0.0/8", "1=a\nleak 10.0.0.9 \x1b[2J")))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"IPPool","spec":{"allocations":{"A":{},"":{}}}}]}`)) // found by fuzzing: order
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := audit.Parse(text)
		if err != nil {
			return
		}
		first, second := audit.Audit(s), audit.Audit(s)
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("two audits of one snapshot differ:\n%v\n%v", first, second)
		}
		for _, finding := range first.Findings {
			if line := finding.Line(); line != fmt.Sprintf("%-9s %s", finding.Kind, fault.Line(line[10:])) {
				t.Errorf("%q can be more than one line", line)
			}
		}
	})
}
