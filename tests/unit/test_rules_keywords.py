"""The JSON Schema keywords of a values schema: typos, wrong types, and defaults that they refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import values, yamldoc
from carvelwright.rules.keywords import keyword_problems
from carvelwright.values import ValuesSchema

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.errors import Problem

OPENAPI: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "world"},
        "mirror": {"type": "string", "nullable": True, "default": None},
        "list": {"type": "array", "items": {"type": "string"}, "default": ["a"]},
    },
}
DEFAULTS = {"name": "world", "mirror": None, "list": ["a"]}


def problems(tmp_path: Path, line: str, key: str = "name") -> list[Problem]:
    path = tmp_path / "values-schema.yaml"
    path.write_text(f"#@data/values-schema\n---\n#! jsonschema: {line}\n{key}: x\n")
    at = (key.removesuffix("[]"), "[]") if key.endswith("[]") else (key,)
    return keyword_problems(ValuesSchema(OPENAPI, {at: json.loads(line)}, [DEFAULTS]), values.load_schema(path))


@pytest.mark.parametrize(
    "line",
    [
        '{"pattern": "^[a-z]+$", "$comment": "letters", "x-order": 1}',
        '{"minLength": 5, "maxLength": 5, "enum": ["world"], "examples": ["a"], "deprecated": false}',
        '{"type": ["string", "null"], "anyOf": [{"const": "world"}, {"not": {"minLength": 1}}]}',
        "{}",
    ],
)
def test_keywords_that_the_default_keeps(tmp_path: Path, line: str) -> None:
    assert problems(tmp_path, line) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"patern": "a"}', "name: 'patern' is not a keyword of JSON Schema"),
        ('{"anyOf": [{"maxLenght": 9}]}', "name: 'maxLenght' is not a keyword of JSON Schema"),
        ('{"properties": {"a": {"typ": "string"}}}', "name: 'typ' is not a keyword of JSON Schema"),
        ('{"minLength": "3"}', "name: wrong value of minLength: '3' is not of type 'integer'"),
        ('{"maxLength": -1}', "name: wrong value of maxLength"),
        ('{"type": "text"}', "name: wrong value of type"),
        ('{"pattern": "("}', "name: not a regular expression"),
        ('{"patternProperties": {"[": {}}}', "name: not a regular expression"),
        ('{"items": {"pattern": "*"}}', "name: not a regular expression"),
        ('{"minLength": 6}', "name: the default does not match its JSON Schema: 'world' is too short"),
        ('{"enum": ["a"]}', "name: the default does not match its JSON Schema"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    (problem,) = problems(tmp_path, line)
    assert problem.message.startswith(message)
    assert problem.location
    assert problem.location.line == 4


# What is wrong, what was found, what is expected: all that a person sees beside the place.
TOLD = {
    '{"patern": "a"}': ("'patern' is not a keyword of JSON Schema", None, "a keyword of draft 2020-12 such as pattern"),
    '{"xyzzy": 1}': ("'xyzzy' is not a keyword of JSON Schema", None, "a keyword of draft 2020-12"),
    '{"x-": 1}': ("'x-' is not a keyword of JSON Schema", None, "a keyword of draft 2020-12"),
    '{"minLength": "é"}': ("wrong value of minLength: 'é' is not of type 'integer'", '"é"', None),
    '{"properties": 1}': ("wrong value of properties: 1 is not of type 'object'", "1", None),
    '{"not": {"type": "text"}}': (
        "wrong value of not.type: 'text' is not valid under any of the given schemas",
        '"text"',
        None,
    ),
    '{"pattern": "("}': ("not a regular expression: missing ), unterminated subpattern at position 0", '"("', None),
    '{"minLength": 6}': (
        "the default does not match its JSON Schema: 'world' is too short",
        '"world"',
        None,
    ),
    '{"minLength": 6, "$comment": "six or more"}': (
        "the default does not match its JSON Schema: 'world' is too short",
        '"world"',
        "six or more",
    ),
}


@pytest.mark.parametrize(("line", "told"), TOLD.items(), ids=TOLD)
def test_all_that_is_told_of_a_line(tmp_path: Path, line: str, told: tuple[str, str | None, str | None]) -> None:
    (problem,) = problems(tmp_path, line)
    assert (problem.message, problem.found, problem.expected) == (f"name: {told[0]}", told[1], told[2])
    assert str(problem.location) == f"{tmp_path}/values-schema.yaml:4:1"
    assert problem.excerpt == "name: x"


WITHIN = [
    *(f'{{"{name}": {{"typo": 1}}}}' for name in ("additionalProperties", "contains", "contentSchema", "else", "if")),
    *(f'{{"{name}": {{"typo": 1}}}}' for name in ("items", "not", "propertyNames", "then", "unevaluatedItems")),
    *(f'{{"{name}": [{{"type": "string"}}, {{"typo": 1}}]}}' for name in ("allOf", "anyOf", "oneOf", "prefixItems")),
    *(f'{{"{name}": {{"a": {{"typo": 1}}}}}}' for name in ("$defs", "dependentSchemas", "patternProperties")),
    '{"unevaluatedProperties": {"typo": 1}}',
    '{"properties": {"typo": {"typo": 1}}}',
    '{"items": {"not": {"anyOf": [{"properties": {"a": {"typo": 1}}}]}}}',
]


@pytest.mark.parametrize("line", WITHIN)
def test_keywords_within_keywords_are_looked_at(tmp_path: Path, line: str) -> None:
    (problem,) = problems(tmp_path, line)
    assert problem.message == "name: 'typo' is not a keyword of JSON Schema"


@pytest.mark.parametrize(
    "line",
    [
        '{"const": {"typo": 1}, "default": {"typo": 1}, "examples": [{"typo": 1}], "enum": [{"typo": 1}, "world"]}',
        '{"properties": {"typo": {}}, "$defs": {"typo": true}, "dependentRequired": {"typo": ["typo"]}}',
        '{"additionalProperties": false, "items": true, "x-own": {"typo": 1}}',
    ],
)
def test_what_is_no_keyword_need_not_be_one(tmp_path: Path, line: str) -> None:
    assert [p for p in problems(tmp_path, line) if "keyword" in p.message] == []


@pytest.mark.parametrize(
    "line",
    [
        '{"not": {"pattern": "("}}',
        '{"anyOf": [{}, {"pattern": "("}]}',
        '{"properties": {"a": {"pattern": "("}}}',
        '{"patternProperties": {"(": {}}}',
        '{"patternProperties": {"a": {"pattern": "("}}}',
    ],
)
def test_each_pattern_is_a_regular_expression(tmp_path: Path, line: str) -> None:
    (problem,) = problems(tmp_path, line)
    assert problem.message.startswith("name: not a regular expression: ")
    assert problem.found == '"("'


def test_a_property_may_be_called_pattern(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"properties": {"pattern": {"type": "string"}}}') == []


def nested(tmp_path: Path, keywords: dict[str, Any], *at: str, text: str = "a:\n  b: 1\nc: 2\n") -> list[Problem]:
    inner = {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}
    openapi = {"type": "object", "properties": {"a": inner, "c": {"type": "integer", "default": 2}}}
    document = yamldoc.parse(text, tmp_path / "v.yaml")
    return keyword_problems(ValuesSchema(openapi, {at: keywords}, [{"a": {"b": 1}, "c": 2}]), document)


def test_the_default_of_a_key_within_a_key_counts(tmp_path: Path) -> None:
    assert nested(tmp_path, {"maximum": 1}, "a", "b") == []
    assert nested(tmp_path, {"required": ["b"], "properties": {"b": {"const": 1}}}, "a") == []
    (problem,) = nested(tmp_path, {"maximum": 0}, "a", "b")
    assert problem.message == "a.b: the default does not match its JSON Schema: 1 is greater than the maximum of 0"
    assert (str(problem.location), problem.found) == (f"{tmp_path}/v.yaml:2:3", "1")
    (problem,) = nested(tmp_path, {"required": ["x"]}, "a")
    assert problem.found == '{"b": 1}'


@pytest.mark.parametrize("at", [("x",), ("a", "x"), ("a", "b", "x"), ("x", "y")])
def test_a_key_without_a_schema_has_no_default(tmp_path: Path, at: tuple[str, ...]) -> None:
    assert nested(tmp_path, {"maximum": 0}, *at) == []


def test_null_has_to_keep_the_line_where_it_is_not_allowed(tmp_path: Path) -> None:
    document = yamldoc.parse("a: 1\n", tmp_path / "v.yaml")
    for nullable, words in ((True, []), (False, ["None is not of type 'string'"])):
        openapi = {"type": "object", "properties": {"a": {"type": "string", "nullable": nullable, "default": None}}}
        found = keyword_problems(ValuesSchema(openapi, {("a",): {"type": "string"}}, [{"a": None}]), document)
        assert [problem.message.rpartition(": ")[2] for problem in found] == words


def test_each_line_is_looked_at(tmp_path: Path) -> None:
    openapi = {"type": "object", "properties": {name: {"type": "integer", "default": 1} for name in "abc"}}
    document = yamldoc.parse("a: 1\nb: 1\nc: 1\n", tmp_path / "v.yaml")
    extras: dict[tuple[str, ...], dict[str, Any]] = {("a",): {"typo": 1}, ("b",): {}, ("c",): {"maximum": 0}}
    found = keyword_problems(ValuesSchema(openapi, extras, [dict.fromkeys("abc", 1)]), document)
    assert [problem.location and problem.location.line for problem in found] == [1, 3]


def test_a_near_keyword_is_named(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '{"patern": "a"}')
    assert problem.expected == "a keyword of draft 2020-12 such as pattern"


def test_null_and_arrays(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"minLength": 1}', "mirror") == []
    assert problems(tmp_path, '{"items": {"pattern": "^[a-z]$"}}', "list") == []
    assert len(problems(tmp_path, '{"items": {"pattern": "^[0-9]$"}}', "list")) == 1


def test_keywords_of_items_hold_for_those_of_the_default(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"pattern": "^[a-z]$"}', "list[]") == []
    (problem,) = problems(tmp_path, '{"pattern": "^[0-9]$"}', "list[]")
    assert problem.message.startswith("list[]: the default does not match")
    assert problem.found == '"a"'


def test_several_problems_come_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, '{"patern": "a", "minLenth": 1, "maxLength": "3"}')) == 3
