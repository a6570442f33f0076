"""Carvel's locks as values: the ImagesLock of a bundle and the BundleLock of a push."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOCK_API = "imgpkg.carvel.dev/v1alpha1"
_KBLD_ID = "kbld.carvel.dev/id"
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LockedImage:
    """An image of an ImagesLock: the reference pinned by digest, and the name under which manifests ask for it."""

    image: Reference
    asked_as: str


@dataclass(frozen=True, slots=True)
class ImagesLock:
    """`.imgpkg/images.yml`: every image of a bundle, by digest."""

    images: tuple[LockedImage, ...]

    def document(self) -> Document:
        """Return it as a document, sorted by reference so that equal images give equal bytes."""
        entries = [
            {"image": str(locked.image), "annotations": {_KBLD_ID: locked.asked_as}}
            for locked in sorted(self.images, key=lambda locked: (str(locked.image), locked.asked_as))
        ]
        return {"apiVersion": _LOCK_API, "kind": "ImagesLock", "images": entries}

    @classmethod
    def parse(cls, document: object) -> ImagesLock:
        """Read one; ValueError where it is no ImagesLock or an image is not pinned by digest."""
        images = []
        for entry in lock_entries(document):
            annotations = entry.get("annotations") or {}
            images.append(LockedImage(Reference.parse(entry["image"]), annotations.get(_KBLD_ID) or entry["image"]))
        return cls(tuple(images))


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
        if _PINNED.search(image) is None:
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
    known = {text for entry in entries for text in (entry["image"], (entry.get("annotations") or {}).get(_KBLD_ID))}
    added = ImagesLock(tuple(LockedImage(bundle, str(bundle)) for bundle in bundles if str(bundle) not in known))
    document = added.document()
    return document | {"images": sorted([*entries, *document["images"]], key=_lock_order)}


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
