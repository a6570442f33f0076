"""Carvel's documents as values: made from typed parts, read back strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.version import PackageVersion

_PACKAGING_API = "data.packaging.carvel.dev/v1alpha1"
_INSTALL_API = "packaging.carvel.dev/v1alpha1"
_LOCK_API = "imgpkg.carvel.dev/v1alpha1"
_KBLD_ID = "kbld.carvel.dev/id"

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
    def parse(cls, document: Mapping[str, Any]) -> ImagesLock:
        """Read one; ValueError where it is no ImagesLock or an image is not pinned by digest."""
        if document.get("kind") != "ImagesLock":
            raise ValueError(f"not an ImagesLock: kind is {document.get('kind')!r}")
        images = []
        for entry in document.get("images") or []:
            image = Reference.parse(entry["image"])
            if image.digest is None:
                raise ValueError(f"image is not pinned by digest: {image}")
            images.append(LockedImage(image, (entry.get("annotations") or {}).get(_KBLD_ID, str(image))))
        return cls(tuple(images))


@dataclass(frozen=True, slots=True)
class BundleLock:
    """What imgpkg's `--lock-output` writes: the bundle by digest, and the tag it got, if it got one."""

    image: Reference
    tag: str | None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> BundleLock:
        """Read one; ValueError where it is no BundleLock."""
        if document.get("kind") != "BundleLock":
            raise ValueError(f"not a BundleLock: kind is {document.get('kind')!r}")
        return cls(Reference.parse(document["bundle"]["image"]), document["bundle"].get("tag"))


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


def same_package(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two Packages are the same release: of their bundles the digests count, not where they lie."""
    return _without_registry(one) == _without_registry(other)


def _without_registry(document: Mapping[str, Any]) -> tuple[Any, ...]:
    spec = {key: value for key, value in document["spec"].items() if key != "template"}
    return (document["metadata"]["name"], spec, str(package_bundle(document).digest))


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
