"""Platforms as Go and OCI name them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.platform import Platform


def test_reads_os_and_architecture() -> None:
    assert Platform.parse("linux/arm64") == Platform("linux", "arm64")


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "Linux/amd64", "linux/arm/v7", "linux/amd64\n", "a b/c"]
)
def test_refuses_other_texts_and_shows_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as linux/amd64") as caught:
        Platform.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text() | st.from_regex(r"[a-z0-9]+/[a-z0-9]+"))
def test_any_text_is_read_back_the_same_or_refused_by_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(Platform.parse(text)) == text
