"""The annotated values file of any schema, given back to the real ytt."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from carvelwright import valuesdoc
from carvelwright.steps.render import export_file
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema

HEAD = "#@data/values-schema\n---\n"


@dataclass(frozen=True)
class Exporter:
    """Writes schemas and values files, and asks the real ytt."""

    tools: Toolchain
    directory: Path

    def export(self, schema: str) -> ValuesSchema:
        path = self.directory / "schema/values-schema.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(schema)
        return export_file(path, path.read_bytes(), self.tools)

    def final(self, given: str | None = None) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return the final data values as JSON, which tells 1 from true, and what refuses them."""
        path = self.directory / "given.yaml"
        if given is not None:
            path.write_bytes(given.encode())
        files = [path] if given is not None else []
        found = ytt.data_values(self.tools.ytt, self.directory / "schema", files, step="test")
        return json.dumps(found.values), found.refused


@pytest.fixture
def exporter(toolset: Toolchain, tmp_path: Path) -> Exporter:
    return Exporter(toolset, tmp_path)


def uncommented(text: str) -> str:
    """Set every map that is null, as the file's own words say how."""
    while re.search(r"^ *#  ", text, re.MULTILINE):
        text = re.sub(r"(?<=keys below\.\n)(.*): null$", r"\1:", text, flags=re.MULTILINE)
        text = re.sub(r"^( *)#  ", r"\1  ", text, flags=re.MULTILINE)
    return text


def lines_of(text: str, key: str) -> list[str]:
    """Return the lines of a block: a top-level key with its comment and what is below."""
    block = next(block for block in text.split("\n\n") if re.search(rf"^{re.escape(key)}:", block, re.MULTILINE))
    return block.rstrip("\n").split("\n")


def test_a_map_that_is_null_by_default_stays_null(exporter: Exporter) -> None:
    schema = HEAD + (
        "#@schema/desc 'Sends traces to a collector; null: no traces.'\n#@schema/nullable\ntracing:\n"
        "  endpoint: collector.example.com:4317\n  #@schema/nullable\n  tls:\n    insecure: false\nreplicas: 1\n"
    )
    text = valuesdoc.annotated(exporter.export(schema), "test")
    assert lines_of(text, "tracing") == [
        "# tracing",
        "# Sends traces to a collector; null: no traces.",
        "# Type: object or null.",
        "# Default: null.",
        "# To set it, remove the word null and the # before the keys below.",
        "tracing: null",
        "#  # tracing.endpoint",
        "#  # Type: string.",
        '#  # Default: "collector.example.com:4317".',
        "#  endpoint: collector.example.com:4317",
        "#  # tracing.tls",
        "#  # Type: object or null.",
        "#  # Default: null.",
        "#  # To set it, remove the word null and the # before the keys below.",
        "#  tls: null",
        "#  #  # tracing.tls.insecure",
        "#  #  # Type: boolean.",
        "#  #  # Default: false.",
        "#  #  insecure: false",
    ]
    assert exporter.final(text) == exporter.final()
    assert json.loads(exporter.final(uncommented(text))[0]) == {
        "tracing": {"endpoint": "collector.example.com:4317", "tls": {"insecure": False}},
        "replicas": 1,
    }


# What ytt's export does not tell, or says in a way of its own: what the file has for the key.
SHAPES = {
    "a map without keys": ("x: {}\n", "x: {}"),
    "a map without keys that is null": ("#@schema/nullable\nx: {}\n", "x: null"),
    "a map with a default of its own": ('#@schema/default {"b": 5}\nx:\n  a: 1\n  b: 2\n', "  b: 5"),
    "a nullable map with a default": ('#@schema/nullable\n#@schema/default {"b": 5}\nx:\n  a: 1\n  b: 2\n', "  b: 5"),
    "a list of maps": ('#@schema/default [{"b": 5}]\nx:\n- a: s\n  b: 2\n', "- b: 5"),
    "a list that is null": ('#@schema/nullable\nx:\n- ""\n', "x: null"),
    "a list with a default": ('#@schema/default ["on", "1"]\nx:\n- ""\n', "- 'on'"),
    "any value": ("#@schema/type any=True\nx:\n  z: {b: [1, null]}\n  a: {}\n", "  a: {}"),
    "any value, null": ("#@schema/type any=True\nx: null\n", "x: null"),
    "text like a number": ('x: "0o17"\n', "x: '0o17'"),
    "text like a date": ('x: "2026-01-02"\n', "x: '2026-01-02'"),
    "text of lines": ('x: "a\\n  b\\n\\nc\\n"\n', "x: |"),
    "text that begins with a line break": ('x: "\\n a \\n"\n', 'x: "\\n a \\n"'),
    "a long key": ("x:\n  " + "k" * 200 + ":\n    a: 1\n", "  ? " + "k" * 200),
    "a number of many digits": ("x: 12345678901234567890\n", "x: 12345678901234567890"),
}


@pytest.mark.parametrize(("schema", "line"), SHAPES.values(), ids=SHAPES)
def test_each_shape_is_written_as_ytt_has_it(exporter: Exporter, schema: str, line: str) -> None:
    text = valuesdoc.annotated(exporter.export(HEAD + schema), "test")
    assert line in text.split("\n")
    assert exporter.final(text) == exporter.final()


@pytest.mark.parametrize("schema", ["{}\n", "#@schema/type any=True\n---\na: {b: 1}\n", "- ''\n"])
def test_a_schema_without_options_gives_a_file_too(exporter: Exporter, schema: str) -> None:
    whole = f"#@data/values-schema\n{schema}" if "---" in schema else HEAD + schema
    text = valuesdoc.annotated(exporter.export(whole), "test")
    assert exporter.final(text) == exporter.final()


def test_what_else_the_schema_says_of_an_option_is_there(exporter: Exporter) -> None:
    schema = HEAD + (
        '#@schema/title "A\\ntitle"\n#@schema/desc "First.\\xc2\\x85a: 1\\n\\n\\x07Last."\n#@schema/deprecated "gone"\n'
        '#@schema/examples ("Usual", "b")\n#@schema/validation one_of=["a", "b"]\n"a.b/c d: e": a\n'
        '#@schema/desc ""\nplain: 1\n'
    )
    text = valuesdoc.annotated(exporter.export(schema), "test")
    assert text.split("\n\n")[1].split("\n") == [
        "# A title (a.b/c d: e)",
        "# First.",
        "# a: 1",
        r"# \u0007Last.",
        "# Deprecated.",
        "# Type: string.",
        '# Allowed: one of "a", "b".',
        '# Default: "a".',
        '# Example (Usual): "b".',
        "'a.b/c d: e': a",
    ]
    assert "# plain\n# Type: integer.\n" in text
    assert exporter.final(text) == exporter.final()


def test_each_rule_that_refuses_a_default_is_found_in_the_words_of_ytt(exporter: Exporter) -> None:
    schema = (
        "#@ def f(value):\n#@   fail('what was\\nfound')\n#@ end\n#@data/values-schema\n"
        "#@schema/validation ('as a whole (by: hand)', lambda values: False)\n---\n"
        "a:\n  #@schema/validation min_len=1, one_of=['x']\n  b.c d: ''\n"
        "#@schema/default [{'k': ''}, {'k': ''}]\nlist:\n- name: x\n  #@schema/validation min_len=1\n  k: ''\n"
        "#@schema/validation ('of two\\nlines', f)\ntext: ''\n"
        "#@schema/validation one_not_null=['p', 'q']\nchoice:\n  #@schema/nullable\n  p:\n    z: 1\n"
        "  #@schema/nullable\n  q:\n    #@schema/validation max=1\n    z: 2\nright: 1\n"
    )
    exported = exporter.export(schema)
    assert exported.refused == {
        (): "as a whole (by: hand)",
        ("a", "b.c d"): 'length >= 1; one of ["x"]',
        ("list",): "length >= 1",
        ("text",): "of two\nlines",
        ("choice",): 'exactly one of ["p", "q"] to be not null',
        ("choice", "q", "z"): "a value <= 1",
    }
    assert set(exported.required) == {(), ("a", "b.c d"), ("list",), ("text",), ("choice",)}
    text = valuesdoc.annotated(exported, "test")
    assert "# Give values of your own, which must be: as a whole (by: hand).\n" in text
    assert "# Give text, which must be: of two lines.\n" in text
    assert exporter.final(text) == exporter.final()


# --- generated schemas ------------------------------------------------------------------------------------------------

ODD = ["", "y", "on", "No", "null", "~", "1", "0o7", "1_0", "2026-01-02", "12:30", ".inf", "<<", "=", "-", "?", "- a"]
ODD += ["a.b", "a/b", "a b", "a: b", "a #b", "#a", "@a", "%a", "&a", "*a", "!a", "|", ">", "[a", "{a", "'", '"', "`"]
ODD += [
    "ä",
    "日本",
    "\U0001f600",
    "\ufeff",
    "\x7f",
    "\x85",
    "\u2028",
    "a\\b",
    "{}",
    ": {}",
    "x" * 130,
    "\u200b",
    "\ue000",
]
LINES = [
    "\n",
    " \n",
    "a\n",
    "\na",
    "a\nb",
    " a\nb\n",
    "a\n\n",
    "a\n b \n",
    "a\r\nb",
    "\ta\n",
    "#a\nb",
    "---\na",
    "a\t\nb",
]
plain = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
# ytt cannot take a key with a line break, and U+0085 and its like are such. Readers of YAML merge what is below <<.
# Keys of more than 120 characters are written in YAML's other form (`? KEY`), which the annotated file of a nullable
# map does not get right yet.
keys = st.one_of(st.sampled_from(ODD), st.text(plain, max_size=4), st.sampled_from(["a", "b", "name", "port"])).filter(
    lambda key: key != "<<" and len(key) <= 120 and not {"\x85", "\u2028", "\u2029"} & set(key)
)
texts = st.one_of(st.sampled_from(ODD + LINES), st.text(plain, max_size=12))
# YAML's numbers in ytt: integers of 64 bits, and no negative zero.
integers = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**64 - 1))
floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number != 0 or str(number) == "0.0")
scalars = st.one_of(texts, integers, floats, st.booleans())
contents = st.recursive(
    st.one_of(scalars, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)


def quoted(text: str) -> str:
    """Write a text as YAML reads it."""
    return "".join(
        f"\\u{ord(char):04x}" if char in "\ufeff\u2028\u2029" or "\x7f" <= char < "\xa0" else char
        for char in json.dumps(text, ensure_ascii=False)
    )


def starlark(data: Any) -> str:
    """Write plain data as an expression of ytt's language."""
    if isinstance(data, dict):
        return "{" + ", ".join(f"{starlark(key)}: {starlark(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(starlark, data)) + "]"
    # Byte by byte: ytt's language knows no escapes by code point.
    return '"' + "".join(f"\\x{byte:02x}" for byte in data.encode()) + '"' if isinstance(data, str) else repr(data)


def yaml(data: Any) -> str:
    """Write plain data as YAML of one line."""
    if isinstance(data, dict):
        return "{" + ", ".join(f"{quoted(key)}: {yaml(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(yaml, data)) + "]"
    return quoted(data) if isinstance(data, str) else json.dumps(data)


@dataclass(frozen=True)
class Option:
    """An option of a schema: its annotations, and its value or the options below it."""

    key: str
    notes: tuple[str, ...]
    value: Any = None
    inner: tuple[Option, ...] = ()

    def lines(self, indent: str = "") -> Iterator[str]:
        yield from (f"{indent}{note}" for note in self.notes)
        if self.inner:
            yield f"{indent}{quoted(self.key)}:"
            for option in self.inner:
                yield from option.lines(f"{indent}  ")
        elif isinstance(self.value, list) and self.value:
            yield f"{indent}{quoted(self.key)}:"
            yield from (f"{indent}- {yaml(item)}" for item in self.value)
        else:
            yield f"{indent}{quoted(self.key)}: {yaml(self.value)}"


words = st.one_of(st.text(max_size=30), st.sampled_from(["", "A: b.", "- a\n\n# b", "x " * 90])).map(
    lambda text: re.sub("[\ud800-\udfff\ufffe\uffff\0]", "", text)
)
described = st.tuples(
    st.builds(lambda text: (f"#@schema/title {starlark(text)}",), words) | st.just(()),
    st.builds(lambda text: (f"#@schema/desc {starlark(text)}",), words) | st.just(()),
    st.sampled_from([(), ('#@schema/deprecated "old"',)]),
).map(lambda groups: sum(groups, ()))
nullable = st.sampled_from([(), (), ("#@schema/nullable",)])
ANY = ("#@schema/type any=True",)


def leaf(key: str) -> st.SearchStrategy[Option]:
    def listed(notes: tuple[str, ...], null: tuple[str, ...], items: list[str], *, own: bool) -> Option:
        default = (f"#@schema/default {starlark(items)}",) if own else ()
        return Option(key, (*notes, *null, *default), [""])

    def maps(notes: tuple[str, ...], items: list[str]) -> Option:
        default = f"#@schema/default {starlark([{'a': item} for item in items])}"
        return Option(key, (*notes, default), [{"a": "", "b": {"c": 1}}])

    return st.one_of(
        st.builds(lambda notes, null, value: Option(key, (*notes, *null), value), described, nullable, scalars),
        st.builds(lambda notes, value: Option(key, (*notes, *ANY), value), described, contents),
        st.builds(lambda notes, null: Option(key, (*notes, *null), {}), described, nullable),
        st.builds(listed, described, nullable, st.lists(texts, max_size=3), own=st.booleans()),
        st.builds(maps, described, st.lists(texts, max_size=2)),
    )


def tree(depth: int) -> st.SearchStrategy[tuple[Option, ...]]:
    def options(names: Sequence[str]) -> st.SearchStrategy[tuple[Option, ...]]:
        return st.tuples(*(option(name) for name in names))

    def option(name: str) -> st.SearchStrategy[Option]:
        if not depth:
            return leaf(name)
        inner = st.builds(
            lambda notes, null, inner: Option(name, (*notes, *null), None, inner), described, nullable, tree(depth - 1)
        )
        return leaf(name) | inner

    return st.lists(keys, min_size=1, max_size=4, unique=True).flatmap(options)


# Without shrinking, which would call ytt for minutes: a schema is small, and a failure shows it.
@settings(max_examples=40, phases=[Phase.reuse, Phase.generate])
@given(options=tree(2))
def test_the_annotated_file_gives_the_same_values_as_none(toolset: Toolchain, options: tuple[Option, ...]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        exporter = Exporter(toolset, Path(directory))
        written = HEAD + "\n".join(line for option in options for line in option.lines()) + "\n"
        note(written)
        schema = exporter.export(written)
        text = valuesdoc.annotated(schema, "test")
        assert exporter.final(text) == exporter.final()
        assert exporter.final(uncommented(text))[0] == json.dumps(schema.defaults[-1])
