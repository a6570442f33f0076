"""Makes Package and PackageMetadata."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import config, recipe, resources, schema, yamldoc
from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.workspace import Workspace, content_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.config import Project, Release
    from carvelwright.plan import BuildPlan
    from carvelwright.resources import BundleLock


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


def static_part(project: Project, release: Release) -> dict[str, Any]:
    """Render package/package.yaml.j2 and check it; ConfigError names what is wrong in it."""
    path = project.root / config.PACKAGE_TEMPLATE
    text = yamldoc.read_text(path)
    known = {"version": str(release.version), "upstream": release.upstream, "go": project.go}

    def compute() -> dict[str, Any]:
        rendered = _render(text, path, known)
        document = yamldoc.parse(rendered, path)
        if found := schema.problems(document, "package"):
            raise ConfigError(found, what=f"{path} as rendered")
        data: dict[str, Any] = document.data
        return data

    value: dict[str, Any] = Workspace(project.root).remember(
        "package", content_key(text, known, recipe.of("package")), compute
    )
    return value


def _render(text: str, path: Path, known: Mapping[str, str]) -> str:
    import jinja2  # noqa: PLC0415 - slow to import, not always needed

    try:
        # The output is YAML, which has no markup to escape; it is parsed and checked before it is used.
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
        return environment.from_string(text).render(known)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError([Problem(f"not a jinja2 template: {error.message}", Location(path, error.lineno))]) from None
    except jinja2.UndefinedError as error:
        problem = Problem(str(error), _place(error, path), expected=f"one of {', '.join(known)}")
        raise ConfigError([problem]) from None
    except Exception as error:  # noqa: BLE001 - an expression of the template may raise anything
        problem = Problem(f"the template fails: {type(error).__name__}: {error}", _place(error, path))
        raise ConfigError([problem]) from None


def _place(error: Exception, path: Path) -> Location:
    """Find the line of a template where it failed: jinja2 gives templates frames of their own."""
    frames = traceback.extract_tb(error.__traceback__)
    return Location(path, next((frame.lineno for frame in reversed(frames) if frame.filename == "<template>"), None))
