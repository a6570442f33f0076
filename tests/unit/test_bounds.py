"""What a reader is given may be hostile: it is measured first, and the answer is an error with its place, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carvelwright import bounds, client, files, jsondoc, yamldoc
from carvelwright.bounds import Bounds
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


# The measure itself, with bounds that a person can count

DEPTH, NODES, SIZE = Bounds(999, 999, 3), Bounds(999, 8, 9), Bounds(10, 999, 9)


def excess(text: str, within: Bounds, *, pure: bool = False) -> tuple[str, str | None, str] | None:
    """Return what exceeds the bounds: what it is, what is expected, where."""
    try:
        bounds.check_yaml(text, FILE, within, pure=pure)
    except ConfigError as error:
        (problem,) = error.problems
        return problem.message, problem.expected, str(problem.location)
    return None


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[[1]]", None),
        ("[[[]]]", None),
        ("[[[[]]]]", "1:4"),
        ("[[[1]]]", "1:4"),
        ("a:\n  b:\n    c: 1", "3:5"),
        ("- - 1\n- - - 1", "2:7"),
        ("a: &a 1\nb: [*a]", None),
        ("a: &a [1]\nb: [*a]", "2:5"),
        ("a: &a [[1], 2]", "1:9"),
        ("[[1], 1, [1]]\n--- [[1]]", None),
        ("[[1]]\n--- [[[1]]]", "2:8"),
        ("- &a [1]\n- *a", None),
        ("- &a [1]\n- [*a]", "2:4"),
        ("- &a [1]\n- &a 1\n- [*a]", None),
        ("&a x: 1\ny: [*a]", None),
    ],
)
def test_nesting_is_counted(text: str, place: str | None, pure: bool) -> None:
    told = place and ("nested too deeply", "at most 3 levels", f"f.yaml:{place}")
    assert excess(text, DEPTH, pure=pure) == told


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[1, 2, 3, 4, 5, 6]", None),
        ("[1, 2, 3, 4, 5, 6, 7]", "1:20"),
        ("{a: 1, b: 2, c: 3}", None),
        ("{a: 1, b: 2, c: 3, d: 4}", "1:20"),
        ("[[[], [], [], [], []]]", None),
        ("[[[], [], [], [], [], []]]", "1:23"),
        ("- &a [1, 2]\n- *a", None),
        ("- &a [1, 2]\n- *a\n- *a", "3:3"),
        ("- &a [1, 2]\n- [*a]\n", "2:4"),
        ("- &a 1\n- *a\n- *a\n- *a\n- *a\n- *a", None),
        ("- &a 1\n- *a\n- *a\n- *a\n- *a\n- *a\n- *a", "7:3"),
        ("[1, 2]\n--- [3, 4]", None),
        ("[1, 2]\n--- [3, 4, 5]", "2:12"),
        ("[" + "x" * 63 + ", 2, 3, 4, 5, 6]", None),
        ("[" + "x" * 64 + ", 2, 3, 4, 5, 6]", "1:80"),
        ("[" + "x" * 320 + "]", None),
        ("[" + "x" * 384 + "]", "1:2"),
        ("- &a " + "x" * 128 + "\n- *a", None),
        ("- &a " + "x" * 192 + "\n- *a", "2:3"),
    ],
)
def test_values_are_counted(text: str, place: str | None) -> None:
    expected = "at most 8, an alias counted as all that it repeats"
    assert excess(text, NODES) == (place and ("too many values", expected, f"f.yaml:{place}"))


def test_bytes_are_counted() -> None:
    assert excess("a: 1234567", SIZE) is None
    with pytest.raises(ConfigError, match=r"^1 problem in f\.yaml$") as caught:
        bounds.check_yaml("a: 12345678", FILE, SIZE)
    assert caught.value.lines()[1:] == [
        "  f.yaml: too large",
        "      found: 11 bytes",
        "      expected: at most 10 bytes",
    ]


def test_tag_directives_are_counted() -> None:
    lines = [f"\n%TAG !{number}! tag:x" for number in range(101)]
    assert excess("".join([*lines[:100], "\n--- a"]), bounds.FILE) is None
    assert excess("".join(lines), bounds.FILE) == ("too many %TAG directives", "at most 100", "f.yaml")


@pytest.mark.parametrize("text", ["[" * 99, "\n%TAG" * 101])
def test_what_is_refused_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^1 problem in f\.yaml$"):
        bounds.check_yaml(text, FILE, bounds.FILE)


@pytest.mark.parametrize(
    ("text", "long"),
    [
        *((f"{prefix}{digit * 400}", True) for prefix, digit in (("-", "1"), ("+", "1"), ("0x", "F"), ("0X", "f"))),
        *((f"{prefix}{digit * 400}", True) for prefix, digit in (("0o", "7"), ("0b", "1"), ("0B_", "1"), ("1:", "1"))),
        ("1" * 400, False),
        ("1" * 401, True),
        (f"1.{'1' * 400}", False),
        ("a" * 401, False),
        (f"'{'1' * 401}'", False),
        (f"!!str {'1' * 401}", False),
        (f"!!int '{'1' * 401}'", True),
        (f"!!float '{'1' * 401}'", False),
        (f"|\n  {'1' * 401}", False),
    ],
)
def test_digits_are_counted(text: str, long: bool) -> None:
    told = ("a number of too many digits", "at most 400 digits; quotes make it text", "f.yaml:1:4")
    assert excess(f"a: {text}", bounds.FILE) == (told if long else None)


@pytest.mark.parametrize("text", ["&a [*a]", "- &a [1, [*a]]", "&a {x: *a}", "&b x: &a {*b : [*a]}"])
def test_an_alias_within_itself_is_named(text: str) -> None:
    told = excess(text, bounds.FILE)
    assert told
    assert told[:2] == ("nested too deeply: an alias within itself", "an alias of something else")


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
