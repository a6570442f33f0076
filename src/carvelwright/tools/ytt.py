"""ytt: templates, data values and their schema."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from carvelwright import process, yamldoc
from carvelwright.errors import CarvelwrightError, ExitCode, Location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.tools.tool import Tool

# A template is a program: nothing says that it ends. A large package renders in a second on a quiet machine.
_SECONDS = 30.0
_NOISE = re.compile(r"^ytt: Error:\s*", re.MULTILINE)
_REFUSED_HINT = (
    "correct the file and key that ytt names above; `carvelwright values table` lists every key and its type"
)
_ENDLESS_HINT = "search bundle/config and the values schema for an endless loop or one with too much output"


def render(tool: Tool, config: Path, values: Sequence[Path] = (), *, step: str, timeout: float = _SECONDS) -> bytes:
    """Render a bundle's config directory with data values files, as the server does; returns YAML documents.

    CarvelwrightError (CONFIG) carries ytt's own message, which names file, line and key.
    """
    seen_from = _seen_from(config, config)
    files = [argument for path in values for argument in ("--data-values-file", _named(path, seen_from, step))]
    arguments = ["-f", _named(config, seen_from, step), *files]
    return _run(tool, arguments, step=step, timeout=timeout, cwd=seen_from)


def values_schema(tool: Tool, directory: Path, schema: Path, *, step: str) -> dict[str, Any]:
    """Return the OpenAPI v3 schema of the data values, as it stands under `valuesSchema.openAPIv3` of a Package.

    `directory` holds a copy of `schema`, which errors name, and of what it loads.
    """
    seen_from = _seen_from(directory, directory)
    arguments = ["-f", _named(directory, seen_from, step), "--data-values-schema-inspect", "-o", "openapi-v3"]
    output = _run(tool, arguments, step=step, timeout=_SECONDS, cwd=seen_from)
    # Strictly: what JSON cannot hold cannot be in a Package either.
    node = yamldoc.parse(output.decode(), schema).data
    for key in ("components", "schemas", "dataValues"):
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise CarvelwrightError(
            f"step {step}: ytt exports no schema of data values",
            exit_code=ExitCode.CONFIG,
            location=Location(schema),
            hint="begin the schema's document with `#@data/values-schema`",
            step=step,
        )
    return node


def _seen_from(path: Path, directory: Path) -> Path | None:
    """Return where ytt has to work: it takes NAME=PATH for a renaming, so that no path may hold `=`."""
    return directory if "=" in str(path) else None


def _named(path: Path, seen_from: Path | None, step: str) -> str:
    """Name a file for ytt as the user did; `-` is a file here, not standard input."""
    if seen_from is None and "=" not in str(path):
        return "./-" if str(path) == "-" else str(path)
    name = os.path.relpath(path, seen_from)
    if "=" in name:
        raise CarvelwrightError(
            f"step {step}: ytt does not accept a path with `=`: {path}",
            exit_code=ExitCode.CONFIG,
            hint="rename the file or directory, or work in a directory below it",
            step=step,
        )
    return name


def _run(tool: Tool, arguments: Sequence[str], *, step: str, timeout: float, cwd: Path | None = None) -> bytes:
    try:
        return process.run(
            tool.argv(*arguments),
            step=step,
            env=tool.environment,
            timeout=timeout,
            memory=process.MEMORY,
            cwd=cwd,
        ).stdout
    except process.ToolFailedError as error:
        if error.exit_code is ExitCode.FILESYSTEM:
            raise
        refused = error.code is not None and error.code > 0 and not error.exceeded
        raise CarvelwrightError(
            f"step {step}: ytt refused the templates or the data values" if refused else error.message,
            exit_code=ExitCode.CONFIG if refused or error.exceeded else ExitCode.TOOL_FAILED,
            details=_NOISE.sub("", error.stderr).strip() if refused else error.details,
            hint=_REFUSED_HINT if refused else _ENDLESS_HINT,
            step=step,
        ) from error
