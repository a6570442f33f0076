"""Steps 1 and 2: what the repository shows, and the values file that comes from it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster import layout, walk
from tests.cluster.api import holds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster

GUIDE = layout.ROOT / "docs" / "how-to" / "install-whereabouts.md"
FILE = "whereabouts-data-values.yaml"
STRIP = f"""yq -i eval '... comments=""' {FILE}"""
UNCOMMENT = f"sed -i 's/^# \\{{0,1\\}}//' {FILE}"


def test_the_repository_reconciles(cluster: Cluster, published: walk.Package) -> None:
    name = published.project.repository(walk.NEXT)["metadata"]["name"]
    assert holds(cluster.api.get("packagerepositories", name, namespace=walk.NAMESPACE), "ReconcileSucceeded")


def test_every_version_is_listed_in_order_with_its_release_date(cluster: Cluster, published: walk.Package) -> None:
    columns = "custom-columns=:.spec.refName,:.spec.version,:.spec.releasedAt"
    argv = ("get", "packages", f"--namespace={walk.NAMESPACE}", "--no-headers", f"--output={columns}")
    assert [line.split() for line in cluster.kubectl(*argv).splitlines()] == [
        [product.ref_name, version, date]
        for product in (walk.MULTUS, walk.WHEREABOUTS)
        for version, date in ((product.released, "2026-11-26T00:00:00Z"), (product.further, "2026-12-07T00:00:00Z"))
    ]


def test_the_package_says_what_it_is(cluster: Cluster, published: walk.Package) -> None:
    metadata = cluster.api.get("packagemetadatas", walk.REF_NAME, namespace=walk.NAMESPACE)["spec"]
    assert metadata["displayName"] == "Whereabouts"
    package = _package(cluster, walk.RELEASED)
    assert {"Whereabouts", "Go"} <= {each["displayName"] for each in package["includedSoftware"]}
    assert "@sha256:" in package["template"]["spec"]["fetch"][0]["imgpkgBundle"]["image"]


def test_the_schema_on_the_server_gives_the_default_values_of_the_build(published: walk.Package) -> None:
    for version in (walk.RELEASED, walk.NEXT):
        assert published.default_values(version) == published.project.values_file(version).read_text()


@pytest.mark.parametrize(
    ("commands", "left"),
    [([], "comments"), ([STRIP], "nothing"), ([UNCOMMENT], "values"), ([UNCOMMENT, STRIP], "values")],
    ids=["as-they-come", "stripped", "uncommented", "uncommented-and-stripped"],
)
def test_the_default_values_install_however_the_documentation_prepares_them(
    package: walk.Package, tmp_path: Path, commands: list[str], left: str
) -> None:
    (tmp_path / FILE).write_text(package.default_values(walk.RELEASED))
    for command in commands:
        assert f"```sh\n{command}\n```" in GUIDE.read_text()
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, env=package.cluster.environment(), check=True)
    prepared = (tmp_path / FILE).read_text()
    first = {line[:1] for line in prepared.splitlines()} - {""}
    assert {"comments": first == {"#"}, "nothing": not first, "values": "#" not in first and "n" in first}[left]
    package.install(values="")
    before = package.objects()
    package.install(values=prepared)
    assert package.objects() == before


def _package(cluster: Cluster, version: str) -> walk.Document:
    found: walk.Document = cluster.api.get("packages", f"{walk.REF_NAME}.{version}", namespace=walk.NAMESPACE)["spec"]
    return found
