"""What the programs of the project's Go modules are linked from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.project import paths
from carvelwright.store import content_key
from carvelwright.supply.modules import Module
from carvelwright.tools import golist

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from carvelwright.platform import Platform
    from carvelwright.project.config import Release
    from carvelwright.project.images import GoModule
    from carvelwright.session import Session
    from carvelwright.tools.tool import Tool

_STEP = "list modules"


@dataclass(frozen=True, slots=True)
class Linked:
    """A Go module of the project, and the modules that its programs are linked from, its own left out."""

    module: GoModule
    directory: Path
    modules: tuple[Module, ...]


def of_sources(session: Session, release: Release, module: GoModule, platforms: Sequence[Platform]) -> Linked:
    """Return what the programs of a Go module will be linked from, found out once for each state of its sources.

    ToolError where Go cannot tell: packages are missing, or modules cannot be fetched.
    """
    directory = session.project.root / release.fill(module.directory)
    sources = files.tree_digest(directory, paths.source_files(directory))
    names = [str(platform) for platform in platforms]
    key = content_key(sources, session.project.workspace.go, names, module.binaries, module.tags, recipe.of("linked"))

    def find() -> list[list[str]]:
        found = places(session.find_go(), directory, module, platforms, step=_STEP)
        return [[each.path, each.version, each.sum] for each in sorted(found)]

    kept = session.store.remember("linked", key, find)
    return Linked(module, directory, tuple(Module(*each) for each in kept))


def places(
    go: Tool, directory: Path, module: GoModule, platforms: Iterable[Platform], *, step: str
) -> dict[Module, Path]:
    """Return the modules that programs are linked from, and where their files lie on this machine."""
    found: dict[Module, Path] = {}
    for platform in platforms:
        packages = dict.fromkeys(module.binaries.values())
        found |= golist.linked(go, directory, packages, module.tags, platform, step=step)
    return found
