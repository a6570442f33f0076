"""helm: renders charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import InputError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_SECONDS = 120.0
# What of the user's own would change a rendering: settings of helm, and the cluster that they work on.
_SETTINGS = ("HELM_", "KUBE")


def template(
    tool: Tool,
    chart: Path,
    name: str,
    namespace: str,
    values: Sequence[Path | None] = (),
    *,
    step: str,
    stdin: bytes = b"",
) -> bytes:
    """Render a chart as kapp-controller does, for an install of that name; returns YAML documents.

    None among the values files is standard input. InputError carries helm's own message.
    """
    files = [argument for path in values for argument in ("--values", "-" if path is None else path.absolute())]
    argv = tool.argv("template", name, chart.absolute(), "--namespace", namespace, "--include-crds", *files)
    environment = {key: value for key, value in tool.environment.items() if not key.startswith(_SETTINGS)}
    try:
        return process.run(
            argv, step=step, env=environment, timeout=_SECONDS, memory=process.MEMORY, stdin=stdin
        ).stdout
    except ToolFailedError as error:
        raise InputError(
            f"step {step}: helm refused the chart or its values",
            details=error.stderr.strip().removeprefix("Error: ") or error.details,
            hint="correct the file that helm names above",
            step=step,
        ) from error
