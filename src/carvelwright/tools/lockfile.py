"""Lock files that tools write: read with Carvel's own types, a fault told as the tool's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Lock = TypeVar("_Lock")


def read(parse: Callable[[object], _Lock], path: Path, tool: str, *, step: str) -> _Lock:
    """Read the lock that a tool wrote; ToolError where there is none or it is something else."""
    try:
        return parse(yamldoc.load(path).data)
    except (CarvelwrightError, ValueError) as error:
        raise ToolError(
            f"step {step}: {tool} succeeded but wrote no valid lock file",
            details="\n".join(error.lines()) if isinstance(error, CarvelwrightError) else str(error),
            hint="run `carvelwright doctor` to list the tools in use",
            step=step,
        ) from None
