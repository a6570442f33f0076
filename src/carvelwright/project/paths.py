"""The names of a project's files, and what can be known of them unread: a run without changes needs no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.report import Reporter

BUILD_FILE = "package/build.yaml"
METADATA_FILE = "package/metadata.yaml"
PACKAGE_TEMPLATE = "package/package.yaml.j2"
RELEASES_DIRECTORY = "package/releases"
VALUES_SCHEMA = "values-schema.yaml"
BUNDLE_CONFIG = "bundle/config"


def require_project(root: Path) -> None:
    """Refuse a directory that holds no project, before anything is written there."""
    if not (root / BUILD_FILE).is_file():
        raise CarvelwrightError(
            f"{root} is not a package project: it has no {BUILD_FILE}",
            exit_code=ExitCode.CONFIG,
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
