"""Rules about the images that a package uses: every one is locked, whatever option brings it, and each is of use."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.errors import Location, Problem, Severity
from carvelwright.project import config
from carvelwright.project.images import LOCK_FILE
from carvelwright.reference import Reference
from carvelwright.rules import objects
from carvelwright.steps import existing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from carvelwright.project.config import Package
    from carvelwright.steps.existing import Rendering

# A line of a file: the file, the line's number, its text.
_Line = tuple["Path", int, str]

# What makes kbld in the cluster look elsewhere than in the bundle's ImagesLock.
_MISLEADING = ("overrides", "sources", "destinations")
# An image that stands in a template as a constant.
_CONSTANT = re.compile(r"""(?:^|[\s{,-])["']?image["']?:[ \t]+["']?(?P<name>[A-Za-z0-9][^\s"',}#]*)""")
# What may stand between an image and the text around it.
_EDGE = re.compile(r"[\s\"'`=,;<>(){}\[\]|]+")
# Fields such as sidecarImage, and variables such as RELATED_IMAGE_PROXY.
_IMAGE_KEY = re.compile(r"image(name|ref|url)?$|(^|_)image_", re.IGNORECASE)
_IMAGE_ARGUMENT = re.compile(r"image=(\S+)$", re.IGNORECASE)
_RENDER_HINT = (
    f"add a values file that turns the option on to {config.RENDERS_DIRECTORY}/, or name the image under `images` in "
    f"{config.BUILD_FILE}; then run `carvelwright images update`"
)
_TEXT_HINT = (
    "to lock it, add a searchRule for its field to a kbld Config document in bundle/config; to carry it only, name it "
    f"under `images` in {config.BUILD_FILE}; then run `carvelwright images update`"
)


def problems(project: Package, found: Sequence[Rendering], documents: Sequence[Any]) -> list[Problem]:
    """Return what is wrong with the images of a package's renderings, whose documents are given, and what may be."""
    used = existing.used(project, found)
    known = {*used, *(image.name for image in project.images)}
    lines = list(_lines(project.root / config.BUNDLE_CONFIG))
    return [
        *_misleading(project, documents),
        *(_placed(problem, name, lines) for name in used for problem in existing.problems(project, [name])),
        *(_placed(problem, name, lines) for name, problem in _unknown_platforms(project, used)),
        *_unused(project, used, found),
        *_behind_options(known, lines),
        *_unlocked_texts(project, known, documents, lines),
    ]


def _misleading(project: Package, documents: Sequence[Any]) -> Iterator[Problem]:
    where = Location(project.root / config.BUNDLE_CONFIG)
    for document in documents:
        if objects.is_for_kbld(document):
            for key in _MISLEADING:
                if document.get(key):
                    yield Problem(
                        f"a kbld {document.get('kind')} has {key}: in the cluster they come before the locked images",
                        where,
                        expected="keys and searchRules only",
                        hint="write each image itself in the manifests",
                    )


def _unknown_platforms(project: Package, used: Collection[str]) -> Iterator[tuple[str, Problem]]:
    locked = {image.name for image in project.locked_images}
    for name in used:
        if "@" in name and name not in locked:
            where, hint = Location(project.root / config.BUNDLE_CONFIG), f"run `carvelwright images update {name}`"
            yield name, _warning(f"image {name!r} is not in {LOCK_FILE}: its platforms are not known", where, hint=hint)


def _unused(project: Package, used: Collection[str], found: Sequence[Rendering]) -> Iterator[Problem]:
    for image in project.locked_images:
        if image.name not in used:
            yield _warning(
                f"no manifest uses the locked image {image.name!r}",
                Location(project.root / LOCK_FILE),
                hint="run `carvelwright images update` to drop it",
            )
    rendered = {name for rendering in found for name in rendering.images}
    for built in project.go_images:
        if built.name not in rendered:
            yield _warning(
                f"no manifest uses image {built.name!r}",
                Location(project.root / config.BUNDLE_CONFIG),
                hint=f"use it in a manifest, or remove it from {config.BUILD_FILE}; if an option brings it, add a "
                f"values file that turns the option on to {config.RENDERS_DIRECTORY}/",
            )


def _behind_options(known: Collection[str], lines: Sequence[_Line]) -> Iterator[Problem]:
    """Find images in the templates that no rendering has."""
    for file, number, line in lines:
        for match in _CONSTANT.finditer(line):
            name = match["name"]
            if name not in known and _is_image(name):
                yield _warning(f"image {name!r} is in no rendering", Location(file, number), hint=_RENDER_HINT)


def _unlocked_texts(
    project: Package, known: Collection[str], documents: Sequence[Any], lines: Sequence[_Line]
) -> Iterator[Problem]:
    """Find texts in the renderings that look like images and are not locked."""
    seen: set[str] = set()
    for document in documents:
        if objects.is_configuration(document):
            continue
        for key, text in _texts(document):
            for name in _images_in(key, text):
                if name not in known and name not in seen:
                    seen.add(name)
                    message = f"{objects.title(document)}: {name!r} looks like an image and is not locked"
                    where = Location(project.root / config.BUNDLE_CONFIG)
                    yield _placed(_warning(message, where, hint=_TEXT_HINT), name, lines)


def _placed(problem: Problem, image: str, lines: Sequence[_Line]) -> Problem:
    """Return a problem with the first line that holds the image, instead of the directory of all."""
    if problem.location is None or not problem.location.file.is_dir():
        return problem
    whole = re.compile(rf"(?<![\w./:@-]){re.escape(image)}(?![\w./:@-])")
    places = (Location(file, number) for file, number, line in lines if whole.search(line))
    return replace(problem, location=next(places, problem.location))


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a document with the key that it stands under, of an environment variable with its name."""
    if isinstance(node, str):
        # What a field is for may be told with an example.
        if key != "description":
            yield key, node
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            variable = node.get("name") if name == "value" else None
            yield from _texts(value, variable if isinstance(variable, str) else str(name))


def _images_in(key: str, text: str) -> Iterator[str]:
    named = _IMAGE_ARGUMENT.search(text)
    candidate = text if _IMAGE_KEY.search(key) else named[1] if named else ""
    if re.search(r"[:@]", candidate) and _is_image(candidate):
        yield candidate
        return
    for part in _EDGE.split(re.sub(r"\b(oci|docker)://", "", text)):
        if "/" in part and re.search(r"[:@]", part):
            try:
                reference = Reference.parse(part)
            except ValueError:
                continue
            if reference.tag or reference.digest:
                yield part


def _is_image(text: str) -> bool:
    try:
        Reference.of_image(text)
    except ValueError:
        return False
    return True


def _lines(directory: Path) -> Iterator[_Line]:
    for path in files.walk_files(directory, files.is_no_content):
        text = files.read_bytes(path).decode(errors="replace")
        yield from ((path, number, line) for number, line in enumerate(text.splitlines(), 1))


def _warning(message: str, where: Location, *, hint: str) -> Problem:
    return Problem(message, where, hint=hint, severity=Severity.WARNING)
