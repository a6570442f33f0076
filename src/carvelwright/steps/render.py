"""Renders what a release installs, and exports its values schema."""

from __future__ import annotations

import contextlib
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import bounds, files, values, yamldoc
from carvelwright.errors import CarvelwrightError, ConfigError
from carvelwright.project import config, loads
from carvelwright.steps import bundle, existing, exported, package, templating
from carvelwright.steps.exported import Sources
from carvelwright.steps.templating import Templating
from carvelwright.store import Store
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from carvelwright.bounds import Bounds
    from carvelwright.errors import Problem
    from carvelwright.session import Session
    from carvelwright.steps.existing import Rendering
    from carvelwright.steps.templating import Install
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema

_YAML = (".yaml", ".yml")


def export_schema(root: Path, store: Path, tools: Toolchain) -> ValuesSchema:
    """Export a package's values schema with ytt; `store` is its workspace's directory."""
    path = root / config.VALUES_SCHEMA
    sources = _sources(path, files.read_bytes(path, bounds.FILE.size), root / config.BUNDLE_CONFIG)
    return values.values_schema(*exported.project_schema(store, tools.ytt, sources))


def export_file(schema: Path, content: bytes, tools: Toolchain) -> ValuesSchema:
    """Export the values schema of any file with ytt; it may load what stands beside it."""
    # ytt knows a template by the end of its name, and `--schema <(…)` has none.
    named = schema if schema.suffix in _YAML else schema.parent / config.VALUES_SCHEMA
    sources = _sources(named, content, None)
    with files.temporary_directory(Path(tempfile.gettempdir()), "carvelwright.") as scratch:
        return values.values_schema(*exported.schema_in(scratch, tools.ytt, sources))


def _sources(schema: Path, content: bytes, bundle_config: Path | None) -> Sources:
    """Collect a schema with what it loads. What ytt would panic on, or be busy with for ever, is found first."""
    values.parse_schema(content, schema)
    found = loads.of_schema(schema, content, bundle_config)
    place = partial(loads.place, schema, bundle_config)
    check_bounds({place(name): text for name, text in found.items()}, bounds.FILE)
    return Sources(schema, found, place)


def render(
    session: Session,
    tools: Toolchain,
    values_files: Sequence[Path] = (),
    version: str | None = None,
    install: Install | None = None,
) -> bytes:
    """Render the manifests of a release with data values files, as the server does; images stay names.

    InputError with the tool's own words for values that are wrong, or that users have to give.
    """
    with staged(session, tools, values_files, version) as made:
        try:
            return made(values_files, install, kept=not values_files)
        except CarvelwrightError as error:
            if not values_files and ytt.is_invalid(error):
                error.hint = "write the values that ytt names above into a file and add it with -f"
            raise


def renderings(session: Session, tools: Toolchain, *, lenient: bool = False) -> tuple[Rendering, ...]:
    """Render the newest release with the default values, and with each values file of package/renders.

    `lenient` takes the usual steps where package.yaml.j2 is wrong, to find what else is.
    """
    with staged(session, tools, session.project.renders, lenient=lenient) as made:
        return existing.renderings(session.project, tools, made)


@contextlib.contextmanager
def staged(
    session: Session,
    tools: Toolchain,
    values_files: Sequence[Path],
    version: str | None = None,
    *,
    lenient: bool = False,
) -> Iterator[Callable[..., bytes]]:
    """Stage a release's bundle, when nothing in it or in the values files can keep ytt busy; yields what renders it."""
    project = session.project
    release = project.release(version)
    config_source = project.root / config.BUNDLE_CONFIG
    read = [*files.walk_files(config_source, files.is_no_content), *values_files]
    check_bounds({path: files.read_bytes(path, bounds.STREAM.size) for path in read if path.suffix in _YAML})
    staged = loads.staged(project.root / config.VALUES_SCHEMA, config_source)
    check_bounds({project.root / name: content for name, content in staged.items()}, bounds.FILE)
    with Store(project.workspace.root).scratch("render") as scratch:
        bundle.stage_config(project, release, scratch / "config", find_go=session.find_go, reporter=session.reporter)
        templating.place_lock(scratch)
        try:
            template = package.read_template(project, release)
        except ConfigError:
            if not lenient:
                raise
            template = yamldoc.Document(project.root / config.PACKAGE_TEMPLATE, "", {})
        yield Templating(project, template, scratch, tools, session.find_helm).manifests


def check_bounds(contents: Mapping[Path, bytes], limit: Bounds = bounds.STREAM) -> None:
    """Refuse templates and values whose aliases or nesting would keep ytt busy until its time is over."""
    found: list[Problem] = []
    for path, content in contents.items():
        if path.suffix in _YAML:
            try:
                yamldoc.check_bounds(content, path, limit)
            except ConfigError as error:
                found += error.problems
    if found:
        raise ConfigError(found)
