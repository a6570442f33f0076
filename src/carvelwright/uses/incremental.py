"""Builds a package project, if there is anything to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.project import paths
from carvelwright.store import Store
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.plan import BuildOptions
    from carvelwright.report import Reporter


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made: `release` is the content of dist/release.json; `unchanged` when it was all there already."""

    release: Mapping[str, Any]
    unchanged: bool


def build(
    root: Path, options: BuildOptions, environment: Mapping[str, str], reporter: Reporter, *, wait: bool = False
) -> BuildResult:
    """Build a package project from source to dist/ and its registry, redoing only what changed.

    Where another build is running in the project, `wait` for its end; otherwise that is a CarvelwrightError.
    """
    paths.require_project(root)
    with Store(root).locked(wait=wait):
        paths.note_left_out(root, reporter)
        if (release := freshness.former(root, options, environment, reporter)) is not None:
            return BuildResult(release.document, unchanged=True)
        from carvelwright.uses.build import make  # noqa: PLC0415 - most of the code, for a run that has work to do

        return BuildResult(make(root, options, environment, reporter), unchanged=False)
