"""References to images: the registry is always named."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.digest import Digest
from carvelwright.reference import Reference, Repository

DIGEST = "sha256:" + "0a" * 32

domains = st.sampled_from(
    ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000", "r.example.com", "R-1.example.com:443"]
)
components = st.from_regex(r"[a-z0-9]{1,4}([._]|__|-{1,3})?[a-z0-9]{1,4}", fullmatch=True)
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
tags = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
digests = st.none() | st.just(DIGEST)


@given(domains, paths, tags, digests)
def test_reads_back_what_it_writes(domain: str, path: str, tag: str | None, digest: str | None) -> None:
    text = f"{domain}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    reference = Reference.parse(text)
    assert str(reference) == text
    assert (reference.repository.registry, reference.repository.path) == (domain, path)
    assert (reference.tag, reference.digest and str(reference.digest)) == (tag, digest)


@given(domains, paths)
def test_repository_reads_back_what_it_writes(domain: str, path: str) -> None:
    assert str(Repository.parse(f"{domain}/{path}")) == f"{domain}/{path}"


@given(st.text() | st.from_regex(r"[a-zA-Z0-9:/@._-]{1,30}"))
def test_any_text_is_read_back_the_same_or_refused_by_value_error(text: str) -> None:
    for kind in (Reference, Repository):
        with contextlib.suppress(ValueError):
            assert str(kind.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "busybox",
        "team/app",
        "library/busybox:1.0",
        "r.example.com",
        "r.example.com/",
        "r.example.com/App",
        "r.example.com//a",
        "r.example.com/a:",
        "r.example.com/a:-x",
        "http://r.example.com/a",
        "r.example.com:x/a",
        "r.example.com/a\n",
    ],
)
def test_refuses_what_names_no_image_of_a_registry(text: str) -> None:
    with pytest.raises(ValueError, match="not an image reference: ") as caught:
        Reference.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["team/app", "r.example.com/a:tag", f"r.example.com/a@{DIGEST}", "oci://r.example.com/a"]
)
def test_refuses_what_is_no_repository_and_shows_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as registry\.example\.com/team/whereabouts"):
        Repository.parse(text)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_refuses_a_port_that_there_is_not(port: str) -> None:
    for host in ("localhost", "[::1]"):
        with pytest.raises(ValueError, match=f"{port} is not a port"):
            Repository.parse(f"{host}:{port}/x")


def test_refuses_a_name_that_is_too_long_for_the_tools() -> None:
    longest = "r.example.com/" + "a" * (255 - len("r.example.com/"))
    assert str(Repository.parse(longest)) == longest
    with pytest.raises(ValueError, match="256 characters"):
        Repository.parse(f"{longest}a")


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:0", DIGEST.upper()])
def test_refuses_a_broken_digest(digest: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Reference.parse(f"r.example.com/a@{digest}")


def test_children_tags_and_digests() -> None:
    repository = Repository.parse("localhost:5000/packages")
    child = repository.child("hello.example.com")
    assert str(child) == "localhost:5000/packages/hello.example.com"
    assert str(child.tagged("1.0_a")) == f"{child}:1.0_a"
    assert str(child.tagged("x").with_digest(Digest.parse(DIGEST))) == f"{child}:x@{DIGEST}"
    assert str(child.at(Digest.parse(DIGEST))) == f"{child}@{DIGEST}"
    with pytest.raises(ValueError, match=r"not a tag: '1\.0\+a'"):
        child.tagged("1.0+a")
    with pytest.raises(ValueError, match="not a repository"):
        repository.child("Upper")
