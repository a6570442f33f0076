"""The only module that runs other programs."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import pwd
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright.errors import LATE, FilesystemError, InputError, ToolError, ToolMissingError, program_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

_LOOK_SECONDS = 0.1
_THREADS = 16
_CHUNK_BYTES = 1 << 16
_TERMINATION_GRACE_SECONDS = 3.0
_WORDS_BYTES = 1 << 20
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a program may use that renders or moves what others wrote, in bytes of memory.
MEMORY = 4 << 30
# What any program may write, which is kept in memory.
_OUTPUT_BYTES = 512 << 20
_CANNOT_RUN = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM)
# Leads the process group of one program. Its standard input is a pipe that this process alone holds open, so that the
# group ends with this process, also by a kill -9. It is a shell because a shell starts in a millisecond.
_GUARD = ("/bin/sh", "-c", 'trap "" HUP INT TERM; read -r _; kill -KILL 0')


@dataclass(frozen=True, slots=True)
class Output:
    """What a program that ended well wrote."""

    stdout: bytes
    stderr: str


class _Gate:
    """Turns signals into KeyboardInterrupt, but not inside a block that must not be cut."""

    def __init__(self) -> None:
        self._held = 0
        self._interrupted = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._held:
            self._interrupted = True
        else:
            raise KeyboardInterrupt

    def remember(self) -> None:
        """Let the next block that must not be cut raise at its end: a KeyboardInterrupt was raised and swallowed."""
        self._interrupted = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        # Signals are handled in the main thread; the others are never interrupted.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._interrupted and not self._held:
                self._interrupted = False
                raise KeyboardInterrupt


class _Child:
    """A program and the guard that leads its process group.

    The group's number is the guard's, which is reaped last: it cannot have become another group's meanwhile.
    """

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        null = subprocess.DEVNULL
        self._guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, stdout=null, stderr=null, process_group=0, env={})
        self._lock = threading.Lock()
        self._ended = False
        try:
            # Not the terminal's group: a Ctrl-C reaches this process alone, which then ends the programs in order.
            self.program = subprocess.Popen(argv, bufsize=0, process_group=self._guard.pid, **options)
        except BaseException:
            self.end()
            raise

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and to all that it started."""
        with self._lock:
            if not self._ended:
                os.killpg(self._guard.pid, number)

    def end(self) -> None:
        """End what is left of the group; calling it again does nothing."""
        with self._lock:
            if self._ended:
                return
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
            if self._guard.stdin:
                self._guard.stdin.close()
            self._ended = True

    def stop(self) -> None:
        """End the program and what it started: SIGTERM, and SIGKILL for those that do not heed it in time."""
        try:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.program.wait(_TERMINATION_GRACE_SECONDS)
        finally:
            self.end()
            self.program.wait()


class _Scope:
    """The programs that run within a block, so that an interrupt can end those that other threads wait for."""

    def __init__(self) -> None:
        self._running: set[_Child] = set()
        self._lock = threading.Lock()
        self.closed = False

    def start(self, argv: Sequence[str], **options: Any) -> _Child:
        with self._lock, interrupts_wait():
            if self.closed:
                raise KeyboardInterrupt
            child = _Child(argv, **options)
            self._running.add(child)
            return child

    def forget(self, child: _Child) -> None:
        with self._lock:
            self._running.discard(child)

    def close(self) -> None:
        """Stop all, and start none any more."""
        with self._lock:
            self.closed = True
            running = list(self._running)
        for child in running:
            child.stop()


# Set only while a block runs, and only for what the block calls; threads of `in_parallel` belong to it.
_gate: contextvars.ContextVar[_Gate | None] = contextvars.ContextVar("gate", default=None)
_scope: contextvars.ContextVar[_Scope | None] = contextvars.ContextVar("scope", default=None)


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Put an interrupt off to the end of the block: what it starts is known by then."""
    gate = _gate.get()
    with gate.held() if gate else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _within(scope: _Scope) -> Iterator[_Scope]:
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


def run(  # noqa: PLR0913 - each says one thing of one program
    argv: Sequence[str],
    *,
    step: str,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    memory: int | None = None,
    watch: Callable[[str], None] | None = None,
    waiting: Callable[[float], None] | None = None,
) -> Output:
    """Run a program to its end and return what it wrote. What it started and left running ends with it.

    `env` is the whole environment (None: this process's own), `timeout` is in seconds, `memory` in bytes (None: as much
    as there is). `watch` is called with each line of the program's stderr as it comes, `waiting` about ten times a
    second with the seconds since the start; both in the thread that called. Raises ToolFailedError, or DiskFullError,
    with the step's name, and ToolMissingError where the program cannot be started.
    """
    scope = _scope.get() or _Scope()
    child = _start(scope, argv, step=step, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if memory is not None:
        # What Go reserves and does not use is not counted. One that has ended already needs no limit.
        with contextlib.suppress(OSError):
            resource.prlimit(child.program.pid, resource.RLIMIT_DATA, (memory, memory))
    seconds = stopwatch()
    with contextlib.closing(_Pipes(child.program, stdin, watch)) as pipes:
        try:
            exceeded = _converse(child, pipes, seconds, timeout, waiting)
        finally:
            # Does nothing to a program that has ended, but for what it left behind.
            child.stop()
            scope.forget(child)
        pipes.drain()
    text = pipes.stderr.decode(errors="replace")
    code = None if exceeded else child.program.returncode
    if code != 0:
        raise program_error(argv, code, text, step=step, exceeded=exceeded)
    return Output(bytes(pipes.stdout), text)


def _converse(
    child: _Child, pipes: _Pipes, seconds: Callable[[], float], timeout: float, waiting: Callable[[float], None] | None
) -> str | None:
    """Feed and hear a program until it ends; what it exceeded where it did not end in time or wrote too much."""
    # In slices: a signal that comes just before a wait does not end that wait, but it ends before the next one.
    while True:
        pipes.turn(min(max(timeout - seconds(), 0), _LOOK_SECONDS))
        with interrupts_wait():
            ended = child.program.poll() is not None
        if ended:
            return None
        if seconds() >= timeout:
            return f"{LATE} {timeout:g} s"
        if len(pipes.stdout) > _OUTPUT_BYTES:
            return f"wrote more than {_OUTPUT_BYTES >> 20} MiB"
        if waiting:
            waiting(seconds())


class _Pipes:
    """The three pipes of a program: each is served when it is ready, so that neither side waits for the other."""

    def __init__(self, program: subprocess.Popen[bytes], stdin: bytes, watch: Callable[[str], None] | None) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._program = program
        self._rest = memoryview(stdin)
        self._watch = watch
        self._line = b""
        self._selector = selectors.DefaultSelector()
        self._open(program.stdin, selectors.EVENT_WRITE, self._feed)
        self._open(program.stdout, selectors.EVENT_READ, self._hear_result)
        self._open(program.stderr, selectors.EVENT_READ, self._hear_words)

    def turn(self, seconds: float) -> bool:
        """Serve the pipes that are ready, waiting for one or for the program's end; False where nothing came."""
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._program.wait(seconds)
            return False
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if not key.data(key.fd):
                self._close(key.fileobj)
        return bool(ready)

    def drain(self) -> None:
        """Take what a program that has ended left in its pipes."""
        while self.turn(_LOOK_SECONDS):
            pass
        if self._line and self._watch:
            self._watch(self._line.decode(errors="replace"))
        self._line = b""

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)
        self._selector.close()

    def _open(self, stream: Any, events: int, serve: Callable[[int], bool]) -> None:
        os.set_blocking(stream.fileno(), False)
        self._selector.register(stream, events, serve)

    def _close(self, stream: Any) -> None:
        self._selector.unregister(stream)
        stream.close()

    def _feed(self, fd: int) -> bool:
        try:
            written = os.write(fd, self._rest[:_CHUNK_BYTES]) if self._rest else 0
        except BrokenPipeError:
            # A program need not read all that it is given.
            return False
        self._rest = self._rest[written:]
        return bool(self._rest)

    def _hear_result(self, fd: int) -> bool:
        data = os.read(fd, _CHUNK_BYTES)
        self.stdout += data
        return bool(data)

    def _hear_words(self, fd: int) -> bool:
        data = os.read(fd, _CHUNK_BYTES)
        self.stderr += data
        # Of words the last ones say what is wrong.
        del self.stderr[:-_WORDS_BYTES]
        if self._watch:
            *lines, rest = (self._line + data).split(b"\n")
            self._line = rest[-_WORDS_BYTES:]
            for line in lines:
                self._watch(line.decode(errors="replace"))
        return bool(data)


@contextlib.contextmanager
def background(
    argv: Sequence[str], *, step: str, env: Mapping[str, str] | None = None, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs; its output goes to `log`. It ends with the block and with this process."""
    scope = _scope.get() or _Scope()
    with log.open("wb") as output:
        child = _start(scope, argv, step=step, env=env, stdin=subprocess.DEVNULL, stdout=output)
    try:
        yield child.program
    finally:
        child.stop()
        scope.forget(child)


def in_parallel(*calls: Callable[[], Any]) -> list[Any]:
    """Call all, 16 at once, and return the results in order; the first failure is raised when all have ended."""
    # Imported here: a run without changes does nothing in parallel.
    from concurrent.futures import ThreadPoolExecutor, wait  # noqa: PLC0415

    # An interrupt ends the programs of these calls alone: who catches it may run others. Only the main thread gets one.
    main = threading.current_thread() is threading.main_thread()
    scope = _Scope() if main else _scope.get() or _Scope()
    with _within(scope), ThreadPoolExecutor(max_workers=min(max(len(calls), 1), _THREADS)) as pool:
        try:
            with interrupts_wait():
                futures = [pool.submit(contextvars.copy_context().run, call) for call in calls]
            # A signal just before a lock is waited for does not end the wait, and one within may leave the lock held.
            running = True
            while running:
                with interrupts_wait():
                    running = bool(wait(futures, timeout=_LOOK_SECONDS).not_done)
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            scope.close()
            raise


@contextlib.contextmanager
def stopping_children() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt; no program outlives the block.

    A signal that this process was told to ignore (nohup, a shell's background job) stays ignored. In a thread other
    than the main one no signal can be handled: there only the programs are ended.
    """
    gate, scope = _Gate(), _Scope()
    token = _gate.set(gate)
    try:
        with _signals_to(gate), _within(scope):
            try:
                yield
            finally:
                scope.close()
    finally:
        _gate.reset(token)


@contextlib.contextmanager
def _signals_to(gate: _Gate) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hook = sys.unraisablehook

    def remember(unraisable: sys.UnraisableHookArgs) -> None:
        # Raised where Python takes no exception, such as the end of an object: it must not be lost.
        if unraisable.exc_type is KeyboardInterrupt:
            gate.remember()
        else:
            hook(unraisable)

    heeded = [number for number in _INTERRUPTS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    former = {number: signal.getsignal(number) for number in heeded}
    try:
        sys.unraisablehook = remember
        for number in heeded:
            signal.signal(number, gate.handle)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _start(
    scope: _Scope,
    argv: Sequence[str],
    *,
    step: str,
    env: Mapping[str, str] | None,
    stdin: int,
    stdout: Any,
    cwd: Path | None = None,
) -> _Child:
    require_temporary_directory(env, cwd, step)
    try:
        return scope.start(
            argv,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE if stdout == subprocess.PIPE else subprocess.STDOUT,
        )
    except ValueError as error:
        raise InputError(
            f"step {step}: cannot start {argv[0]}: {error}",
            details=f"command: {' '.join(argv)!r}",
            hint="remove the NUL character or the bytes that are not UTF-8 from the arguments",
            step=step,
        ) from error
    except OSError as error:
        message = f"step {step}: cannot start {argv[0]}: {error.strerror}"
        if error.errno in _CANNOT_RUN:
            hint = "run `carvelwright doctor` to see which tools are missing"
            raise ToolMissingError(message, tools=[argv[0].rpartition("/")[2]], hint=hint, step=step) from error
        raise ToolError(message, step=step) from error


def require_temporary_directory(env: Mapping[str, str] | None, cwd: Path | None, step: str) -> None:
    """Refuse a TMPDIR that takes no file: each tool words that in its own way, some as a fault of the registry."""
    named = env.get("TMPDIR") if env else None
    if not named:
        return
    try:
        # Tried, not asked: to root the permissions of /proc, say, look as if it took files.
        with tempfile.TemporaryFile(dir=os.path.join(cwd or "", named)):  # noqa: PTH118 - a text of the environment
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise FilesystemError(
            f"step {step}: TMPDIR is {named}: no file can be created there: {reason}",
            hint="create the directory, free space there, or set TMPDIR to another one",
            step=step,
        ) from None


def with_home(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the tools, with the user's home directory as an absolute path.

    Tools run in other directories: a relative HOME would be another one in each, also in the sources. Without any, Go
    finds no cache; the user's is in the system's list of users, where a shell looks, too.
    """
    settled = dict(environment)
    home = settled.pop("HOME", "")
    with contextlib.suppress(OSError, KeyError):
        settled["HOME"] = str(Path(home).absolute()) if home else pwd.getpwuid(os.getuid()).pw_dir
    return settled


def pause(seconds: float) -> None:
    """Wait. Raises KeyboardInterrupt in a thread of `in_parallel` that was interrupted, as a program's end would."""
    scope, waited = _scope.get(), stopwatch()
    while (left := seconds - waited()) > 0:
        if scope is not None and scope.closed:
            raise KeyboardInterrupt
        time.sleep(min(left, _LOOK_SECONDS))


def stopwatch() -> Callable[[], float]:
    """Start a clock; each call returns the seconds since."""
    start = time.monotonic()
    return lambda: time.monotonic() - start
