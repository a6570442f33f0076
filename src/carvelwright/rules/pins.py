"""Rules about the versions that go.mod pins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.project import config
from carvelwright.tools import gomod

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from carvelwright.project.config import Package, Release
    from carvelwright.session import Session
    from carvelwright.tools.gomod import GoMod
    from carvelwright.tools.toolchain import Toolchain


def upstream_pins(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find releases whose upstream version is not the one that go.mod pins, or whose module is replaced."""
    project = session.project
    found: list[Problem] = []
    if project.upstream is not None:
        for release in _comparable(project, project.upstream.pinned_by):
            path = project.root / release.fill(project.upstream.pinned_by) / "go.mod"
            try:
                found += _compare(release, gomod.load(path), project.upstream.go_module, project.root)
            except ConfigError as error:
                found += error.problems
    return found


def _comparable(project: Package, pinned_by: str) -> Iterable[Release]:
    """Return the releases whose pins are there: the newest, and older ones that have a module of their own."""
    newest = project.release(None)
    taken = {newest.fill(pinned_by)}
    # One that is vendored may not be fetched yet: the rule for that says so.
    if (project.root / newest.fill(pinned_by) / "go.mod").is_file():
        yield newest
    for release in project.releases:
        # Revisions of one upstream version share a module, and so what it pins.
        place = release.fill(pinned_by)
        if (place not in taken or release.upstream == newest.upstream) and release is not newest:
            taken.add(place)
            if (project.root / place / "go.mod").is_file():
                yield release


def _compare(release: Release, go_mod: GoMod, module: str, root: Path) -> list[Problem]:
    required, replaced = go_mod.requirements.get(module), go_mod.replacement(module)
    if required is None:
        problem = f"go.mod does not require {module}, the module of the packaged software"
        hint = f"run `go get {module}@v{release.upstream}` there, or change upstream in {config.BUILD_FILE}"
        return [Problem(problem, Location(go_mod.path), hint=hint)]
    line = replaced.line if replaced else required.line
    version = (replaced.version if replaced else required.version) or "a directory"
    if version.removesuffix("+incompatible") == f"v{release.upstream}":
        return []
    document = yamldoc.load(release.file)
    place = Location(go_mod.path.relative_to(root), line)
    return [
        document.problem(
            ["upstream"],
            f"release {release.version} is of {module} {release.upstream}, and go.mod pins another version",
            found=f"{version}{' by replace' if replaced else ''} in {place}",
            expected=f"v{release.upstream}",
            hint=f"pin it with go get {module}@v{release.upstream}, or correct upstream",
        )
    ]
