"""Constraints on versions against the library that kapp-controller reads them with (tests/oracle)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carvelwright.carvel import constraints
from carvelwright.carvel.version import PackageVersion
from tests.integration.test_goyaml_against_go import oracle as oracle  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from tests.integration.test_goyaml_against_go import Oracle

# Every version is tried with every text, so that what is read is compared and not only whether it is read.
VERSIONS = [
    *("0.0.0-0", "0.0.0", "0.9.9", "1.0.0-0", "1.0.0-alpha.1", "1.0.0-rc.1", "1.0.0-x", "1.0.0", "1.0.0+vmware.1"),
    *("1.0.0+vmware.01", "1.0.1", "1.1.0", "1.2.2", "1.2.3", "1.2.4", "1.3.0-rc.1", "1.3.0", "1.26.0-0", "1.26.0"),
    *(
        "1.26.5+k3s1",
        "1.27.0-rc.1",
        "1.27.0",
        "1.27.9",
        "1.28.0",
        "2.0.0-0",
        "2.0.0",
        "10.2.0",
        "18446744073709551615.0.0",
    ),
]
READ = [PackageVersion.read(version) for version in VERSIONS]
PARTS = [
    *("<", ">", "=", "!", "|", ".", "x", " ", "  ", "0", "1", "2", "27", "01", "-", "+", "v", "~", "^", "é", "٣", "\t"),
    *(
        "||",
        " || ",
        ">=",
        "<=",
        "!=",
        "==",
        "> =",
        ">= ",
        "=<",
        ">>",
        "1.27.0",
        "1.27.x",
        "1.x",
        "1.x.x",
        "1.2.3",
        "x.x",
    ),
    *("-rc.1", "-x", "-alpha.x", "-0", "-01", "+vmware.1", "+01", "+vmware.1-tkg.1", ".0.0", "1.+3.x", ">1.-1.x"),
    *("9223372036854775807", "9223372036854775806", "18446744073709551615", "18446744073709551616", ".x"),
]
number = st.sampled_from(["0", "1", "2", "26", "27", "01", "9223372036854775807", "18446744073709551616"])
suffix = st.sampled_from(
    ["", "", "", "-0", "-rc.1", "-x", "-01", "+vmware.1-tkg.1", "-rc.1+01", "-", "+", "-a..b", "-a_b"]
)
exact = st.tuples(number, number, number, suffix).map(lambda p: f"{p[0]}.{p[1]}.{p[2]}{p[3]}")
wildcards = st.one_of(
    number.map("{}.x".format), st.tuples(number, number).map(lambda p: f"{p[0]}.{p[1]}.x"), number.map("{}.x.x".format)
)
operators = st.sampled_from(
    ["", "", "=", "==", "!", "!=", "<", "<=", ">", ">=", ">= ", "> ", "!= ", "! ", "=<", ">>", "~>"]
)
comparisons = st.tuples(operators, st.one_of(exact, wildcards)).map("".join)
alternatives = st.lists(comparisons, min_size=1, max_size=3).map(" ".join)
joins = st.sampled_from([" || ", "||", " | ", " ||| ", " || || ", "  ||  "])
grammar = st.tuples(alternatives, st.lists(st.tuples(joins, alternatives).map("".join), max_size=2).map("".join)).map(
    "".join
)


def ours(text: str) -> str | None:
    try:
        read = constraints.parse(text)
    except ValueError:
        return None
    return "".join("01"[read.accepts(version)] for version in READ)


def theirs(oracle: Oracle, text: str) -> str | None:
    """Return what the server accepts; None where it refuses, or crashes with a version that reaches an empty part."""
    read = oracle.ask("constraints", text=text, value=VERSIONS)
    return None if read is not None and "|| ||" in " ".join(text.split()) else read


TEXTS = [
    *(">=1.27.0", ">= 1.26.0", "1.27.x", "1.x", "1.x.x", ">=1.26.0-0", ">1.0.0 <2.0.0 || >3.0.0", "!1.2.3", "!=1.2.3"),
    *(
        "1.2.3",
        "=1.2.3",
        "==1.2.3",
        "  >=1.0.0   <2.0.0  ",
        ">=0.5.0+vmware.1-tkg.1",
        "<=1.27.x",
        ">=1.0.0-x",
        "!1.2.x",
    ),
    *(
        "=<1.26.0",
        "1.26.0 ||| 1.27.0",
        "",
        " ",
        "x",
        ">=",
        "|| 1.0.0",
        "1.0.0 ||",
        "1.0.0 || ",
        ">1.0.0||<2.0.0",
        "1.0",
    ),
    *(">>1.27.0", ">>1.27.x", "=<1.27.x", "v1.27.x", "~1.27.x", "! 1.2.3", "1.0.0 | 2.0.0", ">=1.0.0 || || <2.0.0"),
    *(">01.x", ">=01.x", "01.0.0", "1.0.0-01", "1.0.0+01", ">1.-1.x", ">1.+3.x", ">=1.2.x.3", ">1.x.x", "<=1.x.x"),
    *("9223372036854775807.x", "9223372036854775806.x", "18446744073709551615.0.0", "18446744073709551616.0.0"),
    *(">=1.0.0-alpha.x", ">1.0.0-x", "٣.0.0", "\t1.2.3", "> = 1.2.3", "é 1.2.3", "1.2.3\n", "1.2.3 \n"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_read_as_the_server_reads_them(oracle: Oracle, text: str) -> None:
    assert ours(text) == theirs(oracle, text)


@settings(max_examples=500, deadline=None)
@given(st.one_of(grammar, st.lists(st.sampled_from(PARTS), max_size=8).map("".join)))
@example("1.0.0 <2.0.0 ||  || 3.x")
def test_any_text_is_read_as_the_server_reads_it(oracle: Oracle, text: str) -> None:
    assert ours(text) == theirs(oracle, text)


@settings(max_examples=150, deadline=None)
@given(grammar)
def test_where_there_is_no_remark_the_server_reads_what_stands_there(oracle: Oracle, text: str) -> None:
    """Without quirks: each part is a comparison, `||` stands between alternatives, and a wildcard is its interval."""
    if ours(text) is not None and not constraints.remarks(text):
        assert theirs(oracle, text) == "".join("01"[plainly(text, each)] for each in READ)


def plainly(text: str, version: PackageVersion) -> bool:
    return any(all(holds(part, version) for part in one.split()) for one in joined(text).split("||"))


def joined(text: str) -> str:
    """Take the spaces after operators away."""
    for operator in (">", "<", "="):
        while f"{operator} " in text:
            text = text.replace(f"{operator} ", operator)
    return text


def holds(part: str, version: PackageVersion) -> bool:
    digits = part.lstrip("<>=!")
    operator = part.removesuffix(digits)
    low = high = digits
    if digits.endswith(".x"):
        numbers = [int(piece) for piece in digits.split(".") if piece != "x"]
        low, high = (".".join(map(str, [*each, 0, 0][:3])) for each in (numbers, [*numbers[:-1], numbers[-1] + 1]))
    below = version < PackageVersion.read(low)
    within = (
        version.equals(PackageVersion.read(low)) if low == high else not below and version < PackageVersion.read(high)
    )
    below = below and not within
    match operator:
        case "" | "=" | "==":
            return within
        case "!" | "!=":
            return not within
        case ">=":
            return not below
        case "<":
            return below
        case "<=":
            return below or within
        case _:
            return not below and not within
