"""A package's data values: their schema, and the files that people and editors read."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, files, yamldoc
from carvelwright.errors import ConfigError
from carvelwright.project.validation import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.errors import Location
    from carvelwright.yamldoc import Document

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA = re.compile(r"#@\s*data/values-schema\s*$")
_DOCUMENT = re.compile(r"---(\s|$)")
# Keys that YAML 1.1, which ytt reads, takes for a boolean, null or a number.
_NO_TEXT = re.compile(r"y|n|yes|no|on|off|true|false|null|~|[-+]?[0-9][0-9_]*|0b[01_]+|0x[0-9a-f_]+", re.IGNORECASE)
_COMMENT_WIDTH = 100
_RULES = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "text that matches {}",
}

Pointer = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValuesSchema:
    """The schema of a package's data values.

    `openapi` is what ytt exports; `extras` holds the JSON Schema keywords that OpenAPI as ytt writes it cannot say,
    by path of keys (`[]`: the items of an array). They come with a rule, or stand as `#! jsonschema: {…}` above a key.
    """

    openapi: Mapping[str, Any]
    extras: Mapping[Pointer, Mapping[str, Any]]


def load_schema(path: Path) -> Document:
    """Read a values schema, as `parse_schema` does."""
    return parse_schema(files.read_bytes(path, bounds.FILE.size), path)


def is_ytt_schema(content: bytes) -> bool:
    """Tell whether a file is a values schema as ytt reads it, rather than one that ytt has exported."""
    return any(_SCHEMA.match(line) for line in content.decode(errors="replace").splitlines())


def parse_schema(content: bytes, path: Path) -> Document:
    """Read a values schema; ConfigError for keys that ytt takes for something else than text.

    A file may hold other documents as well, such as a function's: the schema is the one marked as such. What functions
    return is not there; the place of a key in it is that of the key that calls the function.
    """
    document = yamldoc.parse(_schema_alone(yamldoc.decode(content, path)), path, repeated_keys=True)
    lines = document.text.splitlines()
    found = []
    for pointer, place in _keys(document.data, document, ()):
        plain = place.line and lines[place.line - 1][(place.column or 1) - 1 :].startswith(pointer[-1])
        if plain and _NO_TEXT.fullmatch(pointer[-1]):
            message = f"ytt does not parse the key {pointer[-1]} as text"
            found.append(document.problem(pointer, message, key=True, hint="put it in quotes"))
    if found:
        raise ConfigError(found, what=str(path))
    return document


def _schema_alone(text: str) -> str:
    """Return the text with every line of another document left empty, so that lines keep their numbers."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if _DOCUMENT.match(line)]
    marks = [number for number, line in enumerate(lines) if _SCHEMA.match(line)]
    for mark in marks:
        start = next((number for number in starts if number > mark), None)
        if start is not None:
            end = next((number for number in starts if number > start), len(lines))
            return "\n".join([""] * start + lines[start:end])
    return text


def json_schema(schema: ValuesSchema, title: str) -> str:
    """Return a JSON Schema (draft 2020-12) for editors, with a final newline."""
    document = {"$schema": _DRAFT, "title": title, **_json_schema(schema.openapi, schema.extras, ())}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def annotated(schema: ValuesSchema, title: str) -> str:
    """Return the default data values with title, description, type, allowed values and default of each key as comments.

    The text is valid input as it stands, and gives the same values as none.
    """
    lines = [
        f"# {title}",
        "# Every value below is the default. Keep the values that you change and remove the others.",
        "---",
    ]
    for name, child in schema.openapi.get("properties", {}).items():
        lines += ["", *_annotated(name, child, schema.extras, (name,))]
    return "\n".join(lines) + "\n"


def default_of(schema: Mapping[str, Any]) -> Any:
    """Return the default of a schema: its own, or that of an object's properties."""
    if "default" in schema and schema["default"] != {}:
        return schema["default"]
    if schema.get("properties"):
        return {name: default_of(child) for name, child in schema["properties"].items()}
    return schema.get("default")


def type_name(node: Mapping[str, Any]) -> str:
    """Say which type a schema asks for: `array of strings`, `string or null`."""
    name = str(node.get("type", "any"))
    items = node.get("items", {}).get("type")
    return f"{name}{f' of {items}s' if items else ''}{' or null' if node.get('nullable') else ''}"


def allowed(node: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """Say which values a schema and its extra keywords allow; empty where every value of the type will do."""
    if "$comment" in extra:
        return str(extra["$comment"])
    rules = {**node, **extra}
    enum = ", ".join(json.dumps(value, ensure_ascii=False) for value in rules.get("enum", []))
    words = [f"one of {enum}"] if enum else []
    words += [text.format(rules[rule]) for rule, text in _RULES.items() if rule in rules]
    return "; ".join(words)


def _keys(node: Any, document: Document, at: Pointer) -> Iterator[tuple[Pointer, Location]]:
    """Yield the path and the place of each key."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield (*at, key), document.locate([*at, key], key=True)
            yield from _keys(child, document, (*at, key))


def _json_schema(node: Mapping[str, Any], extras: Mapping[Pointer, Any], at: Pointer) -> dict[str, Any]:
    out = {key: value for key, value in node.items() if key not in ("nullable", "properties", "items", "format")}
    if node.get("nullable") and "type" in node:
        out["type"] = [node["type"], "null"]
        if "enum" in node and None not in node["enum"]:
            out["enum"] = [*node["enum"], None]
    if "properties" in node:
        out["properties"] = {
            name: _json_schema(child, extras, (*at, name)) for name, child in node["properties"].items()
        }
    if "items" in node:
        out["items"] = _json_schema(node["items"], extras, (*at, "[]"))
        if (*at, "[]") in extras:
            # Items have no default; ytt exports one, which its keywords may refuse.
            out["items"].pop("default", None)
    return out | dict(extras.get(at, {}))


def _annotated(name: str, node: Mapping[str, Any], extras: Mapping[Pointer, Any], at: Pointer) -> list[str]:
    indent = "  " * (len(at) - 1)
    lines = [f"{indent}{line}" for line in _comment(node, extras.get(at, {}), at)]
    properties = node.get("properties")
    if properties:
        lines.append(f"{indent}{_scalar_key(name)}:")
        for child_name, child in properties.items():
            lines += _annotated(child_name, child, extras, (*at, child_name))
        return lines
    value = yamldoc.dump({name: default_of(node)}).removeprefix("---\n").rstrip("\n")
    return lines + [f"{indent}{line}" for line in value.splitlines()]


def _comment(node: Mapping[str, Any], extra: Mapping[str, Any], at: Sequence[str]) -> list[str]:
    title = node.get("title")
    heading = f"{title} ({dotted(at)})" if title else dotted(at)
    facts = []
    if not node.get("properties"):
        facts.append(f"Type: {type_name(node)}.")
        facts += [f"Allowed: {rule}." for rule in [allowed(node, extra)] if rule]
        facts.append(f"Default: {json.dumps(default_of(node), ensure_ascii=False)}.")
    paragraphs = [heading, *str(node.get("description", "")).split("\n"), *facts]
    width = _COMMENT_WIDTH - 2 * len(at)
    return [f"# {line}" for paragraph in paragraphs if paragraph for line in textwrap.wrap(paragraph, width)]


def _scalar_key(name: str) -> str:
    return yamldoc.dump({name: 0}).removeprefix("---\n").rpartition(":")[0]
