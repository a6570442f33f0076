"""Builds packages, if there is anything to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.project import paths
from carvelwright.store import Store
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.plan import BuildOptions
    from carvelwright.record import ReleaseRecord
    from carvelwright.report import Reporter


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made: the content of dist/release.json; `unchanged` when it was all there already."""

    release: ReleaseRecord
    unchanged: bool


def build(
    root: Path,
    options: BuildOptions,
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    names: Sequence[str] = (),
    wait: bool = False,
) -> BuildResult:
    """Build packages from source to dist/ and their registry, redoing only what changed.

    All packages of the workspace that `root` is the directory of, or only the named ones. Where another build is
    running in the workspace, `wait` for its end; otherwise that is a CarvelwrightError.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    asked = freshness.Asked(root, tuple(names), options, environment)
    with store.locked(wait=wait):
        state = freshness.read_state(store)
        directories = [store.root / name for name in state.packages] if state else paths.directories(root)
        for directory in directories:
            paths.note_left_out(directory, reporter)
        if state is not None and (release := freshness.former(store, state, asked, reporter)) is not None:
            return BuildResult(release, unchanged=True)
        from carvelwright.uses.build import make  # noqa: PLC0415 - most of the code, for a run that has work to do

        return BuildResult(make(store, asked, reporter), unchanged=False)
