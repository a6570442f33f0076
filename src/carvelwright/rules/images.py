"""Rules about the images of build.yaml: that what they name is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.project import config
from carvelwright.steps.layer import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.errors import Problem
    from carvelwright.project.images import GoImage, GoModule
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain


def entrypoints(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find entrypoints that are no binary or link of their image: an image FROM scratch holds nothing else."""
    document = yamldoc.load(session.project.root / config.BUILD_FILE)
    found = []
    for index, image in _numbered(session):
        names = sorted({name for module in image.modules for name in (*module.binaries, *module.links)})
        allowed = {*names, *(f"{DIRECTORY}/{name}" for name in names)}
        if image.entrypoint and image.entrypoint[0] not in allowed:
            found.append(
                document.problem(
                    ["images", index, "entrypoint", 0],
                    f"the entrypoint of image {image.name} is not one of its binaries or links",
                    found=image.entrypoint[0],
                    expected=" or ".join(f"{DIRECTORY}/{name}" for name in names),
                )
            )
    return found


def links(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find links that lead to no binary of their module."""
    document = yamldoc.load(session.project.root / config.BUILD_FILE)
    return [
        document.problem(
            ["images", number, "modules", index, "links", name],
            f"link {name} of image {image.name} does not name a binary",
            found=binary,
            expected=" or ".join(module.binaries),
        )
        for number, image, index, module in _modules(session)
        for name, binary in module.links.items()
        if binary not in module.binaries
    ]


def go_packages(session: Session, _tools: Toolchain) -> list[Problem]:
    """Find binaries whose Go package, given as a path, holds no Go file of the module."""
    document = yamldoc.load(session.project.root / config.BUILD_FILE)
    release = session.project.release(None)
    found = []
    for number, image, index, module in _modules(session):
        directory = (session.project.root / release.fill(module.directory)).resolve()
        for name, package in module.binaries.items():
            place = (directory / package).resolve()
            relative = package in (".", "..") or package.startswith(("./", "../"))
            if relative and not (place.is_relative_to(directory) and any(place.glob("*.go"))):
                found.append(
                    document.problem(
                        ["images", number, "modules", index, "binaries", name],
                        f"binary {name} of image {image.name} has no Go package in its directory",
                        found=package,
                        expected=f"a directory with Go files in {release.fill(module.directory)}",
                    )
                )
    return found


def _modules(session: Session) -> Iterator[tuple[int, GoImage, int, GoModule]]:
    for number, image in _numbered(session):
        for index, module in enumerate(image.modules):
            yield number, image, index, module


def _numbered(session: Session) -> Iterator[tuple[int, GoImage]]:
    """Yield the images that the project builds, each with its place among the images of build.yaml."""
    entries = yamldoc.load(session.project.root / config.BUILD_FILE).data.get("images", [])
    numbers = [number for number, entry in enumerate(entries) if "name" in entry]
    yield from zip(numbers, session.project.go_images, strict=True)
