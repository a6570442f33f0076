"""Reads the files of a layer that somebody else made: into memory, within bounds, without a file system.

`imgpkg pull` writes and removes whatever a layer's names point at, also outside of its target: what nobody has looked
at must not reach it.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

from carvelwright.digest import Digest

_ENTRIES = 50_000
# By a file of this name a layer removes one of a lower layer: those who unpack it remove what has the rest of the name.
_WHITEOUT = ".wh."
# What tarfile raises for what is no archive; headers that announce each other are read recursively.
_NO_ARCHIVE = (tarfile.TarError, ValueError, EOFError, LookupError, OverflowError, RecursionError, TypeError)


def files_of(layer: bytes, limit: int, *, diff_id: Digest | None = None) -> dict[str, bytes]:
    """Return the files of a gzip-compressed layer by their names, at most `limit` bytes unpacked.

    ValueError says why it cannot be read as it stands: it is no archive, too large, not what the image's configuration
    says (`diff_id`), or holds something other than files and directories below its own root.
    """
    plain = _inflated(layer, limit)
    if diff_id is not None and Digest.of_bytes(plain) != diff_id:
        raise ValueError(f"its layer unpacks to {Digest.of_bytes(plain)}, and its configuration says {diff_id}")
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:", errors="surrogateescape") as tar:
            return _read(tar)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except _NO_ARCHIVE as error:
        raise ValueError(f"its layer is no tar archive: {error}") from None


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """What an archive may not hold."""


def _inflated(layer: bytes, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(layer)) as stream:
            plain = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"its layer is not compressed with gzip: {error}") from None
    if len(plain) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return plain


def _read(tar: tarfile.TarFile) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number, member in enumerate(tar):
        name = _name(member)
        if number >= _ENTRIES:
            raise _Refused(f"it holds more than {_ENTRIES} files")
        if member.isdir():
            continue
        # A sparse file may say any size.
        if not member.isreg() or member.issparse():
            raise _Refused(f"{name} is a link or a special file")
        content = tar.extractfile(member)
        data = content.read() if content else b""
        if not name or len(data) != member.size:
            raise _Refused(f"{name or 'a file without a name'} is not whole")
        found[name] = data
    return found


def _name(member: tarfile.TarInfo) -> str:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    # imgpkg takes a backslash for a slash.
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise _Refused(f"{member.name!a} leads out of it")
    if parts and parts[-1].startswith(_WHITEOUT):
        raise _Refused(f"{member.name!a} removes a file instead of being one")
    return "/".join(parts)
