"""The judgement of a comparison, held to what it promises: what is called compatible refuses no values document."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import jsonschema
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
# Keywords with their values; those that stand there more than once are drawn more often.
_RULES: tuple[tuple[str, SearchStrategy[Any]], ...] = (
    *[("nullable", st.booleans())] * 3,
    *[("description", st.sampled_from(["one", "two"]))] * 2,
    *[(f"min{kind}", st.integers(0, 1)) for kind in ("Length", "Items", "Properties")],
    *[(f"max{kind}", st.integers(0, 2)) for kind in ("Length", "Items", "Properties")],
    *[(key, _NUMBERS) for key in ("minimum", "maximum")],
    *[(key, st.one_of(st.booleans(), _NUMBERS)) for key in ("exclusiveMinimum", "exclusiveMaximum")],
    ("multipleOf", st.sampled_from([1, 2, 3, 0.5])),
    ("pattern", st.sampled_from(["^x", "y$"])),
    ("required", st.lists(st.sampled_from(_KEYS), max_size=1)),
    ("uniqueItems", st.booleans()),
    ("not", st.sampled_from([{"type": "string"}, {"required": ["a"]}, {"enum": [{"a": 1}, []]}])),
    ("anyOf", st.sampled_from([[{"type": "object"}, {"maxLength": 1}], [{"maxProperties": 1}, {"type": "array"}]])),
    ("const", _SCALARS),
    ("patternProperties", st.just({"^a": {"type": "integer"}})),
)
_KINDS = ("string", "integer", "number", "boolean", "null")


@st.composite
def schemas(draw: DrawFn, depth: int = 2) -> Node:
    """Schemas as ytt exports them, and others: several types, open maps, keywords that are not compared."""
    kind = draw(st.sampled_from([*_KINDS[:4], *["object", "object", "array", None] * bool(depth)]))
    node: Node = {"type": kind} if kind else {}
    rules = draw(st.lists(st.sampled_from(range(len(_RULES))), max_size=3))
    node |= {_RULES[rule][0]: draw(_RULES[rule][1]) for rule in rules}
    if kind in ("object", None) and depth:
        names = draw(st.sets(st.sampled_from(_KEYS), max_size=2))
        node["properties"] = {name: draw(schemas(depth=depth - 1)) for name in sorted(names)}
        node["additionalProperties"] = draw(st.one_of(st.just(False), st.booleans(), schemas(depth=0)))
    if kind in ("array", None) and depth:
        node["items"] = draw(schemas(depth=depth - 1))
    extra = draw(st.sampled_from(["default", "default", "default", "", "", "enum", "type"]))
    if extra == "default":
        node["default"] = draw(values(node, 1))
    elif extra == "enum":
        node["enum"] = draw(st.lists(st.one_of(_SCALARS, values(node, 1)), min_size=1, max_size=3))
    elif extra == "type" and kind:
        node["type"] = sorted({kind, draw(st.sampled_from(_KINDS))})
    return node


@st.composite
def changed(draw: DrawFn, old: Node, *, compatible: bool) -> Node:
    """A schema with some of its keywords taken from others: a few steps away, by `compatible` ones where it says so."""
    node = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 4))):
        former = copy.deepcopy(node)
        where = draw(st.sampled_from(_nodes(node)))
        other = draw(schemas(depth=1))
        for key in draw(st.lists(st.sampled_from(sorted({*where, *other, "default", "properties"})), max_size=2)):
            if key == "properties":
                _change_options(draw, where)
            elif key in other:
                where[key] = other[key]
            else:
                where.pop(key, None)
        if compatible and breaking(schema_changes(old, node, patterns=True)):
            node = former
    return node


def _change_options(draw: DrawFn, node: Node) -> None:
    options = node.setdefault("properties", {})
    name = draw(st.sampled_from(_KEYS))
    if name in options and draw(st.booleans()):
        del options[name]
    else:
        options[name] = draw(schemas(depth=1))


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
    value = data.draw(values(old), "value")
    if _allows(old, value):
        assert _allows(new, value), changes
    before, after = (defaults.filled(nodes.checked(schema), value) for schema in (old, new))
    if _allows(old, before):
        assert _allows(new, after), changes


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_changes_for_values_is_reported(data: st.DataObject) -> None:
    old = data.draw(schemas(), "old")
    new = data.draw(changed(old, compatible=False), "new")
    value = data.draw(values(old), "value")
    if _allows(old, value) != _allows(new, value):
        assert schema_changes(old, new)
