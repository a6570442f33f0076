"""Software bills of materials: one inventory, written as CycloneDX 1.6 and as SPDX 2.3, equal bytes for equal parts."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cyclonedx.model.component import Component

    from carvelwright.digest import Digest

# Under this address our documents get names of their own; nothing is served there.
_NAMESPACE = "https://carvelwright.dev/sbom"
_PROPERTY = "carvelwright:"
_LICENCE_REFERENCE = re.compile(r"\bLicenseRef-[A-Za-z0-9.-]+")
_NOT_IN_SPDX_ID = re.compile(r"[^A-Za-z0-9.-]+")


class Kind(StrEnum):
    """What a part is, in the words of CycloneDX."""

    CONTAINER = "container"
    APPLICATION = "application"
    LIBRARY = "library"
    DATA = "data"


# SPDX has no word for data.
_PURPOSES = {
    Kind.CONTAINER: "CONTAINER",
    Kind.APPLICATION: "APPLICATION",
    Kind.LIBRARY: "LIBRARY",
    Kind.DATA: "OTHER",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of some software, or all of it.

    `ref` names it within its inventory. `licence` is an SPDX expression, `digest` that of its content. `notes` is what
    neither format has a field for. `described_by` has addresses of documents about it, `uses` the refs of its parts.
    """

    ref: str
    kind: Kind
    name: str
    version: str = ""
    purl: str | None = None
    licence: str | None = None
    description: str = ""
    digest: Digest | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    described_by: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What some software, the `subject`, consists of.

    `created` is UTC text such as 2026-11-23T00:00:00Z, `tools` has the versions of what made it, by name.
    """

    subject: Part
    parts: tuple[Part, ...]
    created: str
    tools: Mapping[str, str]

    @property
    def serial(self) -> uuid.UUID:
        """The document's own number: equal inventories have the same."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{_NAMESPACE}/{hashlib.sha256(text.encode()).hexdigest()}")

    @property
    def link(self) -> str:
        """The BOM-Link by which other documents name the CycloneDX document."""
        return f"urn:cdx:{self.serial}/1"


def cyclonedx(inventory: Inventory) -> bytes:
    """Write an inventory as CycloneDX 1.6 JSON."""
    # Here and below: to import the library takes longer than a run that has nothing to do.
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.model.dependency import Dependency  # noqa: PLC0415
    from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415
    from cyclonedx.output.json import JsonV1Dot6  # noqa: PLC0415

    components = {part.ref: _component(part) for part in (inventory.subject, *inventory.parts)}
    tools = [
        Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=f"tool:{name}")
        for name, version in sorted(inventory.tools.items())
    ]
    bom = Bom(
        serial_number=inventory.serial,
        metadata=BomMetaData(
            timestamp=dt.datetime.fromisoformat(inventory.created),
            tools=ToolRepository(components=tools),
            component=components[inventory.subject.ref],
        ),
        components=[components[part.ref] for part in inventory.parts],
        dependencies=[
            Dependency(components[part.ref].bom_ref, [Dependency(components[used].bom_ref) for used in part.uses])
            for part in (inventory.subject, *inventory.parts)
        ],
    )
    return f"{JsonV1Dot6(bom).output_as_string(indent=2)}\n".encode()


def _component(part: Part) -> Component:
    from cyclonedx.model import (  # noqa: PLC0415
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        Property,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.model.license import LicenseExpression  # noqa: PLC0415
    from packageurl import PackageURL  # noqa: PLC0415

    return Component(
        bom_ref=part.ref,
        type=ComponentType(part.kind),
        name=part.name,
        version=part.version or None,
        description=part.description or None,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        licenses=[LicenseExpression(part.licence)] if part.licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.digest.hex)] if part.digest else [],
        properties=[Property(name=f"{_PROPERTY}{name}", value=value) for name, value in part.notes.items()],
        external_references=[
            ExternalReference(type=ExternalReferenceType.BOM, url=XsUri(url)) for url in part.described_by
        ],
    )


def spdx(inventory: Inventory) -> bytes:
    """Write an inventory as SPDX 2.3 JSON."""
    subject, parts = inventory.subject, (inventory.subject, *inventory.parts)
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", _spdx_id(subject.ref))]
    for part in parts:
        # Images contain files; what is linked into a file cannot be taken out of it again.
        kind = "CONTAINS" if part.kind is Kind.CONTAINER or part is subject else "DEPENDS_ON"
        relations += [(_spdx_id(part.ref), kind, _spdx_id(used)) for used in part.uses]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{subject.name} {subject.version}".rstrip(),
        "documentNamespace": f"{_NAMESPACE}/{inventory.serial}",
        "creationInfo": {
            "created": inventory.created,
            "creators": [f"Tool: {name}-{version}" for name, version in sorted(inventory.tools.items())],
        },
        "packages": [_spdx_package(part) for part in parts],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in relations
        ],
    }
    if named := _licence_references(parts):
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "extractedText": "The image holds the text below /usr/share/licenses/."}
            for name in named
        ]
    return f"{json.dumps(document, indent=2)}\n".encode()


def _spdx_package(part: Part) -> dict[str, Any]:
    package: dict[str, Any] = {
        "SPDXID": _spdx_id(part.ref),
        "name": part.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": _PURPOSES[part.kind],
        "licenseConcluded": part.licence or "NOASSERTION",
        "licenseDeclared": part.licence or "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }
    if part.version:
        package["versionInfo"] = part.version
    if part.description:
        package["description"] = part.description
    if part.digest:
        package["checksums"] = [{"algorithm": "SHA256", "checksumValue": part.digest.hex}]
    if part.purl:
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl}
        package["externalRefs"] = [reference]
    notes = [f"{name}: {value}" for name, value in part.notes.items()]
    notes += [f"described by: {address}" for address in part.described_by]
    if notes:
        package["comment"] = "\n".join(notes)
    return package


def _spdx_id(ref: str) -> str:
    """Return a ref in the characters that SPDX allows, still another one for each ref."""
    return f"SPDXRef-{_NOT_IN_SPDX_ID.sub('-', ref)}-{hashlib.sha256(ref.encode()).hexdigest()[:8]}"


def _licence_references(parts: Iterable[Part]) -> list[str]:
    """Return the licences that SPDX's list does not have, as overrides name them."""
    return sorted({name for part in parts for name in _LICENCE_REFERENCE.findall(part.licence or "")})
