"""What the manifests of every package of this repository promise, whatever the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from tests.cluster.binaries import KAPP_CONTROLLER_VERSION
from tests.cluster.versions import known, minor
from tests.helpers.package import MULTUS, ROOT, StagedPackage, example, one, write_values
from tests.helpers.package import multus as multus  # noqa: PLC0414  # a fixture
from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLDEST = minor(known()[0])
NEWEST = kubernetes_validate.latest_version()


@dataclass(frozen=True)
class Member:
    """A package: its name, its directory, its golden cases, and the fixture that stages it."""

    name: str
    root: Path
    golden: Path
    fixture: str

    def values(self) -> Iterator[Path]:
        """Yield the values files of its golden cases and of its examples."""
        yield from sorted(path.parent / "values.yaml" for path in self.golden.glob("*/expected.yaml"))
        yield from sorted((ROOT / "examples" / self.name / "values").iterdir())


MEMBERS = (
    Member("whereabouts", ROOT, ROOT / "tests/golden/render", "package"),
    Member("multus-cni", MULTUS, ROOT / "tests/golden/multus-cni", "multus"),
)
BASES = [path for member in MEMBERS for path in sorted((member.root / "bundle/config/base").iterdir())]
CASES = [(member, path) for member in MEMBERS for path in member.values()]
CASE_NAMES = [f"{member.name}/{path.parent.name}/{path.stem}" for member, path in CASES]


@pytest.fixture(params=MEMBERS, ids=lambda member: member.name)
def member(request: pytest.FixtureRequest) -> Member:
    found: Member = request.param
    return found


@pytest.fixture
def staged(member: Member, request: pytest.FixtureRequest) -> StagedPackage:
    found: StagedPackage = request.getfixturevalue(member.fixture)
    return found


@pytest.mark.parametrize(
    ("key", "oldest"),
    [("kubernetesVersionSelection", OLDEST), ("kappControllerVersionSelection", minor(KAPP_CONTROLLER_VERSION))],
)
def test_the_package_claims_what_the_cluster_tests_can_run(member: Member, key: str, oldest: str) -> None:
    lines = (member.root / "package/package.yaml.j2").read_text().splitlines()
    assert lines[lines.index(f"{key}:") + 1].strip() == f'constraints: ">={oldest}.0"'


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.name)
def test_base_is_plain_kubernetes(path: Path) -> None:
    text = path.read_text()
    assert "#@" not in text
    for manifest in YAML(typ="safe").load_all(text):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@pytest.mark.parametrize(
    ("member", "values"), CASES, ids=[f"{member.name}/{path.parent.name}/{path.stem}" for member, path in CASES]
)
def test_manifests_are_valid(member: Member, values: Path, request: pytest.FixtureRequest) -> None:
    staged: StagedPackage = request.getfixturevalue(member.fixture)
    for manifest in staged.manifests(values):
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_values_of_the_example_install_render(member: Member, staged: StagedPackage, tmp_path: Path) -> None:
    documents = example("package-install.yaml", member.name)
    secret = one(documents, "Secret", f"{member.name}-values")
    install = one(documents, "PackageInstall", member.name)
    assert install["spec"]["values"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert staged.manifests(write_values(tmp_path, secret["stringData"]["values.yaml"]))


def test_updates_leave_no_node_without_valid_credentials(member: Member, staged: StagedPackage) -> None:
    strategy = one(staged.manifests(), "DaemonSet", member.name)["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
