"""Makes Package and PackageMetadata."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, process, recipe, yamldoc
from carvelwright.carvel import resources
from carvelwright.errors import ConfigError, ExitCode, Location, Problem
from carvelwright.project import config, validation
from carvelwright.steps import template
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.carvel.locks import BundleLock
    from carvelwright.plan import BuildPlan
    from carvelwright.project.config import Package, Release


# A template of a package takes a fraction of a second.
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PackageDocuments:
    """A released version's two documents."""

    package: resources.Document
    metadata: resources.Document


def make_documents(plan: BuildPlan, bundle: BundleLock, values_schema: Mapping[str, Any]) -> PackageDocuments:
    """Make the documents of one version."""
    return PackageDocuments(
        package=resources.package(
            plan.project.ref_name,
            plan.release.version,
            released_at=plan.release.released_at,
            release_notes=plan.release.notes,
            static=static_part(plan.project, plan.release),
            values_schema=values_schema,
            bundle=bundle.image,
        ),
        metadata=resources.package_metadata(plan.project.ref_name, plan.project.metadata),
    )


def static_part(project: Package, release: Release) -> dict[str, Any]:
    """Render package/package.yaml.j2 and check it; ConfigError names what is wrong in it."""
    data: dict[str, Any] = read_template(project, release).data
    return data


def read_template(project: Package, release: Release) -> yamldoc.Document:
    """Render package/package.yaml.j2 and check it; the lines of the document are those of what was rendered."""
    path = project.root / config.PACKAGE_TEMPLATE
    text = yamldoc.read_text(path)
    known = {"version": str(release.version), "upstream": release.upstream, "go": project.workspace.go}

    def compute() -> str:
        filled = template.fill(text, known) if len(text) <= bounds.FILE.size else None
        rendered = _render(text, path, known) if filled is None else filled
        if found := validation.problems(yamldoc.parse(rendered, path), "package"):
            raise ConfigError(found, what=f"{path} as rendered")
        return rendered

    key = content_key(text, known, recipe.of("package"))
    rendered: str = Store(project.workspace.root).remember("package", key, compute)
    return yamldoc.parse(rendered, path)


def _render(text: str, path: Path, known: Mapping[str, str]) -> str:
    """Render the template in a process that can be ended, and whose memory is bounded."""
    asked = {"template": text, "known": dict(known), "limit": bounds.FILE.size}
    argv = [sys.executable, "-P", "-m", "carvelwright.steps.template"]
    try:
        output = process.run(argv, step="render package template", stdin=json.dumps(asked).encode(), timeout=_SECONDS)
    except process.ToolFailedError as error:
        if error.exit_code is ExitCode.FILESYSTEM:
            raise
        problem = Problem("the template does not end, or its output is too large", Location(path), found=error.message)
        raise ConfigError([problem]) from None
    answer = json.loads(output.stdout)
    if "text" in answer:
        rendered: str = answer["text"]
        return rendered
    expected = f"one of {', '.join(known)}" if answer["unknown"] else None
    raise ConfigError([Problem(answer["fault"], Location(path, answer["line"]), expected=expected)])
