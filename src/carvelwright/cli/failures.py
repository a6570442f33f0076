"""What is reported of an error: lines for people, a document for programs, an exit code."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carvelwright.cli import INTERRUPTED
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, UsageError
from carvelwright.files import file_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.errors import Problem


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in words: `error` has its parts, `lines` all of it for people."""

    error: CarvelwrightError
    lines: Sequence[str]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        return self.error.exit_code


class _InterruptedError(CarvelwrightError):
    """The command was interrupted; the library raises KeyboardInterrupt."""

    exit_code = ExitCode.INTERRUPTED


def explain(error: BaseException) -> Failure:
    """Return what there is to say about any error that a command ended with."""
    match error:
        case CarvelwrightError():
            known = error
        case KeyboardInterrupt() | click.Abort():
            known = _InterruptedError(INTERRUPTED)
        case click.UsageError():
            usage = error.ctx.get_usage() if error.ctx else None
            known = UsageError(error.format_message(), details=usage)
        case click.ClickException():
            known = UsageError(error.format_message())
        case OSError():
            known = file_error(error, "read or write")
        case _:
            known = CarvelwrightError(
                f"internal error: {type(error).__name__}: {error}", hint="report it with the output of --debug"
            )
    if known.hint:
        known.hint = known.hint.replace("`carvelwright ", f"`{program()} ")
    return Failure(known, known.lines())


def program() -> str:
    """Return how this program was called, for people to copy; it need not be on their PATH."""
    called = Path(sys.argv[0])
    # A shell that finds a program on PATH calls it by its absolute path.
    found = called.name != "carvelwright" or (called.is_absolute() and shutil.which(called.name) == str(called))
    return "carvelwright" if found else os.path.relpath(called) if called.is_absolute() else str(called)


def report(failure: Failure) -> int:
    """Write an error for people; returns the exit code."""
    # What was written before stands before.
    sys.stdout.flush()
    # click would drop escape sequences silently; the stream shows them as text.
    click.echo("error: " + "\n".join(failure.lines), err=True, color=True)
    return int(failure.exit_code)


def document(failure: Failure) -> dict[str, Any]:
    """Return an error as plain data."""
    error = failure.error
    location = error.location
    return {
        "message": error.message,
        "exitCode": int(error.exit_code),
        "details": error.details,
        "hint": error.hint,
        "file": str(location.file) if location else None,
        "line": location.line if location else None,
        "step": error.step,
        "problems": [problem_document(problem) for problem in error.problems] if isinstance(error, ConfigError) else [],
    }


def as_json(failure: Failure) -> str:
    """Return the document that takes the place of a result."""
    return json.dumps({"error": document(failure)}, indent=2)


def problem_document(problem: Problem) -> dict[str, str | int | None]:
    """Return a problem of an input as plain data."""
    location = problem.location
    return {
        "message": problem.message,
        "severity": str(problem.severity),
        "file": str(location.file) if location else None,
        "line": location.line if location else None,
        "column": location.column if location else None,
        "found": problem.found,
        "expected": problem.expected,
        "hint": problem.hint,
    }
