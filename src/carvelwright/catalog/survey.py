"""Every version in a package repository, also of other publishers, for those who read it and change nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.carvel import resources
from carvelwright.catalog import foreign
from carvelwright.catalog.content import Catalog, Held
from carvelwright.catalog.records import PACKAGES, metadata_file, package_file
from carvelwright.errors import CarvelwrightError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.carvel.resources import Document


@dataclass(frozen=True, slots=True)
class Survey:
    """A repository in which the versions of others are known as well, and what in its files is wrong.

    `problems` names files of packages/ that cannot be read, and versions that are there more than once.
    """

    catalog: Catalog
    problems: tuple[str, ...]


def survey(catalog: Catalog) -> Survey:
    """Read the files of other publishers. Unlike `merged`, nothing is refused: what cannot be read is a problem."""
    # What was written from a record holds that one version; the other files may hold any number.
    ours = {held.file for held in catalog.versions.values() if _is_ours(held)} | set(
        map(metadata_file, catalog.metadata)
    )
    files, versions, problems = dict(catalog.files), dict(catalog.versions), []
    met: set[tuple[str, str]] = set()
    for name, content in catalog.files.items():
        if name in ours or not name.startswith(f"{PACKAGES}/") or not name.endswith((".yml", ".yaml")):
            continue
        try:
            documents = foreign.documents_of(name, content)
        except CarvelwrightError as error:
            problems.append(f"{name} cannot be read: {' '.join(error.lines())}")
            continue
        for document in documents:
            if held := _package(name, document):
                key = (held.ref_name, held.version)
                known = versions.setdefault(key, held)
                if key in met or known.file != name:
                    why = "was withdrawn" if known.file is None else "another file or document holds, too"
                    problems.append(f"{name} holds {held.ref_name} {held.version}, which {why}")
                met.add(key)
            elif ref_name := _metadata(document):
                alone = content if len(documents) == 1 else yamldoc.dump(document).encode()
                files.setdefault(metadata_file(ref_name), alone)
    return Survey(replace(catalog, files=files, versions=versions), tuple(problems))


def package_text(files: Mapping[str, bytes], held: Held) -> bytes:
    """Return the file of one Package; cut out where others keep several documents in one file."""
    name = held.file or ""
    content = files[name]
    if _is_ours(held):
        return content
    documents = foreign.documents_of(name, content)
    wanted = [each for each in documents if (found := _package(name, each)) and found.version == held.version]
    return content if len(documents) == 1 else yamldoc.dump(wanted[0]).encode()


def is_alone(files: Mapping[str, bytes], held: Held) -> bool:
    """Tell whether the file of a version holds nothing else."""
    return files[held.file or ""] == package_text(files, held)


def package_document(held: Held, content: bytes) -> Document:
    """Return the Package of a file that holds this one alone."""
    return foreign.require_document(held.file or "a withdrawn Package", content, "Package", _name(held))


def _name(held: Held) -> str:
    return f"{held.ref_name}.{held.version}"


def _is_ours(held: Held) -> bool:
    return (held.release or held.mark) is not None and held.file == package_file(held.ref_name, held.version)


def _package(file: str, document: Mapping[str, Any]) -> Held | None:
    spec = document.get("spec")
    if document.get("kind") != "Package" or not isinstance(spec, dict):
        return None
    ref_name, version = spec.get("refName"), spec.get("version")
    if not isinstance(ref_name, str) or version is None:
        return None
    bundle = resources.bundle_or_none(document)
    date = str(spec.get("releasedAt") or "")
    return Held(ref_name, str(version), file, str(bundle) if bundle else None, released_at=date)


def _metadata(document: Mapping[str, Any]) -> str | None:
    return resources.name_of(document) if document.get("kind") == "PackageMetadata" else None
