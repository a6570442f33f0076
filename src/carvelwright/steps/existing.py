"""Existing images: which of them a package uses, behind options as well, and what a registry has for a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ConfigError, Location, Problem, RegistryError, did_you_mean
from carvelwright.process import in_parallel
from carvelwright.project import config
from carvelwright.project.images import LOCK_FILE, LockedImage
from carvelwright.reference import Reference
from carvelwright.steps import rendered
from carvelwright.tools import crane, ytt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from carvelwright.platform import Platform
    from carvelwright.project.config import Package
    from carvelwright.tools.toolchain import Toolchain

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_CONFIGURATIONS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")
# What builders write for attestations, which lie in an index beside the images.
_NO_PLATFORM = "unknown/unknown"


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a package gives with a values file (None: with its default values), and the images that kbld finds there.

    Not `valid` is one that lacks values which users have to give: it has images, but nobody installs it.
    """

    values: Path | None
    manifests: bytes
    images: tuple[str, ...]
    valid: bool = True


def renderings(project: Package, tools: Toolchain, make: Callable[..., bytes]) -> tuple[Rendering, ...]:
    """Render a staged bundle by `make` with the default values and with each values file of package/renders.

    Without validation where only values lack that every user has to give, as kctrl does. Templates that fail without
    them need a values file: with one, the default values are left out.
    """

    def attempt(values: Path | None) -> Rendering | CarvelwrightError:
        try:
            return _render(project, tools, make, values)
        except CarvelwrightError as error:
            if ytt.is_invalid(error):
                return error
            raise

    default, *others = in_parallel(*[lambda values=values: attempt(values) for values in (None, *project.renders)])
    lacking = _refused(default)
    found: list[Rendering] = []
    for values, other in zip(project.renders, others, strict=True):
        if not isinstance(other, CarvelwrightError):
            found.append(other)
        elif set() < _refused(other) <= lacking:
            found.append(_render(project, tools, make, values, valid=False))
        else:
            raise other
    if not isinstance(default, CarvelwrightError):
        return (default, *found)
    return (*_with_lacking_values(project, tools, make, found), *found)


def _with_lacking_values(
    project: Package, tools: Toolchain, make: Callable[..., bytes], others: Sequence[Rendering]
) -> tuple[Rendering, ...]:
    """Render with default values that are refused; () where the templates fail and another rendering stands in."""
    try:
        return (_render(project, tools, make, None, valid=False),)
    except CarvelwrightError as error:
        if any(rendering.valid for rendering in others):
            return ()
        error.hint = f"add a file with the values that users have to give to {config.RENDERS_DIRECTORY}/"
        raise


def _render(
    project: Package, tools: Toolchain, make: Callable[..., bytes], values: Path | None, *, valid: bool = True
) -> Rendering:
    try:
        manifests = make([values] if values else [], validate=valid)
        return Rendering(values, manifests, tuple(rendered.images(project.workspace.root, tools, manifests)), valid)
    except CarvelwrightError as error:
        if values is not None and error.location is None:
            error.location = Location(values)
        raise


def _refused(attempt: Rendering | CarvelwrightError) -> set[str]:
    """Return the paths of the values that validations refuse."""
    return set(ytt.refused_paths(attempt)) if isinstance(attempt, CarvelwrightError) else set()


def brought(project: Package, found: Iterable[Rendering]) -> dict[str, str]:
    """Return every image of a package, sorted by name, each with what brings it; also those that the project builds."""
    first = {image.name: config.BUILD_FILE for image in project.declared}
    for rendering in found:
        where = rendering.values.relative_to(project.root).as_posix() if rendering.values else "the default values"
        first |= {name: where for name in rendering.images if name not in first}
    return dict(sorted(first.items()))


def used(project: Package, found: Iterable[Rendering]) -> dict[str, str]:
    """Return the existing images of a package, sorted by name, each with what brings it."""
    built = {image.name for image in project.go_images}
    return {name: where for name, where in brought(project, found).items() if name not in built}


def name_problems(project: Package, names: Iterable[str]) -> list[Problem]:
    """Return which names name no image."""
    found = []
    for name in names:
        try:
            Reference.of_image(name)
        except ValueError as error:
            where = Location(project.root / config.BUNDLE_CONFIG)
            found.append(Problem(str(error), where, hint="correct the image in the manifest"))
    return found


def problems(project: Package, images: Iterable[str]) -> list[Problem]:
    """Return what is wrong with the existing images of a package: not locked, or not for its platforms."""
    locked = {image.name: image for image in project.locked_images}
    found: list[Problem] = []
    for name in images:
        where = Location(project.root / config.BUNDLE_CONFIG)
        if wrong := name_problems(project, [name]):
            found += wrong
        elif name in locked:
            found += platform_problems(project, locked[name])
        elif Reference.of_image(name).digest is None:
            built = [image.name for image in project.go_images]
            found.append(
                Problem(
                    f"image {name!r} is not locked{did_you_mean(name, built)}",
                    where,
                    expected=f"an image of {LOCK_FILE}, or one that the project builds: {', '.join(built) or 'none'}",
                    hint=f"run `carvelwright images update {name}`, or correct the name",
                )
            )
    return found


def platform_problems(project: Package, image: LockedImage) -> list[Problem]:
    """Return the platforms of the package that an image does not offer."""
    lacking = image.lacks(_wanted(project, image.name))
    if not lacking:
        return []
    missing = ", ".join(map(str, lacking))
    return [
        Problem(
            f"image {image.name!r} is not there for {missing}",
            Location(project.root / LOCK_FILE),
            found=f"it offers {', '.join(image.platforms) or 'no platform'}",
            expected=f"the platforms of {config.BUILD_FILE}",
            hint=f"use an image that offers {missing}, or set its `platforms` under `images` in {config.BUILD_FILE}",
        )
    ]


def _wanted(project: Package, name: str) -> Sequence[Platform]:
    declared = {image.name: image.platforms for image in project.declared}
    platforms = declared.get(name)
    return project.platforms if platforms is None else platforms


def locked(project: Package, images: Iterable[str], resolve: Callable[[str], LockedImage]) -> tuple[LockedImage, ...]:
    """Return the existing images by digest, from the lock file.

    `resolve` is called for those that the lock file does not hold and whose names have a digest. ConfigError for what
    `problems` finds.
    """
    names = list(images)
    if found := problems(project, names):
        raise ConfigError(found)
    known = {image.name: image for image in project.locked_images}
    asked = in_parallel(*[lambda name=name: resolve(name) for name in names if name not in known])
    if found := [problem for image in asked for problem in platform_problems(project, image)]:
        raise ConfigError(found)
    known |= {image.name: image for image in asked}
    return tuple(known[name] for name in names)


def resolve(tools: Toolchain, name: str, *, step: str, timeout: float, note: Callable[[str], None]) -> LockedImage:
    """Ask the registry of an image what it has under this name; CarvelwrightError where it has none."""
    wanted = Reference.of_image(name)
    raw = crane.manifest(tools.crane, wanted, step=step, timeout=timeout, note=note)
    if raw is None:
        raise RegistryError(
            f"step {step}: registry {wanted.repository.registry} has no image {wanted}",
            registry=wanted.repository.registry,
            reference=str(wanted),
            hint="correct the name where the manifests use it, or push the image first",
            step=step,
        )
    pinned = wanted.repository.at(Digest.of_bytes(raw))
    try:
        _require(wanted, pinned)
        platforms = platforms_in(
            jsondoc.parse(raw),
            lambda: crane.configuration(tools.crane, pinned, step=step, timeout=timeout, note=note),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"step {step}: registry {wanted.repository.registry} holds no usable image under {wanted}",
            registry=wanted.repository.registry,
            reference=str(wanted),
            details=f"{type(error).__name__}: {error}",
            hint="use an image in the format of OCI or of Docker's schema 2",
            step=step,
        ) from None
    return LockedImage(name, pinned, wanted.tag, tuple(sorted(set(platforms))))


def _require(wanted: Reference, found: Reference) -> None:
    if wanted.digest not in (None, found.digest):
        raise ValueError(f"its content has the digest {found.digest}")


def platforms_in(document: Any, configuration: Callable[[], bytes]) -> list[str]:
    """Return the platforms of an image's manifest or index, whose `configuration` names that of a single image.

    ValueError, or one of those that a document of another shape raises, where it is neither.
    """
    kind = (
        document["mediaType"] if "mediaType" in document else _INDEXES[0] if "manifests" in document else _MANIFESTS[0]
    )
    if kind in _INDEXES:
        listed = [entry.get("platform") or {} for entry in document["manifests"]]
    elif kind in _MANIFESTS:
        listed = [jsondoc.parse(configuration())] if document["config"]["mediaType"] in _CONFIGURATIONS else []
    else:
        raise ValueError(f"a manifest of type {kind}")
    texts = [
        "/".join(part for key in ("os", "architecture", "variant") if (part := entry.get(key))) for entry in listed
    ]
    return [text for text in texts if _PLATFORM.fullmatch(text) and text != _NO_PLATFORM]
