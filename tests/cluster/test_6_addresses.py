"""Step 6 of the walk: every kind of range; addresses are unique, and they come back."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.cluster import invariants, pods, pools, projection, walk
from tests.cluster.errors import ClusterError
from tests.cluster.tokens import is_void, token_of
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.walk import Package
    from tests.cluster.workload import Workload

pytestmark = pytest.mark.usefixtures("package")


def _held(cluster: Cluster, pool_range: str, holders: list[str]) -> bool:
    return pools.holders(cluster.api, pool_range) == holders


def within(ip: str, network: str) -> bool:
    return ipaddress.ip_address(ip) in ipaddress.ip_network(network)


def test_an_ipv6_range(workload: Workload) -> None:
    workload.network("six", range="fd00:20::/112")
    for node in (1, 2):
        workload.start(f"six{node}", "six", node=node)
    workload.wait_running("six1", "six2")
    first, second = workload.ips("six1"), workload.ips("six2")
    assert len({*first, *second}) == 2
    assert all(within(ip, "fd00:20::/112") for ip in first + second)
    workload.ping("six1", second[0])


def test_a_pod_of_a_dual_stack_network_has_an_address_of_each_family(workload: Workload) -> None:
    workload.network("dual", ipRanges=[{"range": "192.168.21.0/24"}, {"range": "fd00:21::/112"}])
    for node in (1, 2):
        workload.start(f"dual{node}", "dual", node=node)
    workload.wait_running("dual1", "dual2")
    for pod in ("dual1", "dual2"):
        four, six = workload.ips(pod)
        assert within(four, "192.168.21.0/24")
        assert within(six, "fd00:21::/112")
    assert len(set(workload.ips())) == 4
    for ip in workload.ips("dual2"):
        workload.ping("dual1", ip)


def test_ranges_that_overlap_give_no_address_twice(workload: Workload) -> None:
    workload.network("narrow", range="192.168.22.0/29")
    workload.network("wide", range="192.168.22.0/28")
    names = [f"{network}{node}" for network in ("narrow", "wide") for node in (1, 2)]
    for name in names:
        workload.start(name, name[:-1], node=int(name[-1]))
    workload.wait_running(*names)
    assert len(set(workload.ips())) == 4
    held = {each["spec"]["podref"] for each in workload.cluster.api.list("overlappingrangeipreservations")}
    assert held >= {f"default/{name}" for name in names}
    workload.delete_all()
    wait_until(
        "the reservations are gone",
        lambda: (
            not {
                each["spec"]["podref"] for each in workload.cluster.api.list("overlappingrangeipreservations")
            }.intersection(f"default/{name}" for name in names)
        ),
    )


def test_overlapping_ranges_on_one_pod_give_no_address_twice(workload: Workload) -> None:
    """Upstream 0.9.4 takes the reservation of a pod's other interface for its own; our plugin looks again."""
    workload.network("narrow", range="192.168.30.0/29")
    workload.network("wide", range="192.168.30.0/28")
    workload.network("dual", ipRanges=[{"range": "192.168.30.0/27"}, {"range": "fd00:30::/64"}])
    for name in ("both1", "both2"):
        workload.start(name, "narrow,wide,dual")
    workload.wait_running("both1", "both2")
    assert len(workload.ips()) == len(set(workload.ips())) == 8
    # All of them, the IPv6 addresses too, are reserved: `invariants` looks. Now at those of pods that came again.
    workload.delete("both1")
    workload.run("both1", "narrow,wide,dual")
    assert len(workload.ips()) == len(set(workload.ips())) == 8
    invariants.check(workload.cluster.api)


def test_a_pod_that_would_need_its_own_address_twice_is_told(workload: Workload) -> None:
    workload.network("first", range="192.168.31.0/24", range_start="192.168.31.10", range_end="192.168.31.10")
    workload.network("second", range="192.168.31.0/25", range_start="192.168.31.10", range_end="192.168.31.10")
    workload.start("greedy", "first,second")
    wait_until("an event says so", lambda: _told(workload.cluster, "greedy"))


def test_networks_of_different_names_may_use_the_same_addresses(workload: Workload) -> None:
    for color in ("blue", "red"):
        workload.network(color, range="192.168.23.0/24", network_name=color)
        for node in (1, 2):
            workload.start(f"{color}{node}", color, node=node)
    workload.wait_running("blue1", "blue2", "red1", "red2")
    blue, red = ({*workload.ips(f"{color}1"), *workload.ips(f"{color}2")} for color in ("blue", "red"))
    assert blue == red == {"192.168.23.1", "192.168.23.2"}
    names = {pool["metadata"]["name"] for pool in workload.cluster.api.list("ippools")}
    assert names >= {"blue-192.168.23.0-24", "red-192.168.23.0-24"}
    workload.delete_all()
    wait_until("they come back", lambda: not pools.holders(workload.cluster.api, "192.168.23.0/24"))


def test_an_exhausted_range_is_told_and_recovers(workload: Workload) -> None:
    cluster = workload.cluster
    workload.network("tiny", range="192.168.24.0/24", range_start="192.168.24.10", range_end="192.168.24.11")
    for name in ("tiny1", "tiny2"):
        workload.start(name, "tiny")
    workload.wait_running("tiny1", "tiny2")
    assert workload.ips() == ["192.168.24.10", "192.168.24.11"]

    workload.start("tiny3", "tiny")

    message = wait_until("an event says that the range is full", lambda: _told(cluster, "tiny3"))
    assert "192.168.24.10 / - 192.168.24.11 / range: 192.168.24.0/24" in message
    with pytest.raises(ClusterError, match="tiny3"):
        workload.wait_running("tiny3", timeout=0)

    freed = workload.ips("tiny1")
    workload.delete("tiny1")
    workload.wait_running("tiny3")
    assert workload.ips("tiny3") == freed


def _told(cluster: Cluster, pod: str) -> str | None:
    """Return the event that says that no address was left for a pod."""
    events = cluster.api.list("events", namespace="default")
    about = (event["message"] for event in events if event["involvedObject"].get("name") == pod)
    return next((message for message in about if "Could not allocate IP" in message), None)


def test_a_stateful_set_is_scaled_up_and_down(workload: Workload) -> None:
    cluster, pool_range = workload.cluster, "192.168.25.0/24"
    workload.network("set", range=pool_range)
    for replicas in (6, 2, 6):
        workload.stateful_set("set", "set", replicas)
        names = [f"set-{index}" for index in range(replicas)]
        pods.wait_gone(cluster.api, names={f"set-{index}" for index in range(replicas, 6)})
        workload.wait_running(*names)
        holders = [f"default/{name}" for name in names]
        wait_until(f"{replicas} addresses are held", partial(_held, cluster, pool_range, holders))
        assert len(set(workload.ips())) == replicas


def test_a_pod_that_comes_again_under_its_name_has_one_address(workload: Workload) -> None:
    cluster = workload.cluster
    workload.network("again", range="192.168.26.0/24")
    workload.stateful_set("again", "again", 1)
    workload.wait_running("again-0")
    old = workload.documents()[0]["metadata"]["uid"]
    # Without a grace period the successor may start before the predecessor's network is taken down.
    cluster.kubectl("delete", "pod", "again-0", "--grace-period=0", "--force")
    wait_until(
        "the successor runs",
        lambda: any(pods.running(each) and each["metadata"]["uid"] != old for each in workload.documents()),
    )
    invariants.check(cluster.api)
    assert pools.holders(cluster.api, "192.168.26.0/24") == ["default/again-0"]


def test_addresses_of_pods_deleted_while_all_was_down_come_back(package: Package, workload: Workload) -> None:
    cluster, pool_range = workload.cluster, "192.168.27.0/24"
    workload.network("lost", range=pool_range)
    workload.network("named", range="192.168.28.0/24", network_name="green")
    names = [f"lost{index}" for index in range(4)]
    for index, name in enumerate(names):
        workload.start(name, "lost", node=1 + index % 2)
    workload.start("kept", "lost,named")
    workload.wait_running(*names, "kept")
    kept = workload.ips("kept")
    package.install(values=walk.RECONCILED_OFTEN)
    try:
        _stop_components(cluster)
        # As one does with pods that do not end: without a valid token the plugin would try to free them for a minute.
        cluster.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
        pods.wait_gone(cluster.api, names=names)
        assert pools.holders(cluster.api, pool_range) == ["default/kept", *(f"default/{name}" for name in names)]
    finally:
        _start_components(cluster)
    wait_until("the lost are found", partial(_held, cluster, pool_range, ["default/kept"]))
    assert workload.ips("kept") == kept
    assert pools.holders(cluster.api, "192.168.28.0/24") == ["default/kept"]


def _stop_components(cluster: Cluster) -> None:
    """End the package's pods; with those of the DaemonSet ends the validity of the token that the plugin has."""
    tokens = {node.name: token_of(node.directory / projection.WHEREABOUTS.kubeconfig) for node in cluster.nodes}
    _scale(cluster, replicas=0, selector={"no": "node"})
    pods.wait_gone(cluster.api, namespace="kube-system", selector="name in (whereabouts, whereabouts-reconciler)")
    for name, token in tokens.items():
        wait_until(f"the token of {name} is void", partial(is_void, cluster.api, token))


def _start_components(cluster: Cluster) -> None:
    _scale(cluster, replicas=1, selector={"no": None})
    cluster.kubectl.wait_rollout("daemonset/whereabouts", namespace="kube-system")


def _scale(cluster: Cluster, *, replicas: int, selector: dict[str, str | None]) -> None:
    on_nodes = {"spec": {"template": {"spec": {"nodeSelector": selector}}}}
    cluster.api.merge("daemonsets", walk.DAEMON_SET, on_nodes, namespace=walk.COMPONENTS)
    cluster.api.merge("deployments", walk.RECONCILER, {"spec": {"replicas": replicas}}, namespace=walk.COMPONENTS)
