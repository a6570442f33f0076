"""Our emitters and our client against the Go libraries that the client is built from (tests/oracle)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carvelwright.client import Client, default_values_file, load_schema, schema_table, table_json, table_text
from carvelwright.client.goyaml import dump_v2, dump_v3
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "oracle"


class Oracle:
    """The Go program, asked over pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, op: str, **request: object) -> str | None:
        """Return the answer, or None where the libraries report an error or panic."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, str] = json.loads(self._process.stdout.readline())
        return None if answer["error"] else answer["out"]


def build_oracle() -> Path:
    """Build the program once for each content of its source."""
    go = Path(sys.prefix) / "bin" / "go"
    files = sorted(path for path in SOURCE.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    content = b"\0".join([subprocess.check_output([go, "version"]), *(path.read_bytes() for path in files)])
    target = ROOT / "build" / "test-oracle" / hashlib.sha256(content).hexdigest()[:16] / "oracle"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"oracle.{os.getpid()}")
        environment = os.environ | {
            "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0",
        }
        subprocess.run([go, "build", "-o", beside, "."], cwd=SOURCE, env=environment, check=True)
        beside.rename(target)
    return target


@contextmanager
def running_oracle() -> Iterator[Oracle]:
    command = [build_oracle()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield Oracle(process)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running_oracle() as running:
        yield running


# --- values -----------------------------------------------------------------------------------------------------------

LOOKALIKES = [
    *("", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "yes", "No", "ON", "off", "y", "N", "tRue"),
    *(".nan", ".NaN", ".inf", "+.inf", "-.INF", "nan", "inf", "+.nan", "<<", "=", "-", "--", "---", "...", "--- a"),
    *("0", "-0", "+1", "0777", "08", "0o17", "-0o17", "0o-7", "0b1", "0b-1", "-0b+1", "0x1F", "-0x1f", "1_000", "_1"),
    *("1.", ".5", ".5e3", ".5_0", "._5", "._", ".", "..", "1e3", "1e400", "-1e-400", "1.5e+3", "1e", "0x1p3", "1:2"),
    *("12:30:45", "190:20:30.15", "1:60", "9223372036854775807", "9223372036854775808", "18446744073709551616"),
    *("-9223372036854775809", "0xFFFFFFFFFFFFFFFFF", "2020-01-01", "2020-1-1", "2020-02-30", "2020-01-01T00:00:00Z"),
    *("2020-01-01 10:20:30", "2020-01-01 10:20:30.5", "2020-01-01t1:2:3,25+01:30", "2020-01-01T00:00:00", "0000-02-29"),
    *("a: {}", ": {}", "- a", "? a", "a #b", "a:", "#a", "@a", "`a", "%a", "&a", "*a", "!a", "|a", ">a", "'a", '"a'),
    *("\ufeff", "\ufeffa b", "a\ufeff", "\n", "\n\n", "\na", " \n", "\n ", "a\n", "a\n\n", " a\nb", "a\n b", "a\tb\n"),
    *("\u2028a\n", "a\u2028b", "a\u2029", "\x85", "a\r\nb", "\r", "w " * 60, "'" + "w " * 60, "\t" + "w  " * 60),
]
NASTY = " \t\n\r\x85\u2028\u2029'\":#-?,[]{}&*!|>%@`~\\\ufeff\0\x07\x7fa0\xe9\xa0\u0663\U0001f600."
NUMERIC = "0123456789xobXOB_+-.eE:afTtZ, "

scalars_of_unicode = st.characters(exclude_categories=["Cs"])
texts = st.one_of(
    st.sampled_from(LOOKALIKES),
    st.text(NASTY, max_size=24),
    st.text(NUMERIC, max_size=12),
    st.text(scalars_of_unicode, max_size=30),
    st.lists(st.text("ab'\"\\\t\xe9\U0001f600 ", max_size=25), max_size=25).map(" ".join),
    st.tuples(
        st.sampled_from(["2020", "0000", "19999", "1900"]),
        st.sampled_from(["-1-1", "-02-29", "-13-1", "-12-31", "-1-32", "-00-1", "-001-1"]),
        st.sampled_from(
            ["", "T1:2:3Z", "t23:59:59.25+24:60", " 1:2:3", "  01:02:03,4", "T1:2:3", " 24:0:0", " 1:2:3Z"]
        ),
    ).map("".join),
)
# Letters that are new in one Unicode version or the other sort differently, so none is unassigned here.
keys = st.one_of(
    texts.filter(lambda text: text.isascii()),
    st.text("ab019-._ Z\xe9\u0663", max_size=8),
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=8),
    st.integers(120, 135).map(lambda length: "k" * length),
    st.text("019", min_size=18, max_size=24),
)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e6, 1234567.5, 999999.0, 1e-5])
integers = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | integers | floats | texts
# More than two keys of any kind can have no order at all: the encoders' comparison is not transitive.
maps_of_two = st.dictionaries(keys, scalars, max_size=2)
plain_keys = st.from_regex(r"[a-z]{1,3}[0-9]{0,3}", fullmatch=True)
values = st.recursive(
    scalars | maps_of_two,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_keys, inner, max_size=4),
    max_leaves=12,
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("text", LOOKALIKES)
def test_texts_of_every_kind(oracle: Oracle, text: str) -> None:
    value = {"v": text, "l": [text], text: {"in": text}}
    assert dump_v3(value) == oracle.ask("yaml3", value=value)
    assert dump_v2(value) == oracle.ask("yaml2", value=value)
    assert dump_v2(text) == oracle.ask("yaml2", value=text)


@given(value=values)
@quick
def test_yaml_v3(oracle: Oracle, value: Any) -> None:
    assert dump_v3(value) == oracle.ask("yaml3", value=value)


@given(value=values)
@quick
def test_yaml_v2(oracle: Oracle, value: Any) -> None:
    assert dump_v2(value) == oracle.ask("yaml2", value=value)


# --- schemas ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "a1", "a10", "x.y", "y", "", "<<", "default", "properties", "m: {}"])
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts | st.integers(2**63, 2**65),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
safe_values = st.recursive(
    st.none() | st.booleans() | st.floats(0.25, 1e9) | st.sampled_from(["v", "a: {}", "\na", "{}", "", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
defaults = safe_values | st.integers(0, 9)


def keywords(default: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "type": st.sampled_from(["object", "object", "string", "integer"]) | odd,
        "default": default,
        "nullable": st.booleans() | odd,
        "required": st.lists(NAMES, max_size=2) | odd,
        "description": texts | odd,
    }


def schemas(default: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = keywords(default, odd)
    leaf = st.fixed_dictionaries({}, optional=known)
    node = st.recursive(
        leaf,
        lambda inner: st.fixed_dictionaries(
            {"properties": st.dictionaries(NAMES, inner | odd, max_size=3)}, optional=known
        ),
        max_leaves=8,
    )
    return st.fixed_dictionaries(
        {"properties": st.dictionaries(NAMES, node, max_size=4)}, optional={"type": st.just("object")}
    )


def write_json(schema: object, style: int) -> str:
    return json.dumps(schema, ensure_ascii=style % 2 == 0, indent="\t" if style > 1 else None)


sane_schemas = schemas(defaults, st.nothing())
ODD: list[Any] = ["yes", "true", 5, 1.5, True, None, [], {}, ["a"], [5], [{}], {"a": {}}]
odd_words = st.sampled_from(ODD)
odd_schemas = schemas(json_values, odd_words) | st.fixed_dictionaries(
    {},
    optional={
        "properties": odd_words,
        "default": json_values,
        "id": odd_words,
        "enum": odd_words,
        "items": odd_words,
        "not": odd_words | st.just({"required": 1}),
        "maximum": odd_words,
        "definitions": odd_words,
        "dependencies": odd_words,
        "title": odd_words,
        "additionalProperties": odd_words,
        "oneOf": odd_words,
    },
)


def ours(text: str, client: Client) -> str | None:
    try:
        return default_values_file(load_schema(text, Path("schema.json")), client)
    except CarvelwrightError as error:
        failure = error
    assert failure.exit_code is ExitCode.CLIENT
    assert failure.details
    assert failure.hint
    return None


def our_tables(text: str) -> tuple[str | None, str | None]:
    try:
        rows = schema_table(load_schema(text, Path("schema.json")))
    except CarvelwrightError as error:
        failure = error
    else:
        return table_json(rows), table_text(rows)
    assert failure.exit_code is ExitCode.CLIENT
    return None, None


def same_as_libraries(oracle: Oracle, text: str) -> None:
    assert ours(text, Client.KCTRL_0_45) == oracle.ask("defaults", text=text, new=False)
    assert ours(text, Client.KCTRL_0_46) == oracle.ask("defaults", text=text, new=True)
    as_json, as_text = our_tables(text)
    if as_json is not None:
        keys = [row["key"] for row in json.loads(as_json)["Tables"][0]["Rows"]]
        if len(set(keys)) < len(keys):
            return  # rows of one key (a.b, and b under a) come in any order
    assert as_json == oracle.ask("table", text=text)
    assert as_text == oracle.ask("text", text=text)


@given(schema=sane_schemas, style=st.integers(0, 3))
@quick
def test_schemas(oracle: Oracle, schema: object, style: int) -> None:
    same_as_libraries(oracle, write_json(schema, style))


@given(schema=odd_schemas, style=st.integers(0, 3))
@quick
def test_schemas_of_wrong_types(oracle: Oracle, schema: object, style: int) -> None:
    same_as_libraries(oracle, write_json(schema, style))


@given(texts=st.lists(texts, max_size=3), style=st.integers(0, 3))
@quick
def test_schemas_of_any_text(oracle: Oracle, texts: list[str], style: int) -> None:
    properties = {text: {"type": "string", "default": text, "description": text} for text in texts[:2]}
    schema = {"properties": properties | {"list": {"default": texts}}}
    same_as_libraries(oracle, write_json(schema, style))


@pytest.mark.parametrize(
    "text",
    [
        '{"properties": {"a": {"default": 1.0}, "b": {"default": [1.0, 1e6, -0.0]}, "c": {"default": 1E400}}}',
        '{"properties": {"a": {"default": -0}, "b": {"default": 18446744073709551615}}}',
        '{"properties": {"a": {"default": -9223372036854775809}, "b": {"default": 18446744073709551616}}}',
        '{"properties": {"a": {"default": "\\/"}}}',
        '{"properties": {"a": {"default": "\\ud83d\\ude00"}}}',
        '{"properties": {"a": {"default": "x\x85--- y"}}}',
        '{"properties": {"a": {"default": "x \x85 \u2028 y\u2029\x85"}}}',
        '{"properties": {"a": {"default": "x\\u0085y\\u2028z"}}}',
        '{"properties": {"a": {"default": "x\x7f"}}}',
        '{"properties": {"' + "k" * 1022 + '": {"default": "v"}}}',
        '{"properties": {"' + "k" * 1023 + '": {"default": "v"}}}',
        '{"properties": {"a\x85b": {"default": "v"}}}',
        '{"properties": {"' + "k" * 129 + '": {"default": {"a": {}}}, "m\\nn": {"default": ["x"]}}}',
        '{"properties": {}, "default": {"b": 1, "a": "<"}, "type": "object", "description": "d"}',
        '{"properties"\n : {"a": {"default": "v"}}}',
        '{"properties": null}',
        '{"properties": {"a": null, "b": {"properties": null, "default": "x"}, "c": {"properties": {}}}}',
        "{}",
        '{"type": "object"}',
        '\n {"properties" : {"a": {"default": {"b": [{"c": {}}]}}}}\n',
    ],
)
def test_edges_of_json(oracle: Oracle, text: str) -> None:
    same_as_libraries(oracle, text)
