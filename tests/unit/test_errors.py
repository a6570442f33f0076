"""How failures are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from carvelwright.cli import failures
from carvelwright.errors import (
    ConfigError,
    ExitCode,
    InputError,
    Location,
    Problem,
    ProgramError,
    Severity,
    did_you_mean,
    errors_among,
    warnings_among,
)


def test_every_exit_code_has_a_number_of_its_own_and_a_meaning() -> None:
    numbers = [int(code) for code in ExitCode]
    assert len(set(numbers)) == len(numbers)
    assert all(code.meaning for code in ExitCode)
    assert (ExitCode.OK, ExitCode.USAGE, ExitCode.INTERRUPTED) == (0, 2, 130)


def test_location_shows_what_is_known() -> None:
    assert str(Location(Path("a.yaml"))) == "a.yaml"
    assert str(Location(Path("a.yaml"), 3)) == "a.yaml:3"
    assert str(Location(Path("a.yaml"), 3, 7)) == "a.yaml:3:7"


def test_problem_tells_place_excerpt_found_expected_and_hint_in_this_order() -> None:
    problem = Problem("wrong", Location(Path("a"), 1), "1", "2", "do it", "go: 1")
    assert problem.lines() == ["a:1: wrong", "    go: 1", "    found: 1", "    expected: 2", "    hint: do it"]


def test_problem_leaves_out_what_is_not_known() -> None:
    assert Problem("wrong").lines() == ["wrong"]
    assert Problem("wrong", found="").lines() == ["wrong", "    found: "]


def test_error_indents_details_and_ends_with_the_hint() -> None:
    error = InputError("bad", details="one\ntwo\n", hint="mend", location=Location(Path("f"), 2))
    assert error.lines() == ["f:2: bad", "    one", "    two", "    hint: mend"]
    assert str(error) == "bad"


def test_error_without_place_details_and_hint_is_its_message() -> None:
    assert InputError("bad").lines() == ["bad"]
    assert InputError("bad", step="render").step == "render"


def test_details_keep_their_indentation_and_lose_empty_lines_at_the_end() -> None:
    error = InputError("bad", details="  one\n\ntwo \n\n")
    assert error.lines() == ["bad", "      one", "    ", "    two"]


def test_config_error_counts_and_lists_every_problem() -> None:
    error = ConfigError([Problem("one"), Problem("two", hint="h")], what="x")
    assert error.exit_code is ExitCode.CONFIG
    assert error.lines() == ["2 problems in x", "  one", "  two", "      hint: h"]
    assert ConfigError([Problem("one")]).message == "1 problem in the package project"


def test_exit_codes_are_a_promise_to_scripts() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "CONFIG": 3,
        "TOOL_MISSING": 4,
        "TOOL_FAILED": 5,
        "REGISTRY": 6,
        "RELEASED": 7,
        "FILESYSTEM": 8,
        "CLIENT": 9,
        "DIFFERENT": 10,
        "VULNERABLE": 11,
        "UNVERIFIED": 12,
        "INTERRUPTED": 130,
    }


def test_the_nearest_name_is_suggested_and_none_where_nothing_is_near() -> None:
    assert did_you_mean("bild", ["clean", "build", "builds"]) == "; did you mean build?"
    assert did_you_mean("bild", ["xyz"]) == ""


def test_a_warning_is_no_error() -> None:
    wrong, odd = Problem("wrong"), Problem("odd", severity=Severity.WARNING)
    assert errors_among([odd, wrong]) == [wrong]
    assert warnings_among([odd, wrong]) == [odd]
    assert failures.problem_document(odd)["severity"] == "warning"
    assert failures.problem_document(wrong)["severity"] == "error"


@pytest.mark.parametrize(
    "words",
    [
        "runtime: out of memory: cannot allocate 268435456-byte block (272334848 in use)",
        "fatal error: out of memory allocating heap arena map",
        "fatal error: failed to reserve page summary memory",
        "fatal error: runtime: cannot map pages in arena address space",
        "fatal error: unexpected signal during runtime execution",
        "ytt: Error: fork/exec /bin/true: cannot allocate memory",
    ],
)
def test_a_program_that_got_no_memory_says_so_in_words_of_go(words: str) -> None:
    error = ProgramError(
        ["ytt"], 2, f"{words}\n[signal SIGSEGV]\n\ngoroutine 1 [running]:\nmain.main()\n", step="render"
    )
    assert error.exceeded == "needed more memory than there is or than it may use"
    assert error.details
    assert "goroutine" not in error.details
    assert ProgramError(["ytt"], 1, "ytt: Error: undefined: memory", step="render").exceeded is None
