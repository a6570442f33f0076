"""Rules about the project's files that no JSON Schema can say."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import constraints
from carvelwright.errors import ConfigError, Location, Problem, Severity
from carvelwright.project import config, validation
from carvelwright.steps import package

if TYPE_CHECKING:
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

_NAME_LIMIT = 253


def release_order(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find releases that the server would not offer as an upgrade: later by date, lower by Carvel's order."""
    by_date = sorted(session.project.releases, key=lambda release: release.released_at)
    return [
        Problem(
            f"{later.version} was released after {earlier.version} of the same upstream version, but sorts below it",
            Location(later.file),
            hint="Carvel orders build metadata by its parts between dots, and parts with letters as text: "
            "vmware.10-tkg.1 is below vmware.9-tkg.1",
        )
        for earlier, later in itertools.pairwise(by_date)
        if later.upstream == earlier.upstream and later.version < earlier.version
    ]


def equal_releases(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find releases that Carvel takes for one version: the server would offer either."""
    return [
        Problem(
            f"{higher.version} and {lower.version} are the same version to Carvel",
            Location(higher.file),
            hint="remove leading zeros from the revision",
        )
        for lower, higher in itertools.pairwise(session.project.releases)
        if lower.version.equals(higher.version)
    ]


def selectable_versions(session: Session, _tools: Toolchain) -> list[Problem]:
    """Warn of a newest version that no client can select by itself: `install --version` makes a constraint of it."""
    newest = session.project.release(None)
    try:
        constraints.parse(str(newest.version))
    except ValueError as error:
        return [
            Problem(
                f"clients cannot select {newest.version} by itself",
                Location(newest.file),
                found=str(error),
                expected="a version that is a constraint, too: kapp-controller reads an x in it as a wildcard",
                hint="choose a revision without x: `tanzu package install --version` fails with this one",
                severity=Severity.WARNING,
            )
        ]
    return []


def server_names(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find names that the API server refuses."""
    names = [(release, f"{session.project.ref_name}.{release.version}") for release in session.project.releases]
    return [
        Problem("the Package's name is too long", Location(release.file), f"{len(name)} characters", f"{_NAME_LIMIT}")
        for release, name in names
        if len(name) > _NAME_LIMIT
    ]


def package_template(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find what is wrong in package.yaml.j2 as rendered for the newest release."""
    try:
        package.static_part(session.project, session.project.release(None))
    except ConfigError as error:
        return list(error.problems)
    return []


def advice(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find what the server takes and authors should know of: in the metadata, and in package.yaml.j2 as rendered."""
    metadata = yamldoc.load(session.project.root / config.METADATA_FILE)
    found = validation.warnings(metadata, "metadata")
    try:
        template = package.read_template(session.project, session.project.release(None))
    except ConfigError:
        return found
    return [*found, *validation.warnings(template, "package")]
