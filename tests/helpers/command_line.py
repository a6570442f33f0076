"""The command line, run within the test's own process: what it is given and what it gives are a process's own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from carvelwright.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Written(NamedTuple):
    """How a command ended, and what it wrote on standard output and error."""

    code: int
    out: bytes
    err: bytes


def run_here(arguments: Sequence[str], directory: Path, environment: Mapping[str, str], seconds: float) -> Written:
    """Run a command line as `python -m carvelwright` does, but for the start of an interpreter: most of a short run.

    A command that does not end within `seconds` is a TimeoutError. What an interpreter reads as it starts, such as
    PYTHONUTF8 or LC_ALL, has no effect.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with _place(directory, environment), _descriptors({1: out.fileno(), 2: err.fileno()}), _limit(seconds):
            code = run(list(arguments))
        out.seek(0)
        err.seek(0)
        return Written(code, out.read(), err.read())


@contextlib.contextmanager
def _place(directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    former, variables, argv = os.open(".", os.O_RDONLY), dict(os.environ), sys.argv
    try:
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["__main__.py"]
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(variables)
        os.fchdir(former)
        os.close(former)


@contextlib.contextmanager
def _descriptors(instead: Mapping[int, int]) -> Iterator[None]:
    """Let standard streams, also those of the programs that the command starts, be other files."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    former = {number: os.dup(number) for number in instead}
    try:
        for number, file in instead.items():
            os.dup2(file, number)
        yield
    finally:
        for number, file in former.items():
            os.dup2(file, number)
            os.close(file)


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError(f"the command did not end within {seconds:g} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
