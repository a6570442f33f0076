"""Each row of the judgement table: what a change of the values schema is called, and why it is judged so."""

from __future__ import annotations

from typing import Any

import pytest

from carvelwright.compare.changes import breaking, path_text
from carvelwright.compare.schema import schema_changes

Node = dict[str, Any]


def closed(**options: Node) -> Node:
    return {"type": "object", "additionalProperties": False, "properties": options}


def text(default: Any = "x", **more: Any) -> Node:
    return {"type": "string", "default": default, **more}


def number(default: Any = 5, **more: Any) -> Node:
    return {"type": "integer", "default": default, **more}


def judged(old: Node, new: Node) -> list[tuple[str, str, str]]:
    return [(change.path, change.kind, change.judgement) for change in schema_changes(old, new)]


def of_option(old: Node, new: Node) -> list[tuple[str, str]]:
    return [(kind, judgement) for path, kind, judgement in judged(closed(a=old), closed(a=new)) if path == "a"]


ANY: Node = {"nullable": True, "default": "x"}
TABLE: list[tuple[str, Node, Node, list[tuple[str, str]]]] = [
    ("integer to number", number(), {"type": "number", "format": "float", "default": 5}, [("type", "compatible")]),
    ("number to integer", {"type": "number", "default": 5}, number(), [("type", "breaking")]),
    ("text to any", text(), ANY, [("type", "compatible")]),
    ("any to text", ANY, text(), [("type", "breaking")]),
    ("null allowed", text(), text(nullable=True), [("type", "compatible")]),
    ("null refused", text(nullable=True), text(), [("type", "breaking")]),
    ("text to number", text(), number(), [("default", "compatible"), ("type", "breaking")]),
    ("default", text("x"), text("y"), [("default", "compatible")]),
    ("default of another type", number(1), {**number(1), "default": 1.0}, []),
    ("default now refused", text("x"), text("", minLength=1), [("default", "breaking"), ("tightened", "breaking")]),
    ("default no longer refused", text("", minLength=1), text("x", minLength=1), [("default", "compatible")]),
    ("minimum up", number(minimum=1), number(minimum=2), [("tightened", "breaking")]),
    ("minimum down", number(minimum=2), number(minimum=1), [("loosened", "compatible")]),
    ("minimum new", number(), number(minimum=2), [("tightened", "breaking")]),
    ("maximum gone", number(maximum=9), number(), [("loosened", "compatible")]),
    ("maximum down", number(maximum=9), number(maximum=8), [("tightened", "breaking")]),
    ("bound out", number(minimum=1), number(minimum=1, exclusiveMinimum=True), [("tightened", "breaking")]),
    ("bound in other words", number(minimum=1, exclusiveMinimum=True), number(exclusiveMinimum=1), []),
    ("length", text(maxLength=5), text(maxLength=4), [("tightened", "breaking")]),
    ("pattern new", text(), text(pattern="^x$"), [("tightened", "breaking")]),
    ("pattern gone", text(pattern="^x$"), text(), [("loosened", "compatible")]),
    ("value gone", text(enum=["x", "y"]), text(enum=["x"]), [("tightened", "breaking")]),
    ("value more", text(enum=["x"]), text(enum=["x", "y"]), [("loosened", "compatible")]),
    ("values listed", text(), text(enum=["x"]), [("tightened", "breaking")]),
    ("values in another order", text(enum=["x", "y"]), text(enum=["y", "x"]), []),
    ("one value", text(), text(const="x"), [("tightened", "breaking")]),
    ("description", text(description="one"), text(description="two"), [("documentation", "compatible")]),
    ("deprecated", text(), text(deprecated=True), [("documentation", "compatible")]),
    ("example", text(), text(**{"x-example-description": "e"}), [("documentation", "compatible")]),
    ("anyOf", text(anyOf=[{}]), text(anyOf=[{"maxLength": 1}]), [("unjudged", "breaking")]),
    ("reference", text(**{"$ref": "#/definitions/a"}), text(**{"$ref": "#/definitions/b"}), [("unjudged", "breaking")]),
    (
        "rule of texts for what becomes a number",
        text(minLength=1),
        number(minimum=9),
        [
            ("default", "breaking"),
            ("type", "breaking"),
        ],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_change_of_an_option_is_judged(old: Node, new: Node, expected: list[tuple[str, str]]) -> None:
    assert sorted(of_option(old, new)) == expected


def test_added_option_with_a_default_is_compatible() -> None:
    assert judged(closed(), closed(a=text())) == [("a", "added", "compatible")]


@pytest.mark.parametrize("default", ["", None])
def test_added_option_whose_default_is_refused_has_to_be_given(default: Any) -> None:
    (change,) = schema_changes(closed(), closed(a=text(default, minLength=1)))
    assert change.breaking
    assert "every user has to give" in change.reason


def test_added_option_that_is_required_is_breaking() -> None:
    assert judged(closed(), {**closed(a=text()), "required": ["a"]}) == [("a", "added", "breaking")]


def test_added_option_within_a_map_that_users_give_is_judged_by_itself() -> None:
    inner = closed(b=text(""), c=text("", minLength=1))
    nullable = {**closed(b=text("")), "nullable": True}
    assert judged(closed(a=nullable), closed(a={**inner, "nullable": True})) == [("a.c", "added", "breaking")]


def test_added_map_that_is_null_by_default_may_have_options_that_have_to_be_given() -> None:
    added = {**closed(b=text("", minLength=1)), "nullable": True}
    assert judged(closed(), closed(a=added)) == [("a", "added", "compatible")]
    assert judged(closed(), closed(a=closed(b=text("", minLength=1)))) == [("a", "added", "breaking")]


def test_added_option_where_any_key_was_allowed_is_breaking() -> None:
    open_map = {"type": "object", "properties": {}}
    (change,) = schema_changes(open_map, {"type": "object", "properties": {"a": text()}})
    assert change.breaking
    assert "may have any key" in change.reason


def test_removed_option_is_breaking_and_says_that_it_was_announced() -> None:
    (change,) = schema_changes(closed(a=text(deprecated=True)), closed())
    assert (change.kind, change.judgement, change.path) == ("removed", "breaking", "a")
    assert "deprecated" in change.reason


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (("greeting", text(description="Said.")), ("words", text(description="Said.")), "description"),
        (("logLevel", text()), ("log_level", text()), "key like it"),
    ],
)
def test_renamed_option_is_one_breaking_change(old: tuple[str, Node], new: tuple[str, Node], why: str) -> None:
    (change,) = schema_changes(closed(**dict([old])), closed(**dict([new])))
    assert (change.kind, change.judgement) == ("renamed", "breaking")
    assert (change.old_path, change.path) == (old[0], new[0])
    assert why in change.reason


def test_option_that_moved_to_another_map_is_renamed() -> None:
    (change,) = [
        change
        for change in schema_changes(
            closed(a=closed(port=number(), x=text()), b=closed()), closed(a=closed(x=text()), b=closed(port=number()))
        )
        if change.kind == "renamed"
    ]
    assert (change.old_path, change.path) == ("a.port", "b.port")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"one": text()}, {"completely": text()}),
        ({"port": text()}, {"ports": number()}),
        ({"port1": text(), "port2": text()}, {"port3": text()}),
    ],
    ids=["neither key nor description alike", "another type", "two that could be it"],
)
def test_what_is_not_surely_renamed_is_removed_and_added(old: dict[str, Node], new: dict[str, Node]) -> None:
    assert {kind for _, kind, _ in judged(closed(**old), closed(**new))} == {"removed", "added"}


def test_items_and_free_keys_have_paths_of_their_own() -> None:
    def of(inner: Node) -> Node:
        labels = {"type": "object", "additionalProperties": inner}
        return closed(a={"type": "array", "default": [], "items": closed(b=inner)}, labels=labels)

    assert judged(of(text()), of(text(minLength=1))) == [
        ("a[].b", "tightened", "breaking"),
        ("labels.*", "tightened", "breaking"),
    ]


def test_map_that_was_closed_or_opened() -> None:
    open_map = {"type": "object", "properties": {}}
    assert judged(closed(a=open_map), closed(a=closed())) == [("a", "tightened", "breaking")]
    assert judged(closed(a=closed()), closed(a=open_map)) == [("a", "loosened", "compatible")]


def test_key_with_a_dot_is_quoted() -> None:
    assert path_text(("a.b", "c", "[]", "*", "")) == '"a.b".c[].*.""'


def test_schema_that_appears_or_is_gone_is_not_judged() -> None:
    for old, new in ((None, closed()), (closed(), None)):
        (change,) = schema_changes(old, new)
        assert (change.kind, change.breaking) == ("unjudged", True)
    assert schema_changes(None, None) == ()


def test_target_of_a_reference_that_changed_is_not_taken_for_equal() -> None:
    def of(target: Node) -> Node:
        return {**closed(a={"$ref": "#/definitions/t"}), "definitions": {"t": target}}

    assert breaking(schema_changes(of(text()), of(number())))
    assert schema_changes(of(text()), of(text())) == ()


def test_pattern_is_evaluated_only_where_it_is_trusted() -> None:
    hostile = text("a" * 40 + "!", pattern="^(a+)+$")
    (change,) = schema_changes(closed(), closed(a=hostile))
    assert "not judged" in change.reason
    assert breaking(schema_changes(closed(), closed(a=text("x", pattern="^y")), patterns=True))
    assert not breaking(schema_changes(closed(), closed(a=text("x", pattern="^x")), patterns=True))


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"properties": []}, "the schema.properties"),
        ({"properties": {"a": 5}}, "the schema.properties.a"),
        ({"type": "text"}, "the schema.type"),
        ({"type": [["string"]]}, "the schema.type"),
        ({"items": "x"}, "the schema.items"),
        ({"enum": "x"}, "the schema.enum"),
        ({"required": True}, "the schema.required"),
        ({"minLength": "1"}, "the schema.minLength"),
        ({"minimum": True}, "the schema.minimum"),
        ({"multipleOf": 0}, "the schema.multipleOf"),
        ({"additionalProperties": "no"}, "the schema.additionalProperties"),
    ],
)
def test_what_is_no_schema_is_named(schema: Node, named: str) -> None:
    pairs: list[tuple[Node, Node]] = [(schema, {}), ({}, schema)]
    for pair in pairs:
        with pytest.raises(ValueError, match=named):
            schema_changes(*pair)


def test_schema_that_is_nested_without_end_is_refused() -> None:
    cyclic: Node = {"type": "object", "properties": {}}
    cyclic["properties"]["a"] = cyclic
    with pytest.raises(ValueError, match="nested too deeply"):
        schema_changes(cyclic, {})


def test_deep_and_large_schemas_are_compared() -> None:
    def deep(levels: int, leaf: Node) -> Node:
        return closed(a=deep(levels - 1, leaf)) if levels else leaf

    (change,) = schema_changes(deep(95, number(1)), deep(95, number(2)))
    assert change.kind == "default"
    many = {f"option{number}": text() for number in range(3000)}
    assert len(schema_changes(closed(**many), closed())) == 3000
