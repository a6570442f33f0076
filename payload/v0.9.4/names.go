package main

import (
	"net"
	"strings"
)

// A poolIdentifier is what makes the name of a pool: its range, and the network and the node that it belongs to, if any.
type poolIdentifier struct{ ipRange, network, node string }

// name is the pool's name, as upstream's programs make it.
func (p poolIdentifier) name() string {
	return named(p.network, p.node, p.ipRange)
}

// addressName is the name of the reservation of an address, as upstream's programs make it.
func addressName(ip net.IP, network string) string { return named(network, ip.String()) }

// named joins those parts of a name that there are. The last is a range or an address: names of objects have no colon, and no
// slash, and end with a letter or a digit.
func named(parts ...string) string {
	last := parts[len(parts)-1]
	if strings.HasSuffix(last, ":") {
		last += "0"
	}
	var given []string
	for _, each := range append(parts[:len(parts)-1:len(parts)-1], strings.NewReplacer(":", "-", "/", "-").Replace(last)) {
		if each != "" {
			given = append(given, each)
		}
	}
	return strings.Join(given, "-")
}
