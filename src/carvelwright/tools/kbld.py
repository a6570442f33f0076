"""kbld: finds the images of manifests, by its own rules and those of the Config documents among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process, yamldoc
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from carvelwright.tools.tool import Tool

_SECONDS = 300.0
_HINT = "correct the kbld Config document that kbld names above"


def images(tool: Tool, manifests: bytes, *, step: str) -> list[str]:
    """Return every image that kbld would resolve in manifests, as they write it, sorted. No registry is asked."""
    argv = tool.argv("-f", "-", "--unresolved-inspect")
    try:
        output = process.run(
            argv, step=step, env=tool.environment, stdin=manifests, timeout=_SECONDS, memory=process.MEMORY
        )
    except process.ToolFailedError as error:
        if error.exit_code is ExitCode.FILESYSTEM or error.code is None or error.code < 0:
            raise
        raise CarvelwrightError(
            f"step {step}: kbld refused the manifests",
            exit_code=ExitCode.CONFIG,
            details=error.stderr.strip(),
            hint=_HINT,
            step=step,
        ) from error
    # An image may be any text here, also one that is no image: the Go writer of this list quotes it as YAML has it.
    listed = yamldoc.parse(output.stdout.decode(), Path("kbld")).data
    return [entry["image"] for entry in listed or []]
