"""What an image's entrypoint, links and binaries name has to be there."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright.report import StreamReporter
from carvelwright.rules import images
from carvelwright.session import open_session

if TYPE_CHECKING:
    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

BUILD = "package/build.yaml"


def problems(project: PackageProject) -> list[Problem]:
    session = open_session(project.root, project.environment, StreamReporter(io.StringIO()))
    tools = cast("Any", None)
    return [p for rule in (images.entrypoints, images.links, images.go_packages) for p in rule(session, tools)]


@pytest.mark.parametrize("entrypoint", ["hello", "/usr/local/bin/hello", "/usr/local/bin/hi", "hi"])
def test_an_entrypoint_is_a_binary_or_a_link(hello: PackageProject, entrypoint: str) -> None:
    hello.replace(BUILD, "binaries:", "links: {hi: hello}\n        binaries:")
    hello.replace(BUILD, "[/usr/local/bin/hello]", f"[{entrypoint}, --flag]")
    assert problems(hello) == []


def test_an_image_needs_no_entrypoint(hello: PackageProject) -> None:
    hello.replace(BUILD, "    entrypoint: [/usr/local/bin/hello]\n", "")
    assert problems(hello) == []


@pytest.mark.parametrize(
    "entrypoint", ["/usr/local/bin/helo", "/bin/sh", "./hello", "/usr/bin/hello", "usr/local/bin/hello"]
)
def test_an_entrypoint_that_is_none_is_named(hello: PackageProject, entrypoint: str) -> None:
    hello.replace(BUILD, "[/usr/local/bin/hello]", f"[{entrypoint}]")
    (problem,) = problems(hello)
    assert (problem.found, problem.expected) == (entrypoint, "/usr/local/bin/hello")
    assert str(problem.location) == f"{hello.root / BUILD}:12:18"


def test_a_link_to_no_binary_is_named(hello: PackageProject) -> None:
    hello.replace(BUILD, "binaries:", "links: {hi: helo}\n        binaries:")
    (problem,) = problems(hello)
    assert problem.message == "link hi of image hello does not name a binary"
    assert (problem.found, problem.expected) == ("helo", "hello")
    assert str(problem.location) == f"{hello.root / BUILD}:17:21"


@pytest.mark.parametrize("package", ["./cmd/hello", "..", "../payload/../payload/../bundle", "./go.mod"])
def test_a_go_package_that_is_not_there_is_named(hello: PackageProject, package: str) -> None:
    hello.replace(BUILD, "hello: .", f"hello: {package}")
    (problem,) = problems(hello)
    assert (problem.found, problem.expected) == (package, "a directory with Go files in payload")


def test_a_module_directory_without_a_go_file_is_no_package(hello: PackageProject) -> None:
    (hello.root / "payload/main.go").unlink()
    (problem,) = problems(hello)
    assert problem.message == "binary hello of image hello has no Go package in its directory"
    assert (problem.found, problem.expected) == (".", "a directory with Go files in payload")
    assert str(problem.location) == f"{hello.root / BUILD}:18:18"


def test_a_go_package_in_a_directory_or_of_another_module(hello: PackageProject) -> None:
    (hello.root / "payload/cmd").mkdir()
    (hello.root / "payload/main.go").rename(hello.root / "payload/cmd/main.go")
    hello.replace(BUILD, "hello: .", "hello: ./cmd\n          other: example.com/other/cmd")
    assert problems(hello) == []


SECOND = """\
  - name: second
    title: second
    description: Says more
    licenses: Apache-2.0
    entrypoint: [/bin/sh]
    modules:
      - directory: payload
        binaries:
          hello: .
      - directory: payload
        binaries:
          other: ./nowhere
          more: .
        links:
          more-of-it: nothing
          also: more
"""


def test_every_image_and_module_is_looked_at(hello: PackageProject) -> None:
    text = (hello.root / BUILD).read_text()
    (hello.root / BUILD).write_text(text + SECOND)
    assert [(p.message, p.found, p.expected, str(p.location)) for p in problems(hello)] == [
        (
            "the entrypoint of image second is not one of its binaries or links",
            "/bin/sh",
            " or ".join(f"/usr/local/bin/{name}" for name in ("also", "hello", "more", "more-of-it", "other")),
            f"{hello.root / BUILD}:23:18",
        ),
        (
            "link more-of-it of image second does not name a binary",
            "nothing",
            "other or more",
            f"{hello.root / BUILD}:33:23",
        ),
        (
            "binary other of image second has no Go package in its directory",
            "./nowhere",
            "a directory with Go files in payload",
            f"{hello.root / BUILD}:30:18",
        ),
    ]


@pytest.mark.parametrize(
    ("package", "fine"),
    [(".", True), ("./.", True), ("./cmd/..", True), ("..", False), ("../payload", True), ("../other", False)],
)
def test_a_relative_path_leads_to_a_package_within_the_module(hello: PackageProject, package: str, fine: bool) -> None:
    for name in ("other", "payload/cmd"):
        (hello.root / name).mkdir()
    (hello.root / "other/main.go").touch()
    (hello.root / "main.go").touch()
    hello.replace(BUILD, "hello: .", f"hello: {package}")
    assert [problem.found for problem in problems(hello)] == ([] if fine else [package])


@pytest.mark.parametrize("package", ["example.com/x", "cmd/hello", ".hidden", "..x"])
def test_a_package_by_its_name_is_for_go_to_find(hello: PackageProject, package: str) -> None:
    hello.replace(BUILD, "hello: .", f"hello: {package}")
    assert problems(hello) == []


def test_the_directory_of_a_module_may_hold_the_upstream_version(hello: PackageProject) -> None:
    (hello.root / "payload").rename(hello.root / "payload-1.0.0")
    hello.replace(BUILD, "directory: payload", 'directory: "payload-{upstream}"')
    assert problems(hello) == []
    hello.replace(BUILD, "hello: .", "hello: ./x")
    (problem,) = problems(hello)
    assert problem.expected == "a directory with Go files in payload-1.0.0"


def test_a_package_needs_no_image(hello: PackageProject) -> None:
    (hello.root / BUILD).write_text((hello.root / BUILD).read_text().partition("images:")[0])
    assert problems(hello) == []
