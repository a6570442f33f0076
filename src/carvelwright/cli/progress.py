"""How a command shows its progress on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carvelwright.cli.streams import drawing
from carvelwright.report import Recorder, StreamReporter

if TYPE_CHECKING:
    from carvelwright.cli.options import Context

_NO_CURSOR = ("dumb", "unknown", "")


def reporter(context: Context, *, quiet: bool = False) -> Recorder:
    """Return what shows progress: moving lines on a terminal, plain ones elsewhere, none with --quiet.

    `quiet` commands, whose result is all that is wanted of them, show it with --verbose only.
    """
    if context.quiet or (quiet and not context.verbose):
        return Recorder()
    if sys.stderr.isatty() and context.environment.get("TERM", "") not in _NO_CURSOR:
        from carvelwright.terminal import TerminalReporter  # noqa: PLC0415 - slow to import, not always needed

        return TerminalReporter(drawing(sys.stderr), context.environment)
    return StreamReporter(sys.stderr)
