"""Constraints on versions: what is refused, in which words, and what only looks like something else."""

from __future__ import annotations

import re

import pytest

from carvelwright.carvel import constraints
from carvelwright.carvel.version import PackageVersion


@pytest.mark.parametrize(
    "text",
    [
        *(">=1.27.0", ">= 1.26.0", "1.27.x", "1.x", f"1.{2**63 - 2}.x", ">=1.27.0-x", "<1.0.0-x", ">=1.26.0-0"),
        *(">1.0.0 <2.0.0 || 3.x", "!1.2.3 != 1.2.4", "==1.0.0+vmware.01", ">=1.x.x"),
    ],
)
def test_plain_constraints_are_taken_without_a_remark(text: str) -> None:
    assert constraints.parse(text).remarks == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.0.0 || ", "no comparison (expected one such as >=1.27.0 before and after each ||)"),
        ("1.0.0 || >>1.27.0", "not an operator: '>>' (expected one of = == ! != > >= < <=, before the version)"),
        ("=<1.26.0", "not an operator: '=<'"),
        ("1.26.0 ||| 1.27.0", "not a comparison: '|||' (expected one such as >=1.27.0)"),
        (">=1", "not a semantic version: '1' in '>=1' (expected MAJOR.MINOR.PATCH"),
        (">1.0.0||<2.0.0", "not a semantic version: '1.0.0||<2.0.0' in '>1.0.0||<2.0.0'"),
        (">=1.0.0 || || <2.0.0", "nothing between two ||"),
        (f"1.{2**63 - 1}.x", "is no wildcard"),
        (">1.0.0-x", "'>1.0.0-x' is no wildcard (expected one such as 1.27.x"),
        (">=18446744073709551616.0.0", "too large a number in a version"),
    ],
)
def test_errors_name_the_part_that_the_server_refuses(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        constraints.check(text)
    assert constraints.remarks(text) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.x.x", "the server reads 1.x.x as >=1.0.0 <1.1.0"),
        (">1.x.x", "the server reads >1.x.x as >=1.1.0"),
        ("=<1.27.x", "the server reads =<1.27.x as 1.27.0"),
        ("v1.27.x", "the server reads v1.27.x as 1.27.0"),
        (">=1.0.0-alpha.x", "the server reads >=1.0.0-alpha.x as >=1.0.0-alpha.0"),
        ("1.0.0 | 2.0.0", "the server drops '|', which stands alone between spaces"),
        ("! 1.2.3", "the server drops '!', which stands alone between spaces"),
        ("!=1.2.x", "no version passes !=1.2.x: the server reads it as <1.2.0 >=1.3.0"),
        (">2.0.0 <=2.0.0", "no version passes >2.0.0 <=2.0.0"),
        ("1.0.0 || >2.0.0 <1.0.0", "no version passes >2.0.0 <1.0.0"),
    ],
)
def test_remarks_say_what_the_server_reads_instead(text: str, words: str) -> None:
    assert any(words in remark for remark in constraints.parse(text).remarks)


def test_versions_pass_any_alternative_and_all_of_its_comparisons() -> None:
    read = constraints.parse(">=1.2.0 <1.3.0 || 2.x")
    passing = ["1.2.0", "1.2.9", "2.0.0", "2.9.1"]
    failing = ["1.1.9", "1.3.0", "1.2.0-rc.1", "3.0.0"]
    assert [text for text in [*passing, *failing] if read.accepts(PackageVersion.parse(text))] == passing


PASSING = {
    "1.2.3": (["1.2.3"], ["1.2.2", "1.2.4", "1.2.3-a", "1.2.3+1"]),
    "!1.2.3": (["1.2.2", "1.2.4"], ["1.2.3"]),
    ">1.2.3": (["1.2.4", "1.2.3+1", "2.0.0"], ["1.2.3", "1.2.2", "1.2.3-a"]),
    ">=1.2.3": (["1.2.3", "1.2.4"], ["1.2.2", "1.2.3-a"]),
    "<1.2.3": (["1.2.2", "1.2.3-a"], ["1.2.3", "1.2.4"]),
    "<=1.2.3": (["1.2.2", "1.2.3"], ["1.2.4", "1.2.3+1"]),
    "1.2.x": (["1.2.0", "1.2.9"], ["1.1.9", "1.3.0"]),
    "=1.x": (["1.0.0", "1.9.9"], ["0.9.9", "2.0.0"]),
    "==1.x": (["1.0.0", "1.9.9"], ["0.9.9", "2.0.0"]),
    ">1.2.x": (["1.3.0"], ["1.2.9", "1.1.0"]),
    ">=1.2.x": (["1.2.0", "1.3.0"], ["1.1.9"]),
    "<1.2.x": (["1.1.9"], ["1.2.0", "1.3.0"]),
    "<=1.2.x": (["1.1.9", "1.2.9"], ["1.3.0"]),
    "!1.2.x || 9.x": (["9.0.0"], ["1.1.0", "1.2.0", "1.3.0"]),
    "1.0.0 || 2.0.0 || 3.0.0": (["1.0.0", "2.0.0", "3.0.0"], ["1.5.0"]),
    "> 1.0.0  <  2.0.0": (["1.5.0"], ["1.0.0", "2.0.0"]),
}


@pytest.mark.parametrize("text", PASSING)
def test_each_operator_lets_pass_what_it_says(text: str) -> None:
    read = constraints.parse(text)
    passing, failing = PASSING[text]
    versions = [PackageVersion.parse(version) for version in (*passing, *failing)]
    assert [str(version) for version in versions if read.accepts(version)] == passing


def test_leading_zeros_of_build_metadata_do_not_count() -> None:
    one, other = PackageVersion.parse("1.0.0+1"), PackageVersion.parse("1.0.0+01")
    for text, passes in (("1.0.0+1", True), ("!1.0.0+1", False), (">1.0.0+1", False), (">=1.0.0+1", True)):
        assert [constraints.parse(text).accepts(version) for version in (one, other)] == [passes] * 2
    for text, passes in (("<1.0.0+01", False), ("<=1.0.0+1", True), ("<=1.0.0+01", True)):
        assert [constraints.parse(text).accepts(version) for version in (one, other)] == [passes] * 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "no comparison (expected one such as >=1.27.0 before and after") for text in ("", "  ", "|| 1.0.0")),
        ("1.0.0 >=", "not a comparison: '>=' (expected one such as >=1.27.0)"),
        ("\x1c1.0.0", "not an operator: '\\x1c'"),
        *(
            (text, f"{text!r} is no wildcard (expected one such as 1.27.x, its last number below 2^63 - 1)")
            for text in (f"1.{2**63 - 1}.x", f"!=1.{2**63 - 1}.x", f">{2**63 - 1}.x", f">1.-{2**63 + 1}.x", ">1.0.x.0")
        ),
        (f">1.-{2**63}.x", "not a semantic version: '1.-9223372036854775807.0'"),
        ("1.0.0 22", "not a semantic version: '22' in '22'"),
    ],
)
def test_the_whole_part_that_is_refused_is_shown(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        constraints.check(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((text, ()) for text in ("<1.x.x", "<1.x", ">=1.2.x", "=1.2.x", "<=1.x", "1.0.0 <=1.0.0", ">=1.0.0 <=1.0.0")),
        ("1.0.0 \t", ("the server drops '\\t', which stands alone between spaces",)),
        ("<=1.x.x", ("the server reads <=1.x.x as <1.1.0",)),
        (">=1.0.0-a.x.b.x", ("the server reads >=1.0.0-a.x.b.x as >=1.0.0-a.0.b.x",)),
        *(
            (text, (f"no version passes {text}: the server reads it as {text}",))
            for text in (
                "1.0.0 >2.0.0",
                "2.0.0 <1.0.0",
                "<2.0.0 =2.0.0",
                ">=2.0.0 <2.0.0",
                "=2.0.0 >2.0.0",
                "1.0.0 2.0.0",
            )
        ),
        ("!1.2.x", ("no version passes !1.2.x: the server reads it as <1.2.0 >=1.3.0",)),
    ],
)
def test_all_that_is_remarked(text: str, told: tuple[str, ...]) -> None:
    assert constraints.remarks(text) == told
