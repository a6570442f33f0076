"""What `check` finds in a project, in its own process: everything at once, as far as files and tools are there."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import (
    CarvelwrightError,
    ConfigError,
    FilesystemError,
    InputError,
    Location,
    Problem,
    Severity,
    ToolError,
    ToolMissingError,
)
from carvelwright.report import StreamReporter
from carvelwright.rules import values_schema
from carvelwright.rules.refusals import refusal
from carvelwright.uses.check import check

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

BUILD, VALUES = "package/build.yaml", "values-schema.yaml"
PATTERN = '{"pattern": "^[a-z]+$"'


def problems(project: PackageProject) -> list[str]:
    found = check(project.root, project.environment, StreamReporter(io.StringIO()))
    return [f"{problem.location}: {problem.message}".removeprefix(f"{project.root}/") for problem in found]


def test_a_good_project_has_no_problem(hello: PackageProject) -> None:
    assert problems(hello) == []


def test_rules_of_every_kind_are_applied_and_told_in_their_order(hello: PackageProject) -> None:
    hello.replace(BUILD, "[/usr/local/bin/hello]", "[/bin/sh]")
    hello.replace(VALUES, PATTERN, '{"patern": "^[a-z]+$"')
    hello.replace("bundle/config/base/deployment.yaml", "namespace: default", "namespace: a.b")
    found = problems(hello)
    assert found[:2] == [
        f"{BUILD}:12:18: the entrypoint of image hello is not one of its binaries or links",
        f"{VALUES}:17:1: name: 'patern' is not a keyword of JSON Schema",
    ]
    assert [text.rpartition(": ")[2] for text in found[2:]] == ["not a namespace"]


def test_a_project_that_cannot_be_read_has_its_values_schema_checked_all_the_same(hello: PackageProject) -> None:
    hello.replace(BUILD, "platforms:", "platform:")
    wrong = [f"{BUILD}:4:1: unknown key 'platform'", f"{BUILD}:1:1: missing key 'platforms'"]
    assert sorted(problems(hello)) == sorted(wrong)
    hello.replace(VALUES, PATTERN, '{"patern": "^[a-z]+$"')
    assert problems(hello)[2:] == [f"{VALUES}:17:1: name: 'patern' is not a keyword of JSON Schema"]


@pytest.mark.parametrize(
    ("line", "checked"), [("", True), ("tools: 1", True), ("- a", True), ("go: [1", True), ("tools: [nowhere]", False)]
)
def test_the_values_schema_of_a_broken_project_is_checked_where_tools_are_found(
    hello: PackageProject, line: str, checked: bool
) -> None:
    hello.replace(VALUES, PATTERN, '{"patern": "^[a-z]+$"')
    text = (hello.root / BUILD).read_text().replace("go: 1.27.3\n", "unknown: 1\n")
    (hello.root / BUILD).write_text(line if line == "- a" else text.replace("tools: []", line))
    found = problems(hello)
    assert found[0].startswith(BUILD)
    assert any(problem.startswith(VALUES) for problem in found) is checked


def test_a_missing_values_schema_is_told_once(hello: PackageProject) -> None:
    (hello.root / VALUES).unlink()
    assert problems(hello) == [f"{VALUES}: missing"]


def test_what_is_wrong_with_the_pins_of_tools_is_a_problem_of_the_project(hello: PackageProject) -> None:
    (hello.root / "pins").mkdir()
    (hello.root / "pins/go.sum").touch()
    (hello.root / "pins/go.mod").write_text("module example.com/pins\n\nnonsense\n")
    hello.replace(BUILD, "tools: []", "tools: [pins]")
    assert problems(hello) == ["pins/go.mod:3: a line that Go does not read"]


def test_pins_without_go_sum_are_a_problem_of_the_project(hello: PackageProject) -> None:
    (hello.root / "pins").mkdir()
    lines = ["module example.com/pins", "", "tool carvel.dev/ytt/cmd/ytt", "", "require carvel.dev/ytt v0.55.2", ""]
    (hello.root / "pins/go.mod").write_text("\n".join(lines))
    hello.replace(BUILD, "tools: []", "tools: [pins]")
    assert problems(hello) == ["pins/go.mod: go.sum is missing or no file beside it"]


# The values schema


def test_what_the_client_does_with_a_schema_is_told(hello: PackageProject, toolset: Toolchain) -> None:
    text = (hello.root / VALUES).read_text()
    extra = 'top:\n  #@schema/nullable\n  extra:\n    a: 1\n#@schema/default ["a: {} b"]\ndeep:\n- ""\n'
    extra += "#@schema/default [80]\nports:\n- 0\n"
    (hello.root / VALUES).write_text(f"{text}\n{extra}")
    found = values_schema.schema_problems(hello.root, hello.root, toolset)
    fatal = [p for p in found if p.severity is Severity.ERROR]
    assert [p.message.partition(" (")[0] for p in fatal] == [
        "the client fails on this schema: ports: its default holds an integer at [0]"
    ]
    assert [(str(p.location).rpartition("/")[2], p.message, p.hint) for p in found if p not in fatal] == [
        (
            f"{VALUES}:24:1",
            "the client removes ` {}` after a colon from its default",
            "remove `: {}` from the text; in JSON write `:{}`",
        ),
        (
            f"{VALUES}:21:3",
            "the client writes it expanded, although its default is null",
            "remove nullable here, and add an option that enables the feature",
        ),
    ]


def test_what_ytt_refuses_is_told(hello: PackageProject, toolset: Toolchain) -> None:
    hello.replace(VALUES, "min_len=1", "min_lenn=1")
    (problem,) = values_schema.schema_problems(hello.root, hello.root, toolset)
    assert problem.location
    assert problem.location.file == hello.root / VALUES
    assert "min_lenn" in (problem.found or "")


def test_the_problems_of_the_input_stay_as_they_are(tmp_path: Path) -> None:
    problems = [Problem("one"), Problem("two")]
    assert refusal(ConfigError(problems), Location(tmp_path)) == problems


def test_refusals_are_problems_of_the_input_or_errors_of_their_own(tmp_path: Path) -> None:
    where, place = Location(tmp_path), Location(tmp_path / "a", 3)
    error: CarvelwrightError
    for kind in (InputError, ToolError):
        error = kind("m", details="d", hint="h")
        assert refusal(error, where) == [Problem("m", where, found="d", hint="h")]
        error = kind("m", location=place)
        assert refusal(error, where) == [Problem("m", place)]
    for error in (FilesystemError("m"), ToolMissingError("m", tools=["ytt"]), CarvelwrightError("m")):
        with pytest.raises(CarvelwrightError) as caught:
            refusal(error, where)
        assert caught.value is error
