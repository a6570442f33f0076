"""What ytt renders of a project, kept by content: the rules and the build look at the same, which is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.digest import Digest
from carvelwright.store import Store, content_key
from carvelwright.tools import kbld, ytt

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain


def manifests(
    root: Path, tools: Toolchain, config: Path, values: Path | None = None, *, validate: bool = True
) -> bytes:
    """Render a staged config directory with a values file, or with its default values.

    `validate=False` renders also where users have to give other values.
    """
    given = Digest.of_bytes(files.read_bytes(values)).hex if values else None
    key = content_key(files.tree_digest(config), given, validate, tools.ytt.version, recipe.of("manifests"))

    def compute() -> str:
        return ytt.render(tools.ytt, config, [values] if values else [], step="render", validate=validate).decode()

    text: str = Store(root).remember("manifests", key, compute)
    return text.encode()


def images(root: Path, tools: Toolchain, manifests: bytes) -> list[str]:
    """Return every image that kbld finds in manifests, as they write it."""
    key = content_key(Digest.of_bytes(manifests).hex, tools.kbld.version, recipe.of("images"))

    def compute() -> list[str]:
        return kbld.images(tools.kbld, manifests, step="find images")

    found: list[str] = Store(root).remember("images", key, compute)
    return found
