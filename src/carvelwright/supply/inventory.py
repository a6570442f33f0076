"""What images and packages consist of, as inventories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packageurl import PackageURL

from carvelwright.supply.sbom import Inventory, Kind, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from carvelwright.digest import Digest
    from carvelwright.platform import Platform
    from carvelwright.supply.modules import BuildInfo, Module

# In an image's document, for a binary: where in the image it lies, and for which platform it is.
PATH, PLATFORM, PACKAGE, SUM = "path", "platform", "goPackage", "goSum"


@dataclass(frozen=True, slots=True)
class Described:
    """What a document is about: name, version, the words for people, and the SPDX expression of our own code."""

    name: str
    version: str
    description: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary of an image: its absolute path there."""

    path: str
    platform: Platform
    digest: Digest
    info: BuildInfo


@dataclass(frozen=True, slots=True)
class Existing:
    """An image that existed before, by digest; `carries` says what its own index has about its content."""

    name: str
    tag: str | None
    digest: Digest
    platforms: tuple[str, ...]
    carries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """Files that come from a Go module."""

    module: Module
    names: tuple[str, ...]


def of_image(
    what: Described,
    digest: Digest,
    binaries: Sequence[Binary],
    licences: Mapping[Module, str],
    *,
    created: str,
    tools: Mapping[str, str],
) -> Inventory:
    """Return what an image consists of: its binaries, and every Go module in them.

    `licences` has the SPDX expression of modules; one that is not there stays without.
    """
    # One with a checksum and one from a directory have the same name; the first stands for both.
    modules = {str(module): module for binary in binaries for module in _modules(binary.info)}
    parts = [_binary(what, binary) for binary in binaries]
    subject = Part(
        ref=image_purl(what.name, digest),
        kind=Kind.CONTAINER,
        name=what.name,
        version=what.version,
        purl=image_purl(what.name, digest),
        licence=what.licence,
        description=what.description,
        digest=digest,
        uses=tuple(part.ref for part in parts),
    )
    libraries = [_library(module, licences.get(module)) for _, module in sorted(modules.items())]
    return Inventory(subject, (*parts, *libraries), created, tools)


def of_package(
    what: Described,
    bundle: Digest,
    images: Iterable[Inventory],
    existing: Iterable[Existing],
    crds: Iterable[Files],
    *,
    created: str,
    tools: Mapping[str, str],
) -> Inventory:
    """Return what a package consists of: its bundle, images and CRDs. What its own images hold, their documents say."""
    purl = image_purl(what.name, bundle)
    parts = [
        Part(purl, Kind.DATA, what.name, what.version, purl, what.licence, "imgpkg bundle", bundle),
        *(_described_image(image) for image in images),
        *(_existing(image) for image in existing),
        *(_files(each) for each in crds),
    ]
    subject = Part(
        ref=f"package:{what.name}@{what.version}",
        kind=Kind.APPLICATION,
        name=what.name,
        version=what.version,
        licence=what.licence,
        description=what.description,
        uses=tuple(part.ref for part in parts),
    )
    return Inventory(subject, tuple(parts), created, tools)


def _binary(what: Described, binary: Binary) -> Part:
    return Part(
        ref=f"binary:{binary.platform}{binary.path}",
        kind=Kind.APPLICATION,
        name=binary.path.rpartition("/")[2],
        version=what.version,
        purl=go_purl(binary.info.main, what.version),
        licence=what.licence,
        digest=binary.digest,
        notes={PATH: binary.path, PLATFORM: str(binary.platform), PACKAGE: binary.info.package},
        uses=tuple(go_purl(module.path, module.version) for module in _modules(binary.info)),
    )


def _modules(info: BuildInfo) -> Iterator[Module]:
    yield from (*info.modules, info.standard_library)


def _library(module: Module, licence: str | None) -> Part:
    purl = go_purl(module.path, module.version)
    notes = {SUM: module.sum} if module.sum else {}
    return Part(purl, Kind.LIBRARY, module.path, module.version, purl, licence, notes=notes)


def _described_image(image: Inventory) -> Part:
    """Return an image as part of a package, with a link to its own document."""
    own = image.subject
    return Part(
        own.ref,
        own.kind,
        own.name,
        own.version,
        own.purl,
        own.licence,
        own.description,
        own.digest,
        described_by=(image.link,),
    )


def _existing(image: Existing) -> Part:
    purl = image_purl(image.name.partition("@")[0].rpartition("/")[2].partition(":")[0], image.digest)
    carries = "; ".join(image.carries) or "nothing in the image's index describes its content"
    notes = {"platforms": ", ".join(image.platforms), "content": f"not looked into; {carries}"}
    return Part(
        ref=f"image:{image.name}",
        kind=Kind.CONTAINER,
        name=image.name,
        version=image.tag or "",
        purl=purl,
        description="existing image, not built here",
        digest=image.digest,
        notes=notes,
    )


def _files(each: Files) -> Part:
    module = each.module
    return Part(
        ref=f"files:{module}",
        kind=Kind.DATA,
        name=module.path,
        version=module.version,
        purl=go_purl(module.path, module.version),
        description="CustomResourceDefinitions",
        notes={"files": ", ".join(each.names), **({SUM: module.sum} if module.sum else {})},
    )


def image_purl(name: str, digest: Digest) -> str:
    """Return the package URL of an image, wherever it is published."""
    return PackageURL(type="oci", name=name, version=str(digest)).to_string()


def tagged_purl(name: str, version: str) -> str:
    """Return the package URL of an image whose digest is not known."""
    return PackageURL(type="oci", name=name, qualifiers={"tag": version.replace("+", "_")}).to_string()


def go_purl(path: str, version: str) -> str:
    """Return the package URL of a Go module."""
    namespace, _, name = path.rpartition("/")
    return PackageURL(type="golang", namespace=namespace or None, name=name, version=version or None).to_string()
