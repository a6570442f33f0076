"""YAML: read strictly, pointed at exactly, written so that every reader reads the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from carvelwright import yamldoc
from carvelwright.errors import ConfigError, Location

FILE = Path("f.yaml")


def problem(text: str) -> tuple[int | None, str]:
    with pytest.raises(ConfigError) as caught:
        yamldoc.parse(text, FILE)
    found = caught.value.problems[0]
    assert found.location
    assert found.location.file == FILE
    return found.location.line, found.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [\nb: 1\n", 3, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key"),
        ("a:\n  - {x: 1, x: 2}\n", 2, "duplicate key"),
        ("a: *nowhere\n", 1, "alias"),
        ("", 1, "0 YAML documents"),
        ("a: 1\n---\nb: 2\n", 1, "2 YAML documents"),
        ("a: 1\n2: b\n", 2, "key 2 is not text"),
        ("a:\n- !!binary aGk=\n", 2, "a value of a special type"),
        ("a: &x [*x]\n", 1, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, words: str) -> None:
    found, message = problem(text)
    assert found == line
    assert words in message


FRAGMENTS = [
    "a: ",
    "b",
    "1",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "&a ",
    "*a",
    "!!set ",
    "!!int ",
    "!x ",
    "? ",
]
FRAGMENTS += [
    "|",
    "> ",
    "'",
    '"',
    "#",
    "---\n",
    "...",
    "%YAML 1.1\n",
    "<<: ",
    "\t",
    "2026-01-01",
    "0x1f",
    ".nan",
    "~",
    "\0",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=10).map("".join) | st.text(max_size=20))
def test_any_text_is_read_or_refused_by_config_error(text: str) -> None:
    refusals: list[ConfigError] = []
    try:
        assert yamldoc.parse(text, FILE).problem(["a", 0], "x", key=True).location
    except ConfigError as error:
        refusals.append(error)
    for refusal in refusals:
        assert all(found.location and found.location.file == FILE for found in refusal.problems)
        assert refusal.lines()


def test_dates_and_old_booleans_stay_text() -> None:
    assert yamldoc.parse("- 2026-11-01T00:00:00Z\n- 2026-01-01\n- yes\n- on\n", FILE).data == [
        "2026-11-01T00:00:00Z",
        "2026-01-01",
        "yes",
        "on",
    ]


def test_places_of_values_and_keys() -> None:
    document = yamldoc.parse("a:\n  b:\n  - x\n  - c: long\n", FILE)
    assert document.locate(["a", "b", 1, "c"]) == Location(FILE, 4, 8)
    assert document.locate(["a", "b", 1, "c"], key=True) == Location(FILE, 4, 5)
    assert document.locate(["a", "b", 7]) == document.locate(["a", "b"])
    assert document.locate(["nowhere"]) == Location(FILE, 1, 1)
    assert document.excerpt(document.locate(["a", "b", 0])) == "- x"
    assert document.problem(["a", "b", 0], "m").excerpt == "- x"


def test_a_long_line_is_shown_in_part() -> None:
    found = yamldoc.parse(f"a: {'x' * 1000}\n", FILE).problem(["a"], "m")
    assert found.excerpt
    assert len(found.excerpt) < 200


def test_other_encodings_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError) as caught:
        yamldoc.load(tmp_path / "f")
    assert caught.value.problems[0].lines() == [f"{tmp_path}/f:2: not UTF-8 text", "    found: byte 0xe9"]


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
words = st.sampled_from(
    ["y", "no", "on", "null", "~", "1e3", "0x1F", "010", "1_000", "1:2", ".5", "-", "", " a ", "a: b", "#x", "=", "<<"]
)
texts = (
    printable
    | words
    | st.sampled_from(["two\nlines", "ends\n", "\n", "a\n\n", "  indented\nb", "2026-11-01T00:00:00Z", "2026-01-01"])
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(texts, child, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, plain, max_size=3))
def test_what_is_written_reads_back_the_same(data: dict[str, Any]) -> None:
    (read,) = yamldoc.load_all_text(yamldoc.dump(data), FILE)
    assert read == data
    assert yamldoc.dump(data) == yamldoc.dump(data)


@given(st.dictionaries(st.from_regex("[a-z]{2,5}x", fullmatch=True), texts, max_size=3))
def test_readers_of_yaml_1_1_find_the_same_texts(data: dict[str, str]) -> None:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    assert reader.load(yamldoc.dump(data)) == data


@pytest.mark.parametrize("text", ["\n", "a\n\n", "a\u2028b", "\x85", "a\n\u2029", "<<", "="])
def test_what_follows_a_text_is_no_part_of_it_for_any_reader(text: str) -> None:
    written = yamldoc.dump({"a": text}) + "\n# comment\nb: c\n"
    for version in (None, (1, 1)):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert reader.load(written) == {"a": text, "b": "c"}


def test_keys_keep_their_order_and_lines_are_never_folded() -> None:
    text = yamldoc.dump({"z": "word " * 200, "a": "x\ny\n", "m": []})
    assert [line.partition(":")[0] for line in text.splitlines() if ":" in line] == ["z", "a", "m"]
    assert "a: |\n  x\n  y\n" in text


def test_several_documents() -> None:
    text = yamldoc.dump_all([{"a": 1}, {"b": 2}])
    assert text.count("---\n") == 2
    assert yamldoc.load_all_text(text, FILE) == [{"a": 1}, {"b": 2}]
