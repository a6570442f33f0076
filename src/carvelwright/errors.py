"""The one error family: every fault a user can cause is a `CarvelwrightError` and is reported in one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of the command line; docs/reference/exit-codes.md is generated from this table."""

    OK = 0, "success"
    INTERNAL = 1, "an internal error of carvelwright: report it with the output of --debug"
    USAGE = 2, "the command line is wrong"
    CONFIG = 3, "a file of the project is wrong, a values file, or the lock of images"
    TOOL_MISSING = 4, "a tool is missing or has another version than the pinned one"
    TOOL_FAILED = 5, "a tool ran and failed"
    REGISTRY = (
        6,
        "a registry refused, could not be reached, did not respond in time, or holds content that cannot be extended",
    )
    RELEASED = 7, "this version is already released with different content"
    FILESYSTEM = 8, "a file or a standard stream could not be read or written: no space, no permission, or missing"
    CLIENT = 9, "the client itself fails on this schema: it panics or reports an error"
    INTERRUPTED = 130, "interrupted by Ctrl-C or SIGTERM"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Attach the meaning to the number."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file: `line` and `column` count from 1; None where unknown."""

    file: Path
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


class Severity(StrEnum):
    """What a problem does to a command: an error ends it, a warning is only reported."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where, what was found, what was expected, what to do."""

    message: str
    location: Location | None = None
    found: str | None = None
    expected: str | None = None
    hint: str | None = None
    excerpt: str | None = None
    severity: Severity = Severity.ERROR

    def lines(self) -> list[str]:
        """Return the problem as lines for people, the place first."""
        head = f"{self.location}: {self.message}" if self.location else self.message
        rows = [("", self.excerpt), ("found: ", self.found), ("expected: ", self.expected), ("hint: ", self.hint)]
        return [head, *(f"    {label}{text}" for label, text in rows if text is not None)]


def errors_among(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that end a command."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def warnings_among(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that are only reported."""
    return [problem for problem in problems if problem.severity is Severity.WARNING]


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return the end of a message that suggests the name most like a mistyped word; empty where none is."""
    from difflib import get_close_matches  # noqa: PLC0415 - slow to import, seldom needed

    close = get_close_matches(word, list(names))
    return f"; did you mean {close[0]}?" if close else ""


class CarvelwrightError(Exception):
    """An expected failure, reported without a traceback.

    `message` says what failed, `details` what was seen (a tool's stderr, for example), `hint` what to do,
    `step` names the build step in which it happened.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode,
        details: str | None = None,
        hint: str | None = None,
        location: Location | None = None,
        step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.details = details
        self.hint = hint
        self.location = location
        self.step = step

    def lines(self) -> list[str]:
        """Return the error as lines for people."""
        where = f"{self.location}: " if self.location else ""
        out = [f"{where}{self.message}"]
        if self.details:
            out += [f"    {line}" for line in self.details.rstrip().splitlines()]
        if self.hint:
            out.append(f"    hint: {self.hint}")
        return out


class ConfigError(CarvelwrightError):
    """Wrong inputs: carries all problems that were found, not only the first."""

    def __init__(self, problems: Sequence[Problem], *, what: str = "the package project") -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{count} in {what}", exit_code=ExitCode.CONFIG)

    def lines(self) -> list[str]:
        """Return the headline and every problem."""
        return [self.message, *(f"  {line}" for problem in self.problems for line in problem.lines())]
