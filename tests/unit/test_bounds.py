"""What a reader is given may be hostile: it is measured first, and the answer is an error with its place, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carvelwright import bounds, client, files, jsondoc, yamldoc
from carvelwright.errors import CarvelwrightError, ConfigError

FILE = Path("f.yaml")


def repeated(first: str, step: str, levels: int = 12) -> str:
    """Return lines of which each repeats the one before nine times."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} {step.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "lists of aliases": (repeated("[x]", "[{}]"), "too many values"),
    "maps of aliases": (repeated("{a: 1}", "{{b: [{}]}}"), "too many values"),
    "merge keys": (repeated("{a: 1}", "{{<<: [{}]}}"), "too many values"),
    "an alias of a long text": ("a: &a " + "x" * 100_000 + "\nb: [" + ",".join(["*a"] * 9999) + "]", "too many values"),
    "an alias within itself": ("a: &x\n  b: [*x]", "an alias within itself"),
    "an anchor on a key": ("? &a [*a]\n: 1", "an alias within itself"),
    "aliases that deepen": (
        "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300)),
        "nested too deeply",
    ),
    "brackets": ("[" * 100_000, "nested too deeply"),
    "braces": ("{" * 100_000, "nested too deeply"),
    "dashes": ("- " * 100_000, "nested too deeply"),
    "keys": ("{a: " * 100_000, "nested too deeply"),
    "question marks": ("? " * 100_000, "nested too deeply"),
    "indented blocks": ("".join(f"{' ' * n}a:\n" for n in range(1000)), "nested too deeply"),
    "a second document": ("a: 1\n---\n" + "[" * 100_000, "nested too deeply"),
    "a long number": ("a: " + "1" * 5000, "too many digits"),
    "a long hexadecimal number": ("a: 0x" + "f" * 5000, "too many digits"),
    "a long number in quotes": ('a: !!int "' + "1" * 5000 + '"', "too many digits"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_yaml_is_refused_with_its_place(text: str, words: str) -> None:
    readers = (
        lambda: yamldoc.parse(text, FILE),
        lambda: yamldoc.load_all_text(text, FILE),
        lambda: client.load_schema(text, FILE),
    )
    for read in readers:
        with pytest.raises(ConfigError) as caught:
            read()
        (problem,) = caught.value.problems
        assert problem.location
        assert problem.location.file == FILE
        assert problem.location.line
        assert words in problem.message


def test_large_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 problem") as caught:
        yamldoc.parse("a: " + "x" * bounds.FILE.size, FILE)
    assert caught.value.problems[0].lines()[0] == "f.yaml: too large"


def test_what_is_within_the_bounds_is_read() -> None:
    shared = "a: &a {x: [1, 2]}\nb: [*a, *a]\nc:\n  <<: *a\n  y: 3\n"
    assert yamldoc.load_all_text(shared, FILE) == [
        {"a": {"x": [1, 2]}, "b": [{"x": [1, 2]}] * 2, "c": {"x": [1, 2], "y": 3}}
    ]
    deep = "[" * bounds.STREAM.depth + "]" * bounds.STREAM.depth
    assert yamldoc.load_all_text(deep, FILE)
    with pytest.raises(ConfigError):
        yamldoc.load_all_text(f"[{deep}]", FILE)
    # An anchor belongs to its document, and one that was given twice means the later.
    assert yamldoc.load_all_text("a: &x 1\n---\na: &x [2]\nb: *x\n", FILE) == [{"a": 1}, {"a": [2], "b": [2]}]
    assert yamldoc.parse("a: 1" + "0" * 300, FILE).data == {"a": 10**300}
    assert yamldoc.parse("a: '" + "1" * 5000 + "'", FILE).data == {"a": "1" * 5000}


def test_numbers_that_json_cannot_hold_are_told_with_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        yamldoc.parse("a:\n- .nan\n- -.inf\n- 1e999\n- 1.5\n", FILE)
    assert [problem.location.line for problem in caught.value.problems if problem.location] == [2, 3, 4]


def test_a_byte_that_yaml_may_not_hold_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        yamldoc.parse("a: é\nb: 1\nc: \0\n", FILE)
    assert caught.value.problems[0].lines()[0].startswith("f.yaml:3: not YAML")


def test_a_file_that_is_wrong_throughout_is_told_in_part() -> None:
    with pytest.raises(ConfigError) as caught:
        yamldoc.parse("".join(f"{number}: x\n" for number in range(5000)), FILE)
    assert len(caught.value.problems) == yamldoc.PROBLEMS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested too deeply"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ("NaN", "not JSON"),
        ("1e999", "no float64"),
        ("1" * 5000, "digit"),
        (r'["\ud800"]', "surrogates"),
        (r'{"\ud800": 1}', "surrogates"),
        ("{", "Expecting"),
        ("", "Expecting"),
        ("[" + "1," * 200_000 + "1]", "values"),
        ('"' + "x" * bounds.FILE.size + '"', "larger than"),
    ],
)
def test_hostile_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        jsondoc.parse(text)


def test_json_is_read() -> None:
    assert jsondoc.parse('{"a": [1, 1.5, null, true, "é\\ud83d\\ude00"]}'.encode()) == {
        "a": [1, 1.5, None, True, "é😀"]
    }
    with pytest.raises(ValueError, match="utf-8"):
        jsondoc.parse(b'"\xff"')


@pytest.mark.parametrize("name", ["/dev/zero", "fifo"])
def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "fifo":
        os.mkfifo(path)
    with pytest.raises(CarvelwrightError, match="not a regular file"):
        files.read_bytes(path)


def test_a_pipe_of_the_caller_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"content")
    os.close(writer)
    try:
        assert files.read_bytes(Path(f"/dev/fd/{reader}"), 10) == b"content"
    finally:
        os.close(reader)


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "build.yaml"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(CarvelwrightError, match=r"build.yaml: it is larger than \d+ bytes"):
        yamldoc.load(path)
