"""go: says what a binary is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import ToolError, ToolFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_SECONDS = 60.0
# In the words of Go.
_NO_GO = "could not read Go build info"


def build_info(tool: Tool, binary: Path, *, step: str) -> str:
    """Return the build information of a Go binary as JSON, for BuildInfo; ToolError where it holds none."""
    text = build_info_or_none(tool, binary, step=step)
    if text is None:
        raise ToolError(
            f"step {step}: {binary} has no build information of Go",
            hint="remove the directory that it is in, and build again",
            step=step,
        )
    return text


def build_info_or_none(tool: Tool, binary: Path, *, step: str) -> str | None:
    """Return the build information of a binary as JSON; None where Go has not built it."""
    here, argv = binary.absolute().parent, tool.argv("version", "-m", "-json", "--", binary.absolute())
    try:
        text = process.run(argv, step=step, env=tool.environment, cwd=here, timeout=_SECONDS).stdout.decode()
    except ToolFailedError as error:
        if _NO_GO in error.stderr:
            return None
        raise
    return text if text.strip() else None
