package main

import (
	"net"
	"testing"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
)

func TestPoolsAndReservationsHaveUpstreamsNames(t *testing.T) {
	for _, within := range []string{"10.0.0.0/8", "192.168.2.225/28", "fd00::/64", "2001:db8:0:1::/120", "::/0", "fd00::10/64", "fd00::", "10.0.0.0"} {
		for _, network := range []string{"", "fast", "a.b"} {
			for _, node := range []string{"", "node-1", "n.example.org"} {
				got := poolIdentifier{within, network, node}.name()
				want := kubernetes.IPPoolName(kubernetes.PoolIdentifier{IpRange: within, NetworkName: network, NodeName: node})
				if got != want {
					t.Errorf("%q %q %q: the pool is %q, upstream's %q", within, network, node, got, want)
				}
			}
		}
	}
	for _, address := range []string{"10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "fd00::", "::", "2001:db8::f:0"} {
		for _, network := range []string{"", "fast"} {
			ip := net.ParseIP(address)
			if got, want := addressName(ip, network), kubernetes.NormalizeIP(ip, network); got != want {
				t.Errorf("%s %q: the reservation is %q, upstream's %q", address, network, got, want)
			}
		}
	}
}
