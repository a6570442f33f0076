"""Lists a package's images, and moves the lock of the existing ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import ConfigError, UsageError, did_you_mean
from carvelwright.process import in_parallel
from carvelwright.project.images import LOCK_FILE, lock_text
from carvelwright.session import at_work
from carvelwright.steps import existing
from carvelwright.steps.render import renderings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from carvelwright.project.images import LockedImage
    from carvelwright.report import Reporter
    from carvelwright.session import Session

_STEP = "look up images"


@dataclass(frozen=True, slots=True)
class Listed:
    """An image of a package: `brought_by` is what uses it, None where nothing does; `locked` where it is locked.

    `built` says that the project builds it.
    """

    name: str
    built: bool
    brought_by: str | None
    locked: LockedImage | None


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did to an image of the lock: `old` is None where it is new, `new` where it was dropped."""

    name: str
    old: LockedImage | None
    new: LockedImage | None


def listed(root: Path, environment: Mapping[str, str], reporter: Reporter, package: str | None = None) -> list[Listed]:
    """Return the images of a package: those that the project builds, then the existing ones by name."""
    with at_work(root, environment, reporter, package) as session:
        brought = existing.brought(session.project, renderings(session, session.tools()))
    locked = {image.name: image for image in session.project.locked_images}
    built = [image.name for image in session.project.go_images]
    others = sorted((brought.keys() - set(built)) | locked.keys())
    return [
        *(Listed(name, built=True, brought_by=brought.get(name), locked=None) for name in built),
        *(Listed(name, built=False, brought_by=brought.get(name), locked=locked.get(name)) for name in others),
    ]


def update(
    root: Path,
    names: Sequence[str],
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    package: str | None = None,
    timeout: float,
) -> list[Change]:
    """Ask the registries what they have now, and write that into the lock file; nothing is written after an error.

    Without names: for every existing image that the package uses, and what it does not use is dropped.
    """
    with at_work(root, environment, reporter, package) as session:
        return _update(session, names, timeout=timeout)


def _update(session: Session, names: Sequence[str], *, timeout: float) -> list[Change]:
    project, tools, reporter = session.project, session.tools(), session.reporter
    used = existing.used(project, renderings(session, tools))
    _refuse_unused(names, used)
    before = {image.name: image for image in project.locked_images}
    wanted = list(dict.fromkeys(names)) or list(used)
    if found := existing.name_problems(project, wanted):
        raise ConfigError(found)
    with reporter.step(_STEP):
        looked_up = in_parallel(
            *[
                lambda name=name: existing.resolve(tools, name, step=_STEP, timeout=timeout, note=reporter.note)
                for name in wanted
            ]
        )
    if found := [problem for image in looked_up for problem in existing.platform_problems(project, image)]:
        raise ConfigError(found)
    after = (before if names else {}) | {image.name: image for image in looked_up}
    if after or before:
        lock = project.root / LOCK_FILE
        files.remove_leftovers(lock.parent, lock.name)
        files.write_atomic(lock, lock_text(after.values()))
    touched = sorted({*wanted, *(before.keys() - after.keys())})
    return [Change(name, before.get(name), after.get(name)) for name in touched]


def _refuse_unused(names: Sequence[str], used: Collection[str]) -> None:
    for name in names:
        if name not in used:
            raise UsageError(
                f"no manifest uses an existing image {name!r}{did_you_mean(name, used)}",
                details=f"used: {', '.join(used) or 'none'}",
                hint="name an image as the manifests write it; `carvelwright images list` lists them",
            )
