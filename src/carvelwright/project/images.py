"""The images of a package: those that the project builds, and those that exist and are locked by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.platform import Platform
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carvelwright.errors import Problem
    from carvelwright.yamldoc import Document

LOCK_FILE = "package/images.lock.yaml"
_HEAD = "# Made by `carvelwright images update`. Commit it: builds take the images' digests from here.\n"
_KIND = "LockedImages"


@dataclass(frozen=True, slots=True)
class GoModule:
    """A Go module of the workspace whose packages become binaries of an image; `tags` are Go's build tags."""

    directory: str
    variables: Mapping[str, str]
    binaries: Mapping[str, str]
    links: Mapping[str, str]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GoImage:
    """An image built FROM scratch; `name` is what the manifests write as image."""

    name: str
    title: str
    description: str
    licenses: str
    source: str | None
    entrypoint: tuple[str, ...]
    modules: tuple[GoModule, ...]


@dataclass(frozen=True, slots=True)
class DeclaredImage:
    """An existing image that build.yaml names: part of the package even where no rendering uses it.

    `platforms` are those that it has to offer; None stands for the package's.
    """

    name: str
    platforms: tuple[Platform, ...] | None


@dataclass(frozen=True, slots=True)
class LockedImage:
    """An image that exists: `name` is what the manifests write, `reference` has its digest.

    `tag` is what the digest was found under, None where the name itself has a digest. `platforms` is what the image
    offers, as OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT.
    """

    name: str
    reference: Reference
    tag: str | None
    platforms: tuple[str, ...]

    def lacks(self, wanted: Iterable[Platform]) -> list[Platform]:
        """Return the platforms that the image does not offer; of one architecture any variant will do."""
        offered = {Platform.parse("/".join(text.split("/")[:2])) for text in self.platforms}
        return [platform for platform in wanted if platform not in offered]

    def document(self) -> dict[str, Any]:
        """Return it as an entry of the lock file."""
        tag = {"tag": self.tag} if self.tag else {}
        return {"name": self.name, "image": str(self.reference), **tag, "platforms": list(self.platforms)}


def go_image(image: Mapping[str, Any]) -> GoImage:
    """Read an entry of build.yaml's `images` that is built from Go source."""
    return GoImage(
        name=image["name"],
        title=image["title"],
        description=image["description"],
        licenses=image["licenses"],
        source=image.get("source"),
        entrypoint=tuple(image.get("entrypoint", ())),
        modules=tuple(
            GoModule(
                module["directory"],
                module.get("variables", {}),
                module["binaries"],
                module.get("links", {}),
                tuple(module.get("tags", ())),
            )
            for module in image["modules"]
        ),
    )


def declared_image(image: Mapping[str, Any]) -> DeclaredImage:
    """Read an entry of build.yaml's `images` that names an existing image."""
    platforms = tuple(Platform.parse(text) for text in image["platforms"]) if "platforms" in image else None
    return DeclaredImage(image["image"], platforms)


def lock_text(images: Iterable[LockedImage]) -> str:
    """Return the lock file's content, sorted by name."""
    entries = [image.document() for image in sorted(images, key=lambda image: image.name)]
    return _HEAD + yamldoc.dump({"schemaVersion": 1, "kind": _KIND, "images": entries})


def locked_images(lock: Document) -> tuple[list[LockedImage], list[Problem]]:
    """Read a lock file that has passed its JSON Schema: the images, and what else is wrong in it."""
    images: dict[str, LockedImage] = {}
    found: list[Problem] = []
    for index, entry in enumerate(lock.data["images"]):
        name = entry["name"]
        key, message = _fault(entry) or (("name", "the same image twice") if name in images else (None, ""))
        if key is not None:
            at: list[str | int] = ["images", index, key]
            hint = f"restore the file, or remove the entry and run `carvelwright images update {name}`"
            found.append(lock.problem(at, message, found=entry.get(key, f"no {key}"), hint=hint))
            continue
        images[name] = LockedImage(name, Reference.parse(entry["image"]), entry.get("tag"), tuple(entry["platforms"]))
    return list(images.values()), found


def _fault(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the key of an entry that does not belong to the name, and why."""
    key = "name"
    try:
        wanted = Reference.of_image(entry["name"])
        key = "image"
        locked = Reference.parse(entry["image"])
    except ValueError as error:
        return key, str(error)
    if locked.digest is None or locked.tag is not None:
        return "image", "not a reference by digest alone"
    if locked.repository != wanted.repository:
        return "image", f"not in the repository of {entry['name']}: {wanted.repository}"
    if wanted.digest is not None and locked.digest != wanted.digest:
        return "image", f"another digest than that of {entry['name']}"
    if entry.get("tag") != wanted.tag:
        return "tag", f"not the tag of {entry['name']}: {wanted.tag or 'none, it has a digest'}"
    return None
