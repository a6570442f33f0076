"""Carvel's documents as values: made from typed parts, read back strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright.carvel import app
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.carvel.version import PackageVersion

_PACKAGING_API = "data.packaging.carvel.dev/v1alpha1"
_INSTALL_API = "packaging.carvel.dev/v1alpha1"
# On a Package that is not to be installed any more: the reason.
DEPRECATED = "carvelwright/deprecated"

Document = dict[str, Any]


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
    """Return the Package: fetched by digest, templated and deployed as `static` says, or with ytt, kbld and kapp.

    `static` holds the parts of the spec that do not depend on the build (licenses, included software …).
    """
    described = {key: value for key, value in static.items() if key not in ("template", "deploy")}
    return {
        "apiVersion": _PACKAGING_API,
        "kind": "Package",
        "metadata": {"name": f"{ref_name}.{version}"},
        "spec": {
            "refName": ref_name,
            "version": str(version),
            "releasedAt": released_at,
            "releaseNotes": release_notes,
            **described,
            "valuesSchema": {"openAPIv3": values_schema},
            "template": {
                "spec": {
                    "fetch": [{"imgpkgBundle": {"image": str(bundle)}}],
                    "template": app.template(static),
                    "deploy": app.deploy(static),
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


def package_repository(name: str, repository: Reference, *, follow: bool = False) -> Document:
    """Return the PackageRepository resource that points at a repository bundle by digest.

    With `follow` it names no tag, and takes the highest one that is a semantic version: what is published later, too.
    """
    fetch: Document = {"image": str(repository)}
    if follow:
        fetch = {"image": str(repository.repository), "tagSelection": {"semver": {}}}
    return {
        "apiVersion": _INSTALL_API,
        "kind": "PackageRepository",
        "metadata": {"name": name},
        "spec": {"fetch": {"imgpkgBundle": fetch}},
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


def with_bundle(document: Mapping[str, Any], bundle: Reference) -> Document:
    """Return a Package that fetches one bundle, fetching it from another place."""
    spec = document["spec"]
    inner = {**spec["template"]["spec"], "fetch": [{"imgpkgBundle": {"image": str(bundle)}}]}
    return {**document, "spec": {**spec, "template": {**spec["template"], "spec": inner}}}


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
        and _spec_but_fetch(one) == _spec_but_fetch(other)
    )


def _spec_but_fetch(document: Mapping[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    return {**spec, "template": {key: value for key, value in spec["template"]["spec"].items() if key != "fetch"}}


def deprecated(package: Mapping[str, Any], reason: str) -> Document:
    """Return a Package that says that it is deprecated: in an annotation, and at the start of its release notes."""
    original = undeprecated(package)
    metadata, spec = original["metadata"], original["spec"]
    annotations = {**(metadata.get("annotations") or {}), DEPRECATED: reason}
    notes = _deprecation(reason) + str(spec.get("releaseNotes") or "")
    return {
        **original,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**spec, "releaseNotes": notes},
    }


def undeprecated(package: Mapping[str, Any]) -> Document:
    """Return a Package as it was before it was deprecated; the same one where it never was."""
    metadata = package.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict) or DEPRECATED not in annotations:
        return dict(package)
    others = {key: value for key, value in annotations.items() if key != DEPRECATED}
    kept = {key: value for key, value in metadata.items() if key != "annotations"} if isinstance(metadata, dict) else {}
    spec = dict(package["spec"])
    notes = str(spec.get("releaseNotes") or "").removeprefix(_deprecation(str(annotations[DEPRECATED])))
    spec = {**spec, "releaseNotes": notes}
    return {**package, "metadata": {**kept, **({"annotations": others} if others else {})}, "spec": spec}


def _deprecation(reason: str) -> str:
    return f"DEPRECATED: {reason}\n\n"
