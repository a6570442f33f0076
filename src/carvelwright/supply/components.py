"""Reads SBOMs back: which Go modules a document names, in CycloneDX or SPDX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packageurl import PackageURL

from carvelwright.supply.inventory import SUM
from carvelwright.supply.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROPERTY = f"carvelwright:{SUM}"


def of_cyclonedx(document: Any) -> set[Module]:
    """Return the Go modules that a CycloneDX document lists as libraries; ValueError where it is no such document."""
    components = document.get("components", []) if isinstance(document, dict) else None
    if not isinstance(components, list) or document.get("bomFormat") != "CycloneDX":
        raise ValueError("it is no CycloneDX document")
    return set(_found(_cyclonedx(each) for each in components if isinstance(each, dict)))


def of_spdx(document: Any) -> set[Module]:
    """Return the Go modules, without their sums, that an SPDX document lists; ValueError where it is none."""
    packages = document.get("packages", []) if isinstance(document, dict) else None
    if not isinstance(packages, list) or not str(document.get("spdxVersion")).startswith("SPDX-"):
        raise ValueError("it is no SPDX document")
    references = [
        each.get("referenceLocator")
        for package in packages
        if isinstance(package, dict) and package.get("primaryPackagePurpose") == "LIBRARY"
        for each in package.get("externalRefs") or ()
        if isinstance(each, dict) and each.get("referenceType") == "purl"
    ]
    return set(_found(_module(reference, "") for reference in references))


def _cyclonedx(component: Mapping[str, Any]) -> Module | None:
    if component.get("type") != "library":
        return None
    properties = component.get("properties") or ()
    sums = [each.get("value") for each in properties if isinstance(each, dict) and each.get("name") == _PROPERTY]
    return _module(component.get("purl"), str(sums[0]) if sums else "")


def _module(purl: object, checksum: str) -> Module | None:
    try:
        url = PackageURL.from_string(str(purl))
    except ValueError:
        return None
    if url.type != "golang":
        return None
    return Module("/".join(filter(None, (url.namespace, url.name))), url.version or "", checksum)


def _found(modules: Iterator[Module | None]) -> Iterator[Module]:
    return (module for module in modules if module is not None)


def digests(document: Any) -> set[str]:
    """Return every SHA-256 digest, in hexadecimal digits, that an SBOM has of one of its parts."""
    if not isinstance(document, dict):
        return set()
    found = set()
    for part in [*_list(document.get("components")), *_list(document.get("packages"))]:
        for each in [*_list(part.get("hashes")), *_list(part.get("checksums"))]:
            found.add(str(each.get("content") or each.get("checksumValue")))
    return found


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
