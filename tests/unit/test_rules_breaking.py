"""A breaking change of the values schema needs a version that admits it; git's history has the schema before."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import Severity
from carvelwright.report import StreamReporter
from carvelwright.rules import breaking
from carvelwright.session import open_session
from tests.helpers.git import GitRepository, make_repository

if TYPE_CHECKING:
    from carvelwright.errors import Problem
    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

SECOND = "1.0.0+build.2"
SCHEMA = "values-schema.yaml"


@pytest.fixture
def repository(hello: PackageProject) -> GitRepository:
    """The example package, committed with its one release."""
    made = make_repository(hello.root)
    made.commit()
    return made


def add(project: PackageProject, version: str = SECOND, more: str = "") -> None:
    upstream, _, revision = version.partition("+")
    path = project.root / f"package/releases/{version}.yaml"
    path.write_text(
        f"upstream: {upstream}\nrevision: {revision}\nreleasedAt: 2026-11-02T00:00:00Z\nreleaseNotes: N.\n{more}"
    )


def tighten(project: PackageProject) -> None:
    project.replace(SCHEMA, "min=1, max=5", "min=1, max=4")


def problems(project: PackageProject, toolset: Toolchain) -> list[Problem]:
    session = open_session(project.root, project.environment, StreamReporter(io.StringIO()))
    return breaking.breaking_changes(session, toolset)


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
def test_a_tightened_rule_is_refused_under_a_mere_revision(
    hello: PackageProject, repository: GitRepository, toolset: Toolchain, *, tagged: bool, committed: bool
) -> None:
    if tagged:
        repository.run("tag", "v1.0.0+build.1")
    tighten(hello)
    assert problems(hello, toolset) == []  # the first release has none before it
    add(hello)
    if committed:
        repository.commit()
    (problem,) = problems(hello, toolset)
    assert problem.severity is Severity.ERROR
    assert problem.message == (
        "the values schema has breaking changes since 1.0.0+build.1, which 1.0.0+build.2 does not admit"
    )
    assert "replicas" in (problem.found or "")
    assert str(problem.location).endswith(SCHEMA)
    # What the hint says shows the same.
    revision = (problem.hint or "").partition("git:")[2].partition(" ")[0]
    shown = hello.run("diff", f"git:{revision}", ".", "--fail-on", "breaking")
    assert shown.code == 10
    assert "replicas" in shown.out
    assert f"under `breaking` in package/releases/{SECOND}.yaml" in (problem.hint or "")


def test_check_and_build_refuse_it_and_the_release_may_admit_it(
    hello: PackageProject, repository: GitRepository
) -> None:
    tighten(hello)
    add(hello)
    repository.commit()
    for command in ("check", "build"):
        outcome = hello.run(command)
        assert outcome.code == 3
        assert "which 1.0.0+build.2 does not admit" in outcome.err
    assert not (hello.root / "dist").exists()
    add(hello, more="breaking: Five replicas were never supported.\n")
    hello.run("check").ok()


@pytest.mark.parametrize("version", ["2.0.0+build.1", "1.1.0+build.1", SECOND])
def test_a_higher_major_version_admits_what_a_minor_one_does_not(
    hello: PackageProject, repository: GitRepository, toolset: Toolchain, version: str
) -> None:
    tighten(hello)
    add(hello, version)
    repository.commit()
    assert (problems(hello, toolset) == []) == version.startswith("2.")


def test_compatible_changes_and_releases_that_are_out_are_fine(
    hello: PackageProject, repository: GitRepository, toolset: Toolchain
) -> None:
    add(hello)
    hello.replace(SCHEMA, "min=1, max=5", "min=1, max=6")
    schema = hello.root / SCHEMA
    schema.write_text(schema.read_text() + '\n#@schema/desc "One more."\nmore: ""\n')
    repository.commit()
    assert problems(hello, toolset) == []
    repository.run("tag", SECOND)
    tighten_after_release = schema.read_text().replace("max=6", "max=2")
    schema.write_text(tighten_after_release)
    # That this is another content of what is out is found when it is published.
    assert problems(hello, toolset) == []


def test_a_former_schema_that_cannot_be_read_is_a_warning(
    hello: PackageProject, repository: GitRepository, toolset: Toolchain
) -> None:
    schema = hello.root / SCHEMA
    good = schema.read_text()
    schema.write_text("#@data/values-schema\n---\na: #@ nonsense(\n")
    repository.commit()
    schema.write_text(good)
    add(hello)
    (problem,) = problems(hello, toolset)
    assert problem.severity is Severity.WARNING
    assert "is not compared with that of 1.0.0+build.1" in problem.message
    assert problem.hint


def test_without_a_repository_nothing_is_compared(hello: PackageProject, toolset: Toolchain) -> None:
    tighten(hello)
    add(hello)
    assert problems(hello, toolset) == []
