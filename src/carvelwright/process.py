"""The only module that runs other programs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_LOOK_SECONDS = 0.1
_TERMINATION_GRACE_SECONDS = 3.0
_STDERR_LINES = 40
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What the operating system says, in Go's words.
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded|file too large|SIGXFSZ", re.IGNORECASE)
_DISK_FULL_HINT = "free space (or raise `ulimit -f`) where the tool writes, then run the same command again"


@dataclass(frozen=True, slots=True)
class Output:
    """What a program that ended well wrote."""

    stdout: bytes
    stderr: str


class ToolFailedError(CarvelwrightError):
    """A program ended with a code other than 0, or did not end in time: carries argv, code and stderr."""

    def __init__(self, argv: Sequence[str], code: int | None, stderr: str, *, step: str, timeout: float | None) -> None:
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr
        name = argv[0].rsplit("/", 1)[-1]
        full = _DISK_FULL.search(stderr) is not None or code == -signal.SIGXFSZ
        lines = stderr.strip().splitlines()
        shown = ["…", *lines[-_STDERR_LINES:]] if len(lines) > _STDERR_LINES else lines
        super().__init__(
            f"step {step}: {name} {_ending(code, timeout)}",
            exit_code=ExitCode.FILESYSTEM if full else ExitCode.TOOL_FAILED,
            details="\n".join([*shown, f"command: {' '.join(argv)}"]),
            hint=_DISK_FULL_HINT if full else None,
            step=step,
        )


def _ending(code: int | None, timeout: float | None) -> str:
    if code is None:
        return f"did not end within {timeout:g} s and was stopped"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"


class _Children:
    """The running programs, so that an interrupt can end those that other threads wait for."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._held = False
        self._interrupted = False

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        with self._lock, self.interrupts_wait():
            if self._closed:
                raise KeyboardInterrupt
            child = subprocess.Popen(argv, **options)
            self._running.add(child)
            return child

    def interrupt(self, _number: int, _frame: object) -> None:
        """Handle a signal: raise, or leave it to the end of a block that must not be cut."""
        if self._held:
            self._interrupted = True
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interrupts_wait(self) -> Iterator[None]:
        """Put an interrupt off to the end of the block: what it starts is known by then."""
        # Signals are handled in the main thread; the others are never interrupted.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._interrupted:
                self._interrupted = False
                raise KeyboardInterrupt

    def forget(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(child)

    def stop_all(self) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            _stop(child)

    def reopen(self) -> None:
        with self._lock:
            self._closed = False


_children = _Children()


def run(
    argv: Sequence[str],
    *,
    step: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
) -> Output:
    """Run a program to its end and return what it wrote.

    `env` is the whole environment (None: this process's own), `timeout` is in seconds. Raises ToolFailedError with
    the step's name, and a CarvelwrightError (TOOL_MISSING) where the program cannot be started.
    """
    child = _start(argv, step=step, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        stdout, stderr = _communicate(child, stdin, timeout)
    except subprocess.TimeoutExpired:
        _stop(child)
        _, stderr = child.communicate()
        raise ToolFailedError(argv, None, stderr.decode(errors="replace"), step=step, timeout=timeout) from None
    except BaseException:
        _stop(child)
        raise
    finally:
        _children.forget(child)
    text = stderr.decode(errors="replace")
    if child.returncode != 0:
        raise ToolFailedError(argv, child.returncode, text, step=step, timeout=timeout)
    return Output(stdout, text)


@contextlib.contextmanager
def background(
    argv: Sequence[str], *, step: str, env: Mapping[str, str] | None = None, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; its output goes to `log`. It ends with the block and with this process."""
    with log.open("wb") as output:
        child = _start(argv, step=step, env=env, stdin=subprocess.DEVNULL, stdout=output, die_with_parent=True)
    try:
        yield child
    finally:
        _stop(child)
        _children.forget(child)


def in_parallel(*calls: Callable[[], Any]) -> list[Any]:
    """Call all at once and return their results in order; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=max(len(calls), 1)) as pool:
        try:
            with _children.interrupts_wait():
                futures = [pool.submit(call) for call in calls]
            # A signal just before a lock is waited for does not end the wait, and one within may leave the lock held.
            running = True
            while running:
                with _children.interrupts_wait():
                    running = bool(wait(futures, timeout=_LOOK_SECONDS).not_done)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            _children.stop_all()
            raise


@contextlib.contextmanager
def stopping_children() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt; no program outlives the block.

    A signal that this process was told to ignore (nohup, a shell's background job) stays ignored.
    """
    heeded = [number for number in _INTERRUPTS if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, _children.interrupt) for number in heeded}
    try:
        yield
    finally:
        _children.stop_all()
        _children.reopen()
        for number, handler in former.items():
            signal.signal(number, handler)


def _start(
    argv: Sequence[str],
    *,
    step: str,
    env: Mapping[str, str] | None,
    stdin: int,
    stdout: Any,
    cwd: Path | None = None,
    die_with_parent: bool = False,
) -> subprocess.Popen[bytes]:
    try:
        return _children.start(
            argv,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE if stdout == subprocess.PIPE else subprocess.STDOUT,
            # A session of its own: a Ctrl-C reaches this process alone, which then ends the children in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if die_with_parent else None,
        )
    except OSError as error:
        raise CarvelwrightError(
            f"step {step}: cannot start {argv[0]}: {error.strerror}",
            exit_code=ExitCode.TOOL_MISSING,
            hint="run `carvelwright doctor` to see which tools are missing",
            step=step,
        ) from error


def _communicate(child: subprocess.Popen[bytes], stdin: bytes, timeout: float | None) -> tuple[bytes, bytes]:
    end = None if timeout is None else time.monotonic() + timeout
    rest: bytes | None = stdin
    # In slices, for the same reason as `in_parallel`: a signal just before a wait does not end that wait.
    while True:
        left = _LOOK_SECONDS if end is None else max(end - time.monotonic(), 0)
        try:
            return child.communicate(rest, timeout=min(left, _LOOK_SECONDS))
        except subprocess.TimeoutExpired:
            if left < _LOOK_SECONDS:
                raise
        # The first call keeps what it has not written yet, and takes no other input.
        rest = None


def _die_with_parent() -> None:
    # A server must not hold its port after a kill -9 of this process (PR_SET_PDEATHSIG is 1; Linux only).
    import ctypes  # noqa: PLC0415 - only where a server is started

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a program and what it started: SIGTERM to its session, SIGKILL when that is not heeded."""
    for number, patience in ((signal.SIGTERM, _TERMINATION_GRACE_SECONDS), (signal.SIGKILL, None)):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)


def stopwatch() -> Callable[[], float]:
    """Start a clock; each call returns the seconds since."""
    start = time.monotonic()
    return lambda: time.monotonic() - start
