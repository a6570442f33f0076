"""Steps 1 and 2: what the repository shows, and the values file that comes from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster import walk
from tests.cluster.api import holds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster


def test_the_repository_reconciles(cluster: Cluster, published: walk.Package) -> None:
    name = published.project.repository(walk.NEXT)["metadata"]["name"]
    assert holds(cluster.api.get("packagerepositories", name, namespace=walk.NAMESPACE), "ReconcileSucceeded")


def test_every_version_is_listed_in_order_with_its_release_date(cluster: Cluster, published: walk.Package) -> None:
    columns = "custom-columns=:.spec.refName,:.spec.version,:.spec.releasedAt"
    argv = ("get", "packages", f"--namespace={walk.NAMESPACE}", "--no-headers", f"--output={columns}")
    assert [line.split() for line in cluster.kubectl(*argv).splitlines()] == [
        [walk.REF_NAME, walk.RELEASED, "2026-11-23T00:00:00Z"],
        [walk.REF_NAME, walk.NEXT, "2026-12-07T00:00:00Z"],
    ]


def test_the_package_says_what_it_is(cluster: Cluster, published: walk.Package) -> None:
    metadata = cluster.api.get("packagemetadatas", walk.REF_NAME, namespace=walk.NAMESPACE)["spec"]
    assert metadata["displayName"] == "Whereabouts"
    package = _package(cluster, walk.RELEASED)
    assert {"Whereabouts", "Go"} <= {each["displayName"] for each in package["includedSoftware"]}
    assert "@sha256:" in package["template"]["spec"]["fetch"][0]["imgpkgBundle"]["image"]


def test_the_schema_on_the_server_gives_the_default_values_of_the_build(
    cluster: Cluster, published: walk.Package, tmp_path: Path
) -> None:
    for version in (walk.RELEASED, walk.NEXT):
        written = published.project.dist(version) / "whereabouts-data-values.yaml"
        assert _default_values(cluster, published, version, tmp_path) == written.read_text()


def test_the_default_values_install_as_they_come_stripped_and_uncommented(
    cluster: Cluster, package: walk.Package, tmp_path: Path
) -> None:
    text = _default_values(cluster, package, walk.RELEASED, tmp_path)
    lines = text.splitlines(keepends=True)
    assert all(line.startswith("# ") for line in lines)
    # Uncommented is what the documented `sed` leaves; stripped of comments (`yq ... comments=""`), nothing is left.
    uncommented = "".join(line.removeprefix("# ") for line in lines)
    before = package.objects()
    for values in (text, uncommented, ""):
        package.install(values=values)
        assert package.objects() == before


def _default_values(cluster: Cluster, package: walk.Package, version: str, directory: Path) -> str:
    """Return what the client makes of the schema that the API server has; it is a part of carvelwright, to the byte."""
    file = directory / "schema.json"
    file.write_text(json.dumps(_package(cluster, version)["valuesSchema"]["openAPIv3"]))
    return package.project.run("values", "defaults", "--schema", str(file))


def _package(cluster: Cluster, version: str) -> walk.Document:
    found: walk.Document = cluster.api.get("packages", f"{walk.REF_NAME}.{version}", namespace=walk.NAMESPACE)["spec"]
    return found
