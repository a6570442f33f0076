"""The one error family: every fault a user can cause is a `CarvelwrightError` and is reported in one place."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import TypedDict, Unpack

    class _Parts(TypedDict, total=False):
        details: str | None
        hint: str | None
        location: Location | None
        step: str | None


# How the words begin that say that a program took too long.
LATE = "did not end within"
_STDERR_LINES = 40
# What Go's runtime says. It also crashes with a signal where it got no memory.
_NO_MEMORY = re.compile(
    r"^(?:fatal error|runtime): .*(?:out of memory|failed to reserve|cannot map pages|unexpected signal during runtime)"
    r"|cannot allocate memory",
    re.MULTILINE,
)
# Where Go begins to list what each goroutine did.
_TRACE = re.compile(r"^(?:goroutine \d+|runtime stack:).*", re.MULTILINE | re.DOTALL)
# What the operating system says, in Go's words.
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded|file too large|SIGXFSZ", re.IGNORECASE)
_DISK_FULL_HINT = "free space (or raise `ulimit -f`) where the tool writes, then run the same command again"


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
        "a registry refused, could not be reached, did not respond in time, or holds what is incomplete or corrupt",
    )
    RELEASED = 7, "this version is already released with different content"
    FILESYSTEM = 8, "a file or a standard stream could not be read or written: no space, no permission, or missing"
    CLIENT = 9, "the client itself fails on this schema: it panics or reports an error"
    DIFFERENT = 10, "`diff --fail-on` found a change that it was told to fail on"
    VULNERABLE = 11, "`scan` found a vulnerability that is reached and not accepted, or its database is too old"
    UNVERIFIED = 12, "`verify` found what is unsigned, not attested, incomplete, or not what attestations or a tag give"
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
    """An expected failure. There is a class for each exit code that a caller may want to tell apart.

    `message` says what failed, `details` what was seen (a tool's stderr, for example), `hint` what to do,
    `location` is the place in a file, `step` the build step in which it happened. Each is None where unknown.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        location: Location | None = None,
        step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
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


class UsageError(CarvelwrightError):
    """A command line, an option or a name is wrong."""

    exit_code = ExitCode.USAGE


class InputError(CarvelwrightError):
    """A file of the project is wrong, a values file, or the lock of images. ConfigError is one that lists problems."""

    exit_code = ExitCode.CONFIG


class ConfigError(InputError):
    """Wrong inputs: `problems` are all that were found, not only the first."""

    def __init__(self, problems: Sequence[Problem], *, what: str = "the package project") -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__(f"{count} in {what}")

    def lines(self) -> list[str]:
        """Return the headline and every problem."""
        return [self.message, *(f"  {line}" for problem in self.problems for line in problem.lines())]


class ToolMissingError(CarvelwrightError):
    """A tool is missing or has another version than the pinned one. `tools` names them."""

    exit_code = ExitCode.TOOL_MISSING

    def __init__(self, message: str, *, tools: Sequence[str], **parts: Unpack[_Parts]) -> None:
        super().__init__(message, **parts)
        self.tools = tuple(tools)


class ToolError(CarvelwrightError):
    """A tool ran and failed, or its result is wrong. ToolFailedError is one that carries what the tool wrote."""

    exit_code = ExitCode.TOOL_FAILED


class RegistryError(CarvelwrightError):
    """A registry refused, could not be reached, or holds content that cannot be used.

    `registry` is HOST[:PORT], `reference` the repository or image in it. Each is None where unknown.
    """

    exit_code = ExitCode.REGISTRY

    def __init__(
        self, message: str, *, registry: str | None = None, reference: str | None = None, **parts: Unpack[_Parts]
    ) -> None:
        super().__init__(message, **parts)
        self.registry = registry
        self.reference = reference


class ReleasedError(CarvelwrightError):
    """The version is already released with different content.

    `package` is the refName; `published` is the released bundle, `new` the one that was built, each by digest.
    `published` is None where the published Package fetches no bundle by digest; `new` where none was built yet.
    """

    exit_code = ExitCode.RELEASED

    def __init__(
        self,
        message: str,
        *,
        package: str,
        version: str,
        published: str | None = None,
        new: str | None = None,
        **parts: Unpack[_Parts],
    ) -> None:
        super().__init__(message, **parts)
        self.package = package
        self.version = version
        self.published = published
        self.new = new


class FilesystemError(CarvelwrightError):
    """A file could not be read or written, or is not what carvelwright made.

    `path` is the file or directory, None where unknown.
    """

    exit_code = ExitCode.FILESYSTEM

    def __init__(self, message: str, *, path: Path | None = None, **parts: Unpack[_Parts]) -> None:
        super().__init__(message, **parts)
        self.path = path


class ClientError(CarvelwrightError):
    """The client itself fails on this values schema."""

    exit_code = ExitCode.CLIENT


class DifferenceError(CarvelwrightError):
    """Two versions differ, and the caller asked for a failure where they do."""

    exit_code = ExitCode.DIFFERENT


class VulnerableError(CarvelwrightError):
    """A program reaches a known vulnerability that nobody accepted, or what is known is too old to tell."""

    exit_code = ExitCode.VULNERABLE


class ProgramError(CarvelwrightError):
    """A program that ended badly: `argv`, `code` (None: stopped; negative: ended by that signal) and `stderr`.

    `exceeded` says what it was stopped for, also where it ended itself for want of memory; `late` that it was time.
    """

    def __init__(
        self,
        argv: Sequence[str],
        code: int | None,
        stderr: str,
        *,
        step: str,
        exceeded: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr
        if exceeded is None and code and _NO_MEMORY.search(stderr):
            exceeded, stderr = "needed more memory than there is or than it may use", _TRACE.sub("", stderr)
        self.exceeded = exceeded
        self.late = exceeded is not None and exceeded.startswith(LATE)
        name = argv[0].rsplit("/", 1)[-1]
        lines = stderr.strip().splitlines()
        shown = ["…", *lines[-_STDERR_LINES:]] if len(lines) > _STDERR_LINES else lines
        super().__init__(
            f"step {step}: {name} {_ending(code, exceeded)}",
            details="\n".join([*shown, f"command: {' '.join(argv)}"]),
            hint=hint,
            step=step,
        )


class ToolFailedError(ProgramError, ToolError):
    """A tool ended with a code other than 0, or was stopped: a ProgramError, with `argv`, `code` and `stderr`."""


class DiskFullError(ProgramError, FilesystemError):
    """A tool found no space to write, or wrote a file that is larger than it may be: a ProgramError, too."""


def program_error(
    argv: Sequence[str], code: int | None, stderr: str, *, step: str, exceeded: str | None = None
) -> ProgramError:
    """Return the error for a program that ended badly: where the disk is full, the program is not to blame."""
    if code == -signal.SIGXFSZ or _DISK_FULL.search(stderr):
        return DiskFullError(argv, code, stderr, step=step, exceeded=exceeded, hint=_DISK_FULL_HINT)
    return ToolFailedError(argv, code, stderr, step=step, exceeded=exceeded)


def _ending(code: int | None, exceeded: str | None) -> str:
    if code is None or exceeded:
        return f"{exceeded} and was stopped"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
