package main

import "github.com/k8snetworkplumbingwg/whereabouts/pkg/api/whereabouts.cni.cncf.io/v1alpha1"

// With per-node allocation, each node writes a pool of its own over the range of the base pool, which all nodes share.
const (
	// nodeOfPool is the annotation of a node's pool: the name of the node that writes it.
	nodeOfPool = "whereabouts.tanzu.vmware.com/node"
	// hasNodePools is the annotation of a base pool that nodes have pools of their own beside.
	hasNodePools = "whereabouts.tanzu.vmware.com/node-pools"
)

// nodeOf returns the name of the node whose pool it is, and "" for a base pool.
func nodeOf(pool *v1alpha1.IPPool) string { return pool.Annotations[nodeOfPool] }

// beside tells whether nodes have, or had, pools of their own beside a base pool.
func beside(base *v1alpha1.IPPool) bool { return base != nil && base.Annotations[hasNodePools] != "" }
