"""The repository's steps one by one, with the real imgpkg and a real registry: read, refuse, assemble, push, tag."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog import Catalog
from carvelwright.errors import CarvelwrightError, ExitCode, RegistryError, ReleasedError
from carvelwright.plan import BuildOptions, WorkspacePlan, make_plan
from carvelwright.project.config import load_package
from carvelwright.reference import Reference, Repository
from carvelwright.report import StreamReporter
from carvelwright.steps import airgap, repository
from carvelwright.steps.package import PackageDocuments
from tests.helpers.builds import call, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

NAME, VERSION = "hello.packages.example.com", "1.0.0+example.1"
FULL = f"{NAME}.{VERSION}"
OURS, METADATA = f"packages/{NAME}/{VERSION}.yml", f"packages/{NAME}/metadata.yml"
ONE, TWO = (f"r.example.com/a@sha256:{digit * 64}" for digit in "12")


def plan_of(root: Path, to: str) -> WorkspacePlan:
    return make_plan([load_package(root)], BuildOptions(to=Repository.parse(to)), {})


def documents(plan: WorkspacePlan, bundle: str = ONE, notes: str = "n") -> PackageDocuments:
    package = resources.package(
        NAME,
        plan.packages[0].release.version,
        released_at="d",
        release_notes=notes,
        static={},
        values_schema={},
        bundle=Reference.parse(bundle),
    )
    return PackageDocuments(package, resources.package_metadata(NAME, {"displayName": "new"}))


def locked(directory: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yamldoc.load(directory / ".imgpkg/images.yml").data["images"]
    return entries


@dataclass
class Log:
    """A reporter and what it wrote."""

    stream: io.StringIO
    reporter: StreamReporter

    @property
    def steps(self) -> list[str]:
        return [record.name for record in self.reporter.records]


@pytest.fixture
def log() -> Log:
    stream = io.StringIO()
    return Log(stream, StreamReporter(stream))


def test_what_is_pushed_and_tagged_is_read_again_and_archived(
    hello: PackageProject, registry: str, toolset: Toolchain, tmp_path: Path, log: Log
) -> None:
    plan = plan_of(hello.root, f"{registry}/p")
    reporter = log.reporter
    assert repository.published(plan, tools=toolset, reporter=reporter) == Catalog()
    # A package bundle that is in the registry, so that imgpkg can copy all of it.
    inner = tmp_path / "inner"
    (inner / ".imgpkg").mkdir(parents=True)
    (inner / ".imgpkg/images.yml").write_text(yamldoc.dump(locks.ImagesLock(()).document()))
    (inner / "file").write_text("content")
    reference = f"{registry}/p/{NAME}"
    call(toolset.imgpkg.path, "push", "-b", f"{reference}:x", "-f", inner, "--tty=false")
    digest = call(toolset.crane.path, "digest", f"{reference}:x").decode().strip()
    target = tmp_path / "bundle"
    new = documents(plan, f"{reference}@{digest}")
    assert repository.assemble(Catalog(), [(plan.packages[0], new)], target) == target / "packages"
    pushed = repository.push(plan, target, tools=toolset, reporter=reporter)
    assert pushed.repository == plan.repository[0].repository
    assert str(pushed.digest) == call(toolset.crane.path, "digest", str(plan.repository[0])).decode().strip()
    # Nobody sees it before it is tagged as the latest.
    assert repository.published(plan, tools=toolset, reporter=reporter) == Catalog()
    repository.release(plan, pushed, tools=toolset, reporter=reporter)
    before = repository.published(plan, tools=toolset, reporter=reporter)
    assert dict(before.packages) == {FULL: new.package}
    assert before.bundles == {Reference.parse(f"{reference}@{digest}")}
    assert dict(before.files) == {OURS: (target / OURS).read_bytes()}
    assert not list((hello.root / "build").rglob("scratch/*"))
    archive = tmp_path / "x.tar"
    airgap.archive(plan, pushed, archive, "archive", tools=toolset, reporter=reporter)
    airgap.verify(
        archive, [found for found in (pushed.digest, Reference.parse(f"{reference}@{digest}").digest) if found]
    )
    read = "read published repository"
    assert log.steps == [read, "push repository", read, "tag latest", read, "archive"]
    *_, line = log.stream.getvalue().splitlines()
    assert line.endswith("KiB")


def test_a_registry_that_does_not_answer_names_the_step(
    hello: PackageProject, toolset: Toolchain, log: Log, tmp_path: Path
) -> None:
    plan = plan_of(hello.root, "127.0.0.1:1/p")
    target = tmp_path / "x.tar"
    nowhere = Reference.parse(f"127.0.0.1:1/p/package-repository@sha256:{'1' * 64}")
    for step, act in (
        ("read published repository", lambda: repository.published(plan, tools=toolset, reporter=log.reporter)),
        ("tag latest", lambda: repository.release(plan, nowhere, tools=toolset, reporter=log.reporter)),
        (
            "archive",
            lambda: airgap.archive(plan, nowhere, target, "archive", tools=toolset, reporter=log.reporter),
        ),
    ):
        with pytest.raises(RegistryError) as caught:
            act()
        assert caught.value.step == step
        assert caught.value.exit_code is ExitCode.REGISTRY
        assert caught.value.registry == "127.0.0.1:1"
        tag = ":latest" if step.startswith("read") else ""
        assert caught.value.reference == f"127.0.0.1:1/p/package-repository{tag}"


def test_a_release_with_other_content_is_refused_with_what_differs(hello: PackageProject) -> None:
    plan = plan_of(hello.root, "r.example.com/p")
    old = documents(plan).package
    repository.refuse_other_content(plan.packages[0], Catalog(), old)
    repository.refuse_other_content(plan.packages[0], Catalog(packages={FULL: old}), documents(plan).package)
    moved = documents(plan, ONE.replace("r.example.com/a", "other.example.com/b")).package
    repository.refuse_other_content(plan.packages[0], Catalog(packages={FULL: old}), moved)
    new = documents(plan, TWO, "other").package
    new["spec"]["licenses"] = ["MIT"]
    del old["spec"]["releasedAt"]
    with pytest.raises(ReleasedError) as caught:
        repository.refuse_other_content(plan.packages[0], Catalog(packages={FULL: old}), new)
    error = caught.value
    assert error.exit_code is ExitCode.RELEASED
    assert (error.package, error.version, error.published, error.new) == (NAME, VERSION, str(ONE), str(TWO))
    assert error.message == f"{NAME} {VERSION} is already released with different content"
    assert (error.details or "").splitlines() == [
        f"published bundle: {ONE}",
        f"this bundle:      {TWO}",
        "differs in spec:  licenses, releaseNotes, releasedAt, template",
    ]
    assert error.step == "push repository"
    assert "new revision" in (error.hint or "")
    assert str(plan.packages[0].release.file) in (error.hint or "")


def test_a_published_package_without_a_bundle_by_digest_is_reported_as_such(hello: PackageProject) -> None:
    plan = plan_of(hello.root, "r.example.com/p")
    old = documents(plan).package
    old["spec"]["template"] = {"spec": {"fetch": [{"inline": {}}]}}
    with pytest.raises(CarvelwrightError) as caught:
        repository.refuse_other_content(plan.packages[0], Catalog(packages={FULL: old}), documents(plan).package)
    assert "published bundle: none by digest" in (caught.value.details or "")


def test_a_new_version_joins_what_was_published(hello: PackageProject, tmp_path: Path) -> None:
    plan, target = plan_of(hello.root, "r.example.com/p"), tmp_path / "bundle"
    foreign = {"image": f"r.example.com/o@sha256:{'3' * 64}", "annotations": {"theirs": "kept"}}
    before = Catalog(
        files={"packages/other/a.yml": b"# kept as it is\n", METADATA: b"old"},
        locked=(foreign,),
        bundles=frozenset([Reference.parse(TWO)]),
    )
    assert repository.assemble(before, [(plan.packages[0], documents(plan))], target) == target / "packages"
    held = snapshot(target)
    assert sorted(held) == sorted([".imgpkg/images.yml", OURS, METADATA, "packages/other/a.yml"])
    assert held["packages/other/a.yml"] == b"# kept as it is\n"
    assert yamldoc.load(target / METADATA).data == documents(plan).metadata
    assert yamldoc.load(target / OURS).data == documents(plan).package
    assert [entry["image"] for entry in locked(target)] == [ONE, TWO, foreign["image"]]
    assert foreign in locked(target)


def test_a_version_that_was_published_keeps_its_file_and_its_bundle(hello: PackageProject, tmp_path: Path) -> None:
    plan, target = plan_of(hello.root, "r.example.com/p"), tmp_path / "bundle"
    before = Catalog(
        files={"packages/named-by-others.yml": b"theirs"},
        packages={FULL: documents(plan, TWO).package},
        bundles=frozenset([Reference.parse(TWO)]),
    )
    repository.assemble(before, [(plan.packages[0], documents(plan))], target)
    assert not (target / OURS).exists()
    assert (target / "packages/named-by-others.yml").read_bytes() == b"theirs"
    assert [entry["image"] for entry in locked(target)] == [TWO]
