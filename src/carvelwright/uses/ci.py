"""Writes what a project needs for its CI: a script that does the work anywhere, and a file that calls it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import FilesystemError
from carvelwright.project import paths

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "scripts/ci.sh"


class Service(StrEnum):
    """Whose CI it is."""

    GITHUB = "github"
    GITLAB = "gitlab"

    @property
    def file(self) -> str:
        """Where the service looks for its file."""
        return ".github/workflows/package.yml" if self is Service.GITHUB else ".gitlab-ci.yml"


@dataclass(frozen=True, slots=True)
class Written:
    """A file of CI; `changed` tells whether it was written, or was there as it is."""

    name: str
    changed: bool


def write(root: Path, service: Service, install: str) -> list[Written]:
    """Write the script and the service's file into a project or a workspace; `install` is what installs carvelwright.

    FilesystemError where a file is there with other content: nothing is written then.
    """
    paths.require_project(root)
    top = paths.workspace_root(root)
    wanted = {name: (text, mode) for name, text, mode in _files(service, install)}
    there = {name: (top / name) for name in wanted if (top / name).exists() or (top / name).is_symlink()}
    same = [name for name, path in there.items() if path.is_file() and path.read_text() == wanted[name][0]]
    if other := [name for name in there if name not in same]:
        raise FilesystemError(
            f"{', '.join(other)} exists already, with other content",
            path=top / other[0],
            hint="move it away, run the same command again, and compare the two",
        )
    for name, (text, mode) in wanted.items():
        if name not in same:
            files.write_atomic(top / name, text, mode=mode)
    return [Written(name, name not in same) for name in wanted]


def _files(service: Service, install: str) -> list[tuple[str, str, int]]:
    templates = resources.files("carvelwright").joinpath("templates", "ci")
    calls = templates.joinpath(f"{service}.yml").read_text("utf-8").replace("@INSTALL@", install)
    return [(SCRIPT, templates.joinpath("ci.sh").read_text("utf-8"), 0o755), (service.file, calls, 0o644)]
