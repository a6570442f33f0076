"""What every part of a build needs, in one place, so that no step takes six parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from carvelwright.config import Project
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Search, Toolchain


@dataclass(frozen=True, slots=True)
class Session:
    """What every part of a build needs: the project, where tools are looked for, whom to tell."""

    project: Project
    search: Search
    reporter: Reporter

    def find_go(self) -> Tool:
        """Find the pinned go, only when something has to be compiled."""
        return toolchain.find_go(self.search)

    def tools(self) -> Toolchain:
        """Build the pinned tools that are not there yet, then find and check all."""
        toolchain.install(self.search, self.reporter)
        return toolchain.find(self.search)
