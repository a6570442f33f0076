"""Digests: read strictly, written as the OCI specifications do."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_known_digest_of_nothing() -> None:
    assert str(Digest.of_bytes(b"")) == EMPTY


@given(st.binary())
def test_reads_back_what_it_writes(data: bytes) -> None:
    digest = Digest.of_bytes(data)
    assert Digest.parse(str(digest)) == digest
    assert digest.hex == hashlib.sha256(data).hexdigest()


def test_file_and_bytes_agree(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert Digest.of_file(tmp_path / "file") == Digest.of_bytes(content)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Digest.of_file(tmp_path / "none")


@pytest.mark.parametrize(
    "text", ["", "sha256:", EMPTY.upper(), EMPTY[:-1], EMPTY + "0", EMPTY + "\n", "sha512:" + "0" * 128, EMPTY[7:]]
)
def test_refuses_what_is_no_digest_and_says_what_it_found(text: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest: ") as caught:
        Digest.parse(text)
    assert repr(text) in str(caught.value)
    assert "64 lower-case hex digits" in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused_by_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(Digest.parse(text)) == text
