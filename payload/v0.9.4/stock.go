package main

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	assign "github.com/k8snetworkplumbingwg/whereabouts/pkg/allocate"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/iphelpers"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// A stock is a pool as it was read.
type stock struct {
	place
	object  *v1alpha1.IPPool
	entries []entry
	// first is the address that offsets count from.
	first net.IP
}

func newStock(at place, object *v1alpha1.IPPool) (stock, error) {
	held, first, err := entries(object)
	return stock{at, object, held, first}, err
}

// stocks reads the pools in which this node keeps addresses of a range: the one for new entries first, which is made if it is
// missing, and the other one if it is there, which this node may have used before the way of allocation was changed.
func (a *attachment) stocks(ctx context.Context, base place) ([]stock, error) {
	if a.perNode {
		return a.ownAndBase(ctx, base)
	}
	shared, err := a.poolOrNew(ctx, base, metav1.ObjectMeta{})
	if err != nil {
		return nil, err
	}
	if shared == nil {
		return nil, fmt.Errorf("the pool %s is created and deleted at the same time", base.name())
	}
	first, err := newStock(base, shared)
	if err != nil || !beside(shared) {
		return []stock{first}, err
	}
	own, err := a.ownPlace(base)
	if err != nil {
		// Then this node has not made one.
		return []stock{first}, nil
	}
	mine, err := a.pool(ctx, own)
	if err != nil || mine == nil {
		return []stock{first}, err
	}
	second, err := newStock(own, mine)
	return []stock{first, second}, err
}

// ownAndBase reads this node's own pool and the base pool. That is marked before there is any pool beside it. Who finds no mark
// writes the base pool only as it was read, and who finds it makes reservations: so a base pool with the mark has each entry
// without a reservation that there will ever be. It may be read from memory by the API server, but not from before the node's
// own pool, which was made after the mark.
func (a *attachment) ownAndBase(ctx context.Context, base place) ([]stock, error) {
	own, err := a.ownPlace(base)
	if err != nil {
		return nil, err
	}
	for range tries {
		mine, err := a.pool(ctx, own)
		if err != nil {
			return nil, err
		}
		var shared *v1alpha1.IPPool
		if mine != nil {
			if shared, err = a.poolSince(ctx, base, mine.ResourceVersion); err != nil {
				return nil, err
			}
		}
		if beside(shared) {
			first, err := newStock(own, mine)
			if err != nil {
				return nil, err
			}
			second, err := newStock(base, shared)
			return []stock{first, second}, err
		}
		if err := a.makeOwn(ctx, own, base); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the pools %s and %s were deleted by others during each of %d attempts", own.name(), base.name(), tries)
}

// makeOwn marks the base pool, then makes this node's own, each of them if it is missing.
func (a *attachment) makeOwn(ctx context.Context, own, base place) error {
	shared, err := a.poolOrNew(ctx, base, metav1.ObjectMeta{Annotations: map[string]string{hasNodePools: "true"}})
	if err != nil || shared == nil {
		return err
	}
	if !beside(shared) {
		// When allocation changes, all nodes come here at a time, and to write a pool with thousands of entries takes the API
		// server a second. One does it; the others find it done.
		err := a.withLease(ctx, commonLease, func(ctx context.Context, _ func()) error { return a.mark(ctx, base) })
		if err != nil {
			return err
		}
	}
	_, err = a.poolOrNew(ctx, own, ofNode(own.pool.node))
	return err
}

// mark marks a base pool unless it is marked, or gone.
func (a *attachment) mark(ctx context.Context, base place) error {
	shared, err := a.pool(ctx, base)
	if err != nil || shared == nil || beside(shared) {
		return err
	}
	path, value := "/metadata/annotations", any(map[string]string{hasNodePools: "true"})
	if shared.Annotations != nil {
		path, value = path+"/"+strings.ReplaceAll(hasNodePools, "/", "~1"), "true"
	}
	// What others change meanwhile is read anew.
	_, err = a.patch(ctx, base, edit{"test", path, nil}, edit{"add", path, value})
	return err
}

// elsewhere reads the addresses of all pools of the network, with one request.
func (a *attachment) elsewhere(ctx context.Context) ([]types.IPReservation, error) {
	pools, err := a.api.pools(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the pools: %w", err)
	}
	var found []types.IPReservation
	for i := range pools.Items {
		pool := &pools.Items[i]
		id := poolIdentifier{ipRange: pool.Spec.Range, network: a.config.NetworkName, node: nodeOf(pool)}
		held, _, err := entries(pool)
		if err != nil || pool.Name != id.name() {
			continue
		}
		for _, each := range held {
			found = append(found, types.IPReservation{IP: each.ip})
		}
	}
	return found, nil
}

// assign returns an address of the range that is not occupied: in a base pool and a slice the first one, as upstream; in a
// node's own pool the next one behind those that the node has, from a start that depends on its name, so that nodes seldom
// try the same one.
func (s stock) assign(network net.IPNet, occupied []types.IPReservation) (net.IP, error) {
	start, end := s.within.RangeStart, s.within.RangeEnd
	if s.isNodePool() {
		from, err := s.next(network)
		if err != nil {
			return nil, err
		}
		ip, _, err := assign.IterateForAssignment(network, from, end, occupied, s.within.OmitRanges, "", "", "")
		if err == nil {
			return ip, nil
		}
	}
	ip, _, err := assign.IterateForAssignment(network, start, end, occupied, s.within.OmitRanges, "", "", "")
	return ip, err
}

// mostSpans is how many addresses of a wide range the starts of nodes are spread over.
const mostSpans = 1 << 32

// next is where a node's search begins: behind the last of its entries, as seen from the node's start, or at the start.
func (s stock) next(network net.IPNet) (net.IP, error) {
	low, high, err := iphelpers.GetIPRange(network, s.within.RangeStart, s.within.RangeEnd)
	if err != nil {
		return nil, err
	}
	size := new(big.Int).Sub(number(high), number(low))
	size.Add(size, big.NewInt(1))
	start := new(big.Int).SetUint64(hashOf(s.pool.node) % mostSpans)
	start.Mod(start, size)
	behind := new(big.Int)
	for _, each := range s.entries {
		if iphelpers.CompareIPs(each.ip, low) < 0 || iphelpers.CompareIPs(each.ip, high) > 0 {
			continue
		}
		distance := new(big.Int).Sub(number(each.ip), number(low))
		distance.Mod(distance.Sub(distance, start), size)
		if distance.Add(distance, big.NewInt(1)); distance.Cmp(behind) > 0 {
			behind = distance
		}
	}
	at := start.Mod(start.Add(start, behind), size)
	found := net.IP(at.Add(at, number(low)).FillBytes(make([]byte, net.IPv6len)))
	if short := found.To4(); short != nil {
		return short, nil
	}
	return found, nil
}
