"""What people read of a package's data values: the annotated values file, and the list of options."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.project.validation import dotted
from carvelwright.values import allowed, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.values import Pointer, ValuesSchema

_COMMENT_WIDTH = 100
# What a YAML reader refuses, or takes for the end of a comment.
_UNWRITABLE = re.compile("[^\t -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def annotated(schema: ValuesSchema, title: str) -> str:
    """Return the default data values with title, description, type, allowed values and default of each key as comments.

    The text is valid input as it stands where no value has to be given, and gives the same values as none. Below a map
    that is null by default its keys stand as comments, to be used with the map's own line without `null`.
    """
    head = [
        f"# {title}",
        "# Every value below is the default. Keep the values that you change and remove the others.",
        *(f"# {line}" for line in _required(schema)),
        "---",
    ]
    properties = schema.openapi.get("properties", {})
    blocks = [["", *_option(schema, (name,), child)] for name, child in properties.items()]
    if not properties and schema.defaults[0]:
        blocks = [_yaml_lines(_in_order(schema.defaults[0], schema.openapi.get("default")))]
    return "\n".join([*head, *(line for block in blocks for line in block)]) + "\n"


def markdown(schema: ValuesSchema, title: str) -> str:
    """Return every option with its description, type, default and allowed values as a page of Markdown."""
    lines = [f"# {title}", "", " ".join(_introduction(schema)), ""]
    for at, node in _listed(schema, schema.openapi, ()):
        heading = f": {node['title']}" if "title" in node else ""
        facts = [fact for fact in _entry_facts(schema, at, node) if fact]
        described = [node["description"], ""] if node.get("description") else []
        lines += [f"### `{dotted(at)}`{heading}", "", *described, f"{'; '.join(facts)}.", ""]
    return "\n".join(lines)


def _introduction(schema: ValuesSchema) -> Iterator[str]:
    yield "Unknown keys and wrong types are refused."
    if not schema.required:
        yield "Every value has a default, so an empty values file is valid."
        return
    for at, rule in schema.required.items():
        yield f"`{dotted(at)}` is required: {rule}." if at else f"The values as a whole must be: {rule}."
    yield "Every other value has a default."


def _listed(schema: ValuesSchema, node: Mapping[str, Any], at: Pointer) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    """Yield the options without keys of their own, and the maps that are null or refused."""
    for name, child in node.get("properties", {}).items():
        inner = (*at, name)
        if not child.get("properties") or schema.default_of(inner) is None or inner in schema.refused:
            yield inner, child
        yield from _listed(schema, child, inner)


def _entry_facts(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> Iterator[str]:
    rule = allowed(node, schema.extras.get(at, {}))
    yield "**deprecated**" if node.get("deprecated") else ""
    yield f"type {_type(schema, at, node)}"
    yield f"**required**: {schema.refused[at]}" if at in schema.refused else f"default `{_default(schema, at, node)}`"
    yield f"allowed: {rule}" if rule else ""


def _type(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> str:
    """Say which type an option has; null that a rule refuses is none, whatever the type says."""
    refused = at in schema.refused and schema.default_of(at) is None
    return type_name({**node, "nullable": False} if refused else node)


def _default(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> str:
    return json.dumps(_in_order(schema.default_of(at), node.get("default")), ensure_ascii=False)


def _required(schema: ValuesSchema) -> Iterator[str]:
    for at, rule in schema.required.items():
        yield from _wrapped(f"Give {dotted(at) or 'values of your own'}, which must be: {rule}.", _COMMENT_WIDTH)


def _option(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> list[str]:
    indent = "  " * (len(at) - 1)
    comment = [f"{indent}# {line}" for line in _comment(schema, at, node)]
    children = node.get("properties", {}).items()
    inner = [line for name, child in children for line in _option(schema, (*at, name), child)]
    default = _in_order(schema.default_of(at), node.get("default"))
    if inner and default is not None:
        return [*comment, *(f"{indent}{line}" for line in _key_lines(at[-1])), *inner]
    value = [f"{indent}{line}" for line in _yaml_lines({at[-1]: default})]
    return [*comment, *value, *(f"{indent}#{line.removeprefix(indent)}" for line in inner)]


def _comment(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> list[str]:
    title = node.get("title")
    heading = f"{title} ({dotted(at)})" if title else dotted(at)
    paragraphs = [heading, *str(node.get("description", "")).splitlines(), *_facts(schema, at, node)]
    width = _COMMENT_WIDTH - 2 * len(at)
    return [line for paragraph in paragraphs for line in _wrapped(paragraph, width)]


def _facts(schema: ValuesSchema, at: Pointer, node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("deprecated"):
        yield "Deprecated."
    if at in schema.refused:
        yield f"Required, must be: {schema.refused[at]}."
    null = schema.default_of(at) is None
    if not node.get("properties") or null:
        rule = allowed(node, schema.extras.get(at, {}))
        default = _default(schema, at, node)
        yield f"Type: {_type(schema, at, node)}."
        yield from [f"Allowed: {rule}."] if rule else []
        yield f"Default: {default}." if at not in schema.refused else f"The default is refused: {default}."
    if "example" in node:
        about = node.get("x-example-description")
        yield f"Example{f' ({about})' if about else ''}: {json.dumps(node['example'], ensure_ascii=False)}."
    if node.get("properties") and null:
        yield "To set it, remove the word null and the # before the keys below."


def _wrapped(text: str, width: int) -> list[str]:
    written = _UNWRITABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", " ".join(text.splitlines()).strip())
    return textwrap.wrap(written, width)


def _in_order(value: Any, like: Any) -> Any:
    """Return a value with the keys in the order of an equal one, as ytt exports it: its values come sorted."""
    return like if value == like else value


def _key_lines(name: str) -> list[str]:
    """Return a key up to its colon; a long one takes two lines."""
    *before, last = _yaml_lines({name: 0})
    return [*before, last.removesuffix(" 0")]


def _yaml_lines(data: Any) -> list[str]:
    return yamldoc.dump(data).removeprefix("---\n").rstrip("\n").split("\n")
