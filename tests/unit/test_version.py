"""Package versions: Carvel's semver, build metadata ordered too.

The cases of the order follow the source of github.com/carvel-dev/semver v4, the library of kapp-controller.
"""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.carvel.version import PackageVersion

parse = PackageVersion.parse

# Ascending; every pair is compared.
ASCENDING = [
    "0.0.0-0",
    "0.0.0",
    "0.5.1+vmware.2-tkg.1",
    "0.9.4-alpha",
    "0.9.4-alpha.1",
    "0.9.4-alpha.beta",
    "0.9.4-beta",
    "0.9.4-beta.2",
    "0.9.4-beta.11",
    "0.9.4-rc.1",
    "0.9.4-rc.1+vmware.1",
    "0.9.4",
    "0.9.4+1",
    "0.9.4+2",
    "0.9.4+10",
    "0.9.4+a",
    "0.9.4+vmware.1",
    "0.9.4+vmware.1-tkg.1",
    "0.9.4+vmware.1-tkg.2",
    "0.9.4+vmware.1-tkg.10",
    "0.9.4+vmware.10-tkg.1",
    "0.9.4+vmware.9-tkg.1",
    "0.9.10+vmware.1",
    "0.10.0",
    "1.0.0",
    "1.0.0+a",
    "18446744073709551615.0.0",
]

identifier = st.from_regex(r"[0-9A-Za-z-]{1,6}", fullmatch=True)
number = st.integers(0, 30) | st.integers(0, 2**64 - 1)
versions = st.builds(
    lambda core, pre, build: (
        ".".join(map(str, core)) + ("-" + ".".join(pre) if pre else "") + ("+" + ".".join(build) if build else "")
    ),
    st.tuples(number, number, number),
    st.lists(identifier.filter(lambda text: not (text.isdigit() and text[0] == "0" and text != "0")), max_size=3),
    st.lists(identifier, max_size=3),
).filter(
    lambda text: all(
        not part.isdigit() or len(part) < 20 for part in text.replace("-", ".").replace("+", ".").split(".")[3:]
    )
)


@pytest.mark.parametrize(("lower", "higher"), list(itertools.combinations(ASCENDING, 2)))
def test_orders_as_carvel_does(lower: str, higher: str) -> None:
    assert parse(lower) < parse(higher)
    assert parse(higher) > parse(lower)
    assert parse(lower) != parse(higher)


@given(versions)
def test_reads_back_what_it_writes(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@given(versions, versions, versions)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    a, b, c = sorted(map(parse, (one, two, three)))
    assert a <= b <= c
    assert a <= c
    assert sum([a < b, a == b, a > b]) == 1


def test_versions_that_carvel_takes_for_equal_still_have_an_order() -> None:
    assert parse("1.0.0+01") != parse("1.0.0+1")
    assert (parse("1.0.0+01") < parse("1.0.0+1")) != (parse("1.0.0+1") < parse("1.0.0+01"))


def test_a_tag_has_no_plus() -> None:
    assert parse("0.5.1+vmware.2-tkg.1").tag == "0.5.1_vmware.2-tkg.1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-",
        "1.2.3+",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3+a+b",
        "1.2.3+a_b",
        " 1.2.3",
        "1.2.3\n",
        "1.2.3-é",
        "1.2.٣",
    ],
)
def test_refuses_what_is_no_semver(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected MAJOR\.MINOR\.PATCH") as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["18446744073709551616.0.0", "1.0.0+18446744073709551616", "1.0.0-18446744073709551616"]
)
def test_refuses_numbers_that_carvel_cannot_hold(text: str) -> None:
    with pytest.raises(ValueError, match="below 2\\^64"):
        parse(text)


def test_refuses_what_is_too_long_for_a_tag() -> None:
    assert parse("1.0.0+" + "a" * 122).tag
    with pytest.raises(ValueError, match="128 at most"):
        parse("1.0.0+" + "a" * 123)
    with pytest.raises(ValueError, match="128 at most"):
        parse("9" * 5000 + ".0.0")


@given(st.text(max_size=30) | st.from_regex(r"[0-9.+a-]{1,12}"))
def test_any_text_is_read_back_the_same_or_refused_by_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(parse(text)) == text


def test_leading_zeros_of_build_metadata_make_no_other_version_for_carvel() -> None:
    one = PackageVersion.parse("1.0.0+vmware.1")
    assert one.equals(PackageVersion.parse("1.0.0+vmware.01"))
    assert not one.equals(PackageVersion.parse("1.0.0+vmware.2"))
    assert not one.equals(PackageVersion.parse("1.0.0"))


def test_the_number_that_is_too_large_is_shown() -> None:
    with pytest.raises(
        ValueError, match=rf"^too large a number in a version: '1\.0\.{2**64}' \(expected numbers below"
    ):
        parse(f"1.0.{2**64}")


def test_versions_are_taken_apart() -> None:
    assert parse("1.2.3-a.4+b.05-c") == PackageVersion((1, 2, 3), ("a", "4"), ("b", "05-c"))
    assert parse("1.2.3") == PackageVersion((1, 2, 3))
    assert parse("10.20.30+a").core == (10, 20, 30)


@pytest.mark.parametrize(
    "text", ["1.0.0-18446744073709551615", "1.0.0+18446744073709551615", "1.0.0+1a8446744073709551616"]
)
def test_the_largest_numbers_that_carvel_can_hold(text: str) -> None:
    assert str(parse(text)) == text


def test_pre_releases_count_where_versions_are_compared() -> None:
    assert parse("1.0.0-1+01").equals(parse("1.0.0-1+1"))
    for other in ("1.0.0-2+1", "1.0.0+1", "1.0.1-1+1", "1.0.0-1", "1.0.0-1+1.1", "1.0.0-1+a"):
        assert not parse("1.0.0-1+1").equals(parse(other))
