"""Rules about what a package takes from elsewhere: it is what was fetched, and it lies where something reads it."""

from __future__ import annotations

import itertools
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from carvelwright.errors import CarvelwrightError, ConfigError, Location, Problem, Severity
from carvelwright.project import paths, vendored
from carvelwright.yamldoc import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carvelwright.project.config import Package
    from carvelwright.project.vendored import Record, Tree
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.yamldoc import Document

_RESTORE = (
    "run `carvelwright vendor --locked` to fetch it again, and make changes of your own elsewhere, as in an overlay"
)


def vendored_files(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find where vendir.yml, its lock, the vendored files and the record of them do not fit together."""
    root = session.project.root
    record_file = root / paths.VENDORED_LOCK
    if not (root / paths.VENDIR_FILE).is_file():
        hint = f"restore {paths.VENDIR_FILE}, or remove this file"
        message = f"records vendored files, but there is no {paths.VENDIR_FILE}"
        return [Problem(message, Location(record_file), hint=hint)] if record_file.exists() else []
    try:
        config = vendored.load_config(root)
        if not record_file.exists():
            message, expected = "missing: nothing says what was vendored", f"a digest of each file of {config.path}"
            return [Problem(message, Location(record_file), expected=expected, hint=vendored.HINT)]
        record = vendored.load_record(record_file)
    except ConfigError as error:
        return list(error.problems)
    # Of another vendir.yml, each file differs.
    return [*(vendored.stale(root, record) or _differences(root, config, record)), *_unread(session.project, config)]


def _differences(root: Path, config: Document, record: Record) -> list[Problem]:
    names = {*vendored.directories_of(config), *record.trees}
    found = (problem for name in sorted(names) for problem in _tree_problems(root, name, record.trees.get(name, {})))
    return list(itertools.islice(found, PROBLEMS))


def _tree_problems(root: Path, name: str, recorded: Tree) -> Iterator[Problem]:
    if not (root / name).is_dir():
        yield Problem("missing: it was vendored", Location(root / name), expected="a directory", hint=_RESTORE)
        return
    try:
        tree = vendored.tree(root / name)
    except CarvelwrightError as error:
        yield Problem(error.message, hint=error.hint)
        return
    for file in sorted(recorded.keys() | tree.keys()):
        found, expected = tree.get(file), recorded.get(file)
        if found != expected:
            words = "missing: it was vendored" if found is None else "changed since it was vendored"
            message = f"not in {paths.VENDORED_LOCK}: vendir did not write it" if expected is None else words
            place = Location(root / name / file)
            yield Problem(message, place, str(found or "no file"), str(expected or "no file"), _RESTORE)


def _unread(project: Package, config: Document) -> list[Problem]:
    """Warn of directories that become part of no bundle and of no Go module."""
    homes = [PurePosixPath(name) for name in (paths.BUNDLE_CONFIG, *project.go_modules(project.release(None)))]
    return [
        Problem(
            f"nothing of the package reads {name}",
            Location(config.path),
            expected=f"a directory below {', '.join(map(str, homes))}",
            severity=Severity.WARNING,
        )
        for name in vendored.directories_of(config)
        if not any(home in (path := PurePosixPath(name), *path.parents) for home in homes)
    ]
