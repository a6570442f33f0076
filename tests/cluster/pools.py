"""The pools of the package, by their ranges: who holds what, and how a test changes that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.api import Api

NAMESPACE = "kube-system"
# The annotation and the label of a pool that one node writes, beside the one that all share.
NODE = "whereabouts.tanzu.vmware.com/node"


def name(pool_range: str) -> str:
    """Return the name of the pool of a network without a name."""
    return pool_range.replace(":", "-").replace("/", "-")


def document(pool_range: str, allocations: Mapping[str, Any]) -> dict[str, Any]:
    """Return an IPPool."""
    return {
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1",
        "kind": "IPPool",
        "metadata": {"name": name(pool_range), "namespace": NAMESPACE},
        "spec": {"range": pool_range, "allocations": dict(allocations)},
    }


def allocations(api: Api, pool_range: str) -> dict[str, Any]:
    """Return what a pool has, by the offsets in its range."""
    found: dict[str, Any] = api.get("ippools", name(pool_range), namespace=NAMESPACE)["spec"].get("allocations", {})
    return found


def holders(api: Api, *ranges: str) -> list[str]:
    """Return the pods that hold addresses of the pools with these ranges, once for each address."""
    pools = [pool for pool in api.list("ippools") if pool["spec"]["range"] in ranges]
    return sorted(entry["podref"] for pool in pools for entry in pool["spec"].get("allocations", {}).values())


def of_nodes(api: Api, pool_range: str) -> dict[str, dict[str, Any]]:
    """Return what the nodes' own pools over a range have, by node; it is empty unless nodes allocate on their own."""
    found = (pool for pool in api.list("ippools", selector=NODE) if pool["spec"]["range"] == pool_range)
    return {
        node: pool["spec"].get("allocations", {})
        for pool in found
        if (node := pool["metadata"].get("annotations", {}).get(NODE))
    }


def allocate(api: Api, pool_range: str, changes: Mapping[str, Any]) -> None:
    """Set allocations by their offsets; None takes one away."""
    change = {"spec": {"allocations": dict(changes)}}
    api.merge("ippools", name(pool_range), change, namespace=NAMESPACE)


def wait_reconciled(api: Api, pool_range: str) -> None:
    """Wait until the reconciler has looked at a pool: until what belongs to no pod is gone from it."""
    allocate(api, pool_range, {"200": {"id": "0", "podref": "default/ghost", "ifname": "net1"}})
    wait_until("the reconciler has run", lambda: "200" not in allocations(api, pool_range), interval=0.5)


def delete(api: Api, pool_range: str) -> None:
    """Delete a pool; it is no error when there is none."""
    api.delete("ippools", name(pool_range), namespace=NAMESPACE)
