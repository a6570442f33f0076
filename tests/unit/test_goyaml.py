"""The YAML of Go's encoders, by cases derived by hand from their rules."""

from __future__ import annotations

from typing import Any

import pytest

from carvelwright.client.goscalar import Tag, format_float, format_json_float, resolve
from carvelwright.client.goyaml import dump_v2, dump_v3, loses_leading_break


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (-5, "-5"),
        (2**63 - 1, "9223372036854775807"),
        ({}, "{}"),
        ([], "[]"),
        (1.0, "1"),
        (-0.0, "-0"),
        (0.5, "0.5"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (1234567.5, "1.2345675e+06"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (float("inf"), ".inf"),
        (float("-inf"), "-.inf"),
        (float("nan"), ".nan"),
    ],
)
def test_scalars(value: Any, text: str) -> None:
    assert dump_v3(value) == f"{text}\n"
    assert dump_v2(value) == f"{text}\n"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "y",
            "n",
            "Yes",
            "NO",
            "on",
            "OFF",
            "true",
            "False",
            "null",
            "~",
            "",
            "123",
            "+1",
            "-1",
            "0123",
            "0o17",
            "0x1F",
        ),
        *(
            "0b1",
            "0b-1",
            "1_000",
            "1.",
            ".5",
            "1e3",
            "08",
            "1:2",
            "12:30:45",
            "190:20:30.15",
            ".inf",
            ".nan",
            "2020-01-01",
        ),
        *("2020-1-1", "2020-01-01T00:00:00Z", "2020-01-01 1:2:3", "0000-02-29", "9" * 30),
    ],
)
def test_other_types_are_in_double_quotes(text: str) -> None:
    assert dump_v3(text) == f'"{text}"\n'


@pytest.mark.parametrize(
    "text",
    [
        "-",
        "- x",
        "?",
        "? x",
        ":",
        ": x",
        "a:",
        "a: b",
        "a #b",
        "#x",
        ",x",
        "[a]",
        "]",
        "{}",
        "&a",
        "*a",
        "!t",
        "|x",
        ">x",
        '"q"',
        "%x",
        "@x",
        "`x",
        " lead",
        "trail ",
        "--- a",
        "...",
        "a:\u2028b",
    ],
)
def test_indicators_and_edges_are_in_single_quotes(text: str) -> None:
    folded = text.replace("\u2028", "\u2028  ")
    assert dump_v3({"k": text}) == f"k: '{folded}'\n"


@pytest.mark.parametrize(
    "text",
    [
        "-x",
        "--x",
        "a, b",
        "=",
        "<<",
        "inf",
        "NaN",
        "nan",
        "::1",
        "it's",
        "10.0.0.0/16",
        "100m",
        "a#b",
        "?x",
        "yeS",
        "tRue",
        "2020-13-01",
        "2021-02-29",
        "2020-01-01T00:00:00",
        "2020-01-01 1:2:3Z",
        "1:60",
        "._5",
        "0b2",
        "1e400",
        "☃",
        "0xg",
    ],
)
def test_plain(text: str) -> None:
    assert dump_v3(text) == f"{text}\n"


def test_single_quotes_are_doubled() -> None:
    assert dump_v3("'q' it's") == "'''q'' it''s'\n"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\tb", r"a\tb"),
        ("\0\a\b\v\f\r\x1b", r"\0\a\b\v\f\r\e"),
        ("\x01\x7f\x80", r"\x01\x7F\x80"),
        ("\x85", r"\N"),
        ("\U0001f600\ufeff\uffff", r"\U0001F600\uFEFF\uFFFF"),
        ("a \nb", r"a \nb"),
        ("a\n ", r"a\n "),
        ("\ufeffab c", r"\uFEFF\x61\x62\x20\x63"),
        ('\t"\\', r"\t\"\\"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert dump_v3(text) == f'"{escaped}"\n'


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("a\nb", "|-\n  a\n  b\n"),
        ("a\nb\n", "|\n  a\n  b\n"),
        ("a\nb\n\n", "|+\n  a\n  b\n\n"),
        ("\n", "|2+\n"),
        ("\na", "|2-\n  a\n"),
        (" a\nb", "|2-\n   a\n  b\n"),
        ("a\n\n b", "|-\n  a\n\n   b\n"),
        ("a\n\tb", "|-\n  a\n  \tb\n"),
    ],
)
def test_block_scalars(text: str, block: str) -> None:
    assert dump_v3({"k": text}) == f"k: {block}"


def test_a_leading_line_break_is_lost_by_v3_alone() -> None:
    assert loses_leading_break("\na")
    assert not loses_leading_break("a\n")
    assert not loses_leading_break("\na ")  # in double quotes
    assert dump_v2({"k": "\na"}) == "k: |2-\n\n  a\n"


def test_v3_indents_sequences_and_v2_does_not() -> None:
    value = {"a": [["b"], {"c": [1], "d": {}}], "e": [[]]}
    assert dump_v3(value) == "a:\n  - - b\n  - c:\n      - 1\n    d: {}\ne:\n  - []\n"
    assert dump_v2(value) == "a:\n- - b\n- c:\n  - 1\n  d: {}\ne:\n- []\n"


def test_v2_folds_after_80_columns_and_v3_never() -> None:
    words = ("word " * 30).strip()
    folded = dump_v2({"k": words}).splitlines()
    assert [len(line) for line in folded] == [82, 71]
    assert folded[1].startswith("  word")
    assert dump_v3({"k": words}) == f"k: {words}\n"
    assert dump_v2({"k" * 90: " a b"}) == f"{'k' * 90}: ' a\n  b'\n"
    quoted = dump_v2({"k": "\t" + "w  " * 40})
    assert "\\\n" not in quoted.splitlines()[0]
    assert quoted.splitlines()[1].startswith("  \\ ")


def test_long_and_multiline_keys_are_complex() -> None:
    assert dump_v3({"k" * 128: 1}) == f"{'k' * 128}: 1\n"
    assert dump_v3({"k" * 129: 1}) == f"? {'k' * 129}\n: 1\n"
    assert dump_v3({"é" * 65: {"a": [1]}}) == f"? {'é' * 65}\n: a:\n    - 1\n"
    assert dump_v2({"k" * 129: ["a", "b"]}) == f"? {'k' * 129}\n: - a\n  - b\n"
    assert dump_v3({"a\nb": "c"}) == "? |-\n  a\n  b\n: c\n"


def test_keys_are_quoted_like_values() -> None:
    assert dump_v3({"y": 1, "": 2, "#a": 3, "<<": 4}) == '"": 2\n\'#a\': 3\n<<: 4\n"y": 1\n'


@pytest.mark.parametrize(
    "ordered",
    [
        [
            "#a",
            "-a",
            "@a",
            "~",
            "1",
            "1.5",
            "01",
            "A",
            "a",
            "a b",
            "a-b",
            "a.b",
            "a:b",
            "a_b",
            "a1",
            "a01",
            "a2",
            "a10",
        ],
        ["K1", "k2", "k10", "k10a", "k010"],
        ["a", "aB", "ab", "b", "z9", "z10", "é"],
        ["a1b", "a10"],
        ["a1.5", "a1.10"],
        ["a11", "a100", "a101", "a110"],
    ],
)
def test_key_order(ordered: list[str]) -> None:
    for keys in (ordered, ordered[::-1]):
        lines = dump_v3(dict.fromkeys(keys)).splitlines()
        assert [line.removesuffix(": null").strip("'\"") for line in lines] == ordered


def test_v2_does_not_end_a_number_before_a_letter() -> None:
    keys = {"a1b": 1, "a10": 2}
    assert dump_v3(keys) == "a1b: 1\na10: 2\n"
    assert dump_v2(keys) == "a10: 2\na1b: 1\n"


def test_a_number_over_64_bits_in_a_key_overflows_as_in_go() -> None:
    assert dump_v3({"a9223372036854775808": 1, "a1": 2}) == "a9223372036854775808: 1\na1: 2\n"


@pytest.mark.parametrize("value", [{"a": {1, 2}}, b"x", object()])
def test_other_data_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="not plain data"):
        dump_v3(value)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("~", (Tag.NULL, None)),
        ("True", (Tag.BOOL, True)),
        ("yes", (Tag.STR, "yes")),
        ("-0", (Tag.INT, 0)),
        ("0777", (Tag.INT, 511)),
        ("0x1F", (Tag.INT, 31)),
        ("18446744073709551615", (Tag.INT, 2**64 - 1)),
        ("18446744073709551616", (Tag.FLOAT, 2.0**64)),
        ("-9223372036854775809", (Tag.FLOAT, -(2.0**63))),
        ("1E3", (Tag.FLOAT, 1000.0)),
        ("1e400", (Tag.STR, "1e400")),
        ("9" * 400, (Tag.STR, "9" * 400)),
        ("2020-01-01", (Tag.TIMESTAMP, "2020-01-01")),
    ],
)
def test_resolve(text: str, resolved: tuple[Tag, object]) -> None:
    tag, value = resolve(text)
    assert (tag, value) == resolved
    assert type(value) is type(resolved[1])


@pytest.mark.parametrize(
    ("value", "yaml", "json"),
    [
        (1e20, "1e+20", "100000000000000000000"),
        (1e21, "1e+21", "1e+21"),
        (0.000001, "1e-06", "0.000001"),
        (1.5e-7, "1.5e-07", "1.5e-7"),
        (-0.0, "-0", "-0"),
        (100.25, "100.25", "100.25"),
    ],
)
def test_floats_of_yaml_and_json(value: float, yaml: str, json: str) -> None:
    assert format_float(value) == yaml
    assert format_json_float(value) == json
