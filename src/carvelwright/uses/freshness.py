"""Tells whether a build has anything to do: by content, never by time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError
from carvelwright.project import loads, paths
from carvelwright.record import BuildState, ReleaseRecord
from carvelwright.steps import dist
from carvelwright.store import content_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.plan import BuildOptions, WorkspacePlan
    from carvelwright.report import StepRecord
    from carvelwright.store import Store

_STATE = "state.json"
_LAST_RUN = "last-run.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a build was asked for: where, which packages (none: all), how, and with what environment."""

    root: Path
    names: tuple[str, ...]
    options: BuildOptions
    environment: Mapping[str, str]


def read_state(store: Store) -> BuildState | None:
    """Return what dist/ was made from; None where nothing that can be read says so."""
    try:
        return BuildState.parse(files.read_bytes(store.build / _STATE))
    except (OSError, ValueError, CarvelwrightError):
        return None


def former(store: Store, state: BuildState, asked: Asked) -> ReleaseRecord | None:
    """Return the former build's record when inputs and dist/ are what they were; None when there is work to do."""
    try:
        release = ReleaseRecord.parse(files.read_bytes(store.dist / dist.RELEASE_FILE))
        if state.key != key(store.root, state, asked, project_key(store.root, state)):
            return None
    except (OSError, ValueError, CarvelwrightError):
        return None
    if not dist.is_whole(store.dist):
        return None
    return release


def is_current(store: Store, state: BuildState) -> bool:
    """Tell whether the files of the workspace are those that dist/ was built from, whatever the build was asked for."""
    try:
        return state.sources == sources_key(store.root, state, project_key(store.root, state))
    except (OSError, CarvelwrightError):
        return False


def of_these_sources(store: Store) -> ReleaseRecord | None:
    """Return the record of a finished dist/ that was built from the files as they are; None where there is none."""
    state = read_state(store)
    if state is None or not is_current(store, state) or not dist.is_whole(store.dist):
        return None
    try:
        return ReleaseRecord.parse(files.read_bytes(store.dist / dist.RELEASE_FILE))
    except (ValueError, CarvelwrightError):
        return None


def inputs_of(plan: WorkspacePlan) -> BuildState:
    """Return what the build of a plan depends on: its packages, Go modules whose files count, vendored directories.

    The key is left to `key`.
    """
    # A run without changes needs no YAML.
    from carvelwright.project import vendored  # noqa: PLC0415

    root = plan.workspace.root
    modules, fetched = list(plan.workspace.tools or ()), []
    for each in plan.packages:
        directory = each.project.root.relative_to(root)
        modules += [(directory / name).as_posix() for name in each.project.go_modules(each.release)]
        fetched += [(directory / name).as_posix() for name in vendored.directories(each.project.root)]
    packages = tuple(each.project.root.relative_to(root).as_posix() for each in plan.packages)
    return BuildState("", packages, tuple(dict.fromkeys(modules)), tuple(fetched))


def key(root: Path, state: BuildState, asked: Asked, project_key: str) -> str:
    """Name everything that the result of a build in this workspace depends on; `project_key` is that of the state."""
    options = asked.options
    wanted = [asked.names, options.release, [str(platform) for platform in options.platforms]]
    here = asked.root.resolve() == root.resolve()
    return content_key(sources_key(root, state, project_key), wanted, here, epoch_of(asked.environment))


def epoch_of(environment: Mapping[str, str]) -> str:
    """Return SOURCE_DATE_EPOCH as it is set, empty where it is not."""
    return environment.get("SOURCE_DATE_EPOCH", "")


def sources_key(root: Path, state: BuildState, project_key: str) -> str:
    """Name every file that a build in this workspace depends on; `project_key` is that of the state."""
    manifests = paths.digests(root, [f"{package}/{paths.BUNDLE_CONFIG}" for package in state.packages])
    return content_key(manifests, project_key)


def project_key(root: Path, state: BuildState) -> str:
    """Name all of the packages but their manifests: package/, Go modules, values schema and what it loads, vendored."""
    modules = [files.tree_digest(root / name, paths.source_files(root / name)) for name in state.modules]
    names = [f"{package}/package" for package in state.packages]
    names += [paths.WORKSPACE_FILE] if (root / paths.WORKSPACE_FILE).is_file() else []
    # Also what lies in bundle/config: whether it is what was vendored is checked with the project.
    optional = [f"{package}/{name}" for package in state.packages for name in (paths.VENDIR_FILE, paths.VENDIR_LOCK)]
    fetched = [name for name in (*optional, *state.vendored) if (root / name).exists()]
    plain = [
        paths.digests(root, names),
        fetched,
        paths.digests(root, fetched),
        *(_schema_digests(root / package) for package in state.packages),
    ]
    return content_key(plain, modules, recipe.of_everything())


def _schema_digests(package: Path) -> dict[str, str]:
    """Return a digest for the values schema and each file that it loads."""
    staged = loads.staged(package / paths.VALUES_SCHEMA, package / paths.BUNDLE_CONFIG)
    return {name: Digest.of_bytes(content).hex for name, content in staged.items()}


def remember(store: Store, state: BuildState) -> None:
    """Keep what dist/ was made from."""
    files.write_atomic(store.build / _STATE, state.text())


def remember_run(store: Store, steps: Sequence[StepRecord], seconds: float) -> None:
    """Keep how long the steps of this build took, which is no part of what was made."""
    document = {"seconds": round(seconds, 3), "steps": [asdict(record) for record in steps]}
    files.write_atomic(store.build / _LAST_RUN, json.dumps(document, indent=2) + "\n")
