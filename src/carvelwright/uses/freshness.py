"""Tells whether a build has anything to do: by content, never by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError
from carvelwright.plan import LATEST
from carvelwright.project import loads, paths
from carvelwright.record import BuildState, ReleaseRecord
from carvelwright.steps import dist, payload
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.plan import BuildOptions, BuildPlan
    from carvelwright.project.config import Package
    from carvelwright.report import Reporter

_STATE = "state.json"
_PLAIN_INPUTS = ("package", paths.BUNDLE_CONFIG)


def former(
    root: Path, options: BuildOptions, environment: Mapping[str, str], reporter: Reporter
) -> ReleaseRecord | None:
    """Return the former build's record when inputs and dist/ are what they were; None when there is work to do."""
    store = Store(root)
    try:
        state = BuildState.parse(files.read_bytes(store.build / _STATE))
        release = ReleaseRecord.parse(files.read_bytes(store.dist / dist.RELEASE_FILE))
        if state.key != key(root, state.inputs, options, environment):
            return None
    except (OSError, ValueError, CarvelwrightError):
        return None
    if not dist.is_whole(store.dist):
        return None
    if options.to is not None and not _still_published(root, release, options, environment, reporter):
        return None
    return release


def _still_published(
    root: Path, release: ReleaseRecord, options: BuildOptions, environment: Mapping[str, str], reporter: Reporter
) -> bool:
    # Imported only where a registry is asked: a run without changes is mostly imports.
    from carvelwright.session import open_session  # noqa: PLC0415
    from carvelwright.tools import crane  # noqa: PLC0415

    session = open_session(root, environment, reporter)
    latest = release.repository.repository.tagged(LATEST)
    with reporter.step("query the registry") as step:
        found = crane.digest(
            session.tools().crane,
            latest,
            step="query the registry",
            timeout=options.registry_timeout,
            note=reporter.note,
        )
        step.reuse()
    return found == release.repository.digest


def inputs(package: Package, plan: BuildPlan) -> list[str]:
    """Return the Go modules whose files count, besides package/, bundle/, the values schema and what it loads."""
    modules = [module.directory for planned in plan.images for module in planned.config.modules]
    pinned = [crds.pinned_by for crds in package.crds]
    return [*(package.tools or ()), *(plan.release.fill(directory) for directory in dict.fromkeys([*modules, *pinned]))]


def key(root: Path, inputs: Sequence[str], options: BuildOptions, environment: Mapping[str, str]) -> str:
    """Name everything that a build's result depends on; `inputs` are the directories of `inputs()`."""
    modules = [files.tree_digest(root / name, payload.source_files(root / name)) for name in inputs]
    asked = [options.release, [str(platform) for platform in options.platforms], str(options.to)]
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    staged = loads.staged(root / paths.VALUES_SCHEMA, root / paths.BUNDLE_CONFIG)
    schema = {name: Digest.of_bytes(content).hex for name, content in staged.items()}
    return content_key(paths.digests(root, _PLAIN_INPUTS), schema, modules, asked, epoch, recipe.of_everything())


def remember(store: Store, state: BuildState) -> None:
    """Keep what dist/ was made from."""
    files.write_atomic(store.build / _STATE, state.text())
