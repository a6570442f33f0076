"""The shapes of a values schema to stay clear of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.client import goscalar, goyaml
from carvelwright.client.defaults import Client, Panic, default_values, panic_error
from carvelwright.client.view import Node, client_view, join, read_node
from carvelwright.errors import CarvelwrightError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DOUBLING_LIMIT = 24  # some 100 MB and a second; at 32, 30 GB
_UNREAD = {
    "items": "item-default",
    "additionalProperties": "unread",
    "allOf": "unread",
    "anyOf": "unread",
    "oneOf": "unread",
    "not": "unread",
}


@dataclass(frozen=True, slots=True)
class Trap:
    """A part of a schema that the client drops, mangles or fails on.

    `kind` is a short name to select by, `path` the option's dotted path ("" for the schema itself).
    """

    kind: str
    path: str
    message: str
    hint: str


def schema_traps(schema: Mapping[str, Any]) -> tuple[Trap, ...]:
    """Return every part of the schema that a client drops, mangles or fails on, in the order of the options.

    The schema is taken as the API server serves it, whatever text it was read from. Where a client cannot read the
    schema at all, that is the only trap.
    """
    served = dict(schema)
    try:
        view = client_view(served)
        root = read_node(view, "")
    except CarvelwrightError as error:
        return (Trap("error", "", f"{error.message} ({error.details})", error.hint or ""),)
    panics: list[Panic] = []
    values = default_values(root, Client.KCTRL_0_46, panics)
    found = [*_panic_traps(panics), *_value_traps(values, ""), *_whole_traps(root, values)]
    found += [trap for path, node in _walk(root, ()) for trap in _node_traps(path, node, values)]
    found += _keyword_traps(served, "")
    return tuple(sorted(found, key=lambda trap: trap.path))


def _panic_traps(panics: list[Panic]) -> Iterator[Trap]:
    first = {panic.path: panic for panic in reversed(panics)}
    for panic in first.values():
        error = panic_error(panic)
        yield Trap("panic", panic.path, f"{error.message} ({error.details})", error.hint or "")


def _whole_traps(root: Node, values: dict[str, Any]) -> Iterator[Trap]:
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


def _counted_objects(node: Node) -> int:
    """Count the objects that the client visits, and keeps a list for, to see whether it wants this one."""
    inner = [child for child in node.properties.values() if child.type == "object" and child.default is None]
    return sum(1 + _counted_objects(child) for child in inner if child.properties)


def _walk(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
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


def _node_traps(path: tuple[str, ...], node: Node, values: dict[str, Any]) -> Iterator[Trap]:
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
            yield from _key_traps(key, item, join(path, key))
            yield from _value_traps(item, join(path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _value_traps(item, f"{path}[{i}]")
    elif isinstance(value, str):
        yield from _text_traps(value, path)
    elif isinstance(value, float) and "e" in goscalar.format_float(value):
        message = f"its default is written as {goscalar.format_float(value)} in the file"
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


def _keyword_traps(schema: Mapping[str, Any], path: str) -> Iterator[Trap]:
    for keyword, kind in _UNREAD.items():
        if _holds_default(schema.get(keyword)):
            message = f"a default under its `{keyword}` is never written to the file"
            yield Trap(kind, path, message, "move what users should see to the option's own default")
    if any("\x85" in text for text in _texts(schema.get("default"))):
        message = "the character U+0085 in its default becomes a space"
        yield Trap("folded", path, message, "write a line feed, or remove the character")
    for key, child in (schema.get("properties") or {}).items():
        yield from _keyword_traps(child or {}, join(path, key))


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
