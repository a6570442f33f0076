"""A values schema as the client's YAML readers take it, and what the client holds of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.client import gojson, goscalar
from carvelwright.client.reading import Schema
from carvelwright.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STRING = re.compile(r'"(?P<content>(?:[^"\\]|\\.)*)"(?P<colon>[ \t\r\n]*:)?', re.DOTALL)
_YAML_READABLE = re.compile(r"(?:[^\\]|\\[^u/]|\\u(?![dD][89a-fA-F]))*")
_FORBIDDEN = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_RAW_BREAK = re.compile(" *[\x85\u2028\u2029][ \x85\u2028\u2029]*")
_DOCUMENT_MARK = re.compile("[\x85\u2028\u2029](?:---|\\.\\.\\.)[ \x85\u2028\u2029]")
_LINE_BREAKS = frozenset("\r\n\x85\u2028\u2029")
_KEY_LIMIT = 1024

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
_TRUE_WORDS = tuple(word for word, value in goscalar.OLD_BOOLS.items() if value)
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


def client_view(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as the client's YAML readers understand its JSON; raise where they give up."""
    text = schema.text if isinstance(schema, Schema) else _served_text(schema)
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        at = f"the control character U+{ord(forbidden[0]):04X}"
        raise client_error("", f"{at} occurs in a text", "yaml: control characters are not allowed", "remove it")
    view = json.loads(_STRING.sub(_yaml_string, text), parse_int=_yaml_number, parse_float=_yaml_number)
    if not isinstance(view, dict):
        raise TypeError("not a mapping")
    return view


def _served_text(schema: Mapping[str, Any]) -> str:
    try:
        return gojson.to_go_json(dict(schema))
    except OverflowError as error:
        raise client_error("", str(error), "json: unsupported value", "use a smaller number") from None


def _yaml_string(match: re.Match[str]) -> str:
    content, colon = match["content"], match["colon"]
    if _YAML_READABLE.fullmatch(content) is None:
        says = "yaml: found unknown escape character, or found invalid Unicode character escape code"
        raise client_error("", f"an escape of JSON alone in {_short(match[0])}", says, "write the character itself")
    if colon is not None and (len(match[0]) - 1 > _KEY_LIMIT or not _LINE_BREAKS.isdisjoint(match[0])):
        says = "yaml: did not find expected ',' or '}'"
        raise client_error("", f"a key of over 1024 characters or one line: {_short(match[0])}", says, "shorten it")
    if _DOCUMENT_MARK.search(content):
        says = "yaml: found unexpected document indicator"
        raise client_error("", f"a line of --- or ... in {_short(match[0])}", says, "remove the line break")
    return f'"{_RAW_BREAK.sub(_fold, content)}"{colon or ""}'


def _fold(match: re.Match[str]) -> str:
    """Fold line breaks as YAML does in double quotes; JSON does not see U+0085, U+2028 and U+2029 as such."""
    breaks = match[0].replace(" ", "").replace("\x85", "\n")
    if breaks == "\n":
        return " "
    return breaks.removeprefix("\n").replace("\n", "\\n")


def _yaml_number(text: str) -> object:
    return goscalar.resolve(text)[1]


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")  # noqa: PLR2004


def client_error(path: str, message: str, says: str, hint: str) -> ClientError:
    """Return the error for a schema on which the client fails; `says` is the client's own message."""
    what = f"{path}: {message}" if path else message
    return ClientError(
        f"the client fails on this schema: {what}",
        details=f"the client says: {says}",
        hint=hint,
    )


@dataclass(frozen=True, slots=True)
class Node:
    """What is left of a schema after the client has read it."""

    type: str
    nullable: bool
    default: Any
    required: frozenset[str]
    properties: dict[str, Node]


def read_node(schema: Mapping[str, Any], path: str) -> Node:
    """Return the schema as the client holds it; raise where it cannot unmarshal or convert it."""
    _check_keywords(schema, path)
    properties = schema.get("properties") or {}
    _check_sub_schemas(properties, path)
    return Node(
        type=_go_text(schema.get("type")),
        nullable=schema.get("nullable") in (True, *_TRUE_WORDS),
        default=schema.get("default"),
        required=frozenset(_go_text(name) for name in schema.get("required") or ()),
        properties={key: read_node(value or {}, join(path, key)) for key, value in sorted(properties.items())},
    )


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
            raise client_error(path, f"has the keyword `{keyword}`", says, "remove the keyword")
    if schema.get("not") is not None:
        read_node(schema["not"], path)


def _check_sub_schemas(properties: Mapping[str, Any], path: str) -> None:
    for key, value in properties.items():
        if value is not None and not isinstance(value, dict):
            raise _unmarshal_error(path, f"properties.{key}", value, _STRUCT)


def _unmarshal_error(path: str, keyword: str, value: object, go_type: str) -> ClientError:
    tags = {dict: "!!map", list: "!!seq", str: "!!str", bool: "!!bool", int: "!!int", float: "!!float"}
    text = "" if isinstance(value, dict | list) else f" `{_go_text(value)}`"
    says = f"yaml: unmarshal errors: cannot unmarshal {tags[type(value)]}{text} into {go_type}"
    return client_error(
        path, f"the keyword `{keyword}` has a wrong type", says, f"`{keyword}` must be {_EXPECTED[go_type]}"
    )


def _is_scalar(value: object) -> bool:
    return not isinstance(value, dict | list)


def _is_go_bool(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value in goscalar.OLD_BOOLS)


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


def join(path: str, key: str) -> str:
    """Return the dotted path of a key."""
    return f"{path}.{key}" if path else key
