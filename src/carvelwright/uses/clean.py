"""Removes what builds made, and nothing else."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.project import paths
from carvelwright.steps import dist
from carvelwright.store import PRODUCTS, REMEMBERED, SEALS, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEY = "[0-9a-f]{24}"
# What a directory of build/ holds when carvelwright made it.
_MADE = {
    **dict.fromkeys(PRODUCTS, re.compile(_KEY)),
    **dict.fromkeys(REMEMBERED, re.compile(rf"{_KEY}\.json")),
    "tools": re.compile(r".+-[0-9a-f]{16}(\.lock)?"),
}
# All in these belongs to the registry, to the workspace or to a process.
_WHOLE = re.compile(rf"registry|registry(-[0-9]+)?\.log|{SEALS}|state\.json|last-run\.json")


def clean(root: Path) -> list[str]:
    """Remove build/ and dist/ but for what carvelwright did not make; return what stays, each with the reason.

    CarvelwrightError where a build, `serve` or another command is running.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    with store.locked(), store.unused(), files.reporting_file_errors("remove"):
        store.remove_leftovers()
        kept = [*_clean_dist(store.dist), *_clean_build(store.build)]
        store.remove_lock()
    return kept


def _clean_dist(directory: Path) -> Iterator[str]:
    if directory.is_symlink() or not directory.is_dir():
        if directory.is_symlink() or directory.exists():
            yield f"{directory}: not made by a build"
        return
    kept = dict(dist.not_made(directory))
    for path in sorted(directory.rglob("*"), reverse=True):
        if path in kept:
            continue
        if path.is_dir():
            _remove_empty(path)
        else:
            path.unlink()
    _remove_empty(directory)
    yield from (f"{path}: {why}" for path, why in kept.items())


def _clean_build(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        made = _MADE.get(path.name)
        if _WHOLE.fullmatch(path.name):
            files.remove_tree(path)
        elif made is not None and path.is_dir() and not path.is_symlink():
            yield from _clean_kind(path, made)
        elif path.name == "scratch":
            _remove_empty(path)
        elif path.name != ".lock":
            yield f"{path}: not made by carvelwright"


def _clean_kind(directory: Path, made: re.Pattern[str]) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        if made.fullmatch(path.name):
            files.remove_tree(path)
        elif not path.name.startswith("."):
            yield f"{path}: not made by carvelwright"
    _remove_empty(directory)


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
