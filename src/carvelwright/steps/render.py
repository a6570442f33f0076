"""Renders what a release installs, and exports its values schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import bounds, files, values, yamldoc
from carvelwright.errors import ConfigError
from carvelwright.project import config
from carvelwright.steps import bundle, rendered
from carvelwright.store import Store
from carvelwright.tools import ytt
from carvelwright.values import ValuesSchema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.errors import Problem
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

_YAML = (".yaml", ".yml")


def export_schema(root: Path, tools: Toolchain) -> ValuesSchema:
    """Export a project's values schema with ytt."""
    path = root / config.VALUES_SCHEMA
    # What ytt would panic on is found first.
    extras = values.read_extras(path)
    return ValuesSchema(rendered.openapi(root, tools, path), extras)


def render(session: Session, tools: Toolchain, values_files: Sequence[Path] = (), version: str | None = None) -> bytes:
    """Render the manifests of a release with data values files; images stay names."""
    project = session.project
    _check_bounds(project.root, values_files)
    with Store(project.root).scratch("render") as scratch:
        config_directory = scratch / "config"
        bundle.stage_config(
            project, project.release(version), config_directory, find_go=session.find_go, reporter=session.reporter
        )
        if not values_files:
            return rendered.manifests(project.root, tools, config_directory)
        return ytt.render(tools.ytt, config_directory, values_files, step="render")


def _check_bounds(root: Path, values_files: Sequence[Path]) -> None:
    """Refuse templates and values whose aliases or nesting would keep ytt busy until its time is over."""
    templates = files.walk_files(root / config.BUNDLE_CONFIG, files.is_no_content)
    schema = root / config.VALUES_SCHEMA
    found: list[Problem] = []
    for path in (*templates, schema, *values_files):
        if path.suffix in _YAML:
            try:
                yamldoc.check_bounds(path, bounds.FILE if path == schema else bounds.STREAM)
            except ConfigError as error:
                found += error.problems
    if found:
        raise ConfigError(found)
