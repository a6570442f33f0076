"""ytt: templates, data values and their schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carvelwright import process, yamldoc
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_NOISE = re.compile(r"^ytt: Error:\s*", re.MULTILINE)


def render(tool: Tool, config: Path, values: Sequence[Path] = (), *, step: str) -> bytes:
    """Render a bundle's config directory with data values files, as the server does; returns YAML documents.

    CarvelwrightError (CONFIG) carries ytt's own message, which names file, line and key.
    """
    files = [argument for path in values for argument in ("--data-values-file", str(path))]
    return _run(tool, ["-f", str(config), *files], step=step)


def values_schema(tool: Tool, schema: Path, *, step: str) -> dict[str, Any]:
    """Return the OpenAPI v3 schema of the data values, as it stands under `valuesSchema.openAPIv3` of a Package."""
    output = _run(tool, ["-f", str(schema), "--data-values-schema-inspect", "-o", "openapi-v3"], step=step)
    (document,) = yamldoc.load_all_text(output.decode(), schema)
    exported: dict[str, Any] = document["components"]["schemas"]["dataValues"]
    return exported


def _run(tool: Tool, arguments: Sequence[str], *, step: str) -> bytes:
    try:
        return process.run(tool.argv(*arguments), step=step, env=tool.environment).stdout
    except process.ToolFailedError as error:
        raise CarvelwrightError(
            f"step {step}: ytt refused the templates or the data values",
            exit_code=ExitCode.CONFIG,
            details=_NOISE.sub("", error.stderr).strip(),
            hint="ytt names the file and the key above; `carvelwright values table` lists every key and what it takes",
            step=step,
        ) from error
