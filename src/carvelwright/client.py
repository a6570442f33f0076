"""What the client makes of a package's values schema: the default values file and the table of `--values-schema`.

The client (kctrl, and the tanzu CLI that carries it) reads the JSON of `spec.valuesSchema.openAPIv3` with a YAML
library, keeps the keywords it knows in lower case, fills in the defaults and prints what it gets. Every oddity of that
is kept here, since it decides what a package's users are given; `schema_traps` names the shapes to stay clear of.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, goyaml, jsondoc
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


class Client(StrEnum):
    """The dialects of the client: each name stands for all versions up to the next."""

    KCTRL_0_45 = "kctrl-0.45"
    KCTRL_0_46 = "kctrl-0.46"


class Schema(dict[str, Any]):
    """A values schema with the JSON text it came from, because the client's YAML reader tells texts apart."""

    def __init__(self, content: Mapping[str, Any], text: str) -> None:
        super().__init__(content)
        self.text = text


@dataclass(frozen=True, slots=True)
class TableRow:
    """One value of a package as `--values-schema` lists it; each field is the text of a column."""

    key: str
    default: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Trap:
    """A part of a schema that the client drops, mangles or fails on.

    `kind` is a short name to select by, `path` the option's dotted path ("" for the schema itself).
    """

    kind: str
    path: str
    message: str
    hint: str


# --- reading -----------------------------------------------------------------------------------------------------


def load_schema(text: bytes | str, source: Path) -> Schema:
    """Read an OpenAPI v3 values schema, the document itself, from JSON or YAML.

    JSON is kept as it stands; YAML becomes the JSON that the API server would hand to the client. Raises ConfigError
    for what is neither, for duplicate keys, and for documents that only contain a values schema.
    """
    decoded = _decode(text, source)
    bounds.check_size(len(decoded), source, bounds.FILE)
    if _looks_like_json(decoded, source):
        schema = Schema(_as_schema(_parse_json(decoded, source), source), decoded)
    else:
        content = _as_schema(_parse_yaml(decoded, source), source)
        schema = Schema(content, to_go_json(content))
    return schema


def _decode(text: bytes | str, source: Path) -> str:
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise _bad_input(
            f"not UTF-8: byte {error.start} is {error.object[error.start]:#04x}", Location(source)
        ) from None
    return decoded.removeprefix("\ufeff")


def _looks_like_json(text: str, source: Path) -> bool:
    if source.suffix == ".json":
        return True
    if not text.lstrip().startswith("{"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parse_json(text: str, source: Path) -> object:
    try:
        return jsondoc.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_input(f"not JSON: {error.msg}", Location(source, error.lineno, error.colno)) from None
    except ValueError as error:
        raise _bad_input(str(error), Location(source)) from None


def _parse_yaml(text: str, source: Path) -> object:
    from ruamel.yaml import YAML  # noqa: PLC0415  # slow to import, and JSON does not need it
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        bounds.check_yaml(text, source, bounds.SCHEMA, pure=True)
        node = YAML(pure=True).compose(text)
        return None if node is None else _plain_data(node, source)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = Location(source) if mark is None else Location(source, mark.line + 1, mark.column + 1)
        raise _bad_input(f"not YAML: {error.problem}", where) from None
    except YAMLError as error:
        raise _bad_input(f"not YAML: {error}", Location(source)) from None
    except RecursionError:
        raise _bad_input("nested too deeply, or an anchor that contains itself", Location(source)) from None


def _plain_data(node: Any, source: Path) -> object:
    where = Location(source, node.start_mark.line + 1, node.start_mark.column + 1)
    if node.id == "sequence":
        return [_plain_data(item, source) for item in node.value]
    if node.id == "mapping":
        content: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = _key_text(_plain_data(key_node, source), where)
            if key in content:
                at = Location(source, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
                raise _bad_input(f"the key {key!r} occurs twice in one mapping", at)
            content[key] = _plain_data(value_node, source)
        return content
    return _scalar_data(node, where)


def _scalar_data(node: Any, where: Location) -> object:
    explicit = node.ctag.handle is not None or node.ctag.suffix == "!"
    if node.style is not None or (explicit and str(node.tag) in ("tag:yaml.org,2002:str", "!")):
        return str(node.value)
    if explicit:
        raise _bad_input(f"the tag {node.tag} is not supported in a schema", where)
    if node.value == "<<":
        raise _bad_input("merge keys are not supported in a schema", where)
    if node.value in goyaml.OLD_BOOLS:
        return goyaml.OLD_BOOLS[node.value]
    tag, value = goyaml.resolve(node.value)
    if tag is goyaml.Tag.FLOAT and not math.isfinite(value):
        raise _bad_input(f"{node.value} cannot be represented in JSON", where)
    return value


def _key_text(key: object, where: Location) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return goyaml.format_float(key)
    if isinstance(key, str | int):
        return str(key)
    raise _bad_input("a key is neither text nor a number", where)


_DEPTH_LIMIT = 200
_MESSAGE_LIMIT = 300


def _depth(document: object) -> int:
    depth, level = 0, [document]
    while level:
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        depth, level = depth + 1, [value for values in inner for value in values]
    return depth


def _as_schema(document: object, source: Path) -> dict[str, Any]:
    where = Location(source)
    if not isinstance(document, dict):
        found = "nothing" if document is None else _JSON_NAMES[type(document)]
        raise _bad_input(
            "not a schema", where, found=found, expected="an OpenAPI v3 schema, an object with `properties`"
        )
    if "apiVersion" in document and "kind" in document:
        hint = "take the object under spec.valuesSchema.openAPIv3 of a Package"
        raise _bad_input("not a schema", where, found=f"a resource of kind {document['kind']}", hint=hint)
    if "openapi" in document and "components" in document:
        hint = "take the object under components.schemas.dataValues"
        raise _bad_input("not a schema", where, found="a complete OpenAPI document", hint=hint)
    if "openAPIv3" in document:
        raise _bad_input("not a schema", where, found="a valuesSchema", hint="take the object under openAPIv3")
    if _depth(document) > _DEPTH_LIMIT:
        raise _bad_input("nested too deeply", where, expected=f"at most {_DEPTH_LIMIT} levels")
    return document


_JSON_NAMES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}


def _bad_input(
    message: str, location: Location, *, found: str | None = None, expected: str | None = None, hint: str | None = None
) -> ConfigError:
    problem = Problem(message[:_MESSAGE_LIMIT], location, found=found, expected=expected, hint=hint)
    return ConfigError([problem], what="the values schema")


# --- as the API server writes it, and as the client's YAML readers take it ------------------------------------------

_JSON_ESCAPES = {
    ord(char): f"\\u{ord(char):04x}" for char in [*map(chr, range(0x20)), "<", ">", "&", "\u2028", "\u2029"]
} | {ord(char): "\\" + letter for char, letter in zip('"\\\b\f\n\r\t', '"\\bfnrt', strict=True)}
_JSON_ESCAPES |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def to_go_json(value: object) -> str:
    """Return plain data as Go's encoding/json writes it, which is what the API server serves: 1.0 is 1."""
    if isinstance(value, dict):
        members = (f"{_json_string(key)}:{to_go_json(value[key])}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_go_json, value)) + "]"
    if isinstance(value, str):
        return _json_string(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError("a number that no float64 holds")
        return goyaml.format_json_float(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise TypeError(f"not plain data: {type(value).__name__}")


def _json_string(text: str) -> str:
    return f'"{text.translate(_JSON_ESCAPES)}"'


_STRING = re.compile(r'"(?P<content>(?:[^"\\]|\\.)*)"(?P<colon>[ \t\r\n]*:)?', re.DOTALL)
_YAML_READABLE = re.compile(r"(?:[^\\]|\\[^u/]|\\u(?![dD][89a-fA-F]))*")
_FORBIDDEN = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_RAW_BREAK = re.compile(" *[\x85\u2028\u2029][ \x85\u2028\u2029]*")
_DOCUMENT_MARK = re.compile("[\x85\u2028\u2029](?:---|\\.\\.\\.)[ \x85\u2028\u2029]")
_LINE_BREAKS = frozenset("\r\n\x85\u2028\u2029")
_KEY_LIMIT = 1024


def _client_view(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as the client's YAML readers understand its JSON; raise where they give up."""
    text = schema.text if isinstance(schema, Schema) else _served_text(schema)
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        at = f"the control character U+{ord(forbidden[0]):04X}"
        raise _client_error("", f"{at} occurs in a text", "yaml: control characters are not allowed", "remove it")
    view = json.loads(_STRING.sub(_yaml_string, text), parse_int=_yaml_number, parse_float=_yaml_number)
    if not isinstance(view, dict):
        raise TypeError("not a mapping")
    return view


def _served_text(schema: Mapping[str, Any]) -> str:
    try:
        return to_go_json(dict(schema))
    except OverflowError as error:
        raise _client_error("", str(error), "json: unsupported value", "use a smaller number") from None


def _yaml_string(match: re.Match[str]) -> str:
    content, colon = match["content"], match["colon"]
    if _YAML_READABLE.fullmatch(content) is None:
        says = "yaml: found unknown escape character, or found invalid Unicode character escape code"
        raise _client_error("", f"an escape of JSON alone in {_short(match[0])}", says, "write the character itself")
    if colon is not None and (len(match[0]) - 1 > _KEY_LIMIT or not _LINE_BREAKS.isdisjoint(match[0])):
        says = "yaml: did not find expected ',' or '}'"
        raise _client_error("", f"a key of over 1024 characters or one line: {_short(match[0])}", says, "shorten it")
    if _DOCUMENT_MARK.search(content):
        says = "yaml: found unexpected document indicator"
        raise _client_error("", f"a line of --- or ... in {_short(match[0])}", says, "remove the line break")
    return f'"{_RAW_BREAK.sub(_fold, content)}"{colon or ""}'


def _fold(match: re.Match[str]) -> str:
    """Fold line breaks as YAML does in double quotes; JSON does not see U+0085, U+2028 and U+2029 as such."""
    breaks = match[0].replace(" ", "").replace("\x85", "\n")
    if breaks == "\n":
        return " "
    return breaks.removeprefix("\n").replace("\n", "\\n")


def _yaml_number(text: str) -> object:
    return goyaml.resolve(text)[1]


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")  # noqa: PLR2004


def _client_error(path: str, message: str, says: str, hint: str) -> CarvelwrightError:
    what = f"{path}: {message}" if path else message
    return CarvelwrightError(
        f"the client fails on this schema: {what}",
        exit_code=ExitCode.CLIENT,
        details=f"the client says: {says}",
        hint=hint,
    )


# --- the schema as the client holds it ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    """What is left of a schema after the client has read it."""

    type: str
    nullable: bool
    default: Any
    required: frozenset[str]
    properties: dict[str, _Node]


_TEXTS = ("id", "schema", "ref", "description", "type", "format", "title", "pattern")
_NUMBERS = ("maximum", "minimum")
_NOT_SUPPORTED = {
    "id": "id",
    "schema": "schema",
    "ref": "$ref",
    "dependencies": "dependencies",
    "definitions": "definitions",
}
_STRUCT = "apiextensions.JSONSchemaProps"


def _read_node(schema: Mapping[str, Any], path: str) -> _Node:
    _check_keywords(schema, path)
    properties = schema.get("properties") or {}
    _check_sub_schemas(properties, path)
    return _Node(
        type=_go_text(schema.get("type")),
        nullable=schema.get("nullable") in (True, *_TRUE_WORDS),
        default=schema.get("default"),
        required=frozenset(_go_text(name) for name in schema.get("required") or ()),
        properties={key: _read_node(value or {}, _join(path, key)) for key, value in sorted(properties.items())},
    )


_TRUE_WORDS = tuple(word for word, value in goyaml.OLD_BOOLS.items() if value)


def _check_keywords(schema: Mapping[str, Any], path: str) -> None:
    """Refuse what the client cannot unmarshal or convert; a null is nothing to it, whatever the keyword."""
    checks: list[tuple[Iterable[str], Callable[[Any], bool], str]] = [
        (_TEXTS, _is_scalar, "string"),
        (("nullable",), _is_go_bool, "bool"),
        (_NUMBERS, _is_number, "float64"),
        (("required",), _is_list, "[]string"),
        (("enum",), _is_list, "[]apiextensions.JSON"),
        (("items",), _is_dict, "apiextensions.JSONSchemaPropsOrArray"),
        (("properties", "definitions"), _is_dict, f"map[string]{_STRUCT}"),
        (("dependencies",), _is_dict, "apiextensions.JSONSchemaDependencies"),
        (("not",), _is_dict, _STRUCT),
    ]
    for keywords, fits, go_type in checks:
        for keyword in keywords:
            value = schema.get(keyword)
            if value is not None and not fits(value):
                raise _unmarshal_error(path, keyword, value, go_type)
    for name in schema.get("required") or ():
        if name is not None and not _is_scalar(name):
            raise _unmarshal_error(path, "required", name, "string")
    for keyword, name in _NOT_SUPPORTED.items():
        if schema.get(keyword) not in (None, "", {}):
            says = f"OpenAPIV3Schema '{name}' is not supported"
            raise _client_error(path, f"has the keyword `{keyword}`", says, "remove the keyword")
    if schema.get("not") is not None:
        _read_node(schema["not"], path)


def _check_sub_schemas(properties: Mapping[str, Any], path: str) -> None:
    for key, value in properties.items():
        if value is not None and not isinstance(value, dict):
            raise _unmarshal_error(path, f"properties.{key}", value, _STRUCT)


def _unmarshal_error(path: str, keyword: str, value: object, go_type: str) -> CarvelwrightError:
    tags = {dict: "!!map", list: "!!seq", str: "!!str", bool: "!!bool", int: "!!int", float: "!!float"}
    text = "" if isinstance(value, dict | list) else f" `{_go_text(value)}`"
    says = f"yaml: unmarshal errors: cannot unmarshal {tags[type(value)]}{text} into {go_type}"
    return _client_error(
        path, f"the keyword `{keyword}` has a wrong type", says, f"`{keyword}` must be {_EXPECTED[go_type]}"
    )


_EXPECTED = {
    "string": "one text",
    "bool": "true or false",
    "float64": "a number",
    "[]string": "a list of texts",
    "[]apiextensions.JSON": "a list",
    "apiextensions.JSONSchemaPropsOrArray": "one schema",
    f"map[string]{_STRUCT}": "a map of schemas",
    "apiextensions.JSONSchemaDependencies": "a map",
    _STRUCT: "a schema",
}


def _is_scalar(value: object) -> bool:
    return not isinstance(value, dict | list)


def _is_go_bool(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value in goyaml.OLD_BOOLS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _go_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


# --- the default values file ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Panic:
    """A default that the client cannot copy: its option, the place in the default, the type that it stumbles over."""

    path: str
    place: str
    go_type: str


def default_values_file(schema: Mapping[str, Any], client: Client) -> str:
    """Return the text of the file that `--default-values-file-output` writes.

    A Schema is taken by its text; any other mapping as the API server would serve it. Where the client panics or
    reports an error and writes no file: CarvelwrightError with ExitCode.CLIENT.
    """
    root = _read_node(_client_view(schema), "")
    if client is Client.KCTRL_0_46 and not root.properties:
        says = "Package does not have any user configurable values"
        raise _client_error(
            "", "it has no properties", says, "add properties to the schema, or remove it from the Package"
        )
    panics: list[_Panic] = []
    values = _default_values(root, client, panics)
    if panics:
        raise _panic_error(panics[0])
    return _file_text(values, client)


def _file_text(values: dict[str, Any], client: Client) -> str:
    lines = goyaml.dump_v3(values).removesuffix("\n").split("\n")
    if client is Client.KCTRL_0_46:
        lines = [line.replace(": {}", ":", 1) for line in lines]
    return "".join(f"# {line}\n" for line in lines)


def _panic_error(panic: _Panic) -> CarvelwrightError:
    where = f" at {panic.place}" if panic.place else ""
    return _client_error(
        panic.path,
        f"its default holds an integer{where}",
        f"panic: cannot deep copy {panic.go_type}",
        "use an integer only as the default of an integer option: make the integers text, split an object into "
        "properties with defaults of their own, or give an array the default [] and name the value in its description",
    )


def _default_values(root: _Node, client: Client, panics: list[_Panic]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    _fill(values, root, "", client, panics)
    return values


def _fill(values: dict[str, Any], node: _Node, path: str, client: Client, panics: list[_Panic]) -> None:
    for key, child in node.properties.items():
        default = child.default
        if default is None:
            if not _is_wanted(child, client) and not _is_required(node, key, client):
                continue
            default = {}
        if key not in values or (values[key] is None and not child.nullable):
            values[key] = _copied(default, _join(path, key), panics)
    for key, value in values.items():
        known = node.properties.get(key)
        if known is not None and isinstance(value, dict):
            _fill(value, known, _join(path, key), client, panics)


def _is_required(node: _Node, key: str, client: Client) -> bool:
    return client is not Client.KCTRL_0_45 and key in node.required


def _is_wanted(node: _Node, client: Client) -> bool:
    """Tell whether the client enters an object for the sake of its descendants."""
    return any(
        _is_wanted(child, client)
        if child.type == "object" and child.default is None and child.properties
        else child.type != "object" and (child.default is not None or _is_required(node, key, client))
        for key, child in node.properties.items()
    )


def _copied(default: object, path: str, panics: list[_Panic]) -> object:
    if isinstance(default, int) and not isinstance(default, bool):
        if default >= 2**63:
            panics.append(_Panic(path, "", "uint64"))
        return default
    panics.extend(_Panic(path, place, _go_int(number)) for place, number in _integers(default, ""))
    return json.loads(json.dumps(default)) if isinstance(default, dict | list) else default


def _integers(value: object, place: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _integers(value[key], f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _integers(item, f"{place}[{i}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place, value


def _go_int(number: int) -> str:
    return "uint64" if number >= 2**63 else "int"


# --- the table ------------------------------------------------------------------------------------------------------


def schema_table(schema: Mapping[str, Any]) -> tuple[TableRow, ...]:
    """Return the rows of `--values-schema`, by key as plain text; only leaves have one.

    CarvelwrightError with ExitCode.CLIENT where the client reports an error.
    """
    view = _client_view(schema)
    properties = view.get("properties")
    if "properties" not in view or not isinstance(properties, dict | None):
        says = "unable to parse the value schema, the value of key named 'properties' has unsupported type"
        raise _client_error("", "its `properties` is not a map", says, "add `properties` to the schema")
    if not properties:
        raw = list(to_go_json(view["default"]).encode()) if "default" in view else None
        return (TableRow(key="", default=_cell(raw), type="", description=""),)
    rows = _rows(properties, "")
    return tuple(sorted(rows, key=lambda row: row.key))


def _rows(properties: Mapping[str, Any], path: str) -> Iterator[TableRow]:
    for key, schema in properties.items():
        if not isinstance(schema, dict):
            continue
        # Not _join: the client joins an empty key with its dot.
        name = f"{path}{key}"
        inner = schema.get("properties")
        if isinstance(inner, dict) and inner:
            yield from _rows(inner, f"{name}.")
        elif "properties" not in schema or isinstance(inner, dict):
            texts = (schema.get("type"), schema.get("description"))
            kind, description = (text if isinstance(text, str) else "" for text in texts)
            yield TableRow(key=name, default=_cell(schema.get("default")), type=kind, description=description)


def _cell(default: object) -> str:
    if default in (None, [], {}):
        return ""
    return goyaml.trim_space(goyaml.dump_v2(_as_floats(default)))


def _as_floats(value: object) -> object:
    """Return `value` with every number as the float64 that encoding/json makes of it."""
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


_HEADER = {"default": "Default", "description": "Description", "key": "Key", "type": "Type"}


def table_json(rows: Sequence[TableRow]) -> str:
    """Return the rows as the client prints them with `--json`; like there, no newline at the end."""
    cells = [{name: getattr(row, name) for name in _HEADER} for row in rows]
    table = {"Content": "", "Header": _HEADER, "Rows": cells, "Notes": None}
    return _indented({"Tables": [table], "Blocks": None, "Lines": None}, "\n")


def _indented(value: object, newline: str) -> str:
    inner = newline + "    "
    if isinstance(value, dict) and value:
        members = (f"{_json_string(key)}: {_indented(item, inner)}" for key, item in value.items())
        return "{" + inner + f",{inner}".join(members) + newline + "}"
    if isinstance(value, list) and value:
        return "[" + inner + f",{inner}".join(_indented(item, inner) for item in value) + newline + "]"
    return to_go_json(value)


def table_text(rows: Sequence[TableRow]) -> str:
    """Return the rows as the client prints them on a terminal, without its title line."""
    table = [("Key", "Default", "Type", "Description")]
    last: str | None = None
    for row in rows:
        # The client blanks a repeated first column.
        table.append(("^" if row.key == last else row.key, row.default, row.type, row.description))
        last = row.key
    cells = [[_cell_lines(text) for text in line] for line in table]
    # Widths are in bytes there, so columns stand askew beside text that is not ASCII.
    widths = [max(len(text.encode()) for line in cells for text in line[i]) for i in range(4)]
    return "".join(_table_line(line, widths) for line in cells)


def _cell_lines(text: str) -> list[str]:
    return (text.replace("\r", "") or "-").split("\n")


def _table_line(cells: list[list[str]], widths: list[int]) -> str:
    out = ""
    for i in range(max(map(len, cells))):
        texts = [column[i] if i < len(column) else "" for column in cells]
        padded = [text + " " * (width - len(text.encode())) for text, width in zip(texts, widths, strict=True)]
        out += "  ".join([*padded[:-1], texts[-1]]) + "  \n"
    return out


# --- traps ----------------------------------------------------------------------------------------------------------

_DOUBLING_LIMIT = 24  # some 100 MB and a second; at 32, 30 GB


def schema_traps(schema: Mapping[str, Any]) -> tuple[Trap, ...]:
    """Return every part of the schema that a client drops, mangles or fails on, in the order of the options.

    The schema is taken as the API server serves it, whatever text it was read from. Where a client cannot read the
    schema at all, that is the only trap.
    """
    served = dict(schema)
    try:
        view = _client_view(served)
        root = _read_node(view, "")
    except CarvelwrightError as error:
        return (Trap("error", "", f"{error.message} ({error.details})", error.hint or ""),)
    panics: list[_Panic] = []
    values = _default_values(root, Client.KCTRL_0_46, panics)
    found = [*_panic_traps(panics), *_value_traps(values, ""), *_whole_traps(root, values)]
    found += [trap for path, node in _walk(root, ()) for trap in _node_traps(path, node, values)]
    found += _keyword_traps(served, "")
    return tuple(sorted(found, key=lambda trap: trap.path))


def _panic_traps(panics: list[_Panic]) -> Iterator[Trap]:
    first = {panic.path: panic for panic in reversed(panics)}
    for panic in first.values():
        error = _panic_error(panic)
        yield Trap("panic", panic.path, f"{error.message} ({error.details})", error.hint or "")


def _whole_traps(root: _Node, values: dict[str, Any]) -> Iterator[Trap]:
    if not root.properties:
        yield Trap(
            "empty", "", "without properties the client fails and writes no file", "add properties to the schema"
        )
    elif not values:
        yield Trap(
            "empty", "", "no default is written to the file: users get only `# {}`", "add defaults to the options"
        )
    for key, child in root.properties.items():
        objects = _counted_objects(child)
        if child.default is None and objects > _DOUBLING_LIMIT:
            message = f"{objects} objects below it without a default: the client's memory doubles with each"
            yield Trap(
                "doubling",
                key,
                message,
                "set the default of this option to {}, which the client expands in the same way",
            )


def _counted_objects(node: _Node) -> int:
    """Count the objects that the client visits, and keeps a list for, to see whether it wants this one."""
    inner = [child for child in node.properties.values() if child.type == "object" and child.default is None]
    return sum(1 + _counted_objects(child) for child in inner if child.properties)


def _walk(node: _Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], _Node]]:
    for key, child in node.properties.items():
        inner = (*path, key)
        yield inner, child
        yield from _walk(child, inner)


def _reaches(values: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _node_traps(path: tuple[str, ...], node: _Node, values: dict[str, Any]) -> Iterator[Trap]:
    name, reaches = ".".join(path), _reaches(values, path)
    if node.default is not None and not reaches:
        message = "its default is lost, since the client enters no object above it"
        yield Trap("dropped", name, message, "add `type: object` or the default {} to each object above it")
    if node.nullable and node.properties and node.default is None and reaches:
        message = "the client writes it expanded, although its default is null"
        yield Trap("nullable", name, message, "remove nullable here, and add an option that enables the feature")
    if not (node.properties or node.nullable or reaches) and node.default is None:
        message = "has no default: the client leaves it out of the file"
        yield Trap("no-default", name, message, "add a default, or make it nullable")


def _value_traps(value: object, path: str) -> Iterator[Trap]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _key_traps(key, item, _join(path, key))
            yield from _value_traps(item, _join(path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _value_traps(item, f"{path}[{i}]")
    elif isinstance(value, str):
        yield from _text_traps(value, path)
    elif isinstance(value, float) and "e" in goyaml.format_float(value):
        message = f"its default is written as {goyaml.format_float(value)} in the file"
        yield Trap("exponent", path, message, "use a unit in which the number is an integer, or use text")


def _key_traps(key: str, item: object, path: str) -> Iterator[Trap]:
    if item == {}:
        message = f"the client writes `{key}:` without the {{}} of an empty map, which ytt then refuses as null"
        yield Trap("empty-map", path, message, "add a default with content, or make it nullable with default null")
    if ": {}" in key:
        yield Trap("braces", path, "the client removes ` {}` from its name", "remove `: {}` from the key")


def _text_traps(text: str, path: str) -> Iterator[Trap]:
    if ": {}" in text:
        message = "the client removes ` {}` after a colon from its default"
        yield Trap("braces", path, message, "remove `: {}` from the text; in JSON write `:{}`")
    if goyaml.loses_leading_break(text):
        yield Trap(
            "leading-break", path, "the line break at the start of its default is lost", "begin the default with text"
        )
    if any(ord(char) > 0xFFFF for char in text):  # noqa: PLR2004  # beyond the basic plane
        yield Trap(
            "escaped", path, "its default is written with escapes such as \\U0001F600", "remove emoji from the default"
        )


_UNREAD = {
    "items": "item-default",
    "additionalProperties": "unread",
    "allOf": "unread",
    "anyOf": "unread",
    "oneOf": "unread",
    "not": "unread",
}


def _keyword_traps(schema: Mapping[str, Any], path: str) -> Iterator[Trap]:
    for keyword, kind in _UNREAD.items():
        if _holds_default(schema.get(keyword)):
            message = f"a default under its `{keyword}` is never written to the file"
            yield Trap(kind, path, message, "move what users should see to the option's own default")
    if any("\x85" in text for text in _texts(schema.get("default"))):
        message = "the character U+0085 in its default becomes a space"
        yield Trap("folded", path, message, "write a line feed, or remove the character")
    for key, child in (schema.get("properties") or {}).items():
        yield from _keyword_traps(child or {}, _join(path, key))


def _holds_default(schema: object) -> bool:
    """Tell whether a default is set in a schema or a list of schemas; a property may be called default, too."""
    if isinstance(schema, list):
        return any(map(_holds_default, schema))
    if not isinstance(schema, dict):
        return False
    properties = schema.get("properties")
    inner = list(properties.values()) if isinstance(properties, dict) else []
    return schema.get("default") is not None or any(map(_holds_default, [*inner, *map(schema.get, _UNREAD)]))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
