"""Names that two things of a project would have at one place, where one would overwrite the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright.errors import Location, Problem
from carvelwright.project import loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.yamldoc import Document

REPOSITORY_NAME = "package-repository"
# What the build itself puts into the bundle's config/, and where its content is to be written instead.
_STAGED = {
    "values-schema.yaml": "rename the file: the build copies the project's values schema to this path",
    loads.LIBRARY: "rename the directory: the build copies the parts of carvelwright's library here that are loaded",
    "release.star": "rename the file: the build writes release.star for the templates",
}
_CRDS = "crds"

# A name, where build.yaml gives it, and what has it.
_Named = tuple[str, list[str | int], str]


def problems(build: Document, bundle: Path, schema: Path) -> list[Problem]:
    """Return every clash of names: of images, of the files in an image, of the files in the bundle.

    `bundle` is the bundle's config directory in the sources, `schema` the values schema.
    """
    data = build.data
    images = data.get("images", [])
    taken = {REPOSITORY_NAME: "the package repository", data["refName"]: "the bundle"}
    found = [*_clashes(build, _images(images), taken), *_clashes(build, _existing(images), {})]
    for number, image in enumerate(images):
        found += _clashes(build, _programs(image, number), {}, key=True)
    found += _clashes(build, _crds(data), _bundled_crds(bundle))
    return [*found, *_staged(data, bundle, schema), *loads.problems(schema, bundle)]


def _clashes(build: Document, named: Iterable[_Named], taken: Mapping[str, str], *, key: bool = False) -> list[Problem]:
    owners, found = dict(taken), []
    for name, pointer, what in named:
        if name in owners:
            message = f"{what} has the name of {owners[name]}: one overwrites the other"
            found.append(build.problem(pointer, message, key=key, found=name, expected="another name"))
        else:
            owners[name] = what
    return found


def _images(images: Iterable[Mapping[str, Any]]) -> Iterator[_Named]:
    for number, image in enumerate(images):
        if "name" in image:
            yield image["name"], ["images", number, "name"], f"image {number + 1}"


def _existing(images: Iterable[Mapping[str, Any]]) -> Iterator[_Named]:
    for number, image in enumerate(images):
        if "image" in image:
            yield image["image"], ["images", number, "image"], f"image {number + 1}"


def _programs(image: Mapping[str, Any], number: int) -> Iterator[_Named]:
    for index, module in enumerate(image.get("modules", [])):
        for kind, word in (("binaries", "a binary"), ("links", "a link")):
            for name in module.get(kind, {}):
                yield name, ["images", number, "modules", index, kind, name], f"{word} of {module['directory']}"


def _crds(data: Mapping[str, Any]) -> Iterator[_Named]:
    for number, source in enumerate(data.get("crds", [])):
        for index, file in enumerate(source["files"]):
            yield file.rpartition("/")[2], ["crds", number, "files", index], f"{file} of {source['goModule']}"


def _bundled_crds(bundle: Path) -> dict[str, str]:
    directory = bundle / _CRDS
    return {path.name: str(path) for path in directory.iterdir()} if directory.is_dir() else {}


def _staged(data: Mapping[str, Any], bundle: Path, schema: Path) -> list[Problem]:
    places = [bundle / name for name in _STAGED if (bundle / name).exists() or (bundle / name).is_symlink()]
    # What the values schema loads from beside it is copied, too.
    places += [schema.parent / name for name in loads.staged(schema, bundle) if name in _STAGED and name != schema.name]
    found = [
        Problem("this name is reserved for the build", Location(place), hint=_STAGED[place.name]) for place in places
    ]
    crds = bundle / _CRDS
    if data.get("crds") and crds.exists() and not crds.is_dir():
        found.append(
            Problem("not a directory", Location(crds), expected="a directory: the build stages the CRDs there")
        )
    return found
