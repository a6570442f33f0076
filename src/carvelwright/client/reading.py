"""Read a values schema from a file: JSON as it stands, YAML as the JSON that the API server makes of it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, jsondoc
from carvelwright.client import gojson, goscalar
from carvelwright.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DEPTH_LIMIT = 200
_MESSAGE_LIMIT = 300
_JSON_NAMES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}


class Schema(dict[str, Any]):
    """A values schema with the JSON text it came from, because the client's YAML reader tells texts apart."""

    def __init__(self, content: Mapping[str, Any], text: str) -> None:
        super().__init__(content)
        self.text = text


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
        schema = Schema(content, gojson.to_go_json(content))
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
    if node.value in goscalar.OLD_BOOLS:
        return goscalar.OLD_BOOLS[node.value]
    tag, value = goscalar.resolve(node.value)
    if tag is goscalar.Tag.FLOAT and not math.isfinite(value):
        raise _bad_input(f"{node.value} cannot be represented in JSON", where)
    return value


def _key_text(key: object, where: Location) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return goscalar.format_float(key)
    if isinstance(key, str | int):
        return str(key)
    raise _bad_input("a key is neither text nor a number", where)


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


def _bad_input(
    message: str, location: Location, *, found: str | None = None, expected: str | None = None, hint: str | None = None
) -> ConfigError:
    problem = Problem(message[:_MESSAGE_LIMIT], location, found=found, expected=expected, hint=hint)
    return ConfigError([problem], what="the values schema")
