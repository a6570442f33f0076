"""JSON Schema validation of the project's documents, each problem with its place in the file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from carvelwright.errors import Severity
from carvelwright.project.formats import FORMATS
from carvelwright.yamldoc import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from jsonschema.exceptions import ValidationError

    from carvelwright.errors import Problem
    from carvelwright.yamldoc import Document

_SCHEMAS = Path(__file__).parent / "schemas"


def problems(document: Document, schema_name: str, optional: Collection[str] = ()) -> list[Problem]:
    """Validate a document against `schemas/<schema_name>.json` and return every problem, in the order of the file.

    The keys in `optional` may be missing, though the schema requires them.
    """
    return _found(
        document, schema_name, {"pattern": _pattern, "format": _format, "refused": _refused}, _problems, optional
    )


def warnings(document: Document, schema_name: str) -> list[Problem]:
    """Return what a valid document should say otherwise, each with the reason.

    Beside what is required, a schema has `advice`: a list of schemas, each with a `reason`.
    """

    def of(document: Document, error: ValidationError) -> list[Problem]:
        if "advice" not in error.absolute_schema_path:
            return []
        reason = cast("Mapping[str, Any]", error.schema)["reason"]
        return [
            dataclasses.replace(problem, message=f"{problem.message}: {reason}", severity=Severity.WARNING)
            for problem in _problems(document, error, wrong="")
        ]

    return _found(document, schema_name, {"format": _format, "advice": _advice}, of)


def _found(
    document: Document,
    schema_name: str,
    keywords: Mapping[str, Any],
    problems_of: Callable[[Document, ValidationError], list[Problem]],
    optional: Collection[str] = (),
) -> list[Problem]:
    # A quarter of the start-up time, not always needed.
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415

    extend: Any = validators.extend  # declared without types
    strict = extend(Draft202012Validator, keywords)
    schema = json.loads((_SCHEMAS / f"{schema_name}.json").read_text("utf-8"))
    schema["required"] = [name for name in schema.get("required", []) if name not in optional]
    errors = strict(schema).iter_errors(document.data)
    found = list(itertools.islice((problem for error in errors for problem in problems_of(document, error)), PROBLEMS))
    return sorted(found, key=lambda problem: (problem.location.line or 0) if problem.location else 0)


def _advice(validator: Any, advice: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Apply what is not required; the keys that are known stand beside it."""
    known: dict[str, Any] = {key: {} for key in schema.get("properties", {})}
    for rule in advice:
        yield from validator.descend(instance, {"properties": known} | rule)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Match the whole text: Python's `$` lets a final newline pass, which no name may hold."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - see problems()

    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _format(_validator: Any, name: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check what a format stands for, of text that has the form: one problem is enough."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - see problems()

    if isinstance(instance, str) and re.fullmatch(schema.get("pattern", "(?s:.*)"), instance):
        try:
            FORMATS[name](instance)
        except ValueError as error:
            yield ValidationError(str(error))


def _refused(_validator: Any, reason: str, _instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Refuse a key that is known, with the reason."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - see problems()

    yield ValidationError(reason)


def _problems(document: Document, error: ValidationError, wrong: str = "wrong value of ") -> list[Problem]:
    rules: Mapping[str, Any] = cast("Mapping[str, Any]", error.schema)
    value: Any = error.validator_value
    pointer = list(error.absolute_path)
    where = dotted(pointer)
    match error.validator:
        case "additionalProperties":
            known = sorted(rules.get("properties", {}))
            unknown = [name for name in cast("Mapping[str, Any]", error.instance) if name not in known][:PROBLEMS]
            return [
                document.problem(
                    [*pointer, name], f"unknown key {name!r}{_inside(where)}", key=True, expected=", ".join(known)
                )
                for name in unknown
            ]
        case "required":
            missing = [name for name in value if name not in cast("Mapping[str, Any]", error.instance)]
            name = next(name for name in missing if repr(name) in error.message)
            return [document.problem(pointer, f"missing key {name!r}{_inside(where)}", expected=_describe(rules, name))]
        case "refused":
            return [document.problem(pointer, f"{where} is refused: {error.message}", key=True)]
        case "format":
            reason, _, expected = error.message.removesuffix(")").partition(" (expected ")
            wanted = expected or rules.get("description")
            message = f"{wrong}{where}: {reason}"
            return [document.problem(pointer, message, found=_show(error.instance), expected=wanted)]
        case _:
            return [
                document.problem(
                    pointer,
                    f"{wrong}{where or 'the document'}",
                    found=_show(error.instance),
                    expected=_expected(error),
                )
            ]


def dotted(pointer: Sequence[str | int]) -> str:
    """Write a path of keys and indexes as people do: `images[0].name`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in pointer]
    return "".join(parts).removeprefix(".")


def _inside(where: str) -> str:
    return f" in {where}" if where else ""


def _describe(rules: Mapping[str, Any], name: str) -> str | None:
    description = rules.get("properties", {}).get(name, {}).get("description")
    return str(description) if description else None


def _expected(error: ValidationError) -> str:
    rule, value = error.validator, error.validator_value
    words = {
        "type": " or ".join(name for name in _names(value) if name != "null"),
        "pattern": f"text that matches {value}",
        "minLength": "text that is not empty",
        "maxLength": f"at most {value} characters",
        "minItems": f"at least {value} item(s)",
        "maxItems": f"at most {value} item(s)",
        "minProperties": f"at least {value} key(s)",
        "maxProperties": f"at most {value} key(s)",
        "uniqueItems": "each item once",
    }
    description = cast("Mapping[str, Any]", error.schema).get("description")
    wanted = words.get(str(rule), error.message)
    return f"{description} ({wanted})" if description else wanted


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    limit = 120
    return text if len(text) <= limit else f"{text[:limit]}…"
