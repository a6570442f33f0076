"""go: says what a binary is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_SECONDS = 60.0


def build_info(tool: Tool, binary: Path, *, step: str) -> str:
    """Return the build information of a Go binary as JSON, for BuildInfo; ToolError where it holds none."""
    here, argv = binary.absolute().parent, tool.argv("version", "-m", "-json", "--", binary.absolute())
    text = process.run(argv, step=step, env=tool.environment, cwd=here, timeout=_SECONDS).stdout.decode()
    if not text.strip():
        raise ToolError(
            f"step {step}: {binary} has no build information of Go",
            hint="remove the directory that it is in, and build again",
            step=step,
        )
    return text
