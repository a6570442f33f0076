"""Files for people and editors, made from the values schema that ytt exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from carvelwright import probe, values, valuesdoc, yamldoc
from carvelwright.errors import ConfigError
from carvelwright.values import ValuesSchema

OPENAPI: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "level": {
            "type": "string",
            "title": "Level",
            "description": "How much.",
            "enum": ["low", "high"],
            "default": "low",
        },
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "cpu": {"type": "string", "nullable": True, "default": None},
                "on": {"type": "boolean", "default": True},
            },
        },
        "ports": {"type": "array", "items": {"type": "integer"}, "default": [80, 443]},
        "labels": {"default": {}, "nullable": True},
    },
}
EXTRAS: dict[tuple[str, ...], dict[str, str]] = {("limits", "cpu"): {"pattern": "^[0-9]+m$", "$comment": "millicores"}}
DEFAULTS = {"level": "low", "limits": {"cpu": None, "on": True}, "ports": [80, 443], "labels": {}}
SCHEMA = ValuesSchema(OPENAPI, EXTRAS, [DEFAULTS])


def test_annotated_values_are_the_defaults_in_the_schemas_order() -> None:
    text = valuesdoc.annotated(SCHEMA, "Data values of x")
    (data,) = yamldoc.load_all_text(text, Path("v"))
    assert data == DEFAULTS
    assert list(data) == ["level", "limits", "ports", "labels"]
    assert text.startswith("# Data values of x\n")
    for line in ("# Level (level)", "# How much.", '# Allowed: one of "low", "high".', '# Default: "low".'):
        assert f"{line}\n" in text
    assert "  # Type: string or null.\n  # Allowed: millicores.\n" in text


def test_json_schema_says_null_patterns_and_enums() -> None:
    text = values.json_schema(SCHEMA, "t")
    document = json.loads(text)
    assert text.startswith('{\n  "$schema": "https://json-schema.org/draft/2020-12/schema",\n  "title": "t",\n')
    validator = jsonschema.Draft202012Validator(document)
    validator.check_schema(document)
    for good in (
        {},
        {"limits": {"cpu": None}},
        {"limits": {"cpu": "10m"}},
        {"level": "high", "ports": [1]},
        {"labels": {"a": 1}},
    ):
        assert validator.is_valid(good), good
    for bad in (
        {"x": 1},
        {"level": None},
        {"level": "mid"},
        {"limits": {"cpu": "1"}},
        {"limits": {"on": None}},
        {"ports": ["a"]},
    ):
        assert not validator.is_valid(bad), bad


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("a: b\n#! jsonschema: {\nc: d\n", "not JSON after", 2),
        ("a: b\n#! jsonschema: [1]\nc: d\n", "no JSON object above a key", 2),
        ("a: b\n#! jsonschema: {}\n", "no JSON object above a key", 2),
        ("#! jsonschema: {}\n---\na: b\n", "no JSON object above a key", 1),
        ('#! jsonschema: {"minLength": 1}\n#! jsonschema: {"maxLength": 2}\na: b\n', "a second jsonschema line", 2),
    ],
)
def test_a_wrong_jsonschema_line_is_reported_with_its_place(text: str, words: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        probe.with_keywords({"lib/a.lib.yml": text.encode()}, Path("/p").joinpath)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert str(problem.location) == f"/p/lib/a.lib.yml:{line}"


def test_keys_of_alternatives_may_be_equal(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text("#@data/values-schema\n---\n#@ if big:\na: 2\n#@ else:\na: 1\n#@ end\n")
    assert values.load_schema(path).data == {"a": 2}


# Of numbers that are not written as YAML would, the place is the nearest one that is known.
ODD_KEYS = [(key, "5:3") for key in ("1", "on", "Yes", "n", "~", "null")] + [
    (k, "4:1") for k in ("0x1F", "1_000", "012")
]


@pytest.mark.parametrize(("key", "place"), ODD_KEYS)
def test_a_key_that_ytt_does_not_read_as_text_is_told_with_its_place(tmp_path: Path, key: str, place: str) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(f"#@data/values-schema\n---\na: b\nm:\n  {key}: c\n  'off': d\n  once: e\n")
    with pytest.raises(ConfigError) as caught:
        values.load_schema(path)
    (problem,) = caught.value.problems
    assert str(problem.location) == f"{path}:{place}"
    assert problem.hint == "put it in quotes"


def test_other_documents_of_the_file_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(
        "#@ def sample():\n---\nname: blue\n1: x\n#@ end\n\n#@data/values-schema\n"
        '#@schema/examples ("A sample", sample()[0])\n---\n#! jsonschema: {"minLength": 2}\nname: world\n'
    )
    document = values.load_schema(path)
    assert document.data == {"name": "world"}
    assert document.locate(["name"]).line == 11
