"""The judgement of a comparison, held to what it promises: what is called compatible refuses no values document."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carvelwright.compare import defaults, nodes
from carvelwright.compare.changes import breaking
from carvelwright.compare.schema import schema_changes

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

Node = dict[str, Any]

_KEYS = ("a", "b", "c")
_TEXTS = st.sampled_from(["", "x", "xy", "xyz"])
_INTEGERS = st.integers(-3, 3)
_NUMBERS = st.one_of(_INTEGERS, st.sampled_from([-1.5, 0.5, 2.0]))
_SCALARS = st.one_of(_TEXTS, _NUMBERS, st.booleans(), st.none())
_LIMITS = [
    *[(key, _NUMBERS) for key in ("minimum", "maximum")],
    *[(key, st.one_of(st.booleans(), _NUMBERS)) for key in ("exclusiveMinimum", "exclusiveMaximum")],
    ("multipleOf", st.sampled_from([1, 2, 3, 0.5])),
]
_OF_ANY: list[tuple[str, SearchStrategy[Any]]] = [
    ("nullable", st.booleans()),
    ("description", st.sampled_from(["one", "two"])),
    ("const", _SCALARS),
    ("not", st.sampled_from([{"type": "string"}, {"required": ["a"]}, {"enum": [{"a": 1}, []]}])),
    ("anyOf", st.sampled_from([[{"type": "object"}, {"maxLength": 1}], [{"maxProperties": 1}, {"type": "array"}]])),
]
# Keywords with their values, by the type that they are for.
_RULES: dict[str | None, list[tuple[str, SearchStrategy[Any]]]] = {
    "string": [
        ("minLength", st.integers(0, 1)),
        ("maxLength", st.integers(0, 2)),
        ("pattern", st.sampled_from(["^x", "y$"])),
    ],
    "integer": _LIMITS,
    "number": _LIMITS,
    "boolean": [],
    "array": [("minItems", st.integers(0, 1)), ("maxItems", st.integers(0, 2)), ("uniqueItems", st.booleans())],
    "object": [
        ("minProperties", st.integers(0, 2)),
        ("maxProperties", st.integers(0, 2)),
        ("required", st.lists(st.sampled_from(_KEYS), max_size=1)),
        ("patternProperties", st.just({"^a": {"type": "integer"}})),
    ],
}
_RULES[None] = [rule for rules in list(_RULES.values()) for rule in rules]
_KINDS = ("string", "integer", "number", "boolean", "null")


@st.composite
def schemas(draw: DrawFn, depth: int = 2) -> Node:
    """Schemas as ytt exports them, and others: several types, open maps, keywords that are not compared."""
    kind = draw(st.sampled_from([*_KINDS[:4], *["object", "object", "object", "array", None] * bool(depth)]))
    node: Node = {"type": kind} if kind else {}
    for _ in range(draw(st.integers(0, 2))):
        _change_rule(draw, node)
    if kind in ("object", None) and depth:
        names = draw(st.sets(st.sampled_from(_KEYS), max_size=2))
        node["properties"] = {name: draw(schemas(depth=depth - 1)) for name in sorted(names)}
        node["additionalProperties"] = draw(_free(depth))
    if kind in ("array", None) and depth:
        node["items"] = draw(schemas(depth=depth - 1))
    if draw(st.integers(0, 4)) == 0:
        node["enum"] = draw(st.lists(values(node, 1), min_size=1, max_size=3))
    if draw(st.booleans()):
        node["default"] = draw(values(node, 1))
    return node


def _free(depth: int) -> SearchStrategy[Any]:
    return st.one_of(st.just(False), st.booleans(), schemas(depth=0)) if depth else st.booleans()


def _change_rule(draw: DrawFn, node: Node) -> None:
    named = node.get("type")
    key, content = draw(st.sampled_from([*_RULES.get(named if isinstance(named, str) else None, []), *_OF_ANY]))
    if key in node and draw(st.booleans()):
        del node[key]
    else:
        node[key] = draw(content)


def _change_default(draw: DrawFn, node: Node) -> None:
    if "default" in node and draw(st.booleans()):
        del node["default"]
    else:
        node["default"] = draw(st.one_of(values(node, 2), _SCALARS))


def _change_shape(draw: DrawFn, node: Node) -> None:
    key = draw(st.sampled_from(["properties", "properties", "required", "additionalProperties", "items"]))
    if key == "required" and node.get("properties"):
        node["required"] = [draw(st.sampled_from(sorted(node["properties"])))]
    elif key in ("properties", "required"):
        options = node.setdefault("properties", {})
        name = draw(st.sampled_from(_KEYS))
        if name in options and draw(st.booleans()):
            del options[name]
        else:
            options[name] = draw(schemas(depth=1))
    else:
        node[key] = draw(_free(1) if key == "additionalProperties" else schemas(depth=1))


def _change_type(draw: DrawFn, node: Node) -> None:
    named = node.get("type")
    kind = draw(st.sampled_from([*_KINDS, "object", "array"]))
    if isinstance(named, str) and draw(st.booleans()):
        node["type"] = sorted({named, kind})
    elif named is None or draw(st.booleans()):
        node["type"] = kind
    else:
        del node["type"]


def _change_enum(draw: DrawFn, node: Node) -> None:
    if "enum" in node and draw(st.booleans()):
        del node["enum"]
    else:
        drawn = draw(st.lists(st.one_of(_SCALARS, values(node, 2)), min_size=1, max_size=2))
        node["enum"] = [*node.get("enum", [])[draw(st.integers(0, 1)) :], *drawn]


_STEPS = (_change_rule, _change_rule, _change_rule, _change_default, _change_shape, _change_type, _change_enum)


@st.composite
def changed(draw: DrawFn, old: Node, *, compatible: bool) -> Node:
    """A schema a few steps away; where it says so, by steps that are judged compatible."""
    node = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 3))):
        former = copy.deepcopy(node)
        draw(st.sampled_from(_STEPS))(draw, draw(st.sampled_from(_nodes(node))))
        if compatible and breaking(schema_changes(old, node, patterns=True)):
            node = former
    return node


def _nodes(node: Node) -> list[Node]:
    inner = list(node.get("properties", {}).values())
    inner += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    return [node, *(found for child in inner for found in _nodes(child))]


def values(node: Node, depth: int = 3) -> SearchStrategy[Any]:
    """Values that a schema is likely to allow, and others."""
    if depth == 0:
        return _SCALARS
    named = node.get("type")
    kinds = [named] if isinstance(named, str) else named or ["string", "number", "object", "array"]
    by_kind: dict[str, SearchStrategy[Any]] = {
        "string": _TEXTS,
        "integer": _INTEGERS,
        "number": _NUMBERS,
        "boolean": st.booleans(),
        "null": st.none(),
    }
    options = {name: values(child, depth - 1) for name, child in node.get("properties", {}).items()}
    free = node.get("additionalProperties", True)
    if free is not False:
        inner = values(free if isinstance(free, dict) else {}, depth - 1)
        options |= {name: inner for name in _KEYS if name not in options}
    by_kind["object"] = st.fixed_dictionaries({}, optional=options)
    by_kind["array"] = st.lists(values(node.get("items", {}), depth - 1), max_size=3)
    found = [by_kind[kind] for kind in kinds]
    found += [st.none()] if node.get("nullable") else []
    found += [st.sampled_from(node["enum"])] if node.get("enum") else []
    found += [st.just(node["default"])] if "default" in node else []
    return st.one_of(found)


def _allows(schema: Node, value: Any) -> bool:
    """Validate by a library of others, on the schema in its words of JSON Schema."""
    return jsonschema.Draft202012Validator(dict(defaults.json_schema(nodes.checked(schema)))).is_valid(value)


@given(schemas())
def test_schema_compared_with_itself_gives_nothing(schema: Node) -> None:
    assert schema_changes(schema, copy.deepcopy(schema)) == ()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_judged_compatible_refuses_no_values(data: st.DataObject) -> None:
    old = data.draw(schemas(), "old")
    new = data.draw(changed(old, compatible=True), "new")
    changes = schema_changes(old, new, patterns=True)
    assert not breaking(changes)
    for value in data.draw(st.lists(values(old), min_size=5, max_size=5), "values"):
        if _allows(old, value):
            assert _allows(new, value), (changes, value)
        before, after = (defaults.filled(nodes.checked(schema), value) for schema in (old, new))
        if _allows(old, before):
            assert _allows(new, after), (changes, value)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_changes_for_values_is_reported(data: st.DataObject) -> None:
    old = data.draw(schemas(), "old")
    new = data.draw(changed(old, compatible=False), "new")
    value = data.draw(values(old), "value")
    if _allows(old, value) != _allows(new, value):
        assert schema_changes(old, new)


def _map(more: Node | None = None, **options: Node) -> Node:
    return {"type": "object", "additionalProperties": False, "properties": options, **(more or {})}


_PLAIN, _GIVEN = {"type": "string"}, {"type": "string", "default": "x"}
_OPEN = {"type": "object", "properties": {}}
# Seldom drawn: an old schema, a new one, and a value that only the old one allows.
_CORNERS: dict[str, tuple[Node, Node, Any]] = {
    "added and required": (_map(), _map({"required": ["a"]}, a=_GIVEN), {}),
    "added where any key was allowed": (_OPEN, {**_OPEN, "properties": {"a": _GIVEN}}, {"a": 1}),
    "added key is one too many": (
        _map({"maxProperties": 1}, a=_PLAIN),
        _map({"maxProperties": 1}, a=_PLAIN, b=_GIVEN),
        {"a": "y"},
    ),
    "key with a default is one too many": (
        _map({"maxProperties": 1}, a=_PLAIN, b=_PLAIN),
        _map({"maxProperties": 1}, a=_PLAIN, b=_GIVEN),
        {"a": "y"},
    ),
    "key without a default is one too few": (
        _map({"minProperties": 1}, a=_GIVEN),
        _map({"minProperties": 1}, a=_PLAIN),
        {},
    ),
    "required key lost its default": (_map({"required": ["a"]}, a=_GIVEN), _map({"required": ["a"]}, a=_PLAIN), {}),
    "map that is null no longer by default": (
        _map(a={**_map(b={**_GIVEN, "maxLength": 0}), "nullable": True}),
        _map(a=_map(b={**_GIVEN, "maxLength": 0})),
        {},
    ),
}


@pytest.mark.parametrize(("old", "new", "value"), _CORNERS.values(), ids=_CORNERS)
def test_corner_that_refuses_a_value_is_breaking(old: Node, new: Node, value: Any) -> None:
    kept = _allows(old, value) and not _allows(new, value)
    before, after = (defaults.filled(nodes.checked(schema), value) for schema in (old, new))
    assert kept or (_allows(old, before) and not _allows(new, after))
    assert breaking(schema_changes(old, new, patterns=True))
