"""Takes CRDs from the Go module that the binaries are built from, so that they always match."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.project import config
from carvelwright.stepnames import CRDS
from carvelwright.store import Store, content_key
from carvelwright.tools import go

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from carvelwright.project.config import CrdSource, Package, Release
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool


def stage(
    project: Package, release: Release, crds: CrdSource, *, find_go: Callable[[], Tool], reporter: Reporter
) -> Sequence[Path]:
    """Return the files of one source, taken from the module cache or reused where the pins are the same."""
    pinned_by = project.root / release.fill(crds.pinned_by)
    pins = [str(files.tree_digest(pinned_by, [pinned_by / "go.mod", pinned_by / "go.sum"]))]
    key = content_key(pins, crds.go_module, crds.files, recipe.of("crds"))

    def make(target: Path) -> None:
        directory = go.module_directory(find_go(), pinned_by, crds.go_module, step=CRDS)
        for name in crds.files:
            if not (directory / name).is_file():
                raise ConfigError(
                    [
                        Problem(
                            f"module {crds.go_module} has no file {name}",
                            Location(project.root / config.BUILD_FILE),
                            hint="name a file that the pinned version of the module has",
                        )
                    ]
                )
            files.copy_file(directory / name, target / name.rpartition("/")[2])

    with reporter.step(CRDS) as step:
        return list(files.walk_files(Store(project.workspace.root).product("crds", key, step, make)))
