"""What an air gap is made of: a registry of the site's own, and the first registry stopped and firewalled away."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

PORT = layout.REGISTRY_PORT + 1
SITE = f"{layout.CONTROL_PLANE_IP}:{PORT}"
# Answers otherwise than the kernel does when nobody listens, so that one can tell that it is in force.
FIREWALL = (
    "add table inet gap; add chain inet gap input { type filter hook input priority 0; policy accept; }; "
    f"add rule inet gap input tcp dport {layout.REGISTRY_PORT} reject with icmp type admin-prohibited"
)
STOPPED = "Connection refused"
FIREWALLED = "No route to host"


@contextmanager
def site_registry(cluster: Cluster) -> Iterator[str]:
    """Give the address of a second, empty registry that all nodes pull from."""
    address = cluster.control_plane.start_registry(PORT)
    try:
        wait_until("the site's registry answers", lambda: _answers(cluster, address))
        for node in cluster.nodes:
            node.trust_registry(address)
        yield address
    finally:
        cluster.control_plane.machine.stop(f"registry-{PORT}")


@contextmanager
def first_registry_gone(cluster: Cluster) -> Iterator[None]:
    """Stop the first registry and put a firewall where it was; in the end it is as it was."""
    control_plane = cluster.control_plane
    _answers(cluster, cluster.registry)
    control_plane.machine.stop(f"registry-{layout.REGISTRY_PORT}")
    try:
        _expect(cluster, STOPPED)
        control_plane.machine.run(["nft", FIREWALL])
        try:
            _expect(cluster, FIREWALLED)
            yield
        finally:
            control_plane.machine.run(["nft", "delete table inet gap"])
    finally:
        control_plane.start_registry()
        wait_until("the first registry is back", lambda: _answers(cluster, cluster.registry))


def forget_images(cluster: Cluster, prefix: str) -> None:
    """Remove the images whose name begins with `prefix` from every node, with their content; raise if one has none."""
    for node in cluster.nodes:
        known = node.ctr("images", "list", "--quiet").split()
        found = [name for name in known if name.startswith(prefix)]
        if not found:
            raise ClusterError(f"{node.name} has no image of {prefix}")
        # The runtime also knows each image by its digest alone.
        digests = {name.partition("@")[2] for name in found}
        node.ctr("images", "remove", "--sync", *found, *(name for name in known if name in digests))


def _answers(cluster: Cluster, registry: str) -> bool:
    for node in cluster.nodes:
        _ask(node, registry)
    return True


def _expect(cluster: Cluster, why: str) -> None:
    for node in cluster.nodes:
        try:
            _ask(node, cluster.registry)
        except ClusterError as error:
            if why in str(error):
                continue
            raise
        raise ClusterError(f"{node.name} still reaches {cluster.registry}")


def _ask(node: Node, registry: str) -> None:
    node.machine.run(["busybox", "wget", "-q", "-O", "-", f"http://{registry}/v2/"])
