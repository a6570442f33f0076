"""Carvel's documents as values: made from typed parts, read back strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from carvelwright.version import PackageVersion

_PACKAGING_API = "data.packaging.carvel.dev/v1alpha1"
_INSTALL_API = "packaging.carvel.dev/v1alpha1"
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


def package(
    ref_name: str,
    version: PackageVersion,
    *,
    released_at: str,
    release_notes: str,
    static: Mapping[str, Any],
    values_schema: Mapping[str, Any],
    bundle: Reference,
) -> Document:
    """Return the Package: fetched by digest, templated with ytt and kbld, deployed with kapp.

    `static` holds the parts of the spec that do not depend on the build (licenses, included software …).
    """
    return {
        "apiVersion": _PACKAGING_API,
        "kind": "Package",
        "metadata": {"name": f"{ref_name}.{version}"},
        "spec": {
            "refName": ref_name,
            "version": str(version),
            "releasedAt": released_at,
            "releaseNotes": release_notes,
            **static,
            "valuesSchema": {"openAPIv3": values_schema},
            "template": {
                "spec": {
                    "fetch": [{"imgpkgBundle": {"image": str(bundle)}}],
                    "template": [
                        {"ytt": {"paths": ["config/"]}},
                        {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}},
                    ],
                    "deploy": [{"kapp": {}}],
                }
            },
        },
    }


def package_metadata(ref_name: str, spec: Mapping[str, Any]) -> Document:
    """Return the PackageMetadata."""
    return {
        "apiVersion": _PACKAGING_API,
        "kind": "PackageMetadata",
        "metadata": {"name": ref_name},
        "spec": dict(spec),
    }


def package_repository(name: str, repository: Reference) -> Document:
    """Return the PackageRepository resource that points at a repository bundle by digest."""
    return {
        "apiVersion": _INSTALL_API,
        "kind": "PackageRepository",
        "metadata": {"name": name},
        "spec": {"fetch": {"imgpkgBundle": {"image": str(repository)}}},
    }


def package_bundle(document: Mapping[str, Any]) -> Reference:
    """Return the bundle that a Package fetches; ValueError where it fetches something else or not by digest."""
    try:
        (fetch,) = document["spec"]["template"]["spec"]["fetch"]
        image = Reference.parse(fetch["imgpkgBundle"]["image"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a Package that fetches one imgpkg bundle: {error}") from error
    if image.digest is None:
        raise ValueError(f"the bundle is not pinned by digest: {image}")
    return image


def bundle_or_none(document: Mapping[str, Any]) -> Reference | None:
    """Return the bundle that a Package fetches; None where it fetches something else or not by digest."""
    try:
        return package_bundle(document)
    except ValueError:
        return None


def name_of(document: Mapping[str, Any]) -> str | None:
    """Return metadata.name; None where there is none."""
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else None


def same_package(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two Packages are the same release: of their bundles the digests count, not where they lie."""
    first, second = bundle_or_none(one), bundle_or_none(other)
    return (
        first is not None
        and second is not None
        and first.digest == second.digest
        and name_of(one) == name_of(other)
        and _spec_but_template(one) == _spec_but_template(other)
    )


def _spec_but_template(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document["spec"].items() if key != "template"}


def images_of(documents: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return every image that the pods of some manifests ask for."""
    return {image for document in documents for image in _images(document)}


def _images(node: Any) -> set[str]:
    if isinstance(node, list):
        return {image for item in node for image in _images(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["image"]} if isinstance(node.get("image"), str) else set()
    return own | {image for key, value in node.items() if key != "image" for image in _images(value)}
