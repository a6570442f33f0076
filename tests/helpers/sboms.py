"""The judges of bills of materials: each format's own validator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

if TYPE_CHECKING:
    from pathlib import Path


def read_cyclonedx(data: bytes) -> dict[str, Any]:
    """Return a CycloneDX document that the format's validator takes."""
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert wrong is None, wrong
    document: dict[str, Any] = json.loads(data)
    assert document["specVersion"] == "1.6"
    return document


def read_spdx(data: bytes) -> dict[str, Any]:
    """Return an SPDX document that the format's validator takes."""
    document: dict[str, Any] = json.loads(data)
    parsed = JsonLikeDictParser().parse(document)  # type: ignore[no-untyped-call]
    assert validate_full_spdx_document(parsed, "SPDX-2.3") == []
    return document


def documents_in(directory: Path) -> dict[str, dict[str, Any]]:
    """Return every document of a directory by its file's name, validated."""
    readers = {".cdx.json": read_cyclonedx, ".spdx.json": read_spdx}
    return {
        path.name: reader(path.read_bytes())
        for path in sorted(directory.iterdir())
        for ending, reader in readers.items()
        if path.name.endswith(ending)
    }


def purls_of_spdx(document: dict[str, Any]) -> set[str]:
    """Return the package URLs that an SPDX document names."""
    packages = document["packages"]
    return {reference["referenceLocator"] for package in packages for reference in package.get("externalRefs", ())}


def purls_of_cyclonedx(document: dict[str, Any]) -> set[str]:
    """Return the package URLs that a CycloneDX document names."""
    components = [document["metadata"]["component"], *document.get("components", ())]
    return {component["purl"] for component in components if "purl" in component}
