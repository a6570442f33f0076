"""Multus of the package: pods that are created each second all have net1, whatever is done to it meanwhile."""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.cluster import components, kapp_controller, plugin, pod_stream, pods, pools, projection, sandbox, walk
from tests.cluster.pod_stream import PodStream
from tests.cluster.projection import projections
from tests.cluster.sandbox import Sandbox
from tests.cluster.tokens import is_void
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

DAEMON_SET = "daemonset/multus-cni"
AWAY_SECONDS = 60
NOT_AVAILABLE = 50
UNAUTHORIZED = "Unauthorized"


# --- whatever is done to it -------------------------------------------------------------------------------------------


@contextmanager
def _streamed(cluster: Cluster, name: str) -> Iterator[PodStream]:
    """Create pods each second through the context, and see that each had net1 and none was refused by the API server.

    test_multus_upstream.py shows that the stream sees a pod without.
    """
    with Workload(cluster, name) as workload:
        workload.add_network(pod_stream.network(name))
        with PodStream(workload, name) as stream:
            stream.wait_for_pods(1)
            yield stream
            stream.wait_for_pods(2)
        assert stream.missed() == []
        told = [each["message"] for each in cluster.api.list("events", namespace="default") if _of(each, name)]
        assert [message for message in told if UNAUTHORIZED in message] == []


def _of(event: dict[str, Any], name: str) -> bool:
    return bool(event["involvedObject"].get("name", "").startswith(f"{name}-"))


def test_every_pod_has_net1_through_a_rollout(cluster: Cluster, multus: walk.Package) -> None:
    with _streamed(cluster, "rollout"):
        cluster.kubectl("rollout", "restart", DAEMON_SET, f"--namespace={walk.COMPONENTS}")
        cluster.kubectl.wait_rollout(DAEMON_SET, namespace=walk.COMPONENTS)


def test_every_pod_has_net1_through_an_upgrade_and_back(cluster: Cluster, multus: walk.Package) -> None:
    images = multus.images()
    with _streamed(cluster, "upgraded") as stream:
        multus.install(walk.MULTUS.further)
        assert multus.images().isdisjoint(images)
        stream.wait_for_pods(1)
        multus.install(downgrade=True)
        assert multus.images() == images


def test_every_pod_has_net1_through_a_restart_of_the_node(cluster: Cluster, multus: walk.Package) -> None:
    node = cluster.nodes[1]
    with _streamed(cluster, "restarted") as stream:
        node.power_off()
        try:
            before = len(stream.seen())
            wait_until("pods come on the other node", lambda: len(stream.seen()) > before)
        finally:
            node.power_on()
    kapp_controller.wait_ready(cluster)
    cluster.kubectl.wait_rollout(DAEMON_SET, namespace=walk.COMPONENTS)


def test_every_pod_has_net1_while_tokens_are_rotated_and_void(cluster: Cluster, multus: walk.Package) -> None:
    with _streamed(cluster, "rotated") as stream, projections(cluster, projection.MULTUS) as tokens:
        for _ in range(2):
            for each in tokens:
                each.rotate()
                each.wait_taken_over()
            stream.wait_for_pods(1)
        for each in tokens:
            each.revoke(each.issued[:-1])
            for token in each.issued[:-1]:
                wait_until(f"{token.secret} is void", partial(is_void, cluster.api, token.text))
        stream.wait_for_pods(2)


def test_every_pod_has_net1_after_the_api_server_was_away_for_a_minute(cluster: Cluster, multus: walk.Package) -> None:
    """While it is away an ADD fails: a pod waits, and does not start without its network."""
    control_plane, node = cluster.control_plane, cluster.nodes[0]
    with Workload(cluster, "steady") as workload, _streamed(cluster, "away"):
        workload.run("steady", node=1)
        with Sandbox(node, "steady", "by-hand") as by_hand:
            control_plane.machine.stop("kube-apiserver", sig=signal.SIGKILL)
            stopped = time.monotonic()
            try:
                failed = by_hand.call("ADD")
                assert failed.returncode != 0
                assert "default/steady" in failed.stdout, failed.stdout
                wait_until("a minute has gone", lambda: time.monotonic() - stopped > AWAY_SECONDS, interval=1)
            finally:
                control_plane.start_apiserver()
                control_plane.wait_ready()
            by_hand.call("DEL")
    kapp_controller.wait_ready(cluster)


# --- the node's default network ---------------------------------------------------------------------------------------


def test_the_default_network_is_followed_and_the_state_tells_which_file_it_is(
    cluster: Cluster, multus: walk.Package
) -> None:
    node = cluster.nodes[0]
    # By the node's own mount, so that who watches the directory there is told.
    directory = node.machine.root / sandbox.CONF_DIRECTORY
    primary, earlier = directory / components.DEFAULT_NETWORK, directory / "05-earlier.conflist"
    former = primary.read_text()
    changed = json.loads(former)
    changed["plugins"][0]["mtu"] = 1400
    with Workload(cluster, "followed") as workload:
        try:
            _replace(primary, changed)
            _wait_delegate(node, changed)
            workload.run("changed", node=1)
            (found,) = workload.documents()
            assert "mtu 1400" in pods.run_on_network(found, ["ip", "link", "show", "dev", "eth0"])
            _replace(earlier, {**changed, "name": "earlier"})
            _wait_delegate(node, {**changed, "name": "earlier"})
            assert earlier.name in _state(cluster, node)
            earlier.unlink()
            _wait_delegate(node, changed)
        finally:
            earlier.unlink(missing_ok=True)
            _replace(primary, json.loads(former))
            _wait_delegate(node, json.loads(former))
    assert components.DEFAULT_NETWORK in _state(cluster, node)


def _replace(path: Any, document: dict[str, Any]) -> None:
    written = path.with_suffix(".new")
    written.write_text(json.dumps(document, indent=2))
    written.rename(path)


def _wait_delegate(node: Node, document: dict[str, Any]) -> None:
    def followed() -> bool:
        return bool(sandbox.configuration(node)["delegates"] == [document])

    wait_until(f"{node.name} has the default network {document['name']}", followed)


def _state(cluster: Cluster, node: Node) -> str:
    (name,) = (
        each["metadata"]["name"]
        for each in cluster.api.list("pods", namespace=walk.COMPONENTS, selector=projection.MULTUS.selector)
        if each["spec"]["nodeName"] == node.name
    )
    ask = ("multus-installer", "probe", "state", "--state-dir=/run/multus")
    return cluster.kubectl("exec", f"--namespace={walk.COMPONENTS}", name, "--container=refresh", "--", *ask)


# --- what networks can be ---------------------------------------------------------------------------------------------

FIRST, DUAL, SIX = "192.168.85.0/24", "192.168.86.0/24", "fd00:86::/112"
GATEWAY, MAC = "192.168.85.254", "02:00:00:00:85:01"


def test_two_networks_dual_stack_a_default_route_and_a_mac_address(cluster: Cluster, workload: Workload) -> None:
    first = pods.network("first", {"type": "whereabouts", "range": FIRST})
    config = json.loads(first["spec"]["config"])
    config["plugins"][0]["capabilities"]["mac"] = True
    workload.add_network({**first, "spec": {"config": json.dumps(config)}})
    workload.network("dual", ipRanges=[{"range": DUAL}, {"range": SIX}])
    asked = [{"name": "first", "mac": MAC, "default-route": [GATEWAY]}, {"name": "dual"}]
    workload.run("both", json.dumps(asked), node=1)
    (pod,) = workload.documents()
    shown = json.loads(pods.run_on_network(pod, ["ip", "-json", "address", "show"]))
    links = {link["ifname"]: link for link in shown}
    addresses = {
        name: {entry["local"] for entry in link["addr_info"] if entry["scope"] == "global"}
        for name, link in links.items()
    }
    assert addresses["net1"] == {"192.168.85.1"}
    assert addresses["net2"] == {"192.168.86.1", "fd00:86::1"}
    assert links["net1"]["address"] == MAC
    (route,) = json.loads(pods.run_on_network(pod, ["ip", "-json", "route", "show", "default"]))
    assert (route["gateway"], route["dev"]) == (GATEWAY, "net1")
    status = {entry["interface"]: entry for entry in pods.network_status(pod) if "interface" in entry}
    assert status["net1"]["mac"] == MAC
    assert set(status["net2"]["ips"]) == addresses["net2"]


BY_HAND = "192.168.87.0/24"


def test_status_and_check_reach_whereabouts(cluster: Cluster, workload: Workload) -> None:
    """A default network with Whereabouts as its IPAM, by a runtime that knows CNI 1.1: this one's does not."""
    node = cluster.nodes[0]
    workload.run("plain", node=1)
    ipam = plugin.conf(BY_HAND)["ipam"]
    network = {"type": "macvlan", "master": "eth0", "mode": "bridge", "ipam": ipam}
    conf = _around(node, network)
    with Sandbox(node, "plain", "checked") as by_hand:
        status = by_hand.call("STATUS", conf)
        assert status.returncode == 0, status.stdout
        broken = {**network, "ipam": {**ipam, "kubernetes": {"kubeconfig": "/nowhere"}}}
        told = by_hand.call("STATUS", _around(node, broken))
        assert json.loads(told.stdout)["code"] == NOT_AVAILABLE
        added = by_hand.call("ADD", conf)
        assert added.returncode == 0, added.stdout
        result = {**conf, "prevResult": json.loads(added.stdout)}
        try:
            assert by_hand.interfaces() == {"eth0"}
            checked = by_hand.call("CHECK", result)
            assert checked.returncode == 0, checked.stdout
            held = pools.allocations(cluster.api, BY_HAND)
            pools.allocate(cluster.api, BY_HAND, dict.fromkeys(held))
            checked = by_hand.call("CHECK", result)
            assert checked.returncode != 0
            assert "default/plain" in checked.stdout
            pools.allocate(cluster.api, BY_HAND, held)
        finally:
            assert by_hand.call("DEL", conf).returncode == 0
    assert pools.holders(cluster.api, BY_HAND) == []


def _around(node: Node, network: dict[str, Any]) -> dict[str, Any]:
    """Return the node's own configuration of Multus, with a default network of CNI 1.1 in place of the node's."""
    delegate = {"cniVersion": "1.1.0", "name": "by-hand", "plugins": [network]}
    return {**sandbox.configuration(node), "cniVersion": "1.1.0", "delegates": [delegate]}
