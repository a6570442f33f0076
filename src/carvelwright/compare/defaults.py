"""Defaults of a values schema: what a key is that nobody gives, and whether the schema itself allows that."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from carvelwright.compare import nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.compare.nodes import Node


class Missing(Enum):
    """Stands for the value of a key that is not there."""

    KEY = "missing"


def default_of(node: Node) -> Any:
    """Return what an option is that nobody gives, the options within filled in; Missing.KEY where it is not there.

    A map without a default of its own is that of its options' defaults, or null where it may be, as ytt has it.
    """
    if "default" in node:
        return filled(node, node["default"])
    if "properties" not in node or nodes.types(node) - {"null"} != {"object"}:
        return Missing.KEY
    return None if "null" in nodes.types(node) else filled(node, {})


def filled(node: Node, value: Any) -> Any:
    """Return a value with the defaults of options that it does not give."""
    if isinstance(value, list):
        return [filled(nodes.items(node), item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {name: filled(nodes.children(node).get(name, {}), inner) for name, inner in value.items()}
    absent = {name: default_of(child) for name, child in nodes.children(node).items() if name not in value}
    return out | {name: default for name, default in absent.items() if default is not Missing.KEY}


def allows(node: Node, value: Any, *, patterns: bool) -> bool | None:
    """Tell whether a schema allows a value; None where that is not evaluated.

    References are not followed, and `patterns` only where they can be trusted to end.
    """
    import jsonschema  # noqa: PLC0415 - slow to import, not needed where nothing changed

    if nodes.holds(node, nodes.REFERENCES) or (not patterns and nodes.holds(node, ("pattern", "patternProperties"))):
        return None
    try:
        return jsonschema.Draft202012Validator(json_schema(node)).is_valid(value)
    except Exception:  # noqa: BLE001 - what is not judged is passed through as anybody wrote it, to a strict library
        return None


def json_schema(node: Node) -> Mapping[str, Any]:
    """Return a node of OpenAPI v3.0 as JSON Schema, which has other words for nullable and for exclusive limits."""
    out = {key: value for key, value in nodes.bare(node).items() if key not in ("nullable", "default")}
    if node.get("nullable"):
        if "type" in node:
            out["type"] = [*([node["type"]] if isinstance(node["type"], str) else node["type"]), "null"]
        if "enum" in node:
            out["enum"] = [*node["enum"], None]
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(out.get(exclusive), bool) and out.pop(exclusive) and limit in out:
            out[exclusive] = out.pop(limit)
    if "properties" in node:
        out["properties"] = {name: json_schema(child) for name, child in nodes.children(node).items()}
    if "items" in node:
        out["items"] = json_schema(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = json_schema(node["additionalProperties"])
    return out
