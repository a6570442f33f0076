"""The names of a project's files, and what can be known of them unread: a run without changes needs no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carvelwright.report import Reporter

WORKSPACE_FILE = "carvelwright.yaml"
BUILD_FILE = "package/build.yaml"
METADATA_FILE = "package/metadata.yaml"
PACKAGE_TEMPLATE = "package/package.yaml.j2"
RELEASES_DIRECTORY = "package/releases"
VALUES_SCHEMA = "values-schema.yaml"
VENDIR_FILE = "vendir.yml"
VENDIR_LOCK = "vendir.lock.yml"
# What `carvelwright vendor` fetched, file by file.
VENDORED_LOCK = "package/vendored.lock.yaml"
BUNDLE_CONFIG = "bundle/config"
# What was decided about known vulnerabilities.
VULNERABILITIES = "package/vulnerabilities.yaml"


def find_root(directory: Path) -> Path | None:
    """Return the directory of the nearest carvelwright.yaml that is this one's, or lists it; None where none does."""
    if (directory / WORKSPACE_FILE).is_file():
        return directory
    here = directory.resolve()
    for parent in here.parents:
        if (parent / WORKSPACE_FILE).is_file():
            return parent if here in (member.resolve() for member in members(parent)) else None
    return None


def workspace_root(directory: Path) -> Path:
    """Return where the workspace of a directory has its build/ and dist/: of a package by itself, its own directory."""
    return find_root(directory) or directory


def directories(directory: Path) -> list[Path]:
    """Return the directories of the packages that a command in this directory is about, as far as they can be read."""
    root = find_root(directory)
    return members(root) if root is not None and root.resolve() == directory.resolve() else [directory]


def members(root: Path) -> list[Path]:
    """Return the directories that a workspace lists, as far as it can be read; other places tell what is wrong."""
    from carvelwright import yamldoc  # noqa: PLC0415 - not needed where nothing changed

    try:
        data = yamldoc.load(root / WORKSPACE_FILE).data
    except CarvelwrightError:
        return []
    names = data.get("members") if isinstance(data, dict) else None
    return [root / name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def require_project(root: Path) -> None:
    """Refuse a directory that holds neither a workspace nor a package, before anything is written there."""
    if not (root / WORKSPACE_FILE).is_file() and not (root / BUILD_FILE).is_file():
        raise InputError(
            f"{root} is not a package project: it has no {BUILD_FILE}",
            details=f"expected: {BUILD_FILE} of a package, or {WORKSPACE_FILE} of a workspace of several",
            hint="change to the project's directory, or name it: carvelwright --project DIR …",
        )


def digests(root: Path, names: Sequence[str]) -> list[str]:
    """Return a digest for each file or directory of a project, of what is content there."""
    trees = [root / name for name in names]
    return [
        files.tree_digest(tree, files.walk_files(tree, files.is_no_content))
        if tree.is_dir()
        else Digest.of_bytes(files.read_bytes(tree)).hex
        for tree in trees
    ]


def note_left_out(root: Path, reporter: Reporter) -> None:
    """Report what lies in bundle/config and does not become part of the bundle."""
    if found := files.left_out(root / BUNDLE_CONFIG, files.is_no_content):
        reporter.note(f"left out of the bundle: {', '.join(str(path.relative_to(root)) for path in found)}")


def source_files(module: Path) -> Iterator[Path]:
    """Yield what a Go build of a module reads, sorted: no tests, no test data, no modules nested within, no junk."""
    for parent, directories, names in os.walk(module):
        directories[:] = sorted(
            name
            for name in directories
            if name != "testdata" and not files.is_junk(name) and not (Path(parent) / name / "go.mod").exists()
        )
        yield from (
            Path(parent) / name for name in sorted(names) if not name.endswith("_test.go") and not files.is_junk(name)
        )
