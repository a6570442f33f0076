"""The invariant checker itself: whatever somebody breaks, it names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cluster import invariants, pods, pools
from tests.cluster.errors import ClusterError
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.walk import Package

Tampering = Callable[["Cluster"], AbstractContextManager[None]]
GROUP = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system"
RANGE = "192.168.29.0/24"
FIRST, SECOND = "192.168.29.1", "192.168.29.2"
GHOST = {"id": "0", "podref": "default/ghost", "ifname": "net1"}


@pytest.fixture(scope="module")
def two_pods(installed_package: Package) -> Iterator[Cluster]:
    """Pods `victim` with the first and `other` with the second address of a range."""
    with Workload(installed_package.cluster, "invariants") as workload:
        workload.network("tampered", range=RANGE)
        workload.run("victim", "tampered", node=1)
        workload.run("other", "tampered", node=2)
        assert workload.ips() == [FIRST, SECOND]
        yield installed_package.cluster


@contextmanager
def allocation_lost(cluster: Cluster) -> Iterator[None]:
    before = pools.allocations(cluster.api, RANGE)
    pools.allocate(cluster.api, RANGE, {"1": None})
    yield
    pools.allocate(cluster.api, RANGE, {"1": before["1"]})


@contextmanager
def allocation_leaked(cluster: Cluster) -> Iterator[None]:
    pools.allocate(cluster.api, RANGE, {"77": GHOST})
    yield
    pools.allocate(cluster.api, RANGE, {"77": None})


@contextmanager
def allocated_twice(cluster: Cluster) -> Iterator[None]:
    other = "192.168.29.0/25"
    cluster.api.apply("ippools", pools.document(other, {"1": GHOST}))
    yield
    pools.delete(cluster.api, other)


@contextmanager
def allocated_twice_by_nodes(cluster: Cluster) -> Iterator[None]:
    pool = pools.document(RANGE, {"1": GHOST})
    name = f"node2-{pools.name(RANGE)}"
    pool["metadata"] |= {"name": name, "annotations": {pools.NODE: "node2"}}
    cluster.api.apply("ippools", pool)
    yield
    cluster.api.delete("ippools", name, namespace=pools.NAMESPACE)


@contextmanager
def reservation_lost(cluster: Cluster) -> Iterator[None]:
    found = cluster.api.get("overlappingrangeipreservations", FIRST, namespace="kube-system")
    cluster.api.delete("overlappingrangeipreservations", FIRST, namespace="kube-system")
    yield
    for key in ("resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"):
        found["metadata"].pop(key, None)
    cluster.api.request("POST", f"{GROUP}/overlappingrangeipreservations", found)


@contextmanager
def reservation_leaked(cluster: Cluster) -> Iterator[None]:
    ghost = {
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1",
        "kind": "OverlappingRangeIPReservation",
        "metadata": {"name": "192.168.29.99", "namespace": "kube-system"},
        "spec": {"podref": "default/ghost", "containerid": "0"},
    }
    cluster.api.apply("overlappingrangeipreservations", ghost)
    yield
    cluster.api.delete("overlappingrangeipreservations", "192.168.29.99", namespace="kube-system")


@contextmanager
def announced_twice(cluster: Cluster) -> Iterator[None]:
    victim = cluster.api.get("pods", "victim", namespace="default")
    text = victim["metadata"]["annotations"][pods.NETWORK_STATUS]
    _announce(cluster, text.replace(FIRST, SECOND))
    yield
    _announce(cluster, text)


def _announce(cluster: Cluster, text: str) -> None:
    change = {"metadata": {"annotations": {pods.NETWORK_STATUS: text}}}
    cluster.api.merge("pods", "victim", change, namespace="default")


@contextmanager
def interface_without(cluster: Cluster) -> Iterator[None]:
    _address(cluster, "delete", FIRST)
    yield
    _address(cluster, "add", FIRST)


@contextmanager
def interface_with_another(cluster: Cluster) -> Iterator[None]:
    _address(cluster, "add", "192.168.29.88")
    yield
    _address(cluster, "delete", "192.168.29.88")


def _address(cluster: Cluster, action: str, ip: str) -> None:
    victim = cluster.api.get("pods", "victim", namespace="default")
    pods.run_on_network(victim, ["ip", "address", action, f"{ip}/24", "dev", "net1"])


VICTIM = f"default/victim net1 {FIRST}"
TAMPERINGS: dict[Tampering, set[str]] = {
    allocation_lost: {f"announced by the pod, not allocated: {VICTIM}"},
    allocation_leaked: {"allocated, not announced by any pod: default/ghost net1 192.168.29.77"},
    allocated_twice: {
        f"{FIRST} is allocated 2 times in network ''",
        f"allocated, not announced by any pod: default/ghost net1 {FIRST}",
    },
    allocated_twice_by_nodes: {f"{FIRST} is allocated 2 times in network ''"},
    reservation_lost: {f"{FIRST} of default/victim has no reservation"},
    reservation_leaked: {"reservation 192.168.29.99 of default/ghost has no allocation"},
    announced_twice: {f"{SECOND} is announced by 2 interfaces in network ''"},
    interface_without: {f"announced by the pod, not on the interface: {VICTIM}"},
    interface_with_another: {
        "on the interface, not announced by the pod: default/victim net1 192.168.29.88",
    },
}


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=[each.__name__ for each in TAMPERINGS])
def test_what_is_broken_is_named(two_pods: Cluster, tampering: Tampering) -> None:
    assert invariants.broken(two_pods.api) == []
    with tampering(two_pods):
        assert set(invariants.broken(two_pods.api)) >= TAMPERINGS[tampering]
        with pytest.raises(ClusterError, match="broken invariants"):
            invariants.check(two_pods.api, timeout=0)
    assert invariants.broken(two_pods.api) == []


def test_networks_of_other_plugins_are_none_of_its_business(two_pods: Cluster) -> None:
    with Workload(two_pods, "elsewhere") as workload:
        ipam = {"type": "host-local", "ranges": [[{"subnet": "192.168.98.0/24"}]]}
        workload.add_network(pods.network("elsewhere", ipam))
        workload.run("elsewhere", "elsewhere")
        assert invariants.broken(two_pods.api) == []
