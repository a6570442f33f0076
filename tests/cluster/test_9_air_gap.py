"""Step 9: the archive is enough: it installs where the registry it was built for cannot be reached."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cluster import kapp_controller, layout, walk
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

PORT = layout.REGISTRY_PORT + 1
FIREWALL = (
    "add table inet gap; add chain inet gap input { type filter hook input priority 0; policy accept; }; "
    f"add rule inet gap input tcp dport {layout.REGISTRY_PORT} reject"
)


def test_the_archive_installs_without_the_registry_it_came_from(
    cluster: Cluster, package: walk.Package, tmp_path: Path
) -> None:
    with _registry_of_the_site(cluster) as site, _no_package(cluster, package):
        repository = _carry_over(cluster, package, site, tmp_path)
        with _first_registry_cut_off(cluster):
            with pytest.raises(ClusterError, match="refused"):
                cluster.run_on_network(["crane", "catalog", cluster.registry])
            package.add_repository(repository)
            package.install()
            assert {image.partition("/")[0] for image in package.images()} == {site}
            with walk.example_pods(cluster) as found:
                for name in ("pod1", "pod2"):
                    walk.ping(cluster, "pod0", walk.address(found[name]))


@contextmanager
def _registry_of_the_site(cluster: Cluster) -> Iterator[str]:
    address = cluster.control_plane.start_registry(PORT)
    try:
        wait_until("the site's registry answers", lambda: _answers(cluster, address), timeout=30)
        for node in cluster.nodes:
            node.trust_registry(address)
        yield address
    finally:
        cluster.control_plane.machine.stop(f"registry-{PORT}")


@contextmanager
def _no_package(cluster: Cluster, package: walk.Package) -> Iterator[None]:
    """Take away the package and its images, as if never seen; in the end also what was installed instead."""
    package.remove()
    for node in cluster.nodes:
        _forget_images(node, f"{cluster.registry}/packages/")
    try:
        yield
    finally:
        package.remove()
        # It keeps what it fetched by digest, with the places of the images; a copied bundle has the same digest.
        kapp_controller.restart(cluster)
        package.add_repository(package.project.repository(walk.NEXT))


@contextmanager
def _first_registry_cut_off(cluster: Cluster) -> Iterator[None]:
    machine = cluster.control_plane.machine
    # Frozen, not ended: it has its manifests in memory only, and what comes after needs them.
    registry = machine.daemons[f"registry-{layout.REGISTRY_PORT}"]
    os.kill(registry.pid, signal.SIGSTOP)
    machine.run(["nft", FIREWALL])
    try:
        yield
    finally:
        machine.run(["nft", "delete table inet gap"])
        os.kill(registry.pid, signal.SIGCONT)
        wait_until("the first registry is back", lambda: _answers(cluster, cluster.registry), timeout=30)


def _carry_over(cluster: Cluster, package: walk.Package, site: str, directory: Path) -> walk.Document:
    """Copy the archive into the site's registry as documented; return the PackageRepository that names it there."""
    archive = package.project.dist(walk.NEXT) / f"{walk.REF_NAME}-{walk.NEXT}.tar"
    lock = directory / "copied.lock.yml"
    argv = ["imgpkg", "copy", "--tar", str(archive), "--to-repo", f"{site}/site/packages", "--lock-output", str(lock)]
    cluster.run_on_network(argv)
    repository = package.project.repository(walk.NEXT)
    (copied,) = walk.documents(lock.read_text())
    repository["spec"]["fetch"]["imgpkgBundle"]["image"] = copied["bundle"]["image"]
    return repository


def _forget_images(node: Node, prefix: str) -> None:
    """Remove the images whose name begins with `prefix`, with their content."""
    known = node.ctr("images", "list", "--quiet").split()
    # The runtime also knows each image by its digest alone.
    found = [name for name in known if name.startswith(prefix)]
    assert found
    digests = {name.partition("@")[2] for name in found}
    node.ctr("images", "remove", "--sync", *found, *(name for name in known if name in digests))


def _answers(cluster: Cluster, address: str) -> bool:
    cluster.run_on_network(["crane", "catalog", address])
    return True
