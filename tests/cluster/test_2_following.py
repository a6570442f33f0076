"""What clients of a package repository see: by tag, by digest, and without a tag, as they follow what is published."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.catalog.content import Catalog
from carvelwright.catalog.merge import merged
from carvelwright.catalog.records import Action, Record
from carvelwright.digest import Digest
from carvelwright.oci.bundle import write_bundle
from carvelwright.reference import Reference
from tests.cluster import layout, packages, walk
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

REF_NAME = "settings.packages.example.com"
FIRST, SECOND = "0.1.0+build.1", "0.1.0+build.2"
# The shortest that kapp-controller allows.
SYNC = "30s"
MANY = 1000


@dataclass(frozen=True, slots=True)
class Publisher:
    """A small package of manifests, and where it is published to."""

    cluster: Cluster
    root: Path
    target: str

    def run(self, *arguments: str) -> str:
        """Run carvelwright on the package, where it reaches the registry."""
        argv = [sys.executable, "-m", "carvelwright", "--project", str(self.root), *arguments]
        return self.cluster.run_on_network(argv)

    def publish(self, version: str) -> None:
        """Build a version and publish it."""
        first = self.root / "package" / "releases" / f"{FIRST}.yaml"
        text = first.read_text().replace("build.1", version.partition("+")[2])
        (self.root / "package" / "releases" / f"{version}.yaml").write_text(text)
        self.run("build", "--release", version)
        self.run("publish", self.target)

    def resource(self, name: str, *options: str) -> walk.Document:
        """Return a PackageRepository that the command prints, in a namespace of its own name."""
        text = self.run("repository", "resource", self.target, "--name", name, *options)
        (document,) = walk.documents(text)
        return in_namespace(document, name)


def in_namespace(document: walk.Document, name: str) -> walk.Document:
    return {
        **document,
        "metadata": {"name": name, "namespace": name},
        "spec": {**document["spec"], "syncPeriod": SYNC},
    }


@pytest.fixture
def publisher(raised_cluster: Cluster, tmp_path: Path) -> Publisher:
    """Give a package of which the first version is published."""
    root = tmp_path / "settings"
    # Of the test's own: what is published stays.
    started = Publisher(raised_cluster, tmp_path, f"{raised_cluster.registry}/{tmp_path.name}")
    started.run("new", "settings", "--directory", str(root))
    found = Publisher(raised_cluster, root, started.target)
    found.publish(FIRST)
    return found


Add = Callable[[walk.Document], None]


@pytest.fixture
def add(raised_cluster: Cluster) -> Iterator[Add]:
    """Give what adds a PackageRepository and waits for it; in the end all are gone with their namespaces."""
    added: list[str] = []

    def apply(document: walk.Document) -> None:
        name = document["metadata"]["name"]
        added.append(name)
        raised_cluster.kubectl.apply(walk.namespace(name))
        raised_cluster.kubectl.apply(document)
        packages.wait_reconciled(raised_cluster.api, "packagerepositories", name, namespace=name)

    yield apply
    for name in added:
        raised_cluster.api.delete("packagerepositories", name, namespace=name)
        packages.wait_deleted(raised_cluster.api, "packagerepositories", name, namespace=name)
        raised_cluster.api.delete("namespaces", name)


def versions(cluster: Cluster, namespace: str) -> list[str]:
    return [each["spec"]["version"] for each in cluster.api.list("packages", namespace=namespace)]


def test_a_repository_is_followed_without_being_touched(cluster: Cluster, publisher: Publisher, add: Add) -> None:
    by_digest = publisher.resource("by-digest")
    assert "@sha256:" in by_digest["spec"]["fetch"]["imgpkgBundle"]["image"]
    follows = publisher.resource("follows", "--follow")
    # As the client writes it for `package repository add --url REGISTRY/PATH/package-repository`.
    fetch = {"image": f"{publisher.target}/package-repository", "tagSelection": {"semver": {}}}
    assert follows["spec"]["fetch"]["imgpkgBundle"] == fetch
    by_tag = in_namespace(packages.repository("by-tag", f"{fetch['image']}:latest", namespace="by-tag"), "by-tag")
    for document in (by_digest, follows, by_tag):
        add(document)
        assert versions(cluster, document["metadata"]["name"]) == [FIRST]
    publisher.publish(SECOND)
    for name in ("follows", "by-tag"):
        _wait_versions(cluster, name, [FIRST, SECOND])
        assert cluster.api.get("packagerepositories", name, namespace=name)["metadata"]["generation"] == 1
    assert versions(cluster, "by-digest") == [FIRST]
    publisher.run("repository", "deprecate", publisher.target, f"{REF_NAME}/{FIRST}", "--reason", "use build.2")
    wait_until("the deprecation is seen", lambda: "use build.2" in notes(cluster, "follows", FIRST))
    publisher.run("repository", "withdraw", publisher.target, f"{REF_NAME}/{FIRST}", "--reason", "broken", "--yes")
    _wait_versions(cluster, "follows", [SECOND])


def _wait_versions(cluster: Cluster, namespace: str, wanted: list[str]) -> None:
    wait_until(f"{namespace} lists {', '.join(wanted)}", lambda: versions(cluster, namespace) == wanted)


def notes(cluster: Cluster, namespace: str, version: str) -> str:
    package = cluster.api.get("packages", f"{REF_NAME}.{version}", namespace=namespace)
    text: str = package["spec"]["releaseNotes"]
    return text


def test_a_thousand_versions_are_listed(cluster: Cluster, publisher: Publisher, add: Add, tmp_path: Path) -> None:
    file = publisher.root / "dist" / "packages" / REF_NAME / f"{FIRST}.yml"
    package = yamldoc.load(file).data
    metadata = (file.parent / "metadata.yml").read_bytes()
    bundle = Reference.parse(package["spec"]["template"]["spec"]["fetch"][0]["imgpkgBundle"]["image"])
    records = {}
    for number in range(1, MANY + 1):
        version = f"0.1.0+build.{number}"
        text = file.read_bytes().replace(FIRST.encode(), version.encode())
        record = Record(REF_NAME, version, Action.RELEASE, 0, text, metadata, bundle)
        records[record.tag(Digest.of_bytes(version.encode()))] = record
    catalog = merged(Catalog(), records)
    made = write_bundle(catalog.bundle_files(), tmp_path / "layout")
    target = f"{cluster.registry}/many/package-repository"
    cluster.run_on_network([str(layout.CARVEL_TOOLS / "crane"), "push", str(made.directory), f"{target}:0.{MANY}.1"])
    add(in_namespace(packages.repository("many", f"{target}@{made.digest}", namespace="many"), "many"))
    assert len(versions(cluster, "many")) == MANY
