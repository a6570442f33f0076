"""Progress on a terminal: a line for each running step with its time ticking. Imported only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from carvelwright.report import Recorder, Step, StepRecord, line, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLES = {"done": "green", "reused": "dim", "failed": "bold red"}


class TerminalReporter(Recorder):
    """Shows running steps at the bottom of a terminal and leaves a line for each that ended.

    `environment` says how: NO_COLOR, TERM, COLUMNS.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._console = Console(file=stream, force_terminal=True, highlight=False, _environ=environment)
        self._progress: Progress | None = None
        self._tasks: dict[Step, TaskID] = {}

    def note(self, text: str) -> None:
        """Write a line above those of the running steps."""
        self._console.print(Text(printable(f"  {text}")), soft_wrap=True)

    def _started(self, step: Step) -> None:
        if self._progress is None:
            self._progress = _progress(self._console)
            self._progress.start()
        self._tasks[step] = self._progress.add_task(printable(step.name), total=None, detail="")

    def _changed(self, step: Step) -> None:
        with self._lock:
            if self._progress is not None and step in self._tasks:
                self._progress.update(self._tasks[step], detail=printable(step.detail))

    def _ended(self, step: Step, record: StepRecord, state: str) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(self._tasks.pop(step))
        self._console.print(Text(printable(line(record, state, step.detail)), style=_STYLES[state]), soft_wrap=True)
        if not self._tasks:
            # Nothing is left behind when the command ends between two steps, in whatever way.
            self._progress.stop()
            self._progress = None


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
