"""Signals from the first instruction on: one line and exit code 130, never a traceback."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LINE = b"error: interrupted; finished steps are kept, run the same command again to continue\n"
ENTRIES = {
    "module": [sys.executable, "-m", "carvelwright"],
    "script": [str(Path(sys.executable).parent / "carvelwright")],
}


def heeds(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process handles a signal; Python itself leaves SIGTERM alone."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigCgt"], 16) >> (number - 1) & 1)


def start(entry: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line; returns when its first instructions have run."""
    process = subprocess.Popen([*ENTRIES[entry], *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not heeds(process.pid, signal.SIGTERM):
        assert process.poll() is None
    return process


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_time_is_one_line_and_code_130(
    repository_root: Path, entry: str, number: signal.Signals
) -> None:
    moments = random.Random(f"{entry} {number}")  # noqa: S311
    interrupted = 0
    for number_of_run in range(40):
        if interrupted and number_of_run >= 4:
            break
        process = start(entry, "--project", str(repository_root), "values", "annotated")
        # A fast machine has often done it by then.
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        if process.returncode != 0:
            assert (process.returncode, err) == (130, LINE)
            assert out == b""
            interrupted += 1
    assert interrupted


def test_a_signal_at_the_very_first_moment(repository_root: Path) -> None:
    for entry in [*ENTRIES] * 3:
        process = start(entry, "--project", str(repository_root), "check")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, LINE)


def test_nothing_is_imported_before_signals_are_heeded() -> None:
    code = "import sys; before = set(sys.modules); import carvelwright.cli; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"carvelwright", b"carvelwright.cli"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_does_not_end_the_command(number: signal.Signals) -> None:
    # What a process ignores its children ignore.
    former = signal.signal(number, signal.SIG_IGN)
    try:
        process = subprocess.Popen([*ENTRIES["module"], "--version"], stdout=subprocess.PIPE)
    finally:
        signal.signal(number, former)
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.001)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.startswith(b"carvelwright ")


SWALLOWED = """
import os, signal, sys
from carvelwright import process

class Ends:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass

with process.stopping_children():
    Ends()
    process.run(["sleep", "600"], step="s", timeout=5)
"""


def test_an_interrupt_that_python_swallows_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, check=False, timeout=60)
    assert done.stderr.endswith(b"KeyboardInterrupt\n")
    assert b"ignored" not in done.stderr
