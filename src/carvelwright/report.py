"""Progress for people and the log for machines; library code is handed a Reporter and never prints."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from carvelwright.process import stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STILL_RUNNING_SECONDS = 30.0
_KIB, _MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class StepRecord:
    """How one step went: `seconds` of wall time; `reused` when its product was there already."""

    name: str
    seconds: float
    reused: bool


class Step:
    """Handed to a running step, which reports what it does."""

    def __init__(self, name: str = "", changed: Callable[[Step], None] | None = None) -> None:
        self.name = name
        self.reused = False
        self.detail = ""
        self._changed = changed

    def reuse(self) -> None:
        """Say that nothing had to be done."""
        self.reused = True

    def describe(self, detail: str) -> None:
        """Add a few words to the step's line, such as the size of what was pushed."""
        self.detail = detail
        if self._changed is not None:
            self._changed(self)

    def count_packages(self, done: int, total: int) -> None:
        """Say how many Go packages are compiled, of those that have to be."""
        self.describe(f"{done} of {total} packages")


# What moves a cursor, colours, rings or turns the direction of writing; a line's end and a tab may stand.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: what is not to be printed stands as its escape sequence."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class Reporter(Protocol):
    """Receives the progress of a command."""

    def step(self, name: str) -> contextlib.AbstractContextManager[Step]:
        """Report that a step starts, and when the block ends that it ended; safe from several threads."""

    def note(self, text: str) -> None:
        """Report what the user should know besides."""

    @property
    def records(self) -> Sequence[StepRecord]:
        """The steps that ended well, in the order of their ends."""


class Recorder:
    """Keeps the records of the steps and shows nothing; reporters that show them are derived from it."""

    def __init__(self) -> None:
        self._records: list[StepRecord] = []
        self._lock = threading.RLock()

    @property
    def records(self) -> Sequence[StepRecord]:
        """The steps that ended well, in the order of their ends."""
        return tuple(self._records)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step."""
        step, seconds = Step(name, self._changed), stopwatch()
        with self._lock:
            self._started(step)
        ended = False
        try:
            yield step
            ended = True
        finally:
            record = StepRecord(name, seconds(), step.reused)
            with self._lock:
                if ended:
                    self._records.append(record)
                self._ended(step, record, "failed" if not ended else "reused" if step.reused else "done")

    def note(self, text: str) -> None:
        """Show nothing."""

    def _started(self, step: Step) -> None:
        """Show that a step runs."""

    def _changed(self, step: Step) -> None:
        """Show how far a step has come."""

    def _ended(self, step: Step, record: StepRecord, state: str) -> None:
        """Show how a step ended."""


class StreamReporter(Recorder):
    """Writes a plain line when a step ends, and one every `interval` seconds while it runs."""

    def __init__(self, stream: TextIO, *, interval: float = STILL_RUNNING_SECONDS) -> None:
        super().__init__()
        self._stream = stream
        self._interval = interval
        self._timers: dict[Step, threading.Timer] = {}

    def note(self, text: str) -> None:
        """Write a line."""
        with self._lock:
            self._write(f"  {text}")

    def _started(self, step: Step) -> None:
        self._watch(step, stopwatch())

    def _ended(self, step: Step, record: StepRecord, state: str) -> None:
        self._timers.pop(step).cancel()
        self._write(line(record, state, step.detail))

    def _watch(self, step: Step, seconds: Callable[[], float]) -> None:
        def still_running() -> None:
            with self._lock:
                if step in self._timers:
                    detail = f", {step.detail}" if step.detail else ""
                    self._write(f"  {step.name} is running, {seconds():.0f} s{detail}")
                    self._watch(step, seconds)

        timer = self._timers[step] = threading.Timer(self._interval, still_running)
        timer.daemon = True
        timer.start()

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


def readable_size(size: int) -> str:
    """Return a size in bytes as people read it: 16.4 MiB, 57.0 KiB."""
    return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{size / _KIB:.1f} KiB"


def line(record: StepRecord, state: str, detail: str) -> str:
    """Return the line of a step that ended."""
    return f"  {record.name:<36} {state:<7}{record.seconds:8.2f} s{f'  {detail}' if detail else ''}"
