"""The command line for people, `python -m tests.cluster`, as tests run it: with a cluster of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = (sys.executable, "-m", "tests.cluster")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start it; whatever ends the context before its time ends the command, which takes its cluster down.

    It has a session of its own, so that Ctrl-C comes to it once, from here, and not in the midst of taking down.
    """
    process = subprocess.Popen(
        [*MODULE, *arguments],
        cwd=layout.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_SECONDS)


def run(*arguments: str, timeout: float = PATIENCE_SECONDS) -> str:
    """Run it to its end and return what it printed; it must end well."""
    with started(*arguments) as process:
        output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output[-5000:]
    return output
