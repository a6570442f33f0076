"""Progress for people and the log for machines; library code is handed a Reporter and never prints."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from carvelwright.process import stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class StepRecord:
    """How one step went: `seconds` of wall time; `reused` when its product was there already."""

    name: str
    seconds: float
    reused: bool


class Step:
    """Handed to a running step, which marks that its product was reused."""

    def __init__(self) -> None:
        self.reused = False

    def reuse(self) -> None:
        """Say that nothing had to be done."""
        self.reused = True


class Reporter(Protocol):
    """What the pipeline tells about its progress."""

    def step(self, name: str) -> contextlib.AbstractContextManager[Step]:
        """Tell that a step starts, and when the block ends that it ended; safe from several threads."""

    @property
    def records(self) -> Sequence[StepRecord]:
        """The steps that ended well, in the order of their ends."""


class StreamReporter:
    """Writes one plain line when a step ends, and on a terminal one that shows what runs now."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._terminal = stream.isatty()
        self._running: list[str] = []
        self._records: list[StepRecord] = []
        self._lock = threading.Lock()

    @property
    def records(self) -> Sequence[StepRecord]:
        """The steps that ended well, in the order of their ends."""
        return tuple(self._records)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and write its line."""
        step, seconds = Step(), stopwatch()
        with self._lock:
            self._running.append(name)
            self._show_running()
        ended = False
        try:
            yield step
            ended = True
        finally:
            with self._lock:
                self._running.remove(name)
                self._end(StepRecord(name, seconds(), step.reused), failed=not ended)

    def _end(self, record: StepRecord, *, failed: bool) -> None:
        if not failed:
            self._records.append(record)
        state = "failed" if failed else "reused" if record.reused else "done"
        self._write(f"{_clear(terminal=self._terminal)}  {record.name:<32} {state:<7}{record.seconds:8.2f} s\n")
        self._show_running()

    def _show_running(self) -> None:
        if self._terminal and self._running:
            self._write(f"{_clear(terminal=True)}  {', '.join(self._running)[:70]} …")

    def _write(self, text: str) -> None:
        if not self._quiet:
            self._stream.write(text)
            self._stream.flush()


def _clear(*, terminal: bool) -> str:
    return "\r\x1b[K" if terminal else ""
