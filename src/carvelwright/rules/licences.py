"""Rules about the licenses of the Go modules in images: recognised, and allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright.errors import Location, Problem, Severity, ToolError
from carvelwright.project import licences as policies
from carvelwright.steps import licences, linked
from carvelwright.supply.licences import refused
from carvelwright.tools import gomod, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carvelwright.project.config import Package
    from carvelwright.session import Session
    from carvelwright.steps.licences import Licences
    from carvelwright.steps.linked import Linked
    from carvelwright.supply.modules import Module
    from carvelwright.tools.toolchain import Toolchain


def licences_of_modules(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find modules of the newest release whose license is not recognised or not allowed, where Go is there.

    A build, which needs Go, looks again at what was linked.
    """
    project, release = session.project, session.project.release(None)
    if not project.go_images or toolchain.look_for_go(session.search).tool is None:
        return []
    found: list[Problem] = []
    for image in project.go_images:
        # One that is not there, such as one that is still to be vendored, is another rule's.
        if not all((project.root / release.fill(module.directory)).is_dir() for module in image.modules):
            continue
        try:
            sources = [linked.of_sources(session, release, module, project.platforms) for module in image.modules]
        except ToolError as error:
            where = Location(project.root / release.fill(image.modules[0].directory) / "go.mod")
            message = f"the licenses of image {image.name} were not checked: Go cannot list its modules"
            seen = (error.details or error.message).splitlines()[0]
            hint = "correct what Go reports; `carvelwright build` checks the licenses again"
            found.append(Problem(message, where, found=seen, hint=hint, severity=Severity.WARNING))
            continue
        found += problems(project, licences.collect(session, image, sources, project.platforms), sources)
    return list(dict.fromkeys(found))


def problems(project: Package, found: Licences, sources: Sequence[Linked]) -> list[Problem]:
    """Return which modules of an image come under no recognised license, or under one that is not allowed."""
    policy, file = project.workspace.licences, project.workspace.file
    known = found.index.expressions().values()
    outside = refused(known, policy.allowed) if policy.allowed is not None else set()
    wrong = []
    for entry in found.index.entries:
        location = _required_at(entry.module, sources) or Location(project.workspace.root / file)
        if entry.expression is None:
            hint = f"read it, then add the module to `{policies.KEY}: overrides:` in {file}, with the reason"
            seen = f"{', '.join(entry.unrecognised)}: no known license" if entry.unrecognised else "no license text"
            message, expected = f"no license of {entry.module} is recognized", "the text of a license that SPDX lists"
            wrong.append(Problem(message, location, seen, expected, hint))
        elif entry.expression in outside:
            hint = f"do without the module, or add the license to `{policies.KEY}: allow:` in {file}"
            message, expected = f"the license of {entry.module} is not allowed", ", ".join(policy.allowed or ())
            wrong.append(Problem(message, location, entry.expression, expected, hint))
    return wrong


def _required_at(module: Module, sources: Iterable[Linked]) -> Location | None:
    """Return the line of go.mod that requires a module, or replaces it."""
    for source in sources:
        read = gomod.load(source.directory / "go.mod")
        for path, required in read.requirements.items() if module in source.modules else ():
            replaced = read.replacement(path)
            if module.path in (path, replaced.path if replaced else path):
                return Location(read.path, replaced.line if replaced else required.line)
    return None
