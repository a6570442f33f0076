"""Rules about the Go modules of a project: that Go reads their go.mod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.process import in_parallel
from carvelwright.tools import go, gomod, toolchain

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.session import Session
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain


def go_modules(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find what is wrong in the go.mod of each module of the newest release, in Go's words where Go is there."""
    project = session.project
    directories = [project.root / name for name in project.go_modules(project.release(None))]
    # A project whose binaries are all built needs no Go; a build that needs it says so itself.
    tool = toolchain.look_for_go(session.search).tool if directories else None
    found = in_parallel(*[lambda directory=directory: _problems(directory, tool) for directory in directories])
    return [problem for of_one in found for problem in of_one]


def _problems(directory: Path, tool: Tool | None) -> list[Problem]:
    if not directory.exists():
        # Vendored, and not fetched yet: the rule for that says so.
        return []
    try:
        read = gomod.load(directory / "go.mod")
    except ConfigError as error:
        return list(error.problems)
    missing = [
        Problem(
            f"{module} is replaced by a directory without a Go module",
            Location(read.path, replacement.line),
            found=replacement.path,
            expected="a directory that holds go.mod",
        )
        for (module, _), replacement in read.replacements.items()
        if replacement.version is None and not (directory / replacement.path / "go.mod").is_file()
    ]
    return missing or (go.module_problems(tool, directory) if tool else [])
