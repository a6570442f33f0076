"""Files of a package repository that others wrote: what of them is about a package of ours, and what cannot stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog.records import PACKAGES, metadata_file
from carvelwright.errors import CarvelwrightError, ConfigError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carvelwright.carvel.resources import Document

    # How an error is made of a message, details and a hint: a class, or one whose other data is given.
    Makes = Callable[..., CarvelwrightError]

# What file systems hold, with room for the directories above.
_LONGEST_NAME, _LONGEST_PATH = 255, 2000
_HINT = "repair the published package repository, or publish to another REGISTRY/PATH"


@dataclass(frozen=True, slots=True)
class Found:
    """A Package or a PackageMetadata in a file; `alone` says that nothing else is in the file."""

    file: str
    document: Document
    alone: bool


def packages_and_metadata(ref_name: str, files: Mapping[str, bytes]) -> tuple[dict[str, Found], list[Found]]:
    """Return the Packages of a refName by their versions, and its metadata, wherever they stand.

    RegistryError where a version stands there more than once, or metadata together with other documents.
    """
    ours = [found for name, content in files.items() for found in _ours(name, content, ref_name)]
    versions: dict[str, Found] = {}
    for found in ours:
        if found.document["kind"] != "Package":
            continue
        version = _version(found.document, ref_name)
        if version in versions:
            names = ", ".join(dict.fromkeys([versions[version].file, found.file]))
            raise unfit_file(names, f"{ref_name}.{version} more than once")
        versions[version] = found
    metadata = [found for found in ours if found.document["kind"] == "PackageMetadata"]
    for found in metadata:
        if not found.alone:
            raise unfit_file(found.file, f"PackageMetadata {ref_name} together with other documents")
    return versions, metadata


def refuse_obstacles(ref_name: str, files: Mapping[str, bytes]) -> None:
    """Refuse files in whose place a directory or a document of a package has to stand, and the other way round."""
    metadata, directory = metadata_file(ref_name), f"{PACKAGES}/{ref_name}"
    for name in files:
        if name in (PACKAGES, directory) or name.startswith(f"{metadata}/"):
            raise unfit_file(name, "a file in the place of this package's files")
    if metadata in files:
        require_document(metadata, files[metadata], "PackageMetadata", ref_name)


def require_document(file: str, content: bytes, kind: str, name: str, make: Makes = RegistryError) -> Document:
    """Return the one object of a file, which has to be of a kind and a name."""
    details, documents = None, []
    try:
        documents = documents_of(file, content)
    except CarvelwrightError as error:
        details = "\n".join(error.lines())
    if [(document.get("kind"), resources.name_of(document)) for document in documents] != [(kind, name)]:
        raise unfit_file(file, f"something other than {kind} {name}", details, make)
    return documents[0]


def _version(document: Document, ref_name: str) -> str:
    name = resources.name_of(document) or ""
    spec = document.get("spec")
    said = spec.get("version") if isinstance(spec, dict) else None
    return name.removeprefix(f"{ref_name}.") if name.startswith(f"{ref_name}.") else str(said)


def _owns(document: Document, ref_name: str) -> bool:
    spec, name = document.get("spec"), resources.name_of(document)
    if document.get("kind") == "Package" and isinstance(spec, dict):
        return spec.get("refName") == ref_name
    return document.get("kind") == "PackageMetadata" and name == ref_name


def _ours(name: str, content: bytes, ref_name: str) -> Iterator[Found]:
    """Yield the Packages and the metadata of a package in a file.

    Files of others need not be readable; most do not name the package, and are not even parsed.
    """
    if not name.endswith((".yml", ".yaml")) or ref_name.encode() not in content:
        return
    try:
        documents = documents_of(name, content)
    except CarvelwrightError:
        return
    for document in documents:
        if _owns(document, ref_name):
            yield Found(name, document, len(documents) == 1)


def documents_of(name: str, content: bytes) -> list[Document]:
    """Return the objects of a file, those within lists one by one; what is no object is left out."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise RegistryError(f"not UTF-8: {error.reason}") from None
    found: list[Document] = []
    todo: list[Any] = yamldoc.load_all_text(text, Path("package repository", name))[::-1]
    while todo:
        document = todo.pop()
        if not isinstance(document, dict):
            continue
        items = document.get("items")
        if str(document.get("kind")).endswith("List") and isinstance(items, list):
            todo += items[::-1]
        else:
            found.append(document)
    return found


def refuse_names(files: Mapping[str, bytes]) -> None:
    """Refuse names that imgpkg, or a list of files, one a line, cannot hold, or no directory beside another name."""
    for name in files:
        first, *inner = name.split("/")
        long = len(name.encode(errors="replace")) > _LONGEST_PATH or any(
            len(part.encode(errors="replace")) > _LONGEST_NAME for part in (first, *inner)
        )
        if not name.isprintable() or ".imgpkg" in inner or first == ".git" or long:
            raise unfit(f"the file name {name!a}")
        above = ["/".join([first, *inner[:number]]) for number in range(len(inner))]
        if both := [directory for directory in above if directory in files]:
            raise unfit(f"{both[0]} is a file, and {name} is in a directory of that name")


def lock_of(content: bytes) -> tuple[Document, ...]:
    """Return the entries of a repository's ImagesLock as they stand."""
    try:
        document = yamldoc.parse(content.decode(), Path("package repository", locks.IMAGES_LOCK)).data
        return locks.lock_entries(document)
    except ConfigError as error:
        raise unfit_file(locks.IMAGES_LOCK, "no ImagesLock", details="\n".join(error.lines())) from None
    except ValueError as error:
        raise unfit_file(locks.IMAGES_LOCK, "no ImagesLock", details=str(error)) from None


def unfit_file(name: str, holds: str, details: str | None = None, make: Makes = RegistryError) -> CarvelwrightError:
    """Return the error for a file that cannot be carried on."""
    return unfit(f"{name} holds {holds}", details, make)


def unfit(why: str, details: str | None = None, make: Makes = RegistryError) -> CarvelwrightError:
    """Return the error for a published repository that cannot be carried on."""
    return make(f"the published package repository cannot be extended: {why}", details=details, hint=_HINT)
