package preflight

import (
	"context"
	"encoding/json"
	"net/http"

	"carvelwright.dev/payload/internal/ipam"
	"carvelwright.dev/payload/internal/kube"
	"carvelwright.dev/payload/internal/networks"
	"carvelwright.dev/payload/internal/values"
)

// How addresses are allocated, as whereabouts.conf has it.
const (
	lease   = "lease" // also where it says nothing
	perNode = "per-node"
)

// longestName is how long the name of an object may be.
const longestName = 253

// Allocation tells whether nodes allocate on their own by whereabouts.conf, and what is wrong with the setting. A conf that
// cannot be read is LeaseProblems' to tell.
func Allocation(conf []byte) (nodes bool, problems []Problem) {
	var c struct {
		Allocation string `json:"allocation"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return false, nil
	}
	switch c.Allocation {
	case "", lease, perNode:
		return c.Allocation == perNode, nil
	}
	return false, []Problem{Blocks("whereabouts.conf: allocation is %q, expected %s or %s: set the package value %s",
		c.Allocation, lease, perNode, values.Allocation)}
}

// perNodeProblems looks for what nodes that allocate on their own cannot cope with.
func perNodeProblems(ctx context.Context, c *kube.Client) (problems []Problem, err error) {
	definitions, err := kube.List[networks.Definition](ctx, c, networks.Path)
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) {
		return nil, err
	}
	for _, warning := range networks.Mixed(definitions) {
		problems = append(problems, Warns("%s", warning))
	}
	nodes, err := kube.List[ipam.Node](ctx, c, ipam.NodesPath)
	// Without them no name is too long.
	if err != nil && !kube.HasStatus(err, http.StatusNotFound) && !kube.HasStatus(err, http.StatusForbidden) {
		return nil, err
	}
	for _, each := range networks.PerNode(definitions) {
		problems = append(problems, longNames(each, nodes)...)
	}
	return problems, nil
}

// longNames warns of the node with the longest name if its pool over a range cannot be created.
func longNames(pool networks.Pool, nodes []ipam.Node) []Problem {
	longest := ""
	for _, node := range nodes {
		if len(node.Metadata.Name) > len(longest) {
			longest = node.Metadata.Name
		}
	}
	length := len(ipam.NameOfNodesPool(pool.Name, longest, pool.Range))
	if longest == "" || length <= longestName {
		return nil
	}
	return []Problem{Warns("range %s: the name of the pool of node %s would have %d characters, and %d are possible: the node stays with the lease there; "+
		"shorten the network_name %q, or set the package value %s to %s", pool.Range, longest, length, longestName, pool.Name, values.Allocation, lease)}
}
