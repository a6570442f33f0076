"""Releases against what go.mod pins."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright.report import StreamReporter
from carvelwright.rules import pins
from carvelwright.session import open_session

if TYPE_CHECKING:
    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

BUILD, FIRST = "package/build.yaml", "package/releases/1.0.0+build.1.yaml"


def problems(project: PackageProject, pinned_by: str = "payload") -> list[Problem]:
    upstream = f"tools: []\nupstream: {{goModule: example.com/lib, pinnedBy: '{pinned_by}'}}"
    project.replace(BUILD, "tools: []", upstream)
    session = open_session(project.root, project.environment, StreamReporter(io.StringIO()))
    return pins.upstream_pins(session, cast("Any", None))


def release(project: PackageProject, version: str) -> None:
    upstream, _, revision = version.partition("+")
    text = (project.root / FIRST).read_text().replace("1.0.0", upstream).replace("build.1", revision)
    (project.root / f"package/releases/{version}.yaml").write_text(text)


def go_mod(project: PackageProject, lines: str, directory: str = "payload") -> None:
    (project.root / directory).mkdir(exist_ok=True)
    (project.root / directory / "go.mod").write_text(f"module example.com/hello\n\ngo 1.25\n{lines}\n")


@pytest.mark.parametrize(
    "lines",
    [
        "require example.com/lib v1.0.0",
        "require example.com/lib v1.0.0+incompatible",
        "require example.com/lib v0.9.0\nreplace example.com/lib => example.com/fork v1.0.0",
        "require example.com/lib v1.0.0\nexclude example.com/lib v0.9.0",
        "require example.com/lib v1.0.0\nreplace example.com/lib v0.9.0 => ../lib",
    ],
)
def test_a_release_of_the_version_that_is_pinned(hello: PackageProject, lines: str) -> None:
    go_mod(hello, lines)
    assert problems(hello) == []


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("require example.com/lib v0.9.9", "v0.9.9 in payload/go.mod:4"),
        ("require example.com/lib v1.0.0-rc.1", "v1.0.0-rc.1 in payload/go.mod:4"),
        (
            "require example.com/lib v1.0.0\nreplace example.com/lib => example.com/fork v0.9.9",
            "v0.9.9 by replace in payload/go.mod:5",
        ),
        (
            "require example.com/lib v1.0.0\nreplace example.com/lib v1.0.0 => ../lib",
            "a directory by replace in payload/go.mod:5",
        ),
    ],
)
def test_a_release_of_another_version_names_both_places(hello: PackageProject, lines: str, found: str) -> None:
    go_mod(hello, lines)
    (problem,) = problems(hello)
    assert str(problem.location) == f"{hello.root / FIRST}:1:11"
    assert (problem.found, problem.expected) == (found, "v1.0.0")


def test_a_module_that_is_not_required_is_named(hello: PackageProject) -> None:
    go_mod(hello, "exclude example.com/lib v1.0.0")
    (problem,) = problems(hello)
    assert problem.message.startswith("go.mod does not require example.com/lib")


def test_all_that_is_told_of_a_module_that_is_not_required(hello: PackageProject) -> None:
    go_mod(hello, "exclude example.com/lib v1.0.0")
    (problem,) = problems(hello)
    assert problem.lines() == [
        f"{hello.root}/payload/go.mod: go.mod does not require example.com/lib, the module of the packaged software",
        "    hint: run `go get example.com/lib@v1.0.0` there, or change upstream in package/build.yaml",
    ]


def test_all_that_is_told_of_another_version(hello: PackageProject) -> None:
    go_mod(hello, "require example.com/lib v0.9.9")
    (problem,) = problems(hello)
    words = "release 1.0.0+build.1 is of example.com/lib 1.0.0, and go.mod pins another version"
    assert problem.lines() == [
        f"{hello.root / FIRST}:1:11: {words}",
        "    upstream: 1.0.0",
        "    found: v0.9.9 in payload/go.mod:4",
        "    expected: v1.0.0",
        "    hint: pin it with go get example.com/lib@v1.0.0, or correct upstream",
    ]


def test_without_upstream_nothing_is_compared(hello: PackageProject) -> None:
    session = open_session(hello.root, hello.environment, StreamReporter(io.StringIO()))
    assert pins.upstream_pins(session, cast("Any", None)) == []


def test_revisions_of_the_newest_upstream_version_are_compared_and_told_each(hello: PackageProject) -> None:
    release(hello, "1.0.0+build.2")
    go_mod(hello, "require example.com/lib v0.9.9")
    assert [problem.location and problem.location.file.name for problem in problems(hello)] == [
        "1.0.0+build.2.yaml",
        "1.0.0+build.1.yaml",
    ]


def test_revisions_of_an_older_upstream_version_are_compared_once(hello: PackageProject) -> None:
    for version in ("1.0.0+build.2", "1.1.0+build.1"):
        release(hello, version)
    go_mod(hello, "require example.com/lib v0.9.9", "payload/v1.0.0")
    go_mod(hello, "require example.com/lib v1.1.0", "payload/v1.1.0")
    assert [problem.location and problem.location.file.name for problem in problems(hello, "payload/v{upstream}")] == [
        "1.0.0+build.1.yaml"
    ]


def test_older_releases_whose_module_is_gone_are_left_alone(hello: PackageProject) -> None:
    for version in ("1.1.0+build.1", "1.2.0+build.1"):
        release(hello, version)
    go_mod(hello, "require example.com/lib v1.2.0", "payload/v1.2.0")
    go_mod(hello, "require example.com/lib v0.0.1", "payload/v1.0.0")
    (problem,) = problems(hello, "payload/v{upstream}")
    assert problem.found == "v0.0.1 in payload/v1.0.0/go.mod:4"


def test_what_cannot_be_read_is_told_beside_what_is_wrong(hello: PackageProject) -> None:
    release(hello, "1.1.0+build.1")
    go_mod(hello, "nonsense", "payload/v1.1.0")
    go_mod(hello, "require example.com/lib v0.0.1", "payload/v1.0.0")
    assert [problem.message for problem in problems(hello, "payload/v{upstream}")] == [
        "a line that Go does not read",
        "release 1.0.0+build.1 is of example.com/lib 1.0.0, and go.mod pins another version",
    ]


def test_older_releases_are_compared_with_pins_of_their_own(hello: PackageProject) -> None:
    for version in ("1.1.0+build.1", "1.2.0+build.1"):
        release(hello, version)
    go_mod(hello, "require example.com/lib v1.1.1", "payload/v1.1.0")
    go_mod(hello, "require example.com/lib v1.2.0", "payload/v1.2.0")
    (problem,) = problems(hello, "payload/v{upstream}")
    assert problem.found == "v1.1.1 in payload/v1.1.0/go.mod:4"


def test_older_releases_of_a_module_that_moved_on_are_left_alone(hello: PackageProject) -> None:
    release(hello, "1.1.0+build.1")
    go_mod(hello, "require example.com/lib v1.1.0")
    assert problems(hello) == []


def test_the_pinning_module_must_be_there(hello: PackageProject) -> None:
    with pytest.raises(Exception, match="1 problem") as caught:
        problems(hello, "nowhere")
    assert "no Go module there" in str(cast("Any", caught.value).problems[0].message)
