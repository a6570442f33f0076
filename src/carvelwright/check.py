"""Every rule a package has to keep, checked at once: the project's own, the server's and the client's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from carvelwright import config, pipeline, yamldoc
from carvelwright.client import schema_traps
from carvelwright.errors import CarvelwrightError, ConfigError, Location, Problem
from carvelwright.steps import bundle, package
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from carvelwright.pipeline import Session
    from carvelwright.report import Reporter
    from carvelwright.tools.toolchain import Toolchain

_NAME_LIMIT = 253
# ytt exports a default for the items of every typed array, and requires one of the array itself: nothing is lost.
_HARMLESS_TRAPS = ("item-default",)


def check(root: Path, environment: Mapping[str, str], reporter: Reporter) -> list[Problem]:
    """Return every problem of a package project; an empty list where it can be built and published."""
    try:
        session = pipeline.open_session(root, environment, reporter)
    except ConfigError as error:
        return [*error.problems, *_values_schema_alone(root, environment)]
    tools = session.tools()
    rules: list[Callable[[Session, Toolchain], list[Problem]]] = [
        _releases,
        _server_names,
        _package_template,
        _values_schema,
        _manifests,
    ]
    return [problem for rule in rules for problem in rule(session, tools)]


def _values_schema_alone(root: Path, environment: Mapping[str, str]) -> list[Problem]:
    """Check the values schema of a project that is wrong elsewhere, as far as its tools can be found all the same."""
    try:
        build = yamldoc.load(root / config.BUILD_FILE).data
        tools = toolchain.find(Search(root, tuple(build["tools"]), str(build["go"]), environment))
    except (CarvelwrightError, KeyError, TypeError):
        return []
    return _schema_problems(root, tools)


def _releases(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find releases that the server would not offer as an upgrade: later by date, lower by Carvel's order."""
    releases = session.project.releases
    by_date = sorted(releases, key=lambda release: release.released_at)
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


def _server_names(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find names that the API server refuses."""
    names = [(release, f"{session.project.ref_name}.{release.version}") for release in session.project.releases]
    return [
        Problem("the Package's name is too long", Location(release.file), f"{len(name)} characters", f"{_NAME_LIMIT}")
        for release, name in names
        if len(name) > _NAME_LIMIT
    ]


def _package_template(session: Session, _tools: Toolchain) -> list[Problem]:
    try:
        package.static_part(session.project, session.project.release(None))
    except ConfigError as error:
        return list(error.problems)
    return []


def _values_schema(session: Session, tools: Toolchain) -> list[Problem]:
    return _schema_problems(session.project.root, tools)


def _schema_problems(root: Path, tools: Toolchain) -> list[Problem]:
    """Find what ytt refuses, and the shapes that the client's generators drop, mangle or panic on."""
    path = root / config.VALUES_SCHEMA
    try:
        schema = pipeline.export_schema(root, tools)
    except ConfigError as error:
        return list(error.problems)
    except CarvelwrightError as error:
        return [Problem(error.message, Location(path), found=error.details)]
    document = yamldoc.load(path)
    return [
        document.problem(trap.path.replace("[]", "").split("."), trap.message, key=True, hint=trap.hint)
        for trap in schema_traps(schema.openapi)
        if trap.kind not in _HARMLESS_TRAPS
    ]


def _manifests(session: Session, tools: Toolchain) -> list[Problem]:
    """Find what ytt refuses with the default values, and images that are not built or not used."""
    try:
        return bundle.image_problems(session.project, pipeline.render(session, tools))
    except ConfigError as error:
        return list(error.problems)
    except CarvelwrightError as error:
        where = Location(session.project.root / config.BUNDLE_CONFIG)
        return [Problem(error.message, where, found=error.details)]
