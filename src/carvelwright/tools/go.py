"""go: says its version and finds files of pinned modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import CarvelwrightError, ExitCode, Location
from carvelwright.tools.compiler import Compilation as Compilation  # noqa: PLC0414 - go's adapter in two files
from carvelwright.tools.compiler import build as build  # noqa: PLC0414
from carvelwright.tools.compiler import environment as environment  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.tools.tool import Tool

# Time limits.
_DOWNLOAD_SECONDS = 1800.0
_ANSWER_SECONDS = 60.0
_VERSION = re.compile(rb"go(1\.[0-9]+(?:\.[0-9]+)?\S*)")


def version(path: Path, base: Mapping[str, str]) -> str | None:
    """Return the version of a go executable, such as 1.27.3; None where it does not say one."""
    output = process.run([str(path), "version"], step="go version", env=environment(base), timeout=_ANSWER_SECONDS)
    match = _VERSION.search(output.stdout)
    return match[1].decode() if match else None


def module_directory(tool: Tool, pinned_by: Path, module: str, *, step: str) -> Path:
    """Return the directory of a pinned module's files in the module cache, fetched if need be."""
    argv = tool.argv("mod", "download", "--", module)
    process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    argv = tool.argv("list", "-m", "-f", "{{.Dir}}", "--", module)
    listed = process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    output = listed.stdout.decode().strip()
    if not output:
        raise CarvelwrightError(
            f"step {step}: Go has no directory for module {module}",
            exit_code=ExitCode.TOOL_FAILED,
            location=Location(pinned_by / "go.mod"),
            hint=f"pin it there: go get {module}@VERSION",
            step=step,
        )
    return Path(output)
