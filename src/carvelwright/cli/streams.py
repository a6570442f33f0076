"""Standard output and error that never fail a command: what became of its work decides the exit code."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, cast

from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.report import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor; after a failure it takes everything and writes nothing."""

    def __init__(self, descriptor: int, *, closed: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._closed = closed
        self.failure: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._closed and size:
            self.failure = OSError("it is closed")
        while self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                # Whoever shares the terminal or pipe made it non-blocking.
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return size


class _Text(io.TextIOWrapper):
    """Text for people: what a file, a tool or a registry says does nothing to their terminal."""

    def write(self, text: str, /) -> int:
        return super().write(printable(text))

    def draw(self, text: str) -> int:
        """Write what moves the cursor and colours on purpose."""
        return super().write(text)


class _Drawing(io.TextIOBase):
    """The same stream for whoever draws on the terminal, and escapes the words of others."""

    def __init__(self, stream: _Text) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str, /) -> int:
        return self._stream.draw(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def drawing(stream: TextIO) -> TextIO:
    """Return a stream of `guarded` as one that takes control characters; another one as it is."""
    return cast("TextIO", _Drawing(stream)) if isinstance(stream, _Text) else stream


@dataclass(frozen=True, slots=True)
class Streams:
    """Both streams as a command has them."""

    descriptors: dict[str, _Descriptor]

    def failure(self) -> CarvelwrightError | None:
        """Write out what is buffered; return why something could not be written, but for a reader that went away."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for name, descriptor in self.descriptors.items():
            if descriptor.failure is not None and not isinstance(descriptor.failure, BrokenPipeError):
                return FilesystemError(
                    f"cannot write to {name}: {descriptor.failure.strerror or descriptor.failure}",
                    details="the command itself succeeded",
                    hint="redirect it to a file on a file system with free space, or to /dev/null",
                )
        return None


@contextlib.contextmanager
def guarded() -> Iterator[Streams]:
    """Put such streams in place of Python's own while the block runs."""
    former = sys.stdout, sys.stderr
    for stream in former:
        if stream is not None:
            stream.flush()
    closed = [_occupy(number) for number in (0, 1, 2)]
    output, error = _Descriptor(1, closed=closed[1]), _Descriptor(2, closed=closed[2])
    sys.stdout = _text(output, former[0], line_buffering=output.isatty())
    sys.stderr = _text(error, former[1], line_buffering=True)
    try:
        yield Streams({"standard output": output, "standard error": error})
    finally:
        sys.stdout, sys.stderr = former


def _occupy(descriptor: int) -> bool:
    """Tell whether a standard stream is closed, and keep its number from the next file that is opened."""
    try:
        os.fstat(descriptor)
    except OSError:
        # The lowest free number is taken: those below it are open by now.
        os.open(os.devnull, os.O_RDWR)
        return True
    return False


def _text(descriptor: _Descriptor, like: TextIO | None, *, line_buffering: bool) -> TextIO:
    # Of a name that the terminal cannot show, the number is shown.
    encoding = like.encoding if like is not None else "utf-8"
    buffer = io.BufferedWriter(descriptor)
    return _Text(buffer, encoding=encoding, errors="backslashreplace", line_buffering=line_buffering)
