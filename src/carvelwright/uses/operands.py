"""What `diff` can compare, as it is named on the command line: the text alone decides, not what happens to exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carvelwright.carvel.version import PackageVersion
from carvelwright.reference import Repository

_GIT, _REGISTRY = "git:", "registry:"


@dataclass(frozen=True, slots=True)
class OfRelease:
    """A version of `package/releases`, rendered with the project's files as they are now."""

    version: str


@dataclass(frozen=True, slots=True)
class OfRevision:
    """The project as a git revision has it: its newest release."""

    revision: str


@dataclass(frozen=True, slots=True)
class OfRegistry:
    """A version that a package repository in a registry holds; the newest where none is named."""

    repository: Repository
    version: str | None


@dataclass(frozen=True, slots=True)
class OfPath:
    """A project's directory, a dist/ directory, an archive, a Package or a values schema."""

    path: Path


Operand = OfRelease | OfRevision | OfRegistry | OfPath


def parse(text: str) -> Operand:
    """Read git:REVISION, registry:REGISTRY/PATH[@VERSION], VERSION, or else a path; ValueError for wrong ones.

    A path that looks like one of the others is written with ./ before it.
    """
    if text.startswith(_GIT):
        revision = text.removeprefix(_GIT)
        if not revision or "\0" in revision:
            raise ValueError("git: names no revision (expected git:REVISION such as git:origin/main)")
        return OfRevision(revision)
    if text.startswith(_REGISTRY):
        place, at, version = text.removeprefix(_REGISTRY).partition("@")
        if at:
            PackageVersion.read(version)
        return OfRegistry(Repository.parse(place), version if at else None)
    try:
        PackageVersion.read(text)
    except ValueError:
        if not text or "\0" in text:
            raise ValueError(
                "an empty path (expected VERSION, git:REVISION, registry:REGISTRY/PATH or a path)"
            ) from None
        return OfPath(Path(text))
    return OfRelease(text)
