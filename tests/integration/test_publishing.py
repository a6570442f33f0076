"""The repository's steps one by one: assemble, push and archive with the real tools, then record, read, refuse."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.content import Catalog
from carvelwright.catalog.records import Action, Record
from carvelwright.errors import CarvelwrightError, ExitCode, RegistryError, ReleasedError
from carvelwright.plan import BuildOptions, WorkspacePlan, make_plan
from carvelwright.project.config import load_package
from carvelwright.reference import Reference, Repository
from carvelwright.report import StreamReporter
from carvelwright.steps import airgap, repository
from carvelwright.steps.package import PackageDocuments
from carvelwright.steps.published import Remote
from carvelwright.store import Store
from carvelwright.uses import commit, converge
from tests.helpers import publishers
from tests.helpers.builds import call, snapshot
from tests.helpers.publishers import InMemory, Publisher, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

NAME, VERSION = "hello.packages.example.com", "1.0.0+build.1"
OURS, METADATA = f"packages/{NAME}/{VERSION}.yml", f"packages/{NAME}/metadata.yml"
ONE, TWO = (f"r.example.com/aa@sha256:{digit * 64}" for digit in "12")


def plan_of(root: Path, registry: str) -> WorkspacePlan:
    package = load_package(root)
    there = replace(package.workspace, registry=Repository.parse(registry))
    return make_plan([replace(package, workspace=there)], BuildOptions(), {})


def documents(bundle: str = ONE, notes: str = "n") -> PackageDocuments:
    package = resources.package(
        NAME,
        PackageVersion.parse(VERSION),
        released_at="d",
        release_notes=notes,
        static={},
        values_schema={},
        bundle=Reference.parse(bundle),
    )
    return PackageDocuments(package, resources.package_metadata(NAME, {"displayName": "new"}))


def record_of(made: PackageDocuments) -> Record:
    package, metadata = (yamldoc.dump(document).encode() for document in (made.package, made.metadata))
    return Record(NAME, VERSION, Action.RELEASE, 0, package, metadata, resources.bundle_or_none(made.package), "d")


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


def test_what_is_built_is_pushed_and_archived(
    hello: PackageProject, registry: str, toolset: Toolchain, tmp_path: Path, log: Log
) -> None:
    plan = plan_of(hello.root, f"{registry}/p")
    # A package bundle that is in the registry, so that imgpkg can copy all of it.
    inner = tmp_path / "inner"
    (inner / ".imgpkg").mkdir(parents=True)
    (inner / ".imgpkg/images.yml").write_text(yamldoc.dump(locks.ImagesLock(()).document()))
    (inner / "file").write_text("content")
    reference = f"{registry}/p/{NAME}"
    call(toolset.imgpkg.path, "push", "-b", f"{reference}:x", "-f", inner, "--tty=false")
    digest = call(toolset.crane.path, "digest", f"{reference}:x").decode().strip()
    target = tmp_path / "bundle"
    new = documents(f"{reference}@{digest}")
    assert repository.assemble([(plan.packages[0], new)], target) == target / "packages"
    held = snapshot(target)
    assert sorted(held) == sorted([".imgpkg/images.yml", OURS, METADATA])
    assert yamldoc.load(target / METADATA).data == new.metadata
    assert yamldoc.load(target / OURS).data == new.package
    assert [entry["image"] for entry in locked(target)] == [f"{reference}@{digest}"]
    pushed = repository.push(plan, target, tools=toolset, reporter=log.reporter)
    assert pushed.repository == plan.repository[0].repository
    assert str(pushed.digest) == call(toolset.crane.path, "digest", str(plan.repository[0])).decode().strip()
    assert not list((hello.root / "build").rglob("scratch/*"))
    archive = tmp_path / "x.tar"
    airgap.archive(toolset.imgpkg, pushed, archive, "archive", timeout=900, reporter=log.reporter)
    airgap.verify(
        archive, [found for found in (pushed.digest, Reference.parse(f"{reference}@{digest}").digest) if found]
    )
    assert log.steps == ["push repository", "archive"]
    *_, line = log.stream.getvalue().splitlines()
    assert line.endswith("KiB")


def test_what_is_recorded_is_read_again_from_a_real_registry(
    registry: str, toolset: Toolchain, tmp_path: Path, log: Log
) -> None:
    place, store = Repository.parse(f"{registry}/p/package-repository"), Store(tmp_path)

    def remote() -> Remote:
        return Remote(toolset.crane, place, store, 60, log.reporter)

    empty = remote().look()
    assert empty.catalog == Catalog()
    assert empty.is_current
    one = remote()
    record = record_of(documents())
    tag = one.push_record(record)
    # Recorded, but not yet what clients follow.
    seen = remote().look()
    assert (set(seen.catalog.records), set(seen.base.records), seen.highest) == ({str(tag)}, set(), None)
    settled = converge.converge(one, {tag: record})
    assert settled.changed
    after = remote().look()
    assert after.is_current
    assert after.catalog == settled.catalog
    assert after.latest == after.digest == settled.repository.digest
    assert call(toolset.crane.path, "digest", str(settled.repository).partition("@")[0]).decode().strip() == str(
        after.digest
    )
    assert not converge.converge(remote(), {tag: record}).changed
    # Nothing was written in between that a second publisher has to read again.
    assert not list((tmp_path / "build").rglob("scratch/*"))


def test_a_registry_that_does_not_answer_names_the_step(toolset: Toolchain, log: Log, tmp_path: Path) -> None:
    place = Repository.parse("127.0.0.1:1/p/package-repository")
    nowhere = Reference.parse(f"{place}@sha256:{'1' * 64}")
    remote = Remote(toolset.crane, place, Store(tmp_path), 5, log.reporter, "look")
    target = tmp_path / "x.tar"
    for step, act in (
        ("look", remote.look),
        ("look", lambda: remote.push_record(record_of(documents()))),
        (
            "archive",
            lambda: airgap.archive(toolset.imgpkg, nowhere, target, "archive", timeout=900, reporter=log.reporter),
        ),
    ):
        with pytest.raises(RegistryError) as caught:
            act()
        assert caught.value.step == step
        assert caught.value.exit_code is ExitCode.REGISTRY
        assert caught.value.registry == "127.0.0.1:1"
        assert str(caught.value.reference).startswith(str(place))


def decide(registry: Registry, scratch: Path, record: Record) -> commit.Job:
    """Return what a publisher does about a version, without pushing anything."""
    content = Repository.parse(f"r.example.com/p/{NAME}")
    store = Store(scratch)
    seen = InMemory(registry, store).look()
    with store.scratch("decide") as directory:
        (job,) = commit.jobs([commit.Version(record, content, None)], seen, directory)
        return job


def publish(registry: Registry, scratch: Path, record: Record) -> None:
    publisher = Publisher(registry, Store(scratch), [record])
    while not publisher.ended:
        publisher.let_on()
    assert publisher.settled


def test_what_a_killed_run_recorded_is_not_called_published_where_others_contest_it(
    tmp_path: Path, toolset: Toolchain
) -> None:
    registry, store = Registry(), Store(tmp_path)
    one, other = (record_of(documents(bundle)) for bundle in (ONE, TWO))
    # The first run is killed here. The second one sees its record, and nothing else.
    InMemory(registry, store).push_record(one)
    job = decide(registry, tmp_path, one)
    assert (job.present, job.records) == (True, ())
    InMemory(registry, store).push_record(other)
    with pytest.raises(ReleasedError) as caught:
        commit.commit([job], cast("Any", InMemory(registry, store)), toolset)
    assert "was pushed with different contents by several publishers at once" in caught.value.message
    assert registry.catalog().versions == {}


def test_what_a_killed_run_recorded_is_published_by_the_next(tmp_path: Path, toolset: Toolchain) -> None:
    registry, store, one = Registry(), Store(tmp_path), record_of(documents())
    InMemory(registry, store).push_record(one)
    job = decide(registry, tmp_path, one)
    done = commit.commit([job], cast("Any", InMemory(registry, store)), toolset)
    assert (done.changed, done.records) == (True, ())
    assert (NAME, VERSION) in registry.catalog().versions


def test_a_release_with_other_content_is_refused_with_what_differs(tmp_path: Path) -> None:
    registry = Registry()
    assert not decide(registry, tmp_path, record_of(documents())).present
    publish(registry, tmp_path, record_of(documents()))
    same = decide(registry, tmp_path, record_of(documents()))
    assert (same.present, same.records) == (True, ())
    moved = decide(registry, tmp_path, record_of(documents(ONE.replace("r.example.com/aa", "other.example.com/bb"))))
    assert (moved.present, moved.records) == (True, ())
    new = documents(TWO, "other")
    new.package["spec"]["licenses"] = ["MIT"]
    del new.package["spec"]["releasedAt"]
    with pytest.raises(ReleasedError) as caught:
        decide(registry, tmp_path, record_of(new))
    error = caught.value
    assert error.exit_code is ExitCode.RELEASED
    assert (error.package, error.version, error.published, error.new) == (NAME, VERSION, ONE, TWO)
    assert error.message == f"{NAME} {VERSION} is already released with different content"
    assert (error.details or "").splitlines() == [
        f"published bundle: {ONE}",
        f"this bundle:      {TWO}",
        "differs in spec:  licenses, releaseNotes, releasedAt, template",
    ]
    assert error.step == "record versions"
    assert "new revision" in (error.hint or "")
    assert f"package/releases/{VERSION}.yaml" in (error.hint or "")


def test_a_published_package_without_a_bundle_by_digest_is_reported_as_such(tmp_path: Path) -> None:
    old = documents().package
    old["spec"]["template"] = {"spec": {"fetch": [{"inline": {}}]}}
    registry = Registry()
    lock = yamldoc.dump(locks.ImagesLock(()).document()).encode()
    registry.put({locks.IMAGES_LOCK: lock, "packages/o.yml": yamldoc.dump(old).encode()}, "latest")
    with pytest.raises(CarvelwrightError) as caught:
        decide(registry, tmp_path, record_of(documents()))
    assert "published bundle: none by digest" in (caught.value.details or "")


def test_a_version_that_was_withdrawn_is_not_published_again(tmp_path: Path) -> None:
    registry, record = Registry(), record_of(documents())
    publish(registry, tmp_path, record)
    publish(registry, tmp_path, publishers.mark(record, Action.WITHDRAW, 1, "broken"))
    with pytest.raises(ReleasedError) as caught:
        decide(registry, tmp_path, record)
    assert caught.value.message == f"{NAME} {VERSION} was withdrawn: broken"
    assert "--undo" in (caught.value.details or "")


def test_metadata_is_recorded_again_only_where_it_counts(tmp_path: Path) -> None:
    registry, record = Registry(), record_of(documents())
    publish(registry, tmp_path, record)
    changed = replace(record, metadata=publishers.metadata(NAME, "another name"))
    (mark,) = decide(registry, tmp_path, changed).records
    assert (mark.action, mark.number, mark.metadata, mark.package) == (Action.METADATA, 1, changed.metadata, None)
    publish(registry, tmp_path, mark)
    assert decide(registry, tmp_path, changed).records == ()
    (back,) = decide(registry, tmp_path, record).records
    assert back.number == 2
    publish(registry, tmp_path, publishers.release(NAME, "2.0.0"))
    assert decide(registry, tmp_path, record).records == ()
