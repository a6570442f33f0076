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

LASTING, FORGETFUL, FULL = "192.168.91.0/24", "192.168.92.0/24", "192.168.93.0/24"
UNREACHABLE = "node.kubernetes.io/unreachable"


def test_pods_of_a_node_that_goes_down_keep_their_addresses(cluster: Cluster, package: Package) -> None:
    """On `forgetful` somebody takes an address back while the node is down, as an IPAM that does not last would."""
    # It runs meanwhile, on the other node, and sees the pods of a node that does not answer.
    reconciler = package.reconcile_often()
    up, down = sorted(cluster.nodes, key=lambda node: node.name != reconciler["spec"]["nodeName"])
    with Workload(cluster, "restart") as workload, Workload(cluster, "lost") as lost:
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

        lost.network("full", range=FULL, range_start="192.168.93.10", range_end="192.168.93.10")
        lost.run("former", "full", node=down.index)

        with _powered_off(down):
            lost.start("successor", "full", node=up.index)
            pools.allocate(cluster.api, FORGETFUL, dict.fromkeys(pools.allocations(cluster.api, FORGETFUL)))
            pools.wait_reconciled(cluster.api, LASTING)
            for name, network in (("new1", "lasting"), ("new2", "lasting"), ("new3", "forgetful")):
                workload.run(name, network, node=up.index)
            # What nothing was taken from is whole; and a holder who is forgotten is noticed.
            (forgotten,) = workload.ips("forgotten")
            assert _taken(before, workload) == [forgotten]
            assert {each for each in before if each.pod != "default/forgotten"} <= _allocated(cluster)
            _lose(cluster, down, lost)

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


def _lose(cluster: Cluster, node: Node, lost: Workload) -> None:
    """See that the only address of a range comes back when its pod is certainly no more, and not before."""
    wait_until(f"{node.name} is unreachable", lambda: UNREACHABLE in _taints(cluster, node))
    pools.wait_reconciled(cluster.api, FULL)
    assert pools.holders(cluster.api, FULL) == ["default/former"]
    # Nobody is there to end it, so that it stays; its grace period is a second.
    cluster.kubectl("delete", "pod", "former", "--wait=false")
    lost.wait_running("successor")
    assert pools.holders(cluster.api, FULL) == ["default/successor"]
    assert lost.ips("successor") == ["192.168.93.10"]


def _taints(cluster: Cluster, node: Node) -> set[str]:
    spec = cluster.api.get("nodes", node.name)["spec"]
    return {each["key"] for each in spec.get("taints", [])}


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
