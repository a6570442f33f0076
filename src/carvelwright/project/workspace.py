"""The workspace: what its packages share, from carvelwright.yaml, or from the build.yaml of a package that has none."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.errors import ConfigError
from carvelwright.project import licences, validation
from carvelwright.project.paths import BUILD_FILE, WORKSPACE_FILE
from carvelwright.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.errors import Problem
    from carvelwright.project.config import Package
    from carvelwright.project.licences import LicencePolicy

# The Go of a workspace that names none: the version that `carvelwright[go]` installs.
DEFAULT_GO = "1.27.3"
# The directories of dist/ that belong to the repository.
_IN_DIST = ("packages",)
# What a package without a workspace file says in its build.yaml, and a workspace once for all.
SHARED_KEYS = ("registry", "go", "tools", licences.KEY)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What packages share: build/ and dist/, embedded registry, Go, tools, licenses; `members`: their directories."""

    root: Path
    registry: Repository
    go: str
    tools: tuple[str, ...] | None
    members: tuple[Path, ...]
    licences: LicencePolicy

    @property
    def file(self) -> str:
        """The file that says it, below the root."""
        return WORKSPACE_FILE if (self.root / WORKSPACE_FILE).is_file() else BUILD_FILE


def load_workspace(root: Path, *, validate: bool = True) -> Workspace:
    """Read carvelwright.yaml; ConfigError with every problem of it."""
    document = yamldoc.load(root / WORKSPACE_FILE)
    if validate and (found := validation.problems(document, "workspace") or _problems(root, document)):
        raise ConfigError(found)
    return _workspace(root, document.data, tuple(root / name for name in document.data["members"]))


def alone(directory: Path, build: Mapping[str, Any]) -> Workspace:
    """Return the workspace that a package is by itself, from its build.yaml, whose keys were checked."""
    return _workspace(directory, build, (directory,))


def _problems(root: Path, document: yamldoc.Document) -> list[Problem]:
    found = []
    members = [PurePosixPath(name) for name in document.data["members"]]
    for index, member in enumerate(members):
        if not (root / member / BUILD_FILE).is_file():
            message, expected = "no package there", f"a directory that holds {BUILD_FILE}"
            found.append(document.problem(["members", index], message, found=str(member), expected=expected))
        elif member in members[:index]:
            message = "this package is listed before"
            found.append(document.problem(["members", index], message, found=str(member), expected="each once"))
    found += [
        document.problem(["tools", index], "no Go module there", found=name, expected="a directory that holds go.mod")
        for index, name in enumerate(document.data.get("tools", []))
        if not (root / name / "go.mod").is_file()
    ]
    return found


def _workspace(root: Path, data: Mapping[str, Any], members: tuple[Path, ...]) -> Workspace:
    return Workspace(
        root=root,
        registry=Repository.parse(data["registry"]),
        go=data.get("go", DEFAULT_GO),
        tools=tuple(data["tools"]) if "tools" in data else None,
        members=members,
        licences=licences.policy_of(data),
    )


def name_problems(packages: Sequence[Package]) -> list[Problem]:
    """Return the names that packages of one workspace share: they lie in one registry and in one dist/."""
    found: list[Problem] = []
    for package in packages if len(packages) > 1 else ():
        if package.short_name in _IN_DIST:
            document = yamldoc.load(package.root / BUILD_FILE)
            message, expected = "this name is reserved in dist/", "another first segment"
            found.append(document.problem(["refName"], message, found=package.short_name, expected=expected))
    for one, other in itertools.combinations(packages, 2):
        document = yamldoc.load(other.root / BUILD_FILE)
        if one.short_name == other.short_name:
            message = f"the package in {one.root} has this name, too"
            expected = "another first segment: it names the package in dist/ and on the command line"
            found.append(document.problem(["refName"], message, found=other.short_name, expected=expected))
        taken = [image.name for image in one.go_images]
        for number, image in enumerate(other.go_images):
            if image.name in taken:
                message = f"the package in {one.root} has an image of this name: one overwrites the other"
                pointer: list[str | int] = ["images", number, "name"]
                found.append(document.problem(pointer, message, found=image.name, expected="another name"))
    return found
