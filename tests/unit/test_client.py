"""What the client makes of a schema, by cases derived by hand from its rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carvelwright.client import (
    Client,
    Schema,
    TableRow,
    default_values_file,
    load_schema,
    schema_table,
    schema_traps,
    table_json,
    table_text,
    to_go_json,
)
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode

A, B = Client.KCTRL_0_45, Client.KCTRL_0_46
JSON, YAML = Path("schema.json"), Path("schema.yaml")


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def opt(default: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "string", "default": default, **more}


def fails(schema: Any, client: Client) -> CarvelwrightError:
    with pytest.raises(CarvelwrightError) as caught:
        default_values_file(schema, client)
    assert caught.value.exit_code is ExitCode.CLIENT
    assert caught.value.hint
    return caught.value


def traps(schema: Any) -> list[tuple[str, str]]:
    found = schema_traps(schema)
    assert all(trap.message and trap.hint for trap in found)
    return [(trap.kind, trap.path) for trap in found]


# --- the default values file


def test_names_of_the_clients() -> None:
    assert [str(client) for client in Client] == ["kctrl-0.45", "kctrl-0.46"]


@pytest.mark.parametrize("client", Client)
def test_scalars_and_order(client: Client) -> None:
    schema = obj(b10=opt(10), b2=opt(False), a=opt(1.5), Z=opt("no"), none=opt())
    assert default_values_file(schema, client) == '# Z: "no"\n# a: 1.5\n# b2: false\n# b10: 10\n'


@pytest.mark.parametrize("client", Client)
def test_every_line_is_a_comment(client: Client) -> None:
    assert default_values_file(obj(a=opt("x\n\ny\n\n")), client) == "# a: |+\n#   x\n# \n#   y\n# \n"


def test_required_without_default() -> None:
    schema = obj(a=opt(), b=opt("v")) | {"required": ["a"]}
    assert default_values_file(schema, A) == "# b: v\n"
    assert default_values_file(schema, B) == "# a:\n# b: v\n"


def test_required_deeper_down() -> None:
    schema = obj(o=obj(a={"type": "string"}) | {"required": ["a"]})
    assert default_values_file(schema, A) == "# {}\n"
    assert default_values_file(schema, B) == "# o:\n#   a:\n"


def test_empty_map() -> None:
    schema = obj(m={"type": "object", "default": {}}, o=opt({"a": {}, "l": [{}]}))
    assert default_values_file(schema, A) == "# m: {}\n# o:\n#   a: {}\n#   l:\n#     - {}\n"
    assert default_values_file(schema, B) == "# m:\n# o:\n#   a:\n#   l:\n#     - {}\n"


def test_no_properties() -> None:
    schemas: list[dict[str, Any]] = [{}, {"type": "object"}, {"properties": {}}]
    for schema in schemas:
        assert default_values_file(schema, A) == "# {}\n"
        assert "properties" in fails(schema, B).message


@pytest.mark.parametrize("client", Client)
def test_nothing_has_a_default(client: Client) -> None:
    assert default_values_file(obj(a={"type": "string"}), client) == "# {}\n"


@pytest.mark.parametrize("client", Client)
def test_objects_are_filled_from_their_children(client: Client) -> None:
    schema = obj(
        o=obj(p=obj(q=opt("v"))), e=obj(q=opt("v")) | {"default": {}}, k=obj(q=opt("v")) | {"default": {"r": "s"}}
    )
    assert default_values_file(schema, client) == "# e:\n#   q: v\n# k:\n#   q: v\n#   r: s\n# o:\n#   p:\n#     q: v\n"


@pytest.mark.parametrize("client", Client)
def test_a_parents_default_wins_but_for_null(client: Client) -> None:
    own = obj(a=opt("child"), b=opt("child"), c=opt("child", nullable=True)) | {
        "default": {"a": "own", "b": None, "c": None}
    }
    assert default_values_file(obj(o=own), client) == "# o:\n#   a: own\n#   b: child\n#   c: null\n"


@pytest.mark.parametrize("client", Client)
def test_dropped_defaults(client: Client) -> None:
    schema = obj(
        child=obj(m={"type": "object", "default": {"z": "1"}}),
        own=obj(m=obj(q=opt("v")) | {"default": {}}),
        untyped=obj(u={"properties": {"q": opt("d")}}),
        one={"type": "object", "oneOf": [obj(a=opt("v"))], "anyOf": [obj(a=opt("v"))]},
        items={"type": "array", "items": obj(a=opt("v"))},
        free={"type": "object", "additionalProperties": opt("v")},
    )
    assert default_values_file(schema, client) == "# {}\n"


@pytest.mark.parametrize("client", Client)
def test_nullable_map_is_written_expanded(client: Client) -> None:
    null = {"nullable": True, "default": None}
    schema = obj(m=obj(a=opt("A")) | {"nullable": True}, o=obj(a=opt("A")) | null, s={"type": "string"} | null)
    assert default_values_file(schema, client) == "# m:\n#   a: A\n# o:\n#   a: A\n"


@pytest.mark.parametrize(
    ("default", "place"),
    [
        ([80, 443], "[0]"),
        ({"replicas": 1}, "replicas"),
        ([{"port": 1}], "[0].port"),
        ({"a": [["x", 2]]}, "a[0][1]"),
        ([1.0], "[0]"),  # the API server serves 1.0 as 1
    ],
)
@pytest.mark.parametrize("client", Client)
def test_an_integer_in_a_default_panics(client: Client, default: Any, place: str) -> None:
    error = fails(obj(spec=obj(ports=opt(default), x=opt("y"))), client)
    assert "spec.ports: " in error.message
    assert error.message.endswith(place)
    assert error.details == "the client says: panic: cannot deep copy int"


@pytest.mark.parametrize("client", Client)
def test_numbers_that_do_not_panic(client: Client) -> None:
    assert default_values_file(obj(a=opt(2**63 - 1), b=opt([1.5, 2.5])), client) == (
        "# a: 9223372036854775807\n# b:\n#   - 1.5\n#   - 2.5\n"
    )


def test_an_integer_over_63_bits_panics() -> None:
    error = fails(obj(a=opt(2**63)), B)
    assert "a: " in error.message
    assert error.details == "the client says: panic: cannot deep copy uint64"


def test_json_text_is_taken_as_it_stands() -> None:
    defaults = {"a": "[1.0, 1e6]", "b": "1e400", "c": "18446744073709551616"}
    options = ", ".join(f'"{key}": {{"default": {text}}}' for key, text in defaults.items())
    schema = load_schema(f'{{"properties": {{{options}}}}}', JSON)
    assert default_values_file(schema, A) == "# a:\n#   - 1\n#   - 1e+06\n# b: 1e400\n# c: 1.8446744073709552e+19\n"


@pytest.mark.parametrize(
    ("default", "line"),
    [("a: {} b: {}", "# t: 'a: b: {}'"), ('{"a": {}}', "# t: '{\"a\":}'"), ("\U0001f600", r'# t: "\U0001F600"')],
)
def test_mangled_texts(default: str, line: str) -> None:
    assert default_values_file(obj(t=opt(default)), B) == f"{line}\n"


def test_braces_go_from_each_line_of_a_block_and_from_keys() -> None:
    schema = obj(**{"t": opt("a: {}\nb: {} c: {}"), "k: {}": opt("v")})
    assert default_values_file(schema, B) == "# 'k:': v\n# t: |-\n#   a:\n#   b: c: {}\n"


def test_leading_line_break_is_lost() -> None:
    assert default_values_file(obj(t=opt("\na")), B) == "# t: |2-\n#   a\n"


def test_line_breaks_of_unicode() -> None:
    raw = load_schema('{"properties": {"a": {"default": "x \x85 y"}, "b": {"default": "x\u2028\x85y"}}}', JSON)
    assert default_values_file(raw, B) == "# a: x y\n# b: |-\n#   x\u2028\n#   y\n"
    # The API server escapes U+2028, so it arrives; U+0085 does not.
    served = obj(a=opt("x\x85y"), b=opt("x\u2028y"))
    assert default_values_file(served, B) == "# a: x y\n# b: 'x\u2028  y'\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (r'"\ud83d\ude00"', "invalid Unicode character escape code"),
        (r'"\/"', "unknown escape character"),
        ('"\x7f"', "control characters are not allowed"),
        ('"\uffff"', "control characters are not allowed"),
        ('"\x85--- x"', "unexpected document indicator"),
    ],
)
def test_texts_of_json_that_yaml_refuses(text: str, says: str) -> None:
    schema = load_schema(f'{{"properties": {{"a": {{"default": {text}}}}}}}', JSON)
    assert says in (fails(schema, B).details or "")
    with pytest.raises(CarvelwrightError):
        schema_table(schema)


def test_long_keys() -> None:
    assert default_values_file(obj(**{"k" * 1022: opt("v")}), B).startswith("# ? kkk")
    assert "1024" in fails(obj(**{"k" * 1023: opt("v")}), B).message


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"type": ["string", "null"]}, "cannot unmarshal !!seq into string"),
        ({"required": True}, "cannot unmarshal !!bool `true` into []string"),
        ({"required": [["a"]]}, "cannot unmarshal !!seq into string"),
        ({"nullable": "true"}, "cannot unmarshal !!str `true` into bool"),
        ({"maximum": "5"}, "cannot unmarshal !!str `5` into float64"),
        ({"enum": "a"}, "into []apiextensions.JSON"),
        ({"items": [{}]}, "into apiextensions.JSONSchemaPropsOrArray"),
        ({"properties": ["a"]}, "into map[string]apiextensions.JSONSchemaProps"),
        ({"properties": {"x": True}}, "into apiextensions.JSONSchemaProps"),
        ({"not": {"required": True}}, "into []string"),
        ({"id": "x"}, "'id' is not supported"),
        ({"definitions": {"a": {}}}, "'definitions' is not supported"),
    ],
)
@pytest.mark.parametrize("client", Client)
def test_keywords_of_wrong_types(client: Client, keywords: dict[str, Any], says: str) -> None:
    error = fails(obj(spec=obj(a={"type": "string", "default": "v"} | keywords)), client)
    assert "spec.a" in error.message
    assert says in (error.details or "")


@pytest.mark.parametrize(
    "keywords",
    [
        {"type": 5},
        {"nullable": "yes"},
        {"required": [1, True, None]},
        {"description": 1.5},
        {"properties": None},
        {"additionalProperties": "x", "oneOf": 1, "$ref": [], "minLength": "x"},
        {"title": None, "id": ""},
    ],
)
def test_oddities_that_the_client_accepts(keywords: dict[str, Any]) -> None:
    assert default_values_file(obj(a={"default": "v"} | keywords, b=opt(5)), B) == "# a: v\n# b: 5\n"


def test_a_word_for_nullable_counts() -> None:
    own = obj(a=opt("child", nullable="yes"), b=opt("child", nullable="no")) | {"default": {"a": None, "b": None}}
    assert default_values_file(obj(o=own), B) == "# o:\n#   a: null\n#   b: child\n"


def test_required_is_compared_as_text() -> None:
    schema = obj(**{"1": {"type": "string"}, "true": {"type": "string"}}) | {"required": [1, True]}
    assert default_values_file(schema, B) == '# "1":\n# "true":\n'


def test_many_nested_objects_take_no_time_here() -> None:
    objects = {f"o{i}": obj(a=opt("v")) for i in range(64)}
    assert default_values_file(obj(top=obj(**objects)), B).count("\n") == 129


# --- the table


def test_rows_are_leaves_sorted_as_texts() -> None:
    schema = obj(
        b=opt("v", description="about b"),
        a10={"type": "integer", "default": 1000000},
        a9={"type": "boolean", "default": False},
        o=obj(x=opt("'q'"), e={"type": "object", "properties": {}, "description": "none"}) | {"description": "dropped"},
        l={"type": "array", "default": [{"a": 80}], "items": obj(a=opt("v"))},
        m={"type": "object", "default": {}},
        n={"type": ["string"], "default": None, "description": 5},
    )
    assert schema_table(schema) == (
        TableRow("a10", "1e+06", "integer", ""),
        TableRow("a9", "false", "boolean", ""),
        TableRow("b", "v", "string", "about b"),
        TableRow("l", "- a: 80", "array", ""),
        TableRow("m", "", "object", ""),
        TableRow("n", "", "", ""),
        TableRow("o.e", "", "object", "none"),
        TableRow("o.x", "'''q'''", "string", ""),
    )


def test_the_table_skips_what_is_no_schema() -> None:
    schema = {
        "properties": {"a": True, "b": {"properties": None, "default": "x"}, "c": {"properties": []}, "d": opt("v")}
    }
    assert [row.key for row in schema_table(schema)] == ["d"]


def test_the_table_of_empty_properties_is_one_row_without_a_key() -> None:
    assert schema_table({"type": "object", "properties": {}}) == (TableRow("", "", "", ""),)


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": []}, {"properties": "x"}])
def test_no_table_without_properties(schema: dict[str, Any]) -> None:
    with pytest.raises(CarvelwrightError, match="properties") as caught:
        schema_table(schema)
    assert caught.value.exit_code is ExitCode.CLIENT


def test_table_json_escapes_as_go_does() -> None:
    text = table_json([TableRow("k", "<&>\u2028\b\x01é\x7f", "", 'say "\\"\n')])
    assert r'"default": "\u003c\u0026\u003e\u2028\b\u0001é' + "\x7f" in text
    assert r'"description": "say \"\\\"\n"' in text
    assert not text.endswith("\n")
    assert json.loads(text)["Tables"][0]["Rows"][0]["key"] == "k"


def test_table_json_without_rows() -> None:
    assert '"Rows": [],' in table_json([])


def test_table_text() -> None:
    rows = [
        TableRow("k", "|-\n  a\n  b", "string", ""),
        TableRow("k", "", "éé", "d\r"),
        TableRow("long", "v", "ééé", "x"),
    ]
    assert table_text(rows).split("\n") == [
        "Key   Default  Type    Description  ",
        "k     |-       string  -  ",
        "        a                ",
        "        b                ",
        "^     -        éé    d  ",
        "long  v        ééé  x  ",
        "",
    ]


def test_columns_are_as_wide_as_their_bytes() -> None:
    assert table_text([TableRow("ééé", "v", "", "x")]).splitlines()[0] == "Key     Default  Type  Description  "


# --- traps


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (obj(a=opt("v"), n={"type": "string", "nullable": True, "default": None}, o=obj(b=opt(1))), []),
        (obj(spec=obj(ports=opt([80, 443]))), [("panic", "spec.ports")]),
        (obj(a=opt([1.0])), [("panic", "a")]),
        (obj(m={"type": "object", "default": {}}), [("empty-map", "m")]),
        (obj(m=opt({"a": [{"b": {}}]})), [("empty-map", "m.a[0].b")]),
        (obj(r={"type": "string"}) | {"required": ["r"]}, [("empty-map", "r")]),
        (obj(t=opt('{"a": {}}')), [("braces", "t")]),
        (obj(**{"k: {}": opt("v")}), [("braces", "k: {}")]),
        (obj(m=obj(a=opt("v")) | {"nullable": True}), [("nullable", "m")]),
        (obj(o=obj(m={"type": "object", "default": {"k": "v"}})), [("empty", ""), ("dropped", "o.m")]),
        (obj(a=opt("v"), o=obj(u={"properties": {"q": opt("d")}})), [("dropped", "o.u.q")]),
        (obj(a=opt("v"), l={"type": "array"}), [("no-default", "l")]),
        (obj(l={"type": "array", "default": [], "items": obj(a=opt("v"))}), [("item-default", "l")]),
        (obj(a=opt("v", oneOf=[{"default": "w"}])), [("unread", "a")]),
        (obj(a=opt("v", anyOf=[obj(default={"type": "string"})])), []),
        (obj(t=opt("\nx")), [("leading-break", "t")]),
        (obj(t=opt(1234567.5)), [("exponent", "t")]),
        (obj(t=opt(["\U0001f600"])), [("escaped", "t[0]")]),
        (obj(t=opt("a\x85b")), [("folded", "t")]),
        (obj(a={"type": "string"}), [("empty", ""), ("no-default", "a")]),
        ({"type": "object"}, [("empty", "")]),
        (obj(a={"type": ["string", "null"]}), [("error", "")]),
        (obj(a=opt("\x7f")), [("error", "")]),
        (obj(a=opt(float("inf"))), [("error", "")]),
        (obj(top=obj(**{f"o{i}": obj(a=opt("v")) for i in range(24)})), []),
        (obj(top=obj(**{f"o{i}": obj(a=opt("v")) for i in range(25)})), [("doubling", "top")]),
        (obj(top=obj(**{f"o{i}": obj(a=opt("v")) for i in range(25)}) | {"default": {}}), []),
    ],
)
def test_traps(schema: Any, expected: list[tuple[str, str]]) -> None:
    assert traps(schema) == expected


def test_traps_look_at_what_the_api_server_serves() -> None:
    schema = load_schema('{"properties": {"a": {"default": [1.0]}}}', JSON)
    assert default_values_file(schema, B) == "# a:\n#   - 1\n"
    assert traps(schema) == [("panic", "a")]


# --- reading


def test_yaml_is_read_as_the_client_tools_read_it() -> None:
    text = """
    type: object
    properties:
      y: {default: yes}
      a: {default: 0777}
      b: {default: 1:30}
      c: {default: 2020-01-01}
      d: {default: "yes"}
      e: {default: !!str 5}
      f: &f {default: 0o17}
      g: *f
      1.5: {default: 1e3}
      2: {default: ~}
    """
    schema = load_schema(text.encode(), YAML)
    assert default_values_file(schema, B) == (
        '# "1.5": 1000\n# a: 511\n# b: "1:30"\n# c: "2020-01-01"\n# d: "yes"\n'
        '# e: "5"\n# f: 15\n# g: 15\n# "true": true\n'
    )


def test_json_in_a_file_of_any_name() -> None:
    schema = load_schema('\ufeff{"properties": {"a": {"default": 1.0}}}', YAML)
    assert schema.text == '{"properties": {"a": {"default": 1.0}}}'
    assert isinstance(schema, Schema)


@pytest.mark.parametrize(
    ("text", "source", "where", "message"),
    [
        (b"\xff", JSON, "schema.json", "not UTF-8"),
        ("", JSON, "schema.json:1:1", "not JSON"),
        ('{"a": 1,\n "a": 2}', JSON, "schema.json", "'a' occurs twice"),
        ('{\n "a" 1}', JSON, "schema.json:2:6", "not JSON"),
        ('{"a": NaN}', JSON, "schema.json", "NaN is not JSON"),
        ("[" * 100_000, JSON, "schema.json", "nested too deeply"),
        ('{"not":' * 201 + "{}" + "}" * 201, JSON, "schema.json", "nested too deeply"),
        ("5", JSON, "schema.json", "found: a number"),
        ("null", JSON, "schema.json", "found: nothing"),
        ("", YAML, "schema.yaml", "found: nothing"),
        ("- a", YAML, "schema.yaml", "found: a list"),
        ("a: 1\nb: [", YAML, "schema.yaml:2:", "not YAML"),
        ("a: 1\na: 2", YAML, "schema.yaml:2:1", "'a' occurs twice"),
        ("a: &x [*x]", YAML, "schema.yaml", "nested too deeply"),
        ("a: !foo b", YAML, "schema.yaml:1:4", "!foo"),
        ("a: .inf", YAML, "schema.yaml:1:4", "cannot be represented in JSON"),
        ("a: &x {}\n<<: *x", YAML, "schema.yaml:2:1", "merge keys"),
        ("? [a]\n: b", YAML, "schema.yaml:1:1", "a key is neither"),
        ("apiVersion: v1\nkind: Package", YAML, "schema.yaml", "spec.valuesSchema.openAPIv3"),
        ('{"openapi": "3.0.0", "components": {}}', JSON, "schema.json", "components.schemas.dataValues"),
        ('{"openAPIv3": {}}', JSON, "schema.json", "under openAPIv3"),
    ],
)
def test_bad_documents(text: bytes | str, source: Path, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_schema(text, source)
    lines = "\n".join(caught.value.lines())
    assert where in lines
    assert message in lines


def test_go_json() -> None:
    value = {"b": [1.0, 1e21, None, True], "a": "<\u2028\ud800>", "é": {}}
    assert to_go_json(value) == '{"a":"\\u003c\\u2028\ufffd\\u003e","b":[1,1e+21,null,true],"é":{}}'
    with pytest.raises(TypeError, match="not plain data"):
        to_go_json({"a": {1}})
