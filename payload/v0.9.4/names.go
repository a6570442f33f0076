package main

import (
	"net"
	"slices"
	"strings"
)

// A poolIdentifier is what makes the name of a pool: its range, and the network and the node that it belongs to, if any.
type poolIdentifier struct{ ipRange, network, node string }

// name is the pool's name, as upstream's programs make it.
func (p poolIdentifier) name() string {
	return named(p.ipRange, p.network, p.node)
}

// addressName is the name of the reservation of an address, as upstream's programs make it.
func addressName(ip net.IP, network string) string { return named(ip.String(), network) }

// named is a range or an address behind those prefixes that there are. Names of objects have no colon and no slash, and end with
// a letter or a digit.
func named(what string, prefixes ...string) string {
	if strings.HasSuffix(what, ":") {
		what += "0"
	}
	parts := append(prefixes, strings.NewReplacer(":", "-", "/", "-").Replace(what))
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "-")
}
