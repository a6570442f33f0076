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
    from carvelwright.uses.commit import Published


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made: the content of dist/release.json; `unchanged` when it was all there already.

    `published` says where it was published to, None where it was not.
    """

    release: ReleaseRecord
    unchanged: bool
    published: Published | None = None


def build(
    root: Path,
    options: BuildOptions,
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    names: Sequence[str] = (),
    wait: bool = False,
) -> BuildResult:
    """Build packages from source to dist/, redoing only what changed; then publish them where the options say so.

    All packages of the workspace that `root` is the directory of, or only the named ones. Where another build is
    running in the workspace, `wait` for its end; otherwise that is a CarvelwrightError.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    asked = freshness.Asked(root, tuple(names), options, environment)
    with store.locked(wait=wait):
        release = _former(store, asked, reporter)
        unchanged = release is not None
        if release is None:
            from carvelwright.uses.build import make  # noqa: PLC0415 - most of the code, for a run that has work to do

            release = make(store, asked, reporter)
        published = _publish(asked, reporter) if options.to else None
        return BuildResult(release, unchanged, published)


def _former(store: Store, asked: freshness.Asked, reporter: Reporter) -> ReleaseRecord | None:
    state = freshness.read_state(store)
    for directory in [store.root / name for name in state.packages] if state else paths.directories(asked.root):
        paths.note_left_out(directory, reporter)
    return freshness.former(store, state, asked) if state else None


def _publish(asked: freshness.Asked, reporter: Reporter) -> Published:
    from carvelwright.uses import publish  # noqa: PLC0415 - for a run that publishes

    if asked.options.to is None:
        raise AssertionError("nothing says where to")
    options = publish.PublishOptions(asked.options.to, registry_timeout=asked.options.registry_timeout)
    return publish.publish(asked.root, options, asked.environment, reporter)
