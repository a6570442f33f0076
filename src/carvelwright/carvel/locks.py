"""Carvel's locks as values: the ImagesLock of a bundle and the BundleLock of a push."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

# Where a bundle has its ImagesLock.
IMAGES_LOCK = ".imgpkg/images.yml"
_LOCK_API = "imgpkg.carvel.dev/v1alpha1"
_KBLD_ID = "kbld.carvel.dev/id"
_KBLD_ORIGINS = "kbld.carvel.dev/origins"
# What Go's YAML reads as another type than text.
_NO_TEXT = re.compile(
    r"[-+.]?[0-9][0-9_]*(\.[0-9_]*)?(e[0-9]+)?|0[xob][0-9a-f]+|y|n|yes|no|on|off|true|false|null", re.IGNORECASE
)
# As imgpkg reads them: a registry, a repository of at least two characters, perhaps a tag, and a digest.
_PINNED = re.compile(
    r"(?:(?:[\w-]+(?:\.[\w-]+)+(?::\d+)?|[\w-]+:\d+|\[[0-9a-fA-F:.]+\](?::\d+)?|localhost)/)?+"
    r"[a-z0-9_./-]{2,255}(?::[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64}",
    re.ASCII,
)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LockEntry:
    """An image of an ImagesLock: the reference pinned by digest, and the name that manifests write.

    `tag` is what the name's digest was found under, where a registry was asked for it.
    """

    image: Reference
    name: str
    tag: str | None = None

    def annotations(self) -> dict[str, str]:
        """Return what kbld notes of an image, and reads again: the name, and where the digest is from."""
        if self.tag is None:
            return {_KBLD_ID: self.name}
        tag = f'"{self.tag}"' if _NO_TEXT.fullmatch(self.tag) else self.tag
        return {_KBLD_ID: self.name, _KBLD_ORIGINS: f"- resolved:\n    tag: {tag}\n    url: {self.name}\n"}


@dataclass(frozen=True, slots=True)
class ImagesLock:
    """`.imgpkg/images.yml`: every image of a bundle, by digest."""

    images: tuple[LockEntry, ...]

    def document(self) -> Document:
        """Return it as a document, sorted by reference so that equal images give equal bytes."""
        entries = [
            {"image": str(entry.image), "annotations": entry.annotations()}
            for entry in sorted(self.images, key=lambda entry: (str(entry.image), entry.name))
        ]
        return {"apiVersion": _LOCK_API, "kind": "ImagesLock", "images": entries}


def lock_entries(document: object) -> tuple[Document, ...]:
    """Return the entries of an ImagesLock as they stand; ValueError where it is none or an image has no digest."""
    if not isinstance(document, dict) or document.get("kind") != "ImagesLock":
        raise _not_a("ImagesLock", f"kind is {_kind(document)!r}")
    entries = document.get("images") or []
    if not isinstance(entries, list):
        raise _not_a("ImagesLock", "images is no list")
    for entry in entries:
        image = entry.get("image") if isinstance(entry, dict) else None
        if not isinstance(image, str):
            raise _not_a("ImagesLock", "an entry without an image")
        if _PINNED.fullmatch(image) is None:
            raise ValueError(f"image is not pinned by digest: {image}")
        annotations = entry.get("annotations") or {}
        if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
            raise _not_a("ImagesLock", f"annotations of {image} are no texts")
    return tuple(entries)


def extended_lock(published: Iterable[Document], bundles: Iterable[Reference]) -> Document:
    """Return the ImagesLock of entries that were published, as they stand, and of the bundles that none of them locks.

    Sorted by reference, so that equal images give equal bytes.
    """
    entries = list(published)
    known = {text for entry in entries for text in names_of(entry)}
    added = ImagesLock(tuple(LockEntry(bundle, str(bundle)) for bundle in bundles if str(bundle) not in known))
    document = added.document()
    return document | {"images": sorted([*entries, *document["images"]], key=_lock_order)}


def names_of(entry: Document) -> set[str]:
    """Return under what an entry of an ImagesLock is known: where the image lies, and what manifests write."""
    identity = (entry.get("annotations") or {}).get(_KBLD_ID)
    return {entry["image"], identity} if identity else {entry["image"]}


def _lock_order(entry: Document) -> tuple[str, str]:
    return entry["image"], (entry.get("annotations") or {}).get(_KBLD_ID, "")


def _not_a(kind: str, why: str) -> ValueError:
    return ValueError(f"not {'an' if kind[0] in 'AEIOU' else 'a'} {kind}: {why}")


def _kind(document: object) -> object:
    return document.get("kind") if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class BundleLock:
    """What imgpkg's `--lock-output` writes: the bundle by digest, and the tag it got, if it got one."""

    image: Reference
    tag: str | None

    @classmethod
    def parse(cls, document: object) -> BundleLock:
        """Read one; ValueError where it is no BundleLock."""
        bundle = document.get("bundle") if isinstance(document, dict) and _kind(document) == "BundleLock" else None
        if not isinstance(bundle, dict):
            raise _not_a("BundleLock", f"kind is {_kind(document)!r}")
        image, tag = bundle.get("image"), bundle.get("tag")
        if not isinstance(image, str) or not isinstance(tag, str | None):
            raise _not_a("BundleLock", "no image, or a tag that is not text")
        return cls(Reference.parse(image), tag)
