"""Nodes whose container runtime keeps plugins and networks in other directories, as k3s and RKE2 do."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cluster import cleanup, components, pods, walk
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.cluster.workload import Workload

BIN, CONF = "/opt/cni/bin", "/etc/cni/net.d"
K3S_BIN = "/var/lib/rancher/k3s/data/cni"
K3S_CONF = "/var/lib/rancher/k3s/agent/etc/cni/net.d"
CONTAINERD = "/etc/containerd/config.toml"
ASIDE = "/run/aside"


@contextmanager
def _like_k3s(node: Node) -> Iterator[None]:
    """Move the runtime's plugins and networks to k3s' directories; what was in the usual ones is put aside."""
    machine = node.machine

    def run(script: str) -> None:
        machine.run(["sh", "-euc", script])

    run(
        f"mkdir -p {K3S_BIN} {K3S_CONF}; cp {BIN}/* {K3S_BIN}; rm {K3S_BIN}/whereabouts {K3S_BIN}/multus;"
        f"cp {CONF}/{components.DEFAULT_NETWORK} {K3S_CONF};"
        # The plugins' directory is a mount point, so it stays: empty.
        f"mkdir {ASIDE}; mv {BIN}/* {ASIDE}; mv {CONF} {CONF}.aside; cp {CONTAINERD} {CONTAINERD}.aside;"
        f"sed -i 's,{BIN},{K3S_BIN},; s,{CONF},{K3S_CONF},' {CONTAINERD}"
    )
    _restart_containerd(node)
    try:
        yield
    finally:
        run(
            f"rm -rf {CONF}; mv {CONF}.aside {CONF}; mv {ASIDE}/* {BIN}; rmdir {ASIDE};"
            f"mv {CONTAINERD}.aside {CONTAINERD}; rm -r /var/lib/rancher"
        )
        _restart_containerd(node)


def _restart_containerd(node: Node) -> None:
    """Have containerd read its configuration anew; containers live on."""
    node.machine.stop("containerd")
    node.start_containerd()
    wait_until(f"containerd of {node.name} answers", lambda: node.ctr("version"))


@pytest.fixture(scope="module")
def k3s_nodes(
    raised_cluster: Cluster, installed_multus: walk.Package, installed_package: walk.Package
) -> Iterator[dict[str, str]]:
    """Give by node what it holds with Multus and without the package, when its runtime keeps its files as k3s does.

    At the end the nodes are as before, and both are there again.
    """
    ours = (installed_package, installed_multus)
    with ExitStack() as stack:
        for each in ours:
            _remove(raised_cluster, each)
            stack.callback(each.restore)
        for node in raised_cluster.nodes:
            stack.enter_context(_like_k3s(node))
        # Before the directories are moved back, whatever a test left.
        for each in reversed(ours):
            stack.callback(_remove, raised_cluster, each)
        installed_multus.install(values=(walk.MULTUS.examples / "values" / "k3s.yaml").read_text())
        yield {node.name: _listing(node) for node in raised_cluster.nodes}


def _remove(cluster: Cluster, package: walk.Package) -> None:
    package.remove()
    pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector=f"name={package.product.name}")


def _listing(node: Node) -> str:
    return cleanup.listing(node, "/etc/cni", "/opt", "/var/lib/rancher", without="multus")


def test_k3s(cluster: Cluster, installed_package: walk.Package, k3s_nodes: dict[str, str], workload: Workload) -> None:
    """As the example has it: the plugin goes where the runtime looks, its settings to the usual directory."""
    installed_package.install(values=(walk.EXAMPLES / "values" / "k3s.yaml").read_text())
    _addresses(workload, "k3s")
    for node in cluster.nodes:
        _has(node, f"{K3S_BIN}/whereabouts", f"{CONF}/whereabouts.d/whereabouts.kubeconfig")
    # The package makes this directory where the runtime has none, and so nobody but it would remove it.
    assert _cleaned_up(cluster, installed_package, bin_dir=K3S_BIN, conf_dir=CONF) == {
        name: _with_empty(text, CONF) for name, text in k3s_nodes.items()
    }


def test_both_directories_elsewhere(
    cluster: Cluster, installed_package: walk.Package, k3s_nodes: dict[str, str], workload: Workload
) -> None:
    """Then each network must say where the plugin finds its settings."""
    before = {node.name: _listing(node) for node in cluster.nodes}
    assert not any(f"{K3S_BIN}/whereabouts" in listing for listing in before.values())
    installed_package.install(
        values=f"whereabouts: {{config: {{cni: {{bin_dir: {K3S_BIN}, conf_dir: {K3S_CONF}}}}}}}\n"
    )
    _addresses(workload, "elsewhere", configuration_path=f"{K3S_CONF}/whereabouts.d/whereabouts.conf")
    for node in cluster.nodes:
        _has(node, f"{K3S_BIN}/whereabouts", f"{K3S_CONF}/whereabouts.d/whereabouts.kubeconfig")
    assert _cleaned_up(cluster, installed_package, bin_dir=K3S_BIN, conf_dir=K3S_CONF) == before


def _addresses(workload: Workload, network: str, **ipam: object) -> None:
    """Run a pod on each node and let one reach the other; then take both away."""
    workload.network(network, range="192.168.62.0/24", **ipam)
    for node in (1, 2):
        workload.run(f"{network}{node}", network, node=node)
    workload.ping(f"{network}1", *workload.ips(f"{network}2"))
    workload.delete_all()


def _has(node: Node, *paths: str) -> None:
    for path in paths:
        node.machine.run(["test", "-s", path])
    node.machine.run(["test", "!", "-e", f"{BIN}/whereabouts"])


def _cleaned_up(cluster: Cluster, package: walk.Package, *, bin_dir: str, conf_dir: str) -> dict[str, str]:
    """Delete the package, run the documented jobs, and return what the nodes hold then."""
    (image,) = package.images()
    _remove(cluster, package)
    with cleanup.account(cluster):
        ended = cleanup.run(cluster, image, bin_dir=bin_dir, conf_dir=conf_dir)
    assert (ended.complete, ended.failed) == (len(cluster.nodes), 0), ended.log
    return {node.name: _listing(node) for node in cluster.nodes}


def _with_empty(listing: str, directory: str) -> str:
    lines = [*listing.splitlines(), f"d 755 0:0 - {directory}"]
    return "\n".join(sorted(lines, key=lambda line: line.split()[-1]))
