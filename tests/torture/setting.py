"""The pinned tools, for what runs outside of pytest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.project.workspace import load_workspace
from carvelwright.session import search_of
from carvelwright.tools import toolchain
from tests.conftest import ROOT

if TYPE_CHECKING:
    from carvelwright.tools.toolchain import Toolchain


def find_tools() -> Toolchain:
    """Return the tools that `make tools` has built."""
    return toolchain.find(search_of(load_workspace(ROOT), dict(os.environ)))


def tool_environment(toolset: Toolchain) -> dict[str, str]:
    """Return an environment whose PATH holds them, for projects that pin none of their own."""
    directories = dict.fromkeys(str(getattr(toolset, name).path.parent) for name in ("ytt", "imgpkg", "kbld", "crane"))
    path = os.pathsep.join([*directories, str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path}
