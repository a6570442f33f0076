"""The cluster itself, with Multus on it and nothing else: what the walk relies on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cluster import layout, pods, versions
from tests.cluster.api import ApiError
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster import walk
    from tests.cluster.cluster import Cluster


@pytest.fixture(scope="module")
def two_pods(raised_cluster: Cluster, installed_multus: walk.Package) -> Iterator[Cluster]:
    """One pod on each node, with net1 on a macvlan network; host-local knows one node only: hence two ranges."""
    api, subnet = raised_cluster.api, "192.168.99.0/24"
    for index in (1, 2):
        start = f"192.168.99.{index}0"
        ipam = {"type": "host-local", "ranges": [[{"subnet": subnet, "rangeStart": start, "rangeEnd": start}]]}
        api.apply("network-attachment-definitions", pods.network(f"local{index}", ipam))
        api.apply("pods", pods.pod(f"plain{index}", f"local{index}", node=f"node{index}", labels={"test": "plain"}))
    pods.wait_running(api, ["plain1", "plain2"])
    yield raised_cluster
    for index in (1, 2):
        api.delete("pods", f"plain{index}", namespace="default")
        api.delete("network-attachment-definitions", f"local{index}", namespace="default")
    pods.wait_gone(api, selector="test=plain")


def test_both_nodes_are_ready_and_of_the_chosen_version(cluster: Cluster) -> None:
    seen = {
        node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in cluster.api.list("nodes")
    }
    assert seen == dict.fromkeys(("node1", "node2"), f"v{versions.chosen(os.environ)}")


def test_pods_of_two_nodes_reach_each_other_on_both_interfaces(two_pods: Cluster) -> None:
    second = two_pods.api.get("pods", "plain2", namespace="default")
    for target in (second["status"]["podIP"], "192.168.99.20"):
        pods.ping(two_pods.kubectl, "plain1", target, interface=None)


def test_annotation_and_kernel_tell_the_same_addresses(two_pods: Cluster) -> None:
    documents = two_pods.api.list("pods", selector="test=plain")
    expected = {pods.Address(f"default/plain{index}", "net1", f"192.168.99.{index}0") for index in (1, 2)}
    assert pods.announced(documents) == expected
    assert pods.configured(documents) == expected


@pytest.mark.parametrize("pod", ["plain1", "plain2"])
def test_a_pod_reaches_the_api_server_by_its_service_address(two_pods: Cluster, pod: str) -> None:
    def connects() -> bool:
        # nc ends with code 1 when the connection is refused or does not come about.
        argv = ("exec", pod, "--", "nc", "-w", "5", layout.SERVICE_IP, "443")
        return two_pods.kubectl.try_run(*argv).returncode == 0

    wait_until("the service address leads there", connects, interval=1)


def test_a_command_that_fails_in_a_pod_is_an_error(two_pods: Cluster) -> None:
    with pytest.raises(ClusterError, match="exit code 1"):
        two_pods.kubectl.execute("plain1", "false")


def test_a_pod_on_an_unknown_network_does_not_start_and_says_why(cluster: Cluster, multus: walk.Package) -> None:
    cluster.api.apply("pods", pods.pod("lost", "no-such-network", labels={"test": "lost"}))
    try:
        wait_until("an event says why", lambda: _told(cluster, "no-such-network"))
        with pytest.raises(ClusterError, match="lost"):
            pods.wait_running(cluster.api, ["lost"], timeout=5)
    finally:
        cluster.api.delete("pods", "lost", namespace="default")
        pods.wait_gone(cluster.api, selector="test=lost")


def _told(cluster: Cluster, words: str) -> bool:
    return any(words in event.get("message", "") for event in cluster.api.list("events", namespace="default"))


def test_the_api_tells_what_is_wrong(cluster: Cluster) -> None:
    with pytest.raises(ApiError, match=r"404.*not found"):
        cluster.api.get("pods", "nobody", namespace="default")
    assert cluster.api.find("pods", "nobody", namespace="default") is None


def test_the_package_api_is_served(cluster: Cluster) -> None:
    assert cluster.api.list("packages", namespace="default") == []
