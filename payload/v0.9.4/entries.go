package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
	"github.com/k8snetworkplumbingwg/whereabouts/pkg/types"
)

// An entry is one allocation of a pool.
type entry struct {
	v1alpha1.IPAllocation
	key string
	ip  net.IP
}

func (e entry) is(other types.IPReservation) bool { return other.IP.Equal(e.ip) }

// entryKey is the key of an address in the pool of a range that begins at first: its offset, in decimal. Upstream cuts it
// to 64 bits, which makes another address of it in wide IPv6 ranges.
func entryKey(first, ip net.IP) string {
	return new(big.Int).Sub(number(ip), number(first)).String()
}

// entryIP is the address that a key stands for in the pool of a network, or nil.
func entryIP(first net.IP, network *net.IPNet, key string) net.IP {
	offset, valid := new(big.Int).SetString(key, 10)
	if !valid || offset.Sign() < 0 {
		return nil
	}
	sum := offset.Add(offset, number(first))
	if sum.BitLen() > 8*net.IPv6len {
		return nil
	}
	if ip := net.IP(sum.FillBytes(make([]byte, net.IPv6len))); network.Contains(ip) {
		return ip
	}
	return nil
}

// orphanMark is what the reconciler adds to the container ID of an orphan before it may release it. An ADD writes the ID
// without it, so that an entry that still has the mark has been nobody's since.
const orphanMark = "/orphan"

// containerOf is the container of an entry, be it marked or not.
func containerOf(allocation v1alpha1.IPAllocation) string {
	return strings.TrimSuffix(allocation.ContainerID, orphanMark)
}

func marked(allocation v1alpha1.IPAllocation) bool {
	return containerOf(allocation) != allocation.ContainerID
}

// lasts tells whether upstream's programs keep an entry with this key when they write its pool: they read keys as int64.
func lasts(key string) bool {
	offset, valid := new(big.Int).SetString(key, 10)
	return valid && offset.IsInt64()
}

func number(ip net.IP) *big.Int { return new(big.Int).SetBytes(ip.To16()) }

// entries returns the allocations of a pool whose addresses can be told.
func entries(pool *v1alpha1.IPPool) ([]entry, net.IP, error) {
	first, network, err := pool.ParseCIDR()
	if err != nil {
		return nil, nil, fmt.Errorf("the pool %s: %w", pool.Name, err)
	}
	var found []entry
	for key, allocation := range pool.Spec.Allocations {
		if ip := entryIP(first, network, key); ip != nil {
			found = append(found, entry{allocation, key, ip})
		}
	}
	return found, first, nil
}

// pool reads the pool of a place; without one it returns nil.
func (a *attachment) pool(ctx context.Context, at place) (*v1alpha1.IPPool, error) {
	return a.poolSince(ctx, at, "")
}

// poolSince reads the pool of a place as it is, or was after the resource version, which the API server may have at hand.
func (a *attachment) poolSince(ctx context.Context, at place, version string) (*v1alpha1.IPPool, error) {
	found, err := a.api.pools(a.namespace).Get(ctx, at.name(), metav1.GetOptions{ResourceVersion: version})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pool %s: %w", at.name(), err)
	}
	return found, nil
}

// poolOrNew reads the pool of a place, or makes it, with annotations and labels. It returns nil when it is created and deleted at
// the same time.
func (a *attachment) poolOrNew(ctx context.Context, at place, with metav1.ObjectMeta) (*v1alpha1.IPPool, error) {
	if found, err := a.pool(ctx, at); found != nil || err != nil {
		return found, err
	}
	with.Name = at.name()
	made, err := a.api.pools(a.namespace).Create(ctx, &v1alpha1.IPPool{
		ObjectMeta: with,
		Spec:       v1alpha1.IPPoolSpec{Range: at.pool.ipRange, Allocations: map[string]v1alpha1.IPAllocation{}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return a.pool(ctx, at)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the pool %s: %w", at.name(), err)
	}
	return made, nil
}

// An edit is one operation of a JSON patch.
type edit struct {
	Operation string `json:"op"`
	Path      string `json:"path"`
	Value     any    `json:"value"`
}

// unmanaged empties the record of which program wrote which field. It has three lines for each entry, and the API server spends
// as long on it as on all else when it writes a large pool. Nobody uses it here: entries are not applied by field.
var unmanaged = edit{"add", "/metadata/managedFields", []any{struct{}{}}}

func pathOf(key string) string { return "/spec/allocations/" + key }

// unchanged are the tests that an entry still is what was read.
func (e entry) unchanged() []edit {
	return []edit{{"test", pathOf(e.key) + "/id", e.ContainerID}, {"test", pathOf(e.key) + "/podref", e.PodRef}}
}

// patch changes one entry of a pool. done is false when it was changed by others meanwhile, or the pool is gone: it depends
// on nothing else in the pool.
func (a *attachment) patch(ctx context.Context, at place, edits ...edit) (done bool, err error) {
	data, err := json.Marshal(append(slices.Clone(edits), unmanaged))
	if err != nil {
		return false, err
	}
	_, err = a.api.pools(a.namespace).Patch(ctx, at.name(), apitypes.JSONPatchType, data, metav1.PatchOptions{})
	switch {
	case err == nil:
		return true, nil
	// A test of a patch that fails is an invalid patch to the API server.
	case apierrors.IsInvalid(err), apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, nil
	}
	return false, fmt.Errorf("writing the pool %s: %w", at.name(), err)
}

// reservation returns the reservation of an address against overlapping ranges, or nil.
func (a *attachment) reservation(ctx context.Context, ip net.IP) (*v1alpha1.OverlappingRangeIPReservation, error) {
	name := addressName(ip, a.config.NetworkName)
	found, err := a.api.reservations(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the reservation %s: %w", name, err)
	}
	return found, nil
}

// owns tells whether a reservation is for this interface of a pod. Those of version 0.7 and older do not name the interface.
func (a *attachment) owns(found *v1alpha1.OverlappingRangeIPReservation, podRef string) bool {
	return found.Spec.PodRef == podRef && (found.Spec.IfName == a.ifName || found.Spec.IfName == "")
}

// poolOfReservation is the annotation of a reservation that names the pool of its entry. Pod and interface do not tell it:
// the next pod of a name may have the interface in another range, while the DEL of the former one is still to come.
const poolOfReservation = "whereabouts.tanzu.vmware.com/pool"

// ofAnotherNode tells whether a reservation is for an entry in the pool of another node, or of some node if this one's name is
// not known. There an earlier pod of the same name may still run, which this node cannot tell.
func (a *attachment) ofAnotherNode(found *v1alpha1.OverlappingRangeIPReservation) bool {
	node := found.Annotations[nodeOfPool]
	if node == "" {
		return false
	}
	here, err := nodeName(a.config.ConfigurationPath)
	return err != nil || here != node
}

// backs tells whether a reservation is for the entry in this place. Those of other versions do not name their pool.
func backs(found *v1alpha1.OverlappingRangeIPReservation, at place) bool {
	name := found.Annotations[poolOfReservation]
	return name == "" || name == at.name()
}

// reserve makes the reservation of an address in a place. done is false when there is one.
func (a *attachment) reserve(ctx context.Context, at place, ip net.IP) (done bool, err error) {
	name := addressName(ip, a.config.NetworkName)
	annotations := map[string]string{poolOfReservation: at.name()}
	if at.isNodePool() {
		annotations[nodeOfPool] = at.pool.node
	}
	_, err = a.api.reservations(a.namespace).Create(ctx,
		&v1alpha1.OverlappingRangeIPReservation{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: a.namespace, Annotations: annotations},
			Spec:       v1alpha1.OverlappingRangeIPReservationSpec{PodRef: a.config.GetPodRef(), IfName: a.ifName},
		}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("creating the reservation %s: %w", name, err)
	}
	return true, nil
}

// unreserve deletes this very reservation, but not another one of its name.
func (a *attachment) unreserve(ctx context.Context, this *v1alpha1.OverlappingRangeIPReservation) error {
	err := a.api.reservations(a.namespace).Delete(ctx, this.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &this.UID}})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("deleting the reservation %s: %w", this.Name, err)
}
