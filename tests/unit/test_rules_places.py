"""Where a rendered document comes from: the file and the line that a person has to change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.errors import Location
from carvelwright.rules import places
from carvelwright.rules.places import Chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

NOWHERE = Path("nowhere")

FIRST = """\
#@ load(x)
# a comment
kind: A
metadata:
  name: one
spec:
  items:
    - name: "x"
      port: 80
    - - 'y'
---
kind: B
metadata:
  name: two
  "quoted": yes it is
"""


def written(tmp_path: Path, text: str = FIRST, name: str = "a.yaml") -> list[Chunk]:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    return places.chunks(tmp_path)


def test_files_are_cut_into_documents_with_their_first_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    assert written(tmp_path) == [
        Chunk(
            file,
            1,
            (
                *("#@ load(x)", "# a comment", "kind: A", "metadata:", "name: one", "spec:"),
                *("items:", "name: x", "port: 80", "y"),
            ),
        ),
        Chunk(file, 11, ("---", "kind: B", "metadata:", "name: two", "quoted: yes it is")),
    ]


def test_every_yaml_file_is_cut_and_no_other(tmp_path: Path) -> None:
    for name in ("a.yml", "b/c.yaml", "d.txt", "e.YAML", "f"):
        written(tmp_path, "a: 1\n", name)
    (tmp_path / "g.yaml").write_bytes(b"a: \xff\n")
    found = {str(chunk.file.relative_to(tmp_path)): chunk.lines for chunk in places.chunks(tmp_path)}
    assert found == {"a.yml": ("a: 1",), "b/c.yaml": ("a: 1",), "g.yaml": ("a: \ufffd",)}


def test_an_empty_file_has_one_empty_document(tmp_path: Path) -> None:
    assert written(tmp_path, "") == [Chunk(tmp_path / "a.yaml", 1, ())]


def found(tmp_path: Path, documents: Sequence[Any], text: str = FIRST) -> list[int | None]:
    return [chunk.first if chunk else None for chunk in places.origins(documents, written(tmp_path, text))]


A: dict[str, Any] = {"kind": "A", "metadata": {"name": "one"}, "spec": {"items": [{"name": "x", "port": 80}, [["y"]]]}}
B: dict[str, Any] = {"kind": "B", "metadata": {"name": "two", "quoted": "yes it is"}}


def test_documents_find_their_text_in_any_order(tmp_path: Path) -> None:
    assert found(tmp_path, [A, B]) == [1, 11]
    assert found(tmp_path, [B, A]) == [11, 1]


def test_quotes_and_indentation_do_not_count(tmp_path: Path) -> None:
    text = '-   - "k":   \'v: w\'\n    l: "x" \n    -  -   y\n'
    (chunk,) = written(tmp_path, text)
    assert chunk.lines == ("k: v: w", "l: x", "y")


def test_what_json_cannot_hold_is_looked_for_as_python_shows_it(tmp_path: Path) -> None:
    assert found(tmp_path, [{"a": b"x", "b": 1}], "b: 1\n") == [1]


def test_half_of_the_lines_is_enough_and_less_is_not(tmp_path: Path) -> None:
    assert found(tmp_path, [{"kind": "B", "other": "1"}]) == [11]
    assert found(tmp_path, [{"kind": "B", "other": "1", "more": "2"}]) == [None]
    assert found(tmp_path, [{"kind": "B", "metadata": {"name": "two", "a": "1", "b": "2"}}]) == [11]


def test_the_text_that_holds_most_of_the_lines_is_taken(tmp_path: Path) -> None:
    text = "a: 1\n---\na: 1\nb: 2\n---\na: 1\nb: 2\nc: 3\n"
    assert found(tmp_path, [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}, {"a": 1}], text) == [5, 2, 1]


def test_of_equal_texts_the_first_is_taken_and_each_once(tmp_path: Path) -> None:
    text = "a: 1\n---\na: 1\n"
    assert found(tmp_path, [{"a": 1}, {"a": 1}, {"a": 1}], text) == [1, 2, None]


@pytest.mark.parametrize("document", [{}, [], {"a": {}}])
def test_what_holds_nothing_comes_from_nowhere(tmp_path: Path, document: Any) -> None:
    assert found(tmp_path, [document]) == [None]


def test_without_any_text_nothing_is_found() -> None:
    assert places.origins([A, {}], []) == [None, None]


@pytest.mark.parametrize(
    ("value", "line"),
    [("text", "a: text"), (True, "a: true"), (None, "a: null"), (1.5, "a: 1.5"), (12, "a: 12"), ("12", "a: '12'")],
)
def test_values_are_looked_for_as_they_are_written(tmp_path: Path, value: Any, line: str) -> None:
    assert found(tmp_path, [{"a": value}], f"b: 1\n---\n{line}\n") == [2]
    assert found(tmp_path, [{"a": [value]}], f"b: 1\n---\na:\n{line.replace('a: ', '- ')}\n") == [2]


@pytest.mark.parametrize(
    ("document", "at", "line"),
    [
        (A, ("kind",), 3),
        (A, ("metadata", "name"), 5),
        (A, ("metadata",), 4),
        (A, ("spec", "items", 0, "port"), 9),
        (A, ("spec", "items", 0, "name"), 8),
        # Of an index, the nearest key.
        (A, ("spec", "items", 1), 7),
        # What is not there: the key, if it is there, or the first line that is no comment.
        (A, ("spec", "items", 7, "name"), 3),
        (A, ("spec", "nothing"), 3),
        (A, (), 3),
        (A, (0,), 3),
        (B, ("metadata", "quoted"), 15),
        (B, ("metadata", "quoted", "deeper"), 12),
        (B, (), 12),
    ],
)
def test_values_have_their_line(tmp_path: Path, document: Any, at: Sequence[str | int], line: int) -> None:
    (chunk,) = places.origins([document], written(tmp_path))
    assert places.locate(chunk, document, at, NOWHERE) == Location(tmp_path / "a.yaml", line)


def test_a_value_that_was_changed_later_has_the_line_of_its_key(tmp_path: Path) -> None:
    (chunk, _) = written(tmp_path)
    assert places.locate(chunk, {"spec": []}, ("spec",), NOWHERE).line == 6
    assert places.locate(chunk, {"metadata": {"name": "x"}}, ("metadata", "name"), NOWHERE).line == 8


def test_a_text_of_comments_alone_has_its_first_line(tmp_path: Path) -> None:
    (_, chunk) = written(tmp_path, "a: 1\n---\n# a\n\n#@ b\n")
    assert places.locate(chunk, {}, ("a",), NOWHERE) == Location(tmp_path / "a.yaml", 2)


def test_what_comes_from_nowhere_is_in_the_directory() -> None:
    assert places.locate(None, A, ("kind",), NOWHERE) == Location(NOWHERE)


def test_yaml_of_any_style_is_found_by_the_lines_of_its_plain_form(tmp_path: Path) -> None:
    plain = yamldoc.dump_all([A, B])
    assert found(tmp_path, [B, A], plain) == [10, 1]
