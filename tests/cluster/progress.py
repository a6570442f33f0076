"""Progress for people: one plain line per event, with the seconds since this process began."""

from __future__ import annotations

import sys
import time

_BEGIN = time.monotonic()


def say(line: str) -> None:
    """Write `line` to stderr, after the elapsed time."""
    sys.stderr.write(f"{time.monotonic() - _BEGIN:7.1f}s  {line}\n")
    sys.stderr.flush()
