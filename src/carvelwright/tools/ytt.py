"""ytt: templates, data values and their schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carvelwright import process, yamldoc
from carvelwright.errors import CarvelwrightError, ExitCode, Location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.tools.tool import Tool

# A template is a program: nothing says that it ends. A large package renders in a second.
_SECONDS = 120.0
_NOISE = re.compile(r"^ytt: Error:\s*", re.MULTILINE)
_REFUSED_HINT = "ytt names the file and the key above; `carvelwright values table` lists every key and what it takes"
_ENDLESS_HINT = "look for a loop without an end, or one that makes too much, in bundle/config and the values schema"


def render(tool: Tool, config: Path, values: Sequence[Path] = (), *, step: str, timeout: float = _SECONDS) -> bytes:
    """Render a bundle's config directory with data values files, as the server does; returns YAML documents.

    CarvelwrightError (CONFIG) carries ytt's own message, which names file, line and key.
    """
    files = [argument for path in values for argument in ("--data-values-file", str(path))]
    return _run(tool, ["-f", str(config), *files], step=step, timeout=timeout)


def values_schema(tool: Tool, schema: Path, *, step: str) -> dict[str, Any]:
    """Return the OpenAPI v3 schema of the data values, as it stands under `valuesSchema.openAPIv3` of a Package."""
    output = _run(
        tool, ["-f", str(schema), "--data-values-schema-inspect", "-o", "openapi-v3"], step=step, timeout=_SECONDS
    )
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


def _run(tool: Tool, arguments: Sequence[str], *, step: str, timeout: float) -> bytes:
    try:
        return process.run(tool.argv(*arguments), step=step, env=tool.environment, timeout=timeout).stdout
    except process.ToolFailedError as error:
        if error.exit_code is ExitCode.FILESYSTEM:
            raise
        refused = error.code is not None and error.code > 0
        raise CarvelwrightError(
            f"step {step}: ytt refused the templates or the data values" if refused else error.message,
            exit_code=ExitCode.CONFIG if refused or error.code is None else ExitCode.TOOL_FAILED,
            details=_NOISE.sub("", error.stderr).strip() if refused else error.details,
            hint=_REFUSED_HINT if refused else _ENDLESS_HINT,
            step=step,
        ) from error
