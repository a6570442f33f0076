"""A package's data values: their schema, and what editors read of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
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

    `defaults` are the data values themselves, which ytt's export does not always tell: first those without any values
    file, then those where each map that was null before is given as {}, and so on until none is left.
    `refused` holds, by path, the rule that refuses a default: such a value has to be given.
    """

    openapi: Mapping[str, Any]
    extras: Mapping[Pointer, Mapping[str, Any]]
    defaults: Sequence[Mapping[str, Any]]
    refused: Mapping[Pointer, str] = field(default_factory=dict)

    def default_of(self, at: Pointer) -> Any:
        """Return the default of an option; below a map that is null, the one that it has once the map is given."""
        return next((_value_at(values, at) for values in self.defaults if _reaches(values, at)), None)

    @property
    def required(self) -> dict[Pointer, str]:
        """The values that every user has to give, and the rules that say so."""
        return {at: rule for at, rule in self.refused.items() if _reaches(self.defaults[0], at)}

    @property
    def needed(self) -> set[Pointer]:
        """The keys that must be there wherever the map that holds them is: what is refused, and the maps on the way."""
        found: set[Pointer] = set()
        for at in self.refused:
            for length in range(len(at), 0, -1):
                found.add(at[:length])
                # A map that is null by default need not be given.
                if length > 1 and self.default_of(at[: length - 1]) is None:
                    break
        return found


def values_schema(
    openapi: Mapping[str, Any],
    extras: Mapping[Pointer, Mapping[str, Any]],
    defaults: Sequence[tuple[Mapping[str, Any], Sequence[tuple[str, str]]]],
) -> ValuesSchema:
    """Put a schema together; `defaults` are data values, each with what ytt refuses of them: its path and rule."""
    refused: dict[Pointer, list[str]] = {}
    for index, (_, found) in enumerate(defaults):
        for path, rule in found:
            at = pointer_of(openapi, path)
            # What was there before may be refused only for the sake of the maps that were given since.
            if not any(_reaches(values, at) for values, _ in defaults[:index]):
                refused.setdefault(at, []).append(rule)
    rules = {at: "; ".join(dict.fromkeys(rules)) for at, rules in refused.items()}
    return ValuesSchema(openapi, extras, [values for values, _ in defaults], rules)


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
    document = {"$schema": _DRAFT, "title": title, **_json_schema(schema, schema.openapi, ())}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


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


def pointer_of(openapi: Mapping[str, Any], path: str) -> Pointer:
    """Return the option at a dotted path, as ytt writes it in messages: `a.b`, or `a.b[0].c`, which belongs to `a.b`.

    () stands for the values as a whole, and for what is no option.
    """
    options = {dotted(at): at for at in _options(openapi, ())}
    while path not in options and "[" in path:
        path = path[: path.rindex("[")]
    return options.get(path, ())


def _options(node: Mapping[str, Any], at: Pointer) -> Iterator[Pointer]:
    for name, child in node.get("properties", {}).items():
        yield (*at, name)
        yield from _options(child, (*at, name))


def _reaches(values: Any, at: Pointer) -> bool:
    for key in at:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _value_at(values: Any, at: Pointer) -> Any:
    for key in at:
        values = values[key]
    return values


def _keys(node: Any, document: Document, at: Pointer) -> Iterator[tuple[Pointer, Location]]:
    """Yield the path and the place of each key."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield (*at, key), document.locate([*at, key], key=True)
            yield from _keys(child, document, (*at, key))


def _json_schema(schema: ValuesSchema, node: Mapping[str, Any], at: Pointer) -> dict[str, Any]:
    out = {key: value for key, value in node.items() if key not in ("nullable", "properties", "items", "format")}
    refused = at in schema.refused
    if refused:
        out.pop("default", None)
    # Null that a rule refuses is no value, whatever the type says.
    if node.get("nullable") and "type" in node and not (refused and schema.default_of(at) is None):
        out["type"] = [node["type"], "null"]
        if "enum" in node and None not in node["enum"]:
            out["enum"] = [*node["enum"], None]
    if "properties" in node:
        out["properties"] = {
            name: _json_schema(schema, child, (*at, name)) for name, child in node["properties"].items()
        }
    if "items" in node:
        out["items"] = _json_schema(schema, node["items"], (*at, "[]"))
        if (*at, "[]") in schema.extras:
            # Items have no default; ytt exports one, which its keywords may refuse.
            out["items"].pop("default", None)
    if needed := [name for name in node.get("properties", {}) if (*at, name) in schema.needed]:
        out["required"] = needed
    return out | dict(schema.extras.get(at, {}))
