"""Rules about what a package renders to: what kapp or the API server would refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError, Location, Problem, Severity
from carvelwright.project import config
from carvelwright.rules import contents, existing, objects, places, pods, ports
from carvelwright.rules.refusals import refusal
from carvelwright.steps.render import renderings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from carvelwright.rules.objects import Finding
    from carvelwright.rules.places import Chunk
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

_SHORT = 120


def manifests(session: Session, tools: Toolchain) -> list[Problem]:
    """Find what ytt, kapp or the API server refuses of a package's renderings, and images that are missing."""
    where = session.project.root / config.BUNDLE_CONFIG
    try:
        found = renderings(session, tools, lenient=True)
        documents = [yamldoc.load_all_text(rendering.manifests.decode(), where) for rendering in found]
        wrong = [
            # Nobody installs what lacks a value that users have to give.
            problem if rendering.valid else replace(problem, severity=Severity.WARNING)
            for rendering, rendered in zip(found, documents, strict=True)
            for problem in document_problems(rendered, where)
        ]
        return [*wrong, *existing.problems(session.project, found, [one for some in documents for one in some])]
    except CarvelwrightError as error:
        return refusal(error, Location(where))


def document_problems(documents: Sequence[Any], source: Path) -> list[Problem]:
    """Find what kapp or the API server refuses of rendered documents; `source` is the directory they come from."""
    flat = list(objects.flat(documents))
    findings = [list(_findings(document)) for document in flat]
    twice = _twice([(index, document) for index, document in enumerate(flat) if not findings[index]])
    if not twice and not any(findings):
        return []
    origins = places.origins(flat, places.chunks(source))
    found = [
        _problem(finding, flat[index], origins[index], source)
        for index, of_one in enumerate(findings)
        for finding in of_one
    ]
    for index, first in twice:
        finding = objects.Finding(("metadata", "name"), "the same object twice", hint="remove one of them")
        problem = _problem(finding, flat[index], origins[index], source)
        place = places.locate(origins[first], flat[first], ("metadata", "name"), source)
        found.append(Problem(problem.message, problem.location, f"the other one in {place}", hint=problem.hint))
    return found


def _findings(document: Any) -> Iterator[Finding]:
    if objects.is_configuration(document):
        return
    misshapen = list(objects.shape_findings(document))
    yield from misshapen
    if not misshapen:
        yield from objects.metadata_findings(document)
        yield from pods.workload_findings(document)
        yield from pods.service_findings(document)
        yield from ports.port_findings(document)
        yield from contents.content_findings(document)


def _twice(documents: Sequence[tuple[int, Any]]) -> list[tuple[int, int]]:
    """Return the index of each object that was there before, and of the first one."""
    first: dict[tuple[str, ...], int] = {}
    found = []
    for index, document in documents:
        if objects.is_configuration(document):
            continue
        at = first.setdefault(objects.identity(document), index)
        if at != index:
            found.append((index, at))
    return found


def _problem(finding: Finding, document: Any, origin: Chunk | None, source: Path) -> Problem:
    return Problem(
        f"{objects.title(document)}: {finding.message}",
        places.locate(origin, document, finding.at, source),
        None if finding.found is None else _show(finding.found),
        finding.expected,
        finding.hint,
    )


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
