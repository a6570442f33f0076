// Package networks reads NetworkAttachmentDefinitions: which IPAM plugin serves a network, and which of its settings do not mean
// what they seem to.
package networks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"carvelwright.dev/payload/internal/ipam"
)

// Path is the API path of the whole collection.
const Path = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"

// whereabouts is the IPAM type of the plugin.
const whereabouts = "whereabouts"

// Definition is a NetworkAttachmentDefinition.
type Definition struct {
	Metadata ipam.Meta `json:"metadata"`
	Spec     struct {
		Config string `json:"config"`
	} `json:"spec"`
}

// settings are the part of a plugin's "ipam" that is looked at.
type settings struct {
	Type      string   `json:"type"`
	Range     bounds   `json:"-"` // that of the "ipam" itself
	IPRanges  []bounds `json:"ipRanges"`
	Gateway   string   `json:"gateway"`
	SliceSize string   `json:"node_slice_size"`
	Name      string   `json:"network_name"`
	// Overlapping is true when it is missing.
	Overlapping *bool `json:"enable_overlapping_ranges"`
	Addresses   []struct {
		Address string `json:"address"`
	} `json:"addresses"`
}

// bounds are one range as it is written.
type bounds struct {
	Range   string   `json:"range"`
	Start   string   `json:"range_start"`
	End     string   `json:"range_end"`
	Exclude []string `json:"exclude"`
}

// UnmarshalJSON also reads the range that Whereabouts has beside those of ipRanges.
func (s *settings) UnmarshalJSON(text []byte) error {
	type plain settings
	if err := json.Unmarshal(text, (*plain)(s)); err != nil {
		return err
	}
	return json.Unmarshal(text, &s.Range)
}

// ipams gives the "ipam" of each plugin in the configuration, which is one plugin or a list.
func (d Definition) ipams() ([]settings, error) {
	type plugin struct {
		IPAM *settings `json:"ipam"`
	}
	var conf struct {
		plugin
		Plugins []plugin `json:"plugins"`
	}
	if err := json.Unmarshal([]byte(d.Spec.Config), &conf); err != nil {
		return nil, err
	}
	var found []settings
	for _, p := range append([]plugin{conf.plugin}, conf.Plugins...) {
		if p.IPAM != nil {
			found = append(found, *p.IPAM)
		}
	}
	return found, nil
}

// Serves tells whether Whereabouts gives the network's pods an address such as addr from its pools. known is false where the
// definition does not say: its configuration is a file on the nodes, cannot be read, or names no IPAM plugin.
func (d Definition) Serves(addr netip.Addr) (serves, known bool) {
	ipams, err := d.ipams()
	if err != nil || len(ipams) == 0 {
		return false, false
	}
	for _, s := range ipams {
		serves = serves || (s.Type == whereabouts && !s.static(addr))
	}
	return serves, true
}

// static tells whether the address is one that the definition itself sets. Such an address is in no pool.
func (s settings) static(addr netip.Addr) bool {
	for _, each := range s.Addresses {
		text, _, _ := strings.Cut(each.Address, "/")
		if fixed, err := netip.ParseAddr(text); err == nil && fixed.Unmap() == addr {
			return true
		}
	}
	return false
}

// Warnings gives what in the definitions is accepted by Whereabouts and does not do what it says, one line each.
func Warnings(definitions []Definition) (warnings []string) {
	for _, d := range definitions {
		ipams, err := d.ipams()
		if err != nil {
			continue // Multus refuses it when a pod asks for it
		}
		for _, s := range ipams {
			if s.Type != whereabouts {
				continue
			}
			for _, problem := range s.problems() {
				warnings = append(warnings, fmt.Sprintf("network %s: %s", d.Metadata.Ref(), problem))
			}
		}
	}
	return warnings
}

// Pool is where networks of one range and network_name keep their addresses.
type Pool struct{ Name, Range string }

// user is how a network uses a pool.
type user struct {
	network string
	guarded bool // by reservations against overlapping ranges
}

// users gives the networks of Whereabouts that use each pool, those with node slices left out.
func users(definitions []Definition) map[Pool][]user {
	found := map[Pool][]user{}
	for _, d := range definitions {
		ipams, err := d.ipams()
		if err != nil {
			continue
		}
		for _, s := range ipams {
			if s.Type != whereabouts || s.SliceSize != "" {
				continue
			}
			for _, each := range s.ranges() {
				if r, _, ok := each.read(false); ok {
					at := Pool{s.Name, r.prefix.String()}
					found[at] = append(found[at], user{d.Metadata.Ref(), s.Overlapping == nil || *s.Overlapping})
				}
			}
		}
	}
	return found
}

// PerNode gives the pools that nodes have pools of their own beside, when they allocate on their own.
func PerNode(definitions []Definition) (pools []Pool) {
	for at, all := range users(definitions) {
		if slices.ContainsFunc(all, func(u user) bool { return u.guarded }) {
			pools = append(pools, at)
		}
	}
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Range, b.Range)) })
	return pools
}

// Mixed gives a line for each pool that some networks use with reservations against overlapping ranges and some without. Beside
// pools of nodes this package's plugin makes reservations for the latter as well; upstream's does not, and nothing else keeps
// the ones from the addresses of the others.
func Mixed(definitions []Definition) (warnings []string) {
	all := users(definitions)
	for _, at := range PerNode(definitions) {
		var guarded, not []string
		for _, u := range all[at] {
			if u.guarded {
				guarded = append(guarded, u.network)
			} else {
				not = append(not, u.network)
			}
		}
		if len(not) == 0 {
			continue
		}
		slices.Sort(guarded)
		slices.Sort(not)
		warnings = append(warnings, fmt.Sprintf("networks %s have the range %s of network %s with enable_overlapping_ranges: false: "+
			"with allocation per-node they keep the lease and get reservations all the same, but not from upstream's plugin, which can "+
			"allocate an address twice after a downgrade; remove the setting, or give them another network_name",
			strings.Join(slices.Compact(not), ", "), at.Range, strings.Join(slices.Compact(guarded), ", ")))
	}
	return warnings
}

// ranges gives all ranges of a network.
func (s settings) ranges() []bounds {
	if s.Range.Range == "" {
		return s.IPRanges
	}
	return append([]bounds{s.Range}, s.IPRanges...)
}

func (s settings) problems() (problems []string) {
	for _, each := range s.ranges() {
		r, found, ok := each.read(s.SliceSize != "")
		if !ok {
			continue // every ADD of the network fails with what is wrong with it
		}
		problems = append(problems, found...)
		if gateway, err := netip.ParseAddr(s.Gateway); err == nil {
			problems = append(problems, r.gateway(gateway.Unmap())...)
		}
	}
	return problems
}

// span is a range as Whereabouts uses it.
type span struct {
	prefix      netip.Prefix
	first, last netip.Addr
	exclude     []netip.Prefix
}

// read gives the addresses that Whereabouts really allocates, and what it ignores in silence. ok is false for a range that it
// refuses. In a range that is divided into slices the slices alone are the bounds.
func (b bounds) read(sliced bool) (s span, problems []string, ok bool) {
	text, start, end := b.Range, b.Start, b.End
	if from, rest, both := strings.Cut(text, "-"); both {
		start, text = from, rest
		end, _, _ = strings.Cut(rest, "/")
	}
	prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil || prefix.Bits() > prefix.Addr().BitLen()-2 {
		return s, nil, false
	}
	s = span{prefix: prefix.Masked(), exclude: prefixes(b.Exclude)}
	s.first, s.last = s.prefix.Addr().Next(), last(s.prefix).Prev()
	whyStart, whyEnd := s.bound(start, end)
	if sliced {
		s.first, s.last = s.prefix.Addr().Next(), last(s.prefix).Prev()
		whyStart, whyEnd = "does not apply with node_slice_size", "does not apply with node_slice_size"
	}
	for _, each := range []struct{ name, value, why string }{{"range_start", start, whyStart}, {"range_end", end, whyEnd}} {
		if each.value != "" && each.why != "" {
			problems = append(problems, fmt.Sprintf("%s %s %s and is ignored: addresses are allocated from %s to %s; correct it or remove it",
				each.name, each.value, each.why, s.first, s.last))
		}
	}
	return s, problems, true
}

// bound narrows the span as Whereabouts does, and says why it ignores a bound. The network's own first and last address are never
// allocated: as a bound each means what happens anyway.
func (s *span) bound(start, end string) (whyStart, whyEnd string) {
	lowest, highest := s.prefix.Addr(), last(s.prefix)
	outside := "is no address for pods of " + s.prefix.String()
	if from, err := netip.ParseAddr(start); err == nil {
		switch {
		case !s.prefix.Contains(from) || from == highest:
			whyStart = outside
		case from != lowest:
			s.first = from
		}
	}
	if to, err := netip.ParseAddr(end); err == nil {
		switch {
		case !s.prefix.Contains(to):
			whyEnd = outside
		case to.Less(s.first):
			whyEnd = "lies before the first address " + s.first.String()
		case to != highest:
			s.last = to
		}
	}
	return whyStart, whyEnd
}

// gateway warns of a gateway that a pod may get as its own address.
func (s span) gateway(gateway netip.Addr) []string {
	if gateway.Less(s.first) || s.last.Less(gateway) || gateway.BitLen() != s.first.BitLen() {
		return nil
	}
	for _, prefix := range s.exclude {
		if prefix.Contains(gateway) {
			return nil
		}
	}
	return []string{fmt.Sprintf("the gateway %s lies in the range %s and can be allocated to a pod: add \"%s/%d\" to exclude",
		gateway, s.prefix, gateway, gateway.BitLen())}
}

func prefixes(texts []string) (found []netip.Prefix) {
	for _, text := range texts {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			found = append(found, prefix.Masked())
		} else if addr, err := netip.ParseAddr(text); err == nil {
			found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return found
}

// last gives a network's last address.
func last(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for i := range bytes {
		ours := min(max(prefix.Bits()-8*i, 0), 8)
		bytes[i] |= 0xff >> ours
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
