"""A layer that somebody else made: its files, or why it is not read."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.oci import unpack
from tests.helpers.hostile import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 1 << 20


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


def layer_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return gzip.compress(tar_of(members))


def test_files_are_read_by_their_names() -> None:
    layer = layer_of(
        (member("./a", tarfile.DIRTYPE), b""),
        (member("./a//b.yml"), b"first"),
        (member("a/b.yml"), b"second"),
        (member("a/" + "long" * 60), b""),
        (member("ä"), b"\0"),
    )
    assert unpack.files_of(layer, LIMIT) == {"a/b.yml": b"second", "a/" + "long" * 60: b"", "ä": b"\0"}


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "a\\..\\..\\x", "a/..", "a/.wh.b", ".wh...", "../.wh.x", ".wh..wh..opq"],
)
def test_a_name_that_leads_elsewhere_is_refused_with_it(name: str) -> None:
    with pytest.raises(ValueError, match=r"leads out of it|removes a file") as caught:
        unpack.files_of(layer_of((member("a"), b""), (member(name), b"x")), LIMIT)
    assert f"{name!a}" in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_special_files_are_refused(kind: bytes) -> None:
    with pytest.raises(ValueError, match="packages/x is a link or a special file"):
        unpack.files_of(layer_of((member("packages/x", kind, "/etc/passwd"), b"")), LIMIT)


def test_a_sparse_file_is_refused_whatever_size_it_says() -> None:
    info = member("huge")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 50)}
    with pytest.raises(ValueError, match="huge is a link or a special file"):
        unpack.files_of(layer_of((info, b"0\n".ljust(512, b"\0"))), LIMIT)


def test_what_unpacks_to_more_than_the_limit_is_refused() -> None:
    layer = layer_of((member("zeros"), b"\0" * LIMIT))
    assert len(layer) < LIMIT / 100
    with pytest.raises(ValueError, match=f"larger than {LIMIT} bytes"):
        unpack.files_of(layer, LIMIT)
    assert len(unpack.files_of(layer, 2 * LIMIT)["zeros"]) == LIMIT


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_ENTRIES", 2)
    assert len(unpack.files_of(layer_of((member("a"), b""), (member("b"), b"")), LIMIT)) == 2
    with pytest.raises(ValueError, match="more than 2 files"):
        unpack.files_of(layer_of(*((member(name), b"") for name in "abc")), LIMIT)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (b"", "no tar archive|not compressed"),
        (b"nonsense", "not compressed with gzip"),
        (gzip.compress(b"nonsense", mtime=0), "no tar archive"),
        (gzip.compress(tar_of([(member("a"), b"x" * 2000)]))[:-20], "not compressed with gzip"),
        (gzip.compress(tar_of([(member("a"), b"x" * 2000)])[:1500]), "no tar archive|not whole"),
        (gzip.compress((b"x" * 100 + b"\0" * 24 + b"00000000012\0").ljust(512, b"\0")), "no tar archive"),
    ],
    ids=["empty", "text", "packed text", "packed in part", "in part", "no checksum"],
)
def test_what_is_no_archive_is_refused(layer: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack.files_of(layer, LIMIT)


def test_headers_that_announce_each_other_without_end_are_refused() -> None:
    info = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 512
    header = info.tobuf(tarfile.GNU_FORMAT)[:512] + b"x".ljust(512, b"\0")
    with pytest.raises(ValueError, match="no tar archive"):
        unpack.files_of(gzip.compress(header * 3000), 1 << 30)


@QUICK
@given(st.binary(max_size=40), st.integers(0, 3000), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(garbage: bytes, place: int, byte: int) -> None:
    plain = bytearray(tar_of([(member("a" * 120), b"x" * 600), (member("d", tarfile.DIRTYPE), b"")]))
    plain[place % len(plain)] = byte
    for layer in (garbage, gzip.compress(garbage), gzip.compress(bytes(plain))):
        with contextlib.suppress(ValueError):
            assert all(not name.startswith("/") for name in unpack.files_of(layer, LIMIT))
