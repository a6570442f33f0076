"""Makes Package and PackageMetadata."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, process, recipe, yamldoc
from carvelwright.carvel import app, resources
from carvelwright.errors import ConfigError, Location, Problem, ToolFailedError
from carvelwright.project import config, validation
from carvelwright.steps import included, template
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from carvelwright.carvel.locks import BundleLock
    from carvelwright.plan import BuildPlan
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import LockedImage


# A template of a package takes a fraction of a second.
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PackageDocuments:
    """A released version's two documents."""

    package: resources.Document
    metadata: resources.Document


def make_documents(
    plan: BuildPlan, bundle: BundleLock, values_schema: Mapping[str, Any], existing: Iterable[LockedImage]
) -> PackageDocuments:
    """Make the documents of one version; `existing` are the images that it uses and that are not built here."""
    static = static_part(plan.project, plan.release)
    if included.KEY not in static:
        static[included.KEY] = included.software(plan, existing)
    return PackageDocuments(
        package=resources.package(
            plan.project.ref_name,
            plan.release.version,
            released_at=plan.release.released_at,
            release_notes=plan.release.notes,
            static=static,
            values_schema=values_schema,
            bundle=bundle.image,
        ),
        metadata=resources.package_metadata(plan.project.ref_name, plan.project.metadata),
    )


def static_part(project: Package, release: Release) -> dict[str, Any]:
    """Render package/package.yaml.j2 and check it; ConfigError names what is wrong in it."""
    data: dict[str, Any] = read_template(project, release).data
    return data


def needs_helm(project: Package) -> bool:
    """Tell whether the newest release's template runs helm, and write nothing; no where `check` finds it wrong."""
    source = _Source.of(project, project.release(None))
    try:
        return app.needs_helm(app.steps(yamldoc.parse(source.rendered(), source.path).data))
    except ConfigError:
        return False


def read_template(project: Package, release: Release) -> yamldoc.Document:
    """Render package/package.yaml.j2 and check it; the lines of the document are those of what was rendered."""
    source = _Source.of(project, release)
    key = content_key(source.text, source.known, recipe.of("package"))
    rendered: str = Store(project.workspace.root).remember("package", key, source.rendered)
    return yamldoc.parse(rendered, source.path)


@dataclass(frozen=True, slots=True)
class _Source:
    """The template of a Package, and what it may name."""

    path: Path
    text: str
    known: Mapping[str, str]

    @classmethod
    def of(cls, project: Package, release: Release) -> _Source:
        path = project.root / config.PACKAGE_TEMPLATE
        known = {"version": str(release.version), "upstream": release.upstream, "go": project.workspace.go}
        return cls(path, yamldoc.read_text(path), known)

    def rendered(self) -> str:
        """Render and check it."""
        filled = template.fill(self.text, self.known) if len(self.text) <= bounds.FILE.size else None
        rendered = _render(self.text, self.path, self.known) if filled is None else filled
        if found := validation.problems(yamldoc.parse(rendered, self.path), "package"):
            raise ConfigError(found, what=f"{self.path} as rendered")
        return rendered


def _render(text: str, path: Path, known: Mapping[str, str]) -> str:
    """Render the template in a process that can be ended, and whose memory is bounded."""
    asked = {"template": text, "known": dict(known), "limit": bounds.FILE.size}
    argv = [sys.executable, "-P", "-m", "carvelwright.steps.template"]
    try:
        output = process.run(argv, step="render package template", stdin=json.dumps(asked).encode(), timeout=_SECONDS)
    except ToolFailedError as error:
        problem = Problem("the template does not end, or its output is too large", Location(path), found=error.message)
        raise ConfigError([problem]) from None
    answer = json.loads(output.stdout)
    if "text" in answer:
        rendered: str = answer["text"]
        return rendered
    expected = f"one of {', '.join(known)}" if answer["unknown"] else None
    raise ConfigError([Problem(answer["fault"], Location(path, answer["line"]), expected=expected)])
