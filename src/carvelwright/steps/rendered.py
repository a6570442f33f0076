"""What ytt renders of a project, kept by content: the rules and the build look at the same, which is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.store import Store, content_key
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain


def manifests(root: Path, tools: Toolchain, config: Path) -> bytes:
    """Render a staged config directory with its default values."""
    key = content_key(files.tree_digest(config), tools.ytt.version, recipe.of("manifests"))

    def compute() -> str:
        return ytt.render(tools.ytt, config, step="render").decode()

    text: str = Store(root).remember("manifests", key, compute)
    return text.encode()
