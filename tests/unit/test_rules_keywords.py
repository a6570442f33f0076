"""The JSON Schema keywords of a values schema: typos, wrong types, and defaults that they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import values
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


def problems(tmp_path: Path, line: str, key: str = "name") -> list[Problem]:
    path = tmp_path / "values-schema.yaml"
    path.write_text(f"#@data/values-schema\n---\n#! jsonschema: {line}\n{key}: x\n")
    return keyword_problems(ValuesSchema(OPENAPI, values.read_extras(path)), values.load_schema(path))


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
        ('{"minLength": 6}', "name: the default does not match its jsonschema line: 'world' is too short"),
        ('{"enum": ["a"]}', "name: the default does not match its jsonschema line"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    (problem,) = problems(tmp_path, line)
    assert problem.message.startswith(message)
    assert problem.location
    assert problem.location.line == 4


def test_a_near_keyword_is_named(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '{"patern": "a"}')
    assert problem.expected == "a keyword of draft 2020-12 such as pattern"


def test_null_and_arrays(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"minLength": 1}', "mirror") == []
    assert problems(tmp_path, '{"items": {"pattern": "^[a-z]$"}}', "list") == []
    assert len(problems(tmp_path, '{"items": {"pattern": "^[0-9]$"}}', "list")) == 1


def test_several_problems_come_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, '{"patern": "a", "minLenth": 1, "maxLength": "3"}')) == 3
