"""Reads the files of an image's layers, one after the other: nothing is written, and no name is followed."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
# By a file of this name a layer removes one of a lower layer, or all of a directory.
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_NO_ARCHIVE = (tarfile.TarError, ValueError, EOFError, LookupError, OverflowError, RecursionError, TypeError)
_NOT_PACKED = (OSError, EOFError, zlib.error)


class _Bounded:
    """A stream that ends with an error above so many bytes: a few KB of gzip unpack to any size."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source, self._left, self._limit = source, limit, limit

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError(f"it unpacks to more than {self._limit} bytes")
        return data


class _TooLargeError(Exception):
    """What is above the limit; never leaves this module."""


def files_of(layer: bytes, limit: int) -> Iterator[tuple[str, bytes | None]]:
    """Yield the regular files of a layer, tar or tar with gzip, by their absolute paths; None for one that it removes.

    A path that ends with a slash is a directory that it empties. ValueError where it is no archive, or unpacks to more
    than `limit` bytes.
    """
    source: IO[bytes] = io.BytesIO(layer)
    if layer.startswith(_GZIP):
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=source))
    stream = cast("IO[bytes]", _Bounded(source, limit))
    try:
        with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:
            for member in tar:
                yield from _file(tar, member)
    except _TooLargeError as error:
        raise ValueError(str(error)) from None
    except _NOT_PACKED as error:
        raise ValueError(f"it cannot be unpacked: {error}") from None
    except _NO_ARCHIVE as error:
        raise ValueError(f"it is no tar archive: {error}") from None


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[tuple[str, bytes | None]]:
    path = "/" + "/".join(part for part in member.name.split("/") if part not in ("", "."))
    directory, _, name = path.rpartition("/")
    if name == _OPAQUE:
        yield f"{directory}/", None
    elif name.startswith(_WHITEOUT):
        yield f"{directory}/{name.removeprefix(_WHITEOUT)}", None
    elif member.isreg():
        content = tar.extractfile(member)
        yield path, content.read() if content else b""
    elif not member.isdir():
        # A link takes the place of a file.
        yield path, None
