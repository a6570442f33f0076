"""Rules about the JSON Schema keywords of a values schema: that they are keywords, and that the default keeps them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from carvelwright.project.validation import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.errors import Problem
    from carvelwright.values import Pointer, ValuesSchema
    from carvelwright.yamldoc import Document

_DRAFT = "https://json-schema.org/draft/2020-12/"
# Keywords that hold a schema, a list of schemas, or schemas by name.
_ONE = "additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems"
_ONE += " unevaluatedProperties"
_MANY = "allOf anyOf oneOf prefixItems"
_NAMED = "$defs dependentSchemas patternProperties properties"
_OWN = re.compile(r"x-.+")


def keyword_problems(schema: ValuesSchema, document: Document) -> list[Problem]:
    """Find unknown keywords, keywords of a wrong type, and defaults that their own keywords refuse."""
    known = _known()
    found: list[Problem] = []
    for at, keywords in schema.extras.items():
        wrong = [*_wrong_names(keywords, known), *_wrong_values(keywords)]
        wrong = wrong or list(_refused_default(schema, at, keywords))
        for message, value, expected in wrong:
            shown = None if value is None else json.dumps(value, ensure_ascii=False)
            words = f"{dotted(at).replace('.[]', '[]')}: {message}"
            found.append(document.problem(at, words, key=True, found=shown, expected=expected))
    return found


def _known() -> set[str]:
    """Return the keywords of the draft, as its own metaschema lists them."""
    from jsonschema_specifications import REGISTRY  # noqa: PLC0415 - slow to import, not always needed

    metaschema = cast("Mapping[str, Any]", REGISTRY.contents(f"{_DRAFT}schema"))
    parts = [cast("Mapping[str, Any]", REGISTRY.contents(_DRAFT + part["$ref"])) for part in metaschema["allOf"]]
    return {name for part in parts for name in part["properties"]}


def _wrong_names(node: Any, known: set[str]) -> Iterator[tuple[str, Any, str | None]]:
    if not isinstance(node, dict):
        return
    for name in node:
        if name not in known and not _OWN.fullmatch(name):
            yield f"{name!r} is not a keyword of JSON Schema", None, f"a keyword of draft 2020-12{_near(name, known)}"
    for name, value in node.items():
        if name in _ONE.split():
            yield from _wrong_names(value, known)
        elif name in _MANY.split() and isinstance(value, list):
            for item in value:
                yield from _wrong_names(item, known)
        elif name in _NAMED.split() and isinstance(value, dict):
            for item in value.values():
                yield from _wrong_names(item, known)


def _near(name: str, known: set[str]) -> str:
    import difflib  # noqa: PLC0415 - almost never needed

    near = difflib.get_close_matches(name, sorted(known))
    return f" such as {near[0]}" if near else ""


def _wrong_values(keywords: Mapping[str, Any]) -> Iterator[tuple[str, Any, str | None]]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see validation.problems()

    meta: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    for error in meta.iter_errors(keywords):
        where = dotted(list(error.absolute_path)) or "the keywords"
        yield f"wrong value of {where}: {error.message}", error.instance, None
    for pattern in _patterns(keywords):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"not a regular expression: {error}", pattern, None


def _patterns(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _patterns(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "pattern" and isinstance(value, str):
                yield value
            if name == "patternProperties" and isinstance(value, dict):
                yield from value
            yield from _patterns(value)


def _refused_default(
    schema: ValuesSchema, at: Pointer, keywords: Mapping[str, Any]
) -> Iterator[tuple[str, Any, str | None]]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see validation.problems()

    validator: Any = Draft202012Validator(dict(keywords))
    for value in _defaults(schema, at):
        for error in validator.iter_errors(value):
            message = f"the default does not match its JSON Schema: {error.message}"
            yield message, value, keywords.get("$comment")


def _defaults(schema: ValuesSchema, at: Pointer) -> list[Any]:
    """Return the default that keywords hold for; those of an array's items hold for each item of its default."""
    of_items = at[-1:] == ("[]",)
    option = at[:-1] if of_items else at
    node: Any = schema.openapi
    for part in option:
        node = (node.get("properties") or {}).get(part) if isinstance(node, dict) else None
    # What the schema's own rule refuses is a value that users have to give.
    if node is None or option in schema.refused:
        return []
    default = schema.default_of(option)
    if of_items:
        return list(default or [])
    return [] if default is None and node.get("nullable") else [default]
