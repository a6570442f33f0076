"""A rule about the values schema that needs git's history: a breaking change needs a version that admits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright import recipe
from carvelwright.compare.schema import schema_changes
from carvelwright.errors import CarvelwrightError, Location, Problem, Severity
from carvelwright.project.paths import RELEASES_DIRECTORY, VALUES_SCHEMA, workspace_root
from carvelwright.rules.released import Predecessor, predecessor
from carvelwright.steps.render import export_schema
from carvelwright.store import content_key
from carvelwright.tools import gittree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.carvel.version import PackageVersion
    from carvelwright.project.config import Release
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

# What a problem lists at most; `diff` lists all.
_SHOWN = 5


def breaking_changes(session: Session, tools: Toolchain) -> list[Problem]:
    """Compare the values schema with that of the release before, where the newest release is not out yet.

    A change that refuses values that users may have needs a higher major version of the packaged software (a higher
    minor one below 1.0.0), or a release file that says so under `breaking`.
    """
    release = session.project.release(None)
    former = predecessor(session, release)
    if former is None or _admits(release, former.version):
        return []
    try:
        old = _exported(session, tools, former)
        new = export_schema(session.project.root, session.project.workspace.root, tools).openapi
        found = [change for change in schema_changes(old, new) if change.breaking]
    except (CarvelwrightError, ValueError) as error:
        return [_not_compared(session, former, error)]
    return (
        [_refused(session, release, former, [f"{change.path}: {change.reason}" for change in found])] if found else []
    )


def _admits(release: Release, former: PackageVersion) -> bool:
    (major, minor, _), (old_major, old_minor, _) = release.version.core, former.core
    return release.breaking or major > old_major or (major == old_major == 0 and minor > old_minor)


def _exported(session: Session, tools: Toolchain, former: Predecessor) -> Mapping[str, Any]:
    """Return the values schema at a commit, as OpenAPI; kept by the commit."""
    project, environment = session.project, session.search.environment
    commit = gittree.commit_of(project.root, former.revision, environment)
    inside = project.root.resolve().relative_to(project.workspace.root.resolve())
    key = content_key("schema", commit, str(inside), tools.versions(), recipe.of("schema"))

    def export() -> dict[str, Any]:
        with session.store.scratch("former") as scratch:
            tree = scratch / "tree"
            if not gittree.export(workspace_root(project.root), commit, tree, environment):
                raise CarvelwrightError(f"{former.revision} has no such directory")
            return dict(export_schema(tree / inside, tree, tools).openapi)

    found: dict[str, Any] = session.store.remember("history", key, export)
    return found


def _refused(session: Session, release: Release, former: Predecessor, lines: list[str]) -> Problem:
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return Problem(
        f"the values schema has breaking changes since {former.version}, which {release.version} does not admit",
        Location(session.project.root / VALUES_SCHEMA),
        found="; ".join(lines[:_SHOWN]) + more,
        expected="changes that keep the values of users valid, or a version that admits others",
        hint=f"list all with `carvelwright diff git:{former.revision} .`, then undo them, raise the upstream version, "
        f"or explain them under `breaking` in {RELEASES_DIRECTORY}/{release.file.name}",
    )


def _not_compared(session: Session, former: Predecessor, error: Exception) -> Problem:
    words = error.message if isinstance(error, CarvelwrightError) else str(error)
    return Problem(
        f"the values schema is not compared with that of {former.version}",
        Location(session.project.root / VALUES_SCHEMA),
        found=words,
        hint=f"compare it yourself: carvelwright diff git:{former.revision} .",
        severity=Severity.WARNING,
    )
