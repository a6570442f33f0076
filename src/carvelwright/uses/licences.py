"""Lists the licenses of what packages' images are linked from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.project import paths
from carvelwright.session import open_sessions
from carvelwright.steps import licences, linked
from carvelwright.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.supply.licences import Entry


@dataclass(frozen=True, slots=True)
class ImageLicences:
    """The licenses of an image of a package; `entries` is None for an existing image, which nobody looks into."""

    package: str
    image: str
    entries: tuple[Entry, ...] | None


def listed(
    root: Path,
    environment: Mapping[str, str],
    reporter: Reporter,
    names: Sequence[str] = (),
    version: str | None = None,
) -> list[ImageLicences]:
    """Return the licenses of every image of the packages, or of the named ones, in a release (None: the newest).

    Nothing is compiled, and nothing that is missing or not allowed is an error. Raises ToolMissingError without Go, and
    ToolError where Go cannot list the modules.
    """
    paths.require_project(root)
    with Store(paths.workspace_root(root)).in_use():
        sessions = open_sessions(root, environment, reporter, names)
        return [image for session in sessions for image in _images(session, version)]


def _images(session: Session, version: str | None) -> list[ImageLicences]:
    project, release = session.project, session.project.release(version)
    found = []
    for image in project.go_images:
        sources = [linked.of_sources(session, release, module, project.platforms) for module in image.modules]
        entries = licences.collect(session, image, sources, project.platforms).index.entries
        found.append(ImageLicences(project.ref_name, image.name, entries))
    existing = [ImageLicences(project.ref_name, image.name, None) for image in project.locked_images]
    return [*found, *existing]
