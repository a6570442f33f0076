"""A node goes down with its pods and comes up again: no address is lost, and none has two holders."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.cluster import invariants, kapp_controller, pods, pools
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.cluster.pods import Address
    from tests.cluster.walk import Package

LASTING, FORGETFUL = "192.168.91.0/24", "192.168.92.0/24"


def test_pods_of_a_node_that_goes_down_keep_their_addresses(cluster: Cluster, package: Package) -> None:
    """On `forgetful` somebody takes an address back while the node is down, as an IPAM that does not last would."""
    # It runs meanwhile, on the other node, and sees the pods of a node that does not answer.
    reconciler = package.reconcile_often()
    up, down = sorted(cluster.nodes, key=lambda node: node.name != reconciler["spec"]["nodeName"])
    with Workload(cluster, "restart") as workload:
        workload.network("lasting", range=LASTING)
        # Without a reservation that would outlive the allocation.
        workload.network("forgetful", range=FORGETFUL, enable_overlapping_ranges=False)
        stay = [f"stay{index}" for index in range(4)]
        for name in stay:
            workload.start(name, "lasting", node=down.index)
        workload.start("forgotten", "forgetful", node=down.index)
        workload.start("neighbour", "lasting", node=up.index)
        workload.wait_running(*stay, "forgotten", "neighbour")
        before, containers = workload.addresses(), _containers(cluster, down.name)
        assert _taken(before, workload) == []

        with _powered_off(down):
            pools.allocate(cluster.api, FORGETFUL, dict.fromkeys(pools.allocations(cluster.api, FORGETFUL)))
            _wait_reconciled(cluster, LASTING)
            for name, network in (("new1", "lasting"), ("new2", "lasting"), ("new3", "forgetful")):
                workload.run(name, network, node=up.index)
            # What nothing was taken from is whole; and a holder who is forgotten is noticed.
            (forgotten,) = workload.ips("forgotten")
            assert _taken(before, workload) == [forgotten]
            assert {each for each in before if each.pod != "default/forgotten"} <= _allocated(cluster)

        wait_until(
            "each container of the node has another in its place",
            lambda: _replaced(cluster, down.name, containers),
            interval=0.5,
        )
        kapp_controller.wait_ready(cluster)
        invariants.check(cluster.api)
        assert len(set(workload.ips())) == len(workload.ips()) == len(before) + 3
        # Given back by the DEL of what the node had before, and given out again: the same or another, but its own.
        assert {each.pod for each in _allocated(cluster)} >= {each.pod for each in before}
        for target in (*workload.ips("neighbour"), *workload.ips("stay1")):
            workload.ping("stay0", target)


@contextmanager
def _powered_off(node: Node) -> Iterator[None]:
    node.power_off()
    try:
        yield
    finally:
        node.power_on()


def _containers(cluster: Cluster, node: str) -> dict[str, set[str]]:
    """Return the IDs of the containers by the UIDs of the pods of a node."""
    return {
        pod["metadata"]["uid"]: {each.get("containerID", "") for each in pod["status"].get("containerStatuses", [])}
        for pod in _pods(cluster, node)
    }


def _replaced(cluster: Cluster, node: str, before: dict[str, set[str]]) -> bool:
    """Tell whether the pods of before run again, in containers that are others."""
    found = {pod["metadata"]["uid"]: pod for pod in _pods(cluster, node)}
    now = _containers(cluster, node)
    assert found.keys() >= before.keys(), "a pod was replaced although its node came back"
    if late := [
        found[uid]["metadata"]["name"]
        for uid, old in before.items()
        if not pods.running(found[uid]) or "" in now[uid] or now[uid] & old
    ]:
        raise ClusterError(f"not yet: {', '.join(late)}")
    return True


def _pods(cluster: Cluster, node: str) -> list[dict[str, Any]]:
    return [pod for pod in cluster.api.list("pods") if pod["spec"].get("nodeName") == node]


def _allocated(cluster: Cluster) -> set[Address]:
    return {address for _, address in invariants.allocations(cluster.api)}


def _taken(before: Iterable[Address], workload: Workload) -> list[str]:
    """Return the addresses of before that others have been given."""
    holders = {each.ip: each.pod for each in before}
    return sorted(each.ip for each in workload.addresses() if holders.get(each.ip, each.pod) != each.pod)


def _wait_reconciled(cluster: Cluster, pool_range: str) -> None:
    """Wait until the reconciler has looked at a pool: until what belongs to no pod is gone from it."""
    pools.allocate(cluster.api, pool_range, {"200": {"id": "0", "podref": "default/ghost", "ifname": "net1"}})
    wait_until("the reconciler has run", lambda: "200" not in pools.allocations(cluster.api, pool_range), interval=0.5)
