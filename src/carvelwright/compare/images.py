"""Compares the images of two versions: which came, which are gone, which moved to another digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a package: `name` is what manifests write.

    `digest` is None where only a build can know it, `platforms` where nobody was asked for them.
    """

    name: str
    digest: str | None = None
    platforms: tuple[str, ...] | None = None

    @property
    def base(self) -> str:
        """The name without tag and digest."""
        name = self.name.partition("@")[0]
        path, colon, tag = name.rpartition(":")
        return path if colon and "/" not in tag else name

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        platforms = list(self.platforms) if self.platforms is not None else None
        return {"name": self.name, "digest": self.digest, "platforms": platforms}


@dataclass(frozen=True, slots=True)
class ImageChange:
    """An image that differs: `old` is None where it is new, `new` where it is gone."""

    old: Image | None
    new: Image | None

    def lines(self) -> list[str]:
        """Return what changed, for people."""
        if self.old is None or self.new is None:
            image = self.new or self.old
            parts = [image.digest, ", ".join(image.platforms or ())] if image else []
            return [part for part in parts if part]
        found = [(self.old.name, self.new.name), (self.old.digest, self.new.digest)]
        found += [(_listed(self.old), _listed(self.new))]
        return [f"{old or 'unknown'} → {new or 'unknown'}" for old, new in found if old != new]

    @property
    def kind(self) -> str:
        """`added`, `removed` or `moved`."""
        return "added" if self.old is None else "removed" if self.new is None else "moved"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        old, new = (image.document() if image else None for image in (self.old, self.new))
        return {"kind": self.kind, "old": old, "new": new}


def image_changes(old: Iterable[Image], new: Iterable[Image]) -> tuple[ImageChange, ...]:
    """Return what differs, sorted by name. What is not known of one of the two is not compared.

    Images are paired by name, then, where only the tag or the digest in it differs, by what is before them.
    """
    before, after = ({image.name: image for image in images} for images in (old, new))
    pairs = [(before[name], after[name]) for name in before.keys() & after.keys()]
    gone, come = _by_base(before, after), _by_base(after, before)
    alone = [base for base in gone.keys() & come.keys() if len(gone[base]) == len(come[base]) == 1]
    pairs += [(gone.pop(base)[0], come.pop(base)[0]) for base in alone]
    found = [ImageChange(*pair) for pair in pairs if _differ(*pair)]
    found += [ImageChange(image, None) for images in gone.values() for image in images]
    found += [ImageChange(None, image) for images in come.values() for image in images]
    return tuple(sorted(found, key=_order))


def _by_base(images: dict[str, Image], others: dict[str, Image]) -> dict[str, list[Image]]:
    found: dict[str, list[Image]] = {}
    for name in sorted(images.keys() - others.keys()):
        found.setdefault(images[name].base, []).append(images[name])
    return found


def _differ(old: Image, new: Image) -> bool:
    return any(_differences(old, new))


def _differences(old: Image, new: Image) -> Iterator[bool]:
    yield old.name != new.name
    yield None not in (old.digest, new.digest) and old.digest != new.digest
    yield None not in (old.platforms, new.platforms) and _listed(old) != _listed(new)


def _listed(image: Image) -> str | None:
    return None if image.platforms is None else ", ".join(sorted(image.platforms)) or "none"


def _order(change: ImageChange) -> tuple[str, str]:
    image = change.new or change.old
    return (image.name if image else "", change.kind)
