"""Fetches what a package's vendir.yml names, and records every file of it: all of it, or nothing changes."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ConfigError, InputError, Location, Problem
from carvelwright.process import interrupts_wait
from carvelwright.project import paths, vendored
from carvelwright.project.vendored import Changes, Record
from carvelwright.session import at_work
from carvelwright.store import Store
from carvelwright.tools import vendir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.yamldoc import Document

_STEP = "vendir sync"


@dataclass(frozen=True, slots=True)
class RefChange:
    """A path whose commit, digest or version moved: `old` is None where it is new, `new` where it was dropped."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What vendoring changed in the package's directory."""

    refs: tuple[RefChange, ...]
    files: Changes


def vendor(
    root: Path,
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    package: str | None = None,
    locked: bool = False,
    timeout: float,
) -> Outcome:
    """Fetch what vendir.yml names to its places, and write the lock and the record; after an error all is as it was.

    `locked` fetches what the lock says, leaves the lock as it is, and refuses what the record does not hold.
    """
    paths.require_project(root)
    # A build must not read what is half there.
    with Store(paths.workspace_root(root)).locked(wait=True), at_work(root, environment, reporter, package) as session:
        return _vendor(session, locked=locked, timeout=timeout)


def _vendor(session: Session, *, locked: bool, timeout: float) -> Outcome:
    root = session.project.root
    _require(root / paths.VENDIR_FILE, "name there what to vendor: https://carvel.dev/vendir/docs/latest/vendir-spec/")
    config = vendored.load_config(root)
    names = vendored.directories_of(config)
    if locked:
        _require_recorded(root)
    before = {name: vendored.tree(root / name) for name in names}
    files.remove_leftovers(root, "vendor")
    with files.temporary_directory(root, ".vendor.new.") as scratch:
        tree = _lay_out(root, config, scratch, locked=locked)
        helm = session.find_helm() if vendored.runs_helm(config) else None
        tool = session.find_vendir()
        with session.reporter.step(_STEP):
            vendir.sync(tool, tree, locked=locked, helm=helm, step=_STEP, timeout=timeout)
        _refuse_links(root, tree, names)
        lock = root if locked else tree
        record = Record(
            Digest.of_bytes(files.read_bytes(root / paths.VENDIR_FILE)),
            Digest.of_bytes(files.read_bytes(lock / paths.VENDIR_LOCK)),
            {name: vendored.tree(tree / name) for name in names},
        )
        if locked:
            _refuse_other_files(root, record)
        outcome = Outcome(_moved(root, lock), vendored.compare(before, record.trees))
        lock_text = files.read_bytes(lock / paths.VENDIR_LOCK)
        _note_leftovers(session, record)
        with interrupts_wait():
            texts = {root / paths.VENDIR_LOCK: lock_text, root / paths.VENDORED_LOCK: record.text().encode()}
            _put([(tree / name, root / name) for name in names], texts, scratch / "former")
    return outcome


def _require(path: Path, hint: str) -> None:
    if not path.is_file():
        raise ConfigError([Problem("missing", Location(path), expected="a file", hint=hint)], what=str(path.parent))


def _require_recorded(root: Path) -> None:
    """Refuse --locked where the lock is missing, or is not the one that was recorded for this vendir.yml."""
    _require(root / paths.VENDIR_LOCK, vendored.HINT)
    path = root / paths.VENDORED_LOCK
    if path.exists():
        record = vendored.load_record(path)
        if found := vendored.stale(root, record):
            raise ConfigError(found, what=str(root))


def _lay_out(root: Path, config: Document, scratch: Path, *, locked: bool) -> Path:
    """Make the directory that vendir works in: its files, and all that they name by relative paths."""
    local = vendored.local_paths(config)
    # As deep as the paths that lead up, so that they lead to copies as well.
    above = max((posixpath.normpath(name).split("/").count("..") for name in local), default=0)
    tree = scratch.joinpath("tree", *["below"] * above)
    tree.mkdir(parents=True)
    names = [paths.VENDIR_FILE, *([paths.VENDIR_LOCK] if locked else []), *vendored.directories_of(config), *local]
    with files.reporting_file_errors("copy"):
        for name in names:
            source, target = root / name, Path(os.path.normpath(tree / name))
            if source.is_dir():
                # A directory above the package's holds this one, too.
                ignore = shutil.ignore_patterns(scratch.name)
                shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
    return tree


def _refuse_links(root: Path, tree: Path, names: Sequence[str]) -> None:
    """Refuse what no bundle can hold, by the place that it would have."""
    found = [
        Problem(
            "a symbolic link, which no bundle can hold",
            Location(root / path.relative_to(tree)),
            hint="leave it out with excludePaths in vendir.yml",
        )
        for name in names
        for path in sorted((tree / name).rglob("*"))
        if path.is_symlink() and not any(map(files.is_no_content, path.relative_to(tree / name).parts))
    ]
    if found:
        raise ConfigError(found, what=str(root / paths.VENDIR_FILE))


def _refuse_other_files(root: Path, record: Record) -> None:
    """Refuse what a lock without digests does not hold: other content at the same address."""
    path = root / paths.VENDORED_LOCK
    if path.exists() and (changes := vendored.compare(vendored.load_record(path).trees, record.trees)):
        names = [*changes.added, *changes.removed, *changes.changed]
        raise InputError(
            f"step {_STEP}: what was fetched is not what {paths.VENDORED_LOCK} records",
            details="\n".join(f"differs: {name}" for name in sorted(names)),
            hint="find out why the source changed; run `carvelwright vendor` without --locked to take it as it is now",
            step=_STEP,
        )


def _moved(root: Path, lock: Path) -> tuple[RefChange, ...]:
    old, new = vendored.refs(root / paths.VENDIR_LOCK), vendored.refs(lock / paths.VENDIR_LOCK)
    changes = [RefChange(path, old.get(path), new.get(path)) for path in sorted({*old, *new})]
    return tuple(change for change in changes if change.old != change.new)


def _note_leftovers(session: Session, record: Record) -> None:
    """Name directories that vendir.yml no longer fills: they may be the author's own by now."""
    with contextlib.suppress(CarvelwrightError):
        for name in vendored.load_record(session.project.root / paths.VENDORED_LOCK).trees:
            if name not in record.trees and (session.project.root / name).exists():
                session.reporter.note(f"{name} is no longer vendored: remove it, or keep it as your own")


def _put(moves: Sequence[tuple[Path, Path]], texts: Mapping[Path, bytes], former: Path) -> None:
    """Move directories to their places and write files; after a failure every one is as it was."""
    former.mkdir()
    with files.reporting_file_errors("replace"), contextlib.ExitStack() as undo:
        for number, (new, final) in enumerate(moves):
            for parent in reversed([each for each in final.parents if not each.exists()]):
                parent.mkdir()
                undo.callback(parent.rmdir)
            if final.exists():
                old = former / str(number)
                final.rename(old)
                undo.callback(old.rename, final)
            new.rename(final)
            undo.callback(final.rename, new)
        for path, text in texts.items():
            old_text = files.read_bytes(path) if path.exists() else None
            files.write_atomic(path, text)
            undo.callback(path.unlink) if old_text is None else undo.callback(files.write_atomic, path, old_text)
        undo.pop_all()
