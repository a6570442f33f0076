"""Files of layers, read one after the other: what is kept, what is removed, and what is refused."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.oci import rootfs
from tests.helpers import hostile


def layer(*entries: tuple[str, bytes | None], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_files_are_read_by_their_paths(pack: object) -> None:
    data = layer(("usr", None), ("./usr//bin/a", b"A"), ("../x", b"X"), links={"usr/bin/b": "a"})
    found = list(rootfs.files_of(pack(data), 1 << 20))  # type: ignore[operator]
    assert found == [("/usr/bin/a", b"A"), ("/../x", b"X"), ("/usr/bin/b", None)]


def test_what_a_layer_removes_is_told() -> None:
    data = layer(("usr/.wh.a", b""), ("opt/.wh..wh..opq", b""), (".wh.etc", b""))
    assert list(rootfs.files_of(data, 1 << 20)) == [("/usr/a", None), ("/opt/", None), ("/etc", None)]


def test_a_layer_that_unpacks_to_too_much_is_refused() -> None:
    data = gzip.compress(layer(("a", b"\0" * 100_000)))
    assert len(data) < 1000
    with pytest.raises(ValueError, match="it unpacks to more than 50000 bytes"):
        list(rootfs.files_of(data, 50_000))


@hostile.QUICK
@given(st.binary(max_size=2000), st.booleans(), st.integers(0, 1000))
def test_any_layer_is_read_or_refused(noise: bytes, packed: bool, at: int) -> None:
    data = bytearray(layer(("a", b"A" * 600), ("b", b"B")))
    data[at : at + len(noise)] = noise
    content = gzip.compress(bytes(data)) if packed else bytes(data)
    if packed and at % 2:
        content = content[: len(content) // 2]
    hostile.answer(lambda: list(rootfs.files_of(content, 1 << 20)), ValueError)
