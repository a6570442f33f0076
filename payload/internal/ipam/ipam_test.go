package ipam_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"carvelwright.dev/payload/internal/ipam"
)

func pool(name, cidr string) ipam.Pool {
	var p ipam.Pool
	p.Metadata.Name, p.Spec.Range = name, cidr
	return p
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ cidr, key, want string }{
		{"192.168.20.0/24", "10", "192.168.20.10"},
		{"192.168.20.0/24", "255", "192.168.20.255"},
		{"10.0.0.0/8", "65536", "10.1.0.0"},
		{"fd00::/64", "1", "fd00::1"},
		{"fd00::/64", "18446744073709551615", "fd00::ffff:ffff:ffff:ffff"},
		{"fd00::ffff:ffff:ffff:0/100", "65536", ""},
		{"192.168.20.0/24", "256", ""},
		{"255.255.255.0/24", "4294967295", ""},
		{"192.168.20.0/24", "-1", ""},
		{"192.168.20.0/24", "1.5", ""},
		{"192.168.20.0/24", "", ""},
		{"nonsense", "1", ""},
	} {
		addr, err := pool("p", c.cidr).Address(c.key)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s + %s gave %s", c.cidr, c.key, addr)
			}
			continue
		}
		if err != nil || addr != netip.MustParseAddr(c.want) {
			t.Errorf("%s + %s: %s %v", c.cidr, c.key, addr, err)
		}
	}
}

func TestNamesAreThoseThatWhereaboutsGives(t *testing.T) {
	for _, c := range []struct {
		pool    ipam.Pool
		addr    string
		network string
		names   []string
	}{
		{pool("192.168.20.0-24", "192.168.20.0/24"), "192.168.20.1", "", []string{"192.168.20.1"}},
		{pool("blue-192.168.20.0-24", "192.168.20.0/24"), "192.168.20.1", "blue", []string{"192.168.20.1", "blue-192.168.20.1"}},
		{pool("fd00---64", "fd00::/64"), "fd00::", "", []string{"fd00--0"}},
		{pool("a-b-10.0.0.0-26", "10.0.0.0/26"), "10.0.0.3", "a-b", []string{"10.0.0.3", "a-10.0.0.3", "a-b-10.0.0.3"}},
	} {
		if got := c.pool.Network(); got != c.network {
			t.Errorf("%s: network %q", c.pool.Metadata.Name, got)
		}
		if got := c.pool.ReservationNames(netip.MustParseAddr(c.addr)); !slices.Equal(got, c.names) {
			t.Errorf("%s: names %q", c.pool.Metadata.Name, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	got, err := ipam.ParseStatus(`[{"name":"cbr0","interface":"eth0","ips":["10.1.0.4"],"default":true,"dns":{}},
	  {"name":"default/macvlan-conf","interface":"net1","ips":["192.168.20.10","fd00::a"],"mac":"x"},{"name":"default/none","interface":"net2"}]`)
	want := []ipam.Attachment{
		{Network: "default/macvlan-conf", Interface: "net1", Addresses: []netip.Addr{netip.MustParseAddr("192.168.20.10"), netip.MustParseAddr("fd00::a")}},
		{Network: "default/none", Interface: "net2"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"", "{}", "[", `[{"ips":["x"]}]`, `[{"ips":"10.0.0.1"}]`, `[1]`} {
		if got, err := ipam.ParseStatus(bad); err == nil {
			t.Errorf("%q gave %+v", bad, got)
		}
	}
}

func FuzzPool(f *testing.F) {
	f.Add(`{"metadata":{"name":"192.168.20.0-24"},"spec":{"range":"192.168.20.0/24","allocations":{"10":{"id":"a","podref":"b/c"}}}}`)
	f.Add(`{"metadata":{"name":"n-fd00---64"},"spec":{"range":"fd00::/64","allocations":{"18446744073709551615":{}}}}`)
	f.Add(`{"spec":{"range":"::ffff:1.2.3.4/96","allocations":{"9":{}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var p ipam.Pool
		if json.Unmarshal([]byte(text), &p) != nil {
			return
		}
		for key := range p.Spec.Allocations {
			addr, err := p.Address(key)
			if err != nil {
				continue
			}
			if prefix, err := p.Range(); err != nil || !prefix.Masked().Contains(addr) {
				t.Errorf("%s lies outside of %q", addr, p.Spec.Range)
			}
			if names := p.ReservationNames(addr); len(names) == 0 {
				t.Error("no name")
			}
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add(`[{"name":"a/b","interface":"net1","ips":["192.168.20.10"]}]`)
	f.Add(`[{"default":true,"ips":["::ffff:1.2.3.4"]},{"ips":["::ffff:1.2.3.4","fe80::1%x"]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		attachments, err := ipam.ParseStatus(text)
		if err != nil {
			return
		}
		for _, a := range attachments {
			for _, addr := range a.Addresses {
				if !addr.IsValid() || addr.Is4In6() {
					t.Errorf("%v", addr)
				}
			}
		}
	})
}
