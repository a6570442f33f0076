"""The images of what was rendered, kept by content: the rules and the build look at the same, which is found once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import recipe
from carvelwright.digest import Digest
from carvelwright.store import Store, content_key
from carvelwright.tools import kbld

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain


def images(root: Path, tools: Toolchain, manifests: bytes) -> list[str]:
    """Return every image that kbld finds in manifests, as they write it."""
    key = content_key(Digest.of_bytes(manifests).hex, tools.kbld.version, recipe.of("images"))

    def compute() -> list[str]:
        return kbld.images(tools.kbld, manifests, step="find images")

    found: list[str] = Store(root).remember("images", key, compute)
    return found
