"""identify_license: recognises the license of a text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import jsondoc, process
from carvelwright.errors import ToolError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.tools.tool import Tool

_SECONDS = 300.0
# Version 2.0.0 can close a channel that its last task still writes to, after the work is done. On one processor the
# two hardly ever meet; where they do, it is run again.
_RACE, _ATTEMPTS = "send on closed channel", 3
# It also reports the lines that name who holds the rights.
_NO_LICENCE = "Copyright"
# Below this much of a license's text, people have changed its terms.
_CONFIDENCE = 0.9


def classify(tool: Tool, texts: Sequence[Path], *, step: str) -> dict[Path, list[str]]:
    """Return the names of the licenses that are recognised in each text, none where there is none."""
    if not texts:
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "found.json"
        argv = tool.argv("-headers", "-json", output, *(path.absolute() for path in texts))
        _run(tool, argv, step)
        try:
            document = jsondoc.parse(output.read_bytes())
            found = {Path(each["Filepath"]): each["Classifications"] or () for each in document or ()}
            named = {
                path: sorted({one["Name"] for one in ones if one["Confidence"] >= _CONFIDENCE} - {_NO_LICENCE})
                for path, ones in found.items()
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ToolError(
                f"step {step}: identify_license does not report its findings as JSON",
                details=f"{type(error).__name__}: {error}",
                hint="run `carvelwright doctor` to see which one is used",
                step=step,
            ) from None
    return {path: named.get(path.absolute(), []) for path in texts}


def _run(tool: Tool, argv: Sequence[str], step: str) -> None:
    environment = {**tool.environment, "GOMAXPROCS": "1"}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            process.run(argv, step=step, env=environment, timeout=_SECONDS, memory=process.MEMORY)
        except ToolFailedError as error:
            if attempt == _ATTEMPTS or _RACE not in error.stderr:
                raise
        else:
            return
