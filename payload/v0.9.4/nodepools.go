package main

import (
	"fmt"
	"hash/fnv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"
)

// With per-node allocation, each node writes a pool of its own over the range of the base pool, which all nodes share.
const (
	// nodeOfPool is the annotation of a node's pool: the name of the node that writes it. The pool has a label of the same name as
	// well, so that others need not be told of its changes.
	nodeOfPool = "whereabouts.tanzu.vmware.com/node"
	// hasNodePools is the annotation of a base pool that nodes have pools of their own beside.
	hasNodePools = "whereabouts.tanzu.vmware.com/node-pools"
)

// ofNode is what the pools of a node have besides their names.
func ofNode(node string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Annotations: map[string]string{nodeOfPool: node}, Labels: map[string]string{nodeOfPool: labelOf(node)}}
}

// nodeOf returns the name of the node whose pool it is, and "" for a base pool.
func nodeOf(pool *v1alpha1.IPPool) string { return pool.Annotations[nodeOfPool] }

// labelOf is the label of a node's pools: its name, which is cut where it is longer than a label may be.
func labelOf(node string) string {
	const longest = 63
	if len(node) <= longest {
		return node
	}
	sum := fmt.Sprintf("-%016x", hashOf(node))
	return node[:longest-len(sum)] + sum
}

func hashOf(node string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(node))
	return hash.Sum64()
}

// beside tells whether nodes have, or had, pools of their own beside a base pool.
func beside(base *v1alpha1.IPPool) bool { return base != nil && base.Annotations[hasNodePools] != "" }
