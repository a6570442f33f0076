package networks_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"carvelwright.dev/payload/internal/networks"
)

func definition(t *testing.T, config string) networks.Definition {
	t.Helper()
	var d networks.Definition
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "mac", "namespace": "blue"}, "spec": map[string]any{"config": config}})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// ipam is a network of one plugin with these settings of Whereabouts besides its type.
func ipam(settings string) string {
	return `{"type":"macvlan","ipam":{"type":"whereabouts",` + settings + `}}`
}

func TestWhichPluginServesANetwork(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.7")
	for config, want := range map[string]string{
		ipam(`"range":"192.0.2.0/24"`): "serves",
		`{"plugins":[{"type":"bridge","ipam":{"type":"whereabouts","range":"192.0.2.0/24"}},{"type":"tuning"}]}`: "serves",
		`{"plugins":[{"type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24"}]]}}]}`:    "other",
		`{"type":"macvlan","ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24"}]}}`:                   "other",
		`{"type":"macvlan","ipam":{"type":"dhcp"}}`:                                                              "other",
		ipam(`"range":"192.0.2.0/24","addresses":[{"address":"192.0.2.7/24"}]`):                                  "other",
		ipam(`"range":"192.0.2.0/24","addresses":[{"address":"192.0.2.8/24"}]`):                                  "serves",
		`{"type":"ovs"}`: "unknown",
		``:               "unknown",
		`{"type":`:       "unknown",
		`7`:              "unknown",
		`{"ipam":7}`:     "unknown",
	} {
		serves, known := definition(t, config).Serves(addr)
		if got := map[bool]string{true: map[bool]string{true: "serves", false: "other"}[serves], false: "unknown"}[known]; got != want {
			t.Errorf("%s: %s, want %s", config, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"nothing to say":                    {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.10","range_end":"10.0.0.20","gateway":"10.0.0.1"`), ""},
		"gateway excluded":                  {ipam(`"range":"10.0.0.0/24","exclude":["10.0.0.0/30"],"gateway":"10.0.0.1"`), ""},
		"gateway excluded as an address":    {ipam(`"range":"10.0.0.0/24","exclude":["10.0.0.1"],"gateway":"10.0.0.1"`), ""},
		"gateway elsewhere":                 {ipam(`"range":"10.0.0.0/24","gateway":"10.0.1.1"`), ""},
		"gateway of the other family":       {ipam(`"range":"fd00::/64","gateway":"10.0.1.1"`), ""},
		"bounds that mean nothing":          {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.0","range_end":"10.0.0.255"`), ""},
		"range that Whereabouts refuses":    {ipam(`"range":"10.0.0.0/31","gateway":"10.0.0.1"`), ""},
		"range that is none":                {ipam(`"range":"x","gateway":"10.0.0.1"`), ""},
		"another plugin's":                  {`{"ipam":{"type":"host-local","range":"10.0.0.0/24","gateway":"10.0.0.1"}}`, ""},
		"gateway handed out":                {ipam(`"range":"10.0.0.0/24","gateway":"10.0.0.1"`), `the gateway 10.0.0.1 lies in the range 10.0.0.0/24 and can be allocated to a pod: add "10.0.0.1/32" to exclude`},
		"gateway handed out, second range":  {ipam(`"ipRanges":[{"range":"10.0.0.0/24"},{"range":"fd00::/64"}],"gateway":"fd00::1"`), `add "fd00::1/128" to exclude`},
		"gateway in a range of two bounds":  {ipam(`"range":"10.0.0.5-10.0.0.9/24","gateway":"10.0.0.7"`), "the gateway 10.0.0.7"},
		"gateway beside such a range":       {ipam(`"range":"10.0.0.5-10.0.0.9/24","gateway":"10.0.0.10"`), ""},
		"gateway with node slices":          {ipam(`"range":"10.0.0.0/24","node_slice_size":"/26","gateway":"10.0.0.1"`), `add "10.0.0.1/32" to exclude`},
		"gateway excluded with node slices": {ipam(`"range":"10.0.0.0/24","node_slice_size":"/26","exclude":["10.0.0.1/32"],"gateway":"10.0.0.1"`), ""},
		"bounds with node slices":           {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.9","node_slice_size":"/26"`), "range_start 10.0.0.9 does not apply with node_slice_size and is ignored"},
		"start outside":                     {ipam(`"range":"10.0.0.0/24","range_start":"10.0.1.10"`), "range_start 10.0.1.10 is no address for pods of 10.0.0.0/24 and is ignored: addresses are allocated from 10.0.0.1 to 10.0.0.254"},
		"start at the last":                 {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.255"`), "range_start 10.0.0.255 is no address"},
		"end outside":                       {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.9","range_end":"10.1.0.0"`), "range_end 10.1.0.0 is no address for pods of 10.0.0.0/24 and is ignored: addresses are allocated from 10.0.0.9 to 10.0.0.254"},
		"start above end":                   {ipam(`"range":"10.0.0.0/24","range_start":"10.0.0.20","range_end":"10.0.0.10"`), "range_end 10.0.0.10 lies before the first address 10.0.0.20 and is ignored"},
		"start above end in ipRanges":       {ipam(`"ipRanges":[{"range":"fd00::/120","range_start":"fd00::20","range_end":"fd00::10"}]`), "range_end fd00::10 lies before"},
	} {
		t.Run(name, func(t *testing.T) {
			found := strings.Join(networks.Warnings([]networks.Definition{definition(t, c.config)}), "\n")
			if (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("%q, want %q", found, c.want)
			}
			if c.want != "" && !strings.HasPrefix(found, "network blue/mac: ") {
				t.Errorf("%q does not name the network", found)
			}
		})
	}
}

// What others write into the definitions reaches this program.
func FuzzDefinition(f *testing.F) {
	f.Add(ipam(`"range":"10.0.0.5-10.0.0.9/24","gateway":"10.0.0.7","exclude":["x","10.0.0.0/30"]`))
	f.Add(ipam(`"ipRanges":[{"range":"::/0","range_start":"::","range_end":"1.2.3.4"}],"gateway":"::1%eth0"`))
	f.Fuzz(func(t *testing.T, config string) {
		d := definition(t, config)
		d.Serves(netip.MustParseAddr("192.0.2.7"))
		if a, b := networks.Warnings([]networks.Definition{d}), networks.Warnings([]networks.Definition{d}); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%v, and then %v", a, b)
		}
	})
}
