"""ytt: templates, data values and their schema."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc, process, yamldoc
from carvelwright.errors import CarvelwrightError, InputError, Location, ToolError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.tools.tool import Tool

# A template is a program: nothing says that it ends. A large package renders in a second on a quiet machine.
_SECONDS = 30.0
_NOISE = re.compile(r"^ytt: Error:\s*", re.MULTILINE)
_REFUSED_HINT = (
    "correct the file and key that ytt names above; `carvelwright values table` lists every key and its type"
)
# ytt reports what its validations refuse only in these words. A test holds them to the pinned ytt.
_INVALID = "Validating final data values:"
_REFUSED = re.compile(r"^  (?P<path>\S.*)\n    from: .*\n(?P<rules>(?:(?!  \S)(?:.*)\n)*)", re.MULTILINE)
_RULE = re.compile(r"^    - must be: (?P<rule>(?:.|\n)*?) \(by: (?:(?! \(by: ).)+:[0-9]+\)$", re.MULTILINE)
_UNCHECKED = "--dangerous-data-values-disable-validation"
_ENDLESS_HINT = "search bundle/config and the values schema for an endless loop or one with too much output"


@dataclass(frozen=True, slots=True)
class DataValues:
    """Final data values, and the validations that refuse some: pairs of a path as ytt writes it and of a rule."""

    values: dict[str, Any]
    refused: tuple[tuple[str, str], ...]


def render(
    tool: Tool,
    paths: Path | Sequence[Path | None],
    values: Sequence[Path | None] = (),
    *,
    step: str,
    options: Sequence[str] = (),
    stdin: bytes = b"",
    validate: bool = True,
    timeout: float = _SECONDS,
) -> bytes:
    """Render files and directories with data values files, as the server does; returns YAML documents.

    None in the place of a path is standard input. `validate=False` renders also with values that the schema's
    validations refuse, as kctrl does to lock images. InputError carries ytt's own message, which names
    file, line and key.
    """
    read = [paths] if isinstance(paths, Path) else list(paths)
    odd = next((path for path in read if path is not None and "=" in str(path)), None)
    seen_from = None if odd is None else _seen_from(odd, odd if odd.is_dir() else odd.parent)
    sources = [argument for path in read for argument in ("-f", _named(path, seen_from, step))]
    arguments = [*sources, *options, *_values_arguments(values, seen_from, step)]
    if not validate:
        arguments.append(_UNCHECKED)
    return _run(tool, arguments, step=step, timeout=timeout, cwd=seen_from, stdin=stdin)


def values_schema(tool: Tool, directory: Path, schema: Path, *, step: str) -> dict[str, Any]:
    """Return the OpenAPI v3 schema of the data values, as it stands under `valuesSchema.openAPIv3` of a Package.

    `directory` holds a copy of `schema`, which errors name, and of what it loads.
    """
    seen_from = directory if "=" in str(directory) else None
    arguments = ["-f", _named(directory, seen_from, step), "--data-values-schema-inspect", "-o", "openapi-v3"]
    output = _run(tool, arguments, step=step, timeout=_SECONDS, cwd=seen_from)
    # Strictly: what JSON cannot hold cannot be in a Package either.
    node = yamldoc.parse(output.decode(), schema).data
    for key in ("components", "schemas", "dataValues"):
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise InputError(
            f"step {step}: ytt exports no schema of data values",
            location=Location(schema),
            hint="begin the schema's document with `#@data/values-schema`",
            step=step,
        )
    return node


def data_values(tool: Tool, directory: Path, values: Sequence[Path] = (), *, step: str) -> DataValues:
    """Return the data values that a schema and values files make, and what its validations refuse of them.

    `directory` holds the schema and what it loads.
    """
    seen_from = _seen_from(directory, directory)
    arguments = ["-f", _named(directory, seen_from, step), *_values_arguments(values, seen_from, step)]
    # JSON: ytt's YAML has texts that other readers take for numbers or keys to merge.
    arguments += ["--data-values-inspect", "-o", "json"]
    try:
        refused: tuple[tuple[str, str], ...] = ()
        output = _run(tool, arguments, step=step, timeout=_SECONDS, cwd=seen_from)
    except CarvelwrightError as error:
        if not is_invalid(error):
            raise
        refused = _refused_values(error.details or "")
        output = _run(tool, [*arguments, _UNCHECKED], step=step, timeout=_SECONDS, cwd=seen_from)
    # A schema without keys has no values at all.
    content = jsondoc.parse(output) if output.strip() else {}
    return DataValues(content if isinstance(content, dict) else {}, refused)


def is_invalid(error: CarvelwrightError) -> bool:
    """Tell whether ytt refused only what the values are: templates and types are right, a validation fails."""
    return (error.details or "").startswith(_INVALID)


def refused_paths(error: CarvelwrightError) -> list[str]:
    """Return the values that validations refuse, as ytt writes their paths."""
    return [path for path, _ in _refused_values(error.details or "")]


def _refused_values(message: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (refused["path"], rule["rule"])
        for refused in _REFUSED.finditer(f"{message}\n")
        for rule in _RULE.finditer(refused["rules"])
    )


def _values_arguments(values: Sequence[Path | None], seen_from: Path | None, step: str) -> list[str]:
    return [argument for path in values for argument in ("--data-values-file", _named(path, seen_from, step))]


def _seen_from(path: Path, directory: Path) -> Path | None:
    """Return where ytt has to work: it takes NAME=PATH for a renaming, so that no path may hold `=`."""
    return directory if "=" in str(path) else None


def _named(path: Path | None, seen_from: Path | None, step: str) -> str:
    """Name a file for ytt as the user did, who may call one `-`: None is standard input."""
    if path is None:
        return "-"
    if seen_from is None and "=" not in str(path):
        return "./-" if str(path) == "-" else str(path)
    name = os.path.relpath(path, seen_from)
    if "=" in name:
        raise InputError(
            f"step {step}: ytt does not accept a path with `=`: {path}",
            hint="rename the file or directory, or work in a directory below it",
            step=step,
        )
    return name


def _run(
    tool: Tool, arguments: Sequence[str], *, step: str, timeout: float, cwd: Path | None = None, stdin: bytes = b""
) -> bytes:
    argv = tool.argv(*arguments)
    try:
        return process.run(
            argv, step=step, env=tool.environment, timeout=timeout, memory=process.MEMORY, cwd=cwd, stdin=stdin
        ).stdout
    except ToolFailedError as error:
        refused = error.code is not None and error.code > 0 and not error.exceeded
        kind = InputError if refused or error.exceeded else ToolError
        raise kind(
            f"step {step}: ytt refused the templates or the data values" if refused else error.message,
            details=_NOISE.sub("", error.stderr).strip() if refused else error.details,
            hint=_REFUSED_HINT if refused else _ENDLESS_HINT,
            step=step,
        ) from error
