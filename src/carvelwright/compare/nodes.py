"""Nodes of a values schema, OpenAPI v3 or JSON Schema, read strictly: what a node allows, in one form for both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Node = dict[str, Any]
Types = frozenset[str]

# Levels of options; one of a document that clients read has two levels of JSON for each.
DEPTH = 100
# "number" stands for those that are no integers: integers are numbers.
_EVERY = frozenset({"object", "array", "string", "boolean", "integer", "number", "null"})
_ANNOTATIONS = frozenset(
    {"title", "description", "deprecated", "example", "examples", "externalDocs", "readOnly", "writeOnly", "xml"}
    | {"$comment", "$schema"}
)
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_JUDGED = frozenset(
    {"type", "nullable", "default", "enum", "pattern", "format", "properties", "required", "additionalProperties"}
    | {"items", *_COUNTS, *_LIMITS}
)
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def checked(schema: Mapping[str, Any]) -> Node:
    """Return a schema whose every node has the shape of one; ValueError names the first that has not."""
    return _checked(schema, "the schema", 0)


def _checked(node: Any, at: str, depth: int) -> Node:
    if depth > DEPTH:
        raise ValueError(f"{at[:60]}… is nested too deeply (expected at most {DEPTH} levels)")
    if isinstance(node, bool):
        # How JSON Schema says anything and nothing.
        return {} if node else {"not": {}}
    if not isinstance(node, dict):
        raise _wrong(at, node, "a schema, which is a map")
    _require_scalars(node, at)
    out = {key: value for key, value in node.items() if key != "const"}
    if "const" in node:
        out["enum"] = [value for value in node.get("enum", [node["const"]]) if same(value, node["const"])]
    if "properties" in node:
        out["properties"] = {
            name: _checked(child, f"{at}.properties.{name}", depth + 1) for name, child in node["properties"].items()
        }
    if "items" in node:
        out["items"] = _checked(node["items"], f"{at}.items", depth + 1)
    extra = node.get("additionalProperties", True)
    if not isinstance(extra, bool):
        out["additionalProperties"] = _checked(extra, f"{at}.additionalProperties", depth + 1)
    return out


def _require_scalars(node: Mapping[str, Any], at: str) -> None:
    names = node.get("type", [])
    for name in [names] if isinstance(names, str) else names if isinstance(names, list) else [names]:
        if not isinstance(name, str) or name not in _EVERY:
            raise _wrong(f"{at}.type", name, f"one of {', '.join(sorted(_EVERY))}")
    for key, kind, expected in (("properties", dict, "a map"), ("enum", list, "a list"), ("pattern", str, "a text")):
        if key in node and not isinstance(node[key], kind):
            raise _wrong(f"{at}.{key}", node[key], expected)
    required = node.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _wrong(f"{at}.required", required, "a list of keys")
    _require_numbers(node, at)


def _require_numbers(node: Mapping[str, Any], at: str) -> None:
    for key in _COUNTS:
        count = node.get(key, 0)
        if isinstance(count, bool) or not isinstance(count, int | float) or count < 0:
            raise _wrong(f"{at}.{key}", count, "a number of 0 or more")
    for key in _LIMITS:
        limit = node.get(key, 1)
        flag = isinstance(limit, bool) and key.startswith("exclusive")
        if not flag and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise _wrong(f"{at}.{key}", limit, "a number")
    if node.get("multipleOf", 1) <= 0:
        raise _wrong(f"{at}.multipleOf", node["multipleOf"], "a number above 0")


def _wrong(at: str, found: Any, expected: str) -> ValueError:
    return ValueError(f"{at} is {shown(found)} (expected {expected})")


def types(node: Node) -> Types:
    """Return the types of the values that a node allows; integers count as a type of their own beside `number`."""
    named = node.get("type")
    if named is None:
        return _EVERY
    found = {named} if isinstance(named, str) else set(named)
    found |= {"integer"} if "number" in found else set()
    return frozenset(found | ({"null"} if node.get("nullable") else set()))


def type_text(node: Node) -> str:
    """Say which types a node allows: `string or null`, `any`."""
    found = types(node)
    if found == _EVERY:
        return "any"
    named = sorted(found - {"null"} - ({"integer"} if "number" in found else set()))
    return " or ".join([*named, *(["null"] if "null" in found else [])]) or "nothing"


def children(node: Node) -> Mapping[str, Node]:
    """Return the options of a map."""
    found: Mapping[str, Node] = node.get("properties", {})
    return found


def items(node: Node) -> Node:
    """Return what the items of an array have to be."""
    found: Node = node.get("items", {})
    return found


def free_keys(node: Node) -> Node | None:
    """Return what the values of keys have to be that are no options; None where there may be none."""
    found = node.get("additionalProperties", True)
    return {} if found is True else None if found is False else found


def enumeration(node: Node) -> dict[str, Any] | None:
    """Return the allowed values by their JSON; None where every value of the type is allowed."""
    if "enum" not in node:
        return None
    listed = [*node["enum"], *([None] if "null" in types(node) and node.get("nullable") else [])]
    return {canonical(value): value for value in listed}


def unjudged(node: Node) -> dict[str, Any]:
    """Return the keywords of a node that are neither compared nor for people alone, such as anyOf."""
    return {
        key: value
        for key, value in node.items()
        if key not in _JUDGED and key not in _ANNOTATIONS and not key.startswith("x-")
    }


def for_people(node: Node) -> dict[str, Any]:
    """Return what a node says for people alone."""
    return {key: value for key, value in node.items() if key in _ANNOTATIONS or key.startswith("x-")}


def bare(node: Node) -> Node:
    """Return a node, and all below it, without what is for people alone."""
    out = {key: value for key, value in node.items() if key in _JUDGED or key in unjudged(node)}
    if "properties" in node:
        out["properties"] = {name: bare(child) for name, child in children(node).items()}
    if "items" in node:
        out["items"] = bare(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = bare(node["additionalProperties"])
    return out


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON: neither are 1 and true, but 1 and 1.0."""
    return canonical(one) == canonical(other)


def canonical(value: Any) -> str:
    """Return the JSON of a value, the same for equal values."""
    return json.dumps(_integral(value), sort_keys=True, ensure_ascii=True)


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(inner) for key, inner in value.items()}
    return [_integral(inner) for inner in value] if isinstance(value, list) else value


def shown(value: Any, length: int = 60) -> str:
    """Return the JSON of a value for people, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def holds(node: Node, names: tuple[str, ...]) -> bool:
    """Tell whether a node, or one below it, has one of these keywords, also within those that are not judged."""
    return any(name in names for name in _keys(node))


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
