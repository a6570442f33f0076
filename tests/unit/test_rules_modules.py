"""What Go would refuse of a project's go.mod, found before anything is compiled."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright.report import StreamReporter
from carvelwright.rules import modules
from carvelwright.session import open_session

if TYPE_CHECKING:
    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

WHOLE = "module example.com/hello\n\ngo 1.25\n"


def problems(project: PackageProject, text: str, go: str | None = None) -> list[Problem]:
    (project.root / "payload/go.mod").write_text(text)
    session = open_session(project.root, project.environment, StreamReporter(io.StringIO()))
    session = replace(session, search=replace(session.search, go_version=go or session.search.go_version))
    return modules.go_modules(session, cast("Any", None))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"{WHOLE}nonsense here\n", 4, "a line that Go does not read"),
        (f"{WHOLE}require example.com/a\n", 4, "a line of require that Go does not read"),
        (f"{WHOLE}require (\nexample.com/a v1.0.0\n", 6, "Go refuses it: syntax error (unterminated block"),
        (f"{WHOLE}require example.com/a v1\n", 4, "Go refuses it: not a version"),
        (f"{WHOLE}replace example.com/a => ../nowhere\n", 4, "example.com/a is replaced by a directory without"),
        ("module example.com/hello\ngo banana\n", 2, "Go refuses it: invalid go version 'banana'"),
        ('module "example.com/hello\n', 1, "Go refuses it: unexpected newline in string"),
        ("module example.com/hello\ngo 1.99\n", None, "Go refuses it: go.mod requires go >= 1.99"),
        ("", None, "Go refuses it: error reading go.mod: missing module declaration"),
        ("\0\0", 1, "a line that Go does not read"),
    ],
)
def test_what_go_refuses_is_found_with_its_line(
    hello: PackageProject, text: str, line: int | None, message: str
) -> None:
    (problem,) = problems(hello, text)
    assert problem.location
    assert (problem.location.file, problem.location.line) == (hello.root / "payload/go.mod", line)
    assert problem.message.startswith(message)


def test_what_go_accepts_is_no_problem(hello: PackageProject) -> None:
    (hello.root / "lib").mkdir()
    (hello.root / "lib/go.mod").write_text("module example.com/a\n")
    assert problems(hello, f"{WHOLE}ignore ./x\nrequire example.com/a v1.0.0\nreplace example.com/a => ../lib\n") == []


def test_without_go_what_can_be_read_is_checked(hello: PackageProject) -> None:
    assert problems(hello, WHOLE, go="1.0.0") == []
    (problem,) = problems(hello, f"{WHOLE}nonsense here\n", go="1.0.0")
    assert problem.found == "nonsense"


def test_all_that_is_told_of_a_replacement_by_a_directory(hello: PackageProject) -> None:
    replacements = "replace example.com/a => ../nowhere\nreplace example.com/b v1.0.0 => ./nothing\n"
    found = problems(hello, f"{WHOLE}{replacements}replace example.com/c => example.com/d v1.0.0\n", go="1.0.0")
    assert [problem.lines() for problem in found] == [
        [
            f"{hello.root}/payload/go.mod:{line}: {module} is replaced by a directory without a Go module",
            f"    found: {path}",
            "    expected: a directory that holds go.mod",
        ]
        for line, module, path in ((4, "example.com/a", "../nowhere"), (5, "example.com/b", "./nothing"))
    ]


def test_each_module_that_a_project_names_is_read_once(hello: PackageProject) -> None:
    for name in ("crds", "lib"):
        (hello.root / name).mkdir()
        (hello.root / name / "go.mod").write_text(f"{name}\n")
    build = (hello.root / "package/build.yaml").read_text()
    (hello.root / "package/build.yaml").write_text(
        f"{build}      - directory: payload\n        binaries: {{again: .}}\n"
        "crds:\n  - {pinnedBy: crds, goModule: example.com/crds, files: [a.yaml]}\n"
        "upstream: {goModule: example.com/lib, pinnedBy: lib}\n"
    )
    found = problems(hello, "payload\n", go="1.0.0")
    assert [(problem.found, problem.location and problem.location.file.parent.name) for problem in found] == [
        *(("payload", "payload"), ("crds", "crds"), ("lib", "lib")),
    ]


def test_the_module_of_the_newest_release_counts(hello: PackageProject) -> None:
    (hello.root / "payload").rename(hello.root / "payload-1.0.0")
    hello.replace("package/build.yaml", "directory: payload", 'directory: "payload-{upstream}"')
    (hello.root / "payload").mkdir()
    assert problems(hello, "nonsense", go="1.0.0") == []
    (hello.root / "payload-1.0.0/go.mod").write_text("nonsense\n")
    assert len(problems(hello, "", go="1.0.0")) == 1
