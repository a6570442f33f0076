"""Step 9: the archive is enough: all of the walk goes on where the registry it was built for cannot be reached."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster import air_gap, kapp_controller, packages, pods, walk
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster


def test_the_archive_is_enough_without_the_registry_it_came_from(
    cluster: Cluster, package: walk.Package, tmp_path: Path
) -> None:
    archive = package.project.archive(cluster)
    values = {version: package.default_values(version) for version in (walk.RELEASED, walk.NEXT)}
    # Copied in the gap already: what the site has comes out of the archive alone.
    with (
        air_gap.site_registry(cluster) as site,
        _no_package(cluster, package),
        air_gap.first_registry_gone(cluster),
    ):
        package.add_repository(_carry_over(cluster, archive, site, tmp_path))
        listed = cluster.api.list("packages", namespace=walk.NAMESPACE)
        ours = [each["spec"]["version"] for each in listed if each["spec"]["refName"] == walk.REF_NAME]
        assert ours == list(values)
        for version, text in values.items():
            assert package.default_values(version) == text
        package.install(walk.RELEASED, values[walk.RELEASED])
        with walk.example_pods(cluster) as found:
            before = {name: walk.address(document) for name, document in found.items()}
            for version in (walk.RELEASED, walk.NEXT):
                assert package.install(version, values[version])["status"]["version"] == version
                assert {image.partition("/")[0] for image in package.images()} == {site}
                for name in ("pod1", "pod2"):
                    pods.ping(cluster.kubectl, "pod0", before[name])


@contextmanager
def _no_package(cluster: Cluster, package: walk.Package) -> Iterator[None]:
    """Take away the package and its images, as if never seen; in the end also what was installed instead."""
    package.remove()
    air_gap.forget_images(cluster, f"{cluster.registry}/packages/")
    try:
        yield
    finally:
        package.remove()
        # It keeps what it fetched by digest, with the places of the images; a copied bundle has the same digest.
        kapp_controller.restart(cluster)
        wait_until("the first repository is back", lambda: _added(package), interval=1)


def _added(package: walk.Package) -> bool:
    try:
        package.add_repository(package.project.repository(walk.NEXT))
    except packages.ReconcileError as error:
        # The API server may find the restarted controller's API, lose it and find it again. The controller tries again.
        raise ClusterError(str(error)) from error
    return True


def _carry_over(cluster: Cluster, archive: Path, site: str, directory: Path) -> walk.Document:
    """Publish the archive to the site's registry, from a directory that holds nothing else.

    Returns the PackageRepository that follows it there.
    """
    target = f"{site}/site/packages"
    carvelwright = [sys.executable, "-m", "carvelwright", "--project", str(directory)]
    cluster.run_on_network([*carvelwright, "relocate", str(archive), target])
    argv = [*carvelwright, "repository", "resource", target, "--follow", "--name", walk.REPOSITORY]
    (document,) = walk.documents(cluster.run_on_network(argv))
    return document
