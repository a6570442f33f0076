"""The rules that a package has to keep: the project's own, the server's and the client's.

A rule looks at one thing and returns every problem that it finds there. What the JSON Schemas of the project's files
say is checked before, when the project is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.errors import Problem
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

    Rule = Callable[[Session, Toolchain], list[Problem]]


def problems(session: Session, tools: Toolchain) -> list[Problem]:
    """Return every problem that any of the rules finds; without an error among them, the package can be published."""
    # Two rules may come upon the same.
    return list(
        dict.fromkeys([*of_history(session, tools), *of_project(session, tools), *of_manifests(session, tools)])
    )


def of_history(session: Session, tools: Toolchain) -> list[Problem]:
    """Return what is wrong with the releases by git's history, which is no input of a build: nothing of it is kept."""
    from carvelwright.tools import git  # noqa: PLC0415 - as below

    if not git.is_in_repository(session.project.root):
        return []
    from carvelwright.rules import breaking, released  # noqa: PLC0415

    return [*released.release_history(session), *breaking.breaking_changes(session, tools)]


def of_project(session: Session, tools: Toolchain) -> list[Problem]:
    """Return what is wrong beside the manifests: with package/, the Go modules, the values schema and what it loads."""
    # Imported here: a build with other manifests needs none of them, and imports are most of its own time.
    from carvelwright.rules import images, licences, modules, pins, project, values_schema, vendored  # noqa: PLC0415

    # The cheap ones first; the last runs ytt.
    rules: tuple[Rule, ...] = (
        project.release_order,
        project.equal_releases,
        project.selectable_versions,
        project.server_names,
        project.package_template,
        project.advice,
        vendored.vendored_files,
        modules.go_modules,
        pins.upstream_pins,
        images.entrypoints,
        images.links,
        images.go_packages,
        licences.licences_of_modules,
        values_schema.values_schema,
    )
    return [problem for rule in rules for problem in rule(session, tools)]


def of_manifests(session: Session, tools: Toolchain) -> list[Problem]:
    """Return what is wrong with what the package renders to; ytt needs the Go modules for it."""
    from carvelwright.rules import manifests  # noqa: PLC0415

    return manifests.manifests(session, tools)
