"""Constraints on versions against the library that kapp-controller reads them with (tests/oracle)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carvelwright.carvel.version import check_constraints
from tests.integration.test_goyaml_against_go import oracle as oracle  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from tests.integration.test_goyaml_against_go import Oracle

PARTS = [
    *"<>=!|.x 0123",
    "||",
    " || ",
    ">=",
    "<=",
    "!=",
    "1.27.0",
    "1.27.x",
    "1.x",
    "1.x.x",
    "-rc.1",
    "-x",
    "+vmware.1",
]
FINE = [
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
]
# The server reads each of these, as something else than it looks, or takes down the process that asks it.
READ_AS_OTHERS = [">>1.27.x", "! 1.2.3", "1.0.0 | 2.0.0", ">=1.0.0 || || <2.0.0", "=<1.27.x"]


def ours(text: str) -> bool:
    try:
        check_constraints(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", FINE)
def test_what_the_server_takes_is_taken(oracle: Oracle, text: str) -> None:
    assert oracle.ask("constraints", text=text) is not None
    assert ours(text)


@pytest.mark.parametrize("text", READ_AS_OTHERS)
def test_what_the_server_reads_as_others_is_refused(oracle: Oracle, text: str) -> None:
    assert oracle.ask("constraints", text=text) is not None
    assert not ours(text)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
@example(">>=1.27.0")
@example("=<1.26.0")
@example("1.26.0 ||| 1.27.0")
@example("")
@example("9223372036854775807.x")
@example("18446744073709551616.0.0")
def test_nothing_is_taken_that_the_server_refuses(oracle: Oracle, text: str) -> None:
    if ours(text):
        assert oracle.ask("constraints", text=text) is not None


versions = st.from_regex(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)\.(0|[1-9]|x)", fullmatch=True)
comparisons = st.tuples(st.sampled_from(["", "=", "==", "!", "!=", "<", "<=", ">", ">= ", ">="]), versions).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(comparisons, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3).map(" || ".join))
def test_every_well_formed_constraint_is_taken(oracle: Oracle, text: str) -> None:
    assert oracle.ask("constraints", text=text) is not None
    assert ours(text)


def test_the_error_names_the_comparison() -> None:
    with pytest.raises(ValueError, match=re.escape("not an operator: '>>='")):
        check_constraints("1.0.0 || >>=1.27.0")
