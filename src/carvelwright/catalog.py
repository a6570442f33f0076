"""A package repository as a registry holds it: others may have put anything there, and it is carried on as it is."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.errors import CarvelwrightError, ConfigError, RegistryError, ReleasedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from carvelwright.carvel.resources import Document
    from carvelwright.reference import Reference

    # How an error is made of a message, details and a hint: a class, or one whose other data is given.
    _Makes = Callable[..., CarvelwrightError]

PACKAGES = "packages"
LOCK = locks.IMAGES_LOCK
# Of a layer, packed and unpacked.
SIZE = 256 << 20
# What file systems hold, with room for the directories above.
_LONGEST_NAME, _LONGEST_PATH = 255, 2000
_HINT = "repair the published package repository, or publish to another path with --to REGISTRY/PATH"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is carried into the next repository bundle.

    `files` holds every file by its name in the bundle but the ImagesLock and what the new metadata replaces, `locked`
    the entries of that lock, `packages` those Packages of the versions being built that were published, by name,
    `bundles` what the published versions of these packages fetch by digest.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    locked: tuple[Document, ...] = ()
    packages: Mapping[str, Document] = field(default_factory=dict)
    bundles: frozenset[Reference] = frozenset()


def read(published: Mapping[str, bytes], built: Iterable[OwnFiles]) -> Catalog:
    """Read the files of a published repository bundle, to which the versions in `built` are to be added.

    CarvelwrightError for what cannot be carried on: no name of a file may stand in the way of the new ones, and what
    is ours must be readable. Files of others need not be.
    """
    contents = dict(sorted(published.items()))
    for name in contents:
        _refuse_name(name, contents)
    lock = contents.pop(LOCK, None)
    locked = _locked(lock) if lock is not None else ()
    packages: dict[str, Document] = {}
    bundles: set[Reference] = set()
    for own in built:
        own.refuse_obstacles(contents)
        package, fetched = _take_own(contents, own)
        packages |= {own.package_name: package} if package else {}
        bundles |= fetched
    return Catalog(contents, locked, packages, frozenset(bundles))


def _take_own(contents: dict[str, bytes], own: OwnFiles) -> tuple[Document | None, set[Reference]]:
    """Take the metadata out; return the Package of the version that is built, and what all versions fetch."""
    ours = [
        (name, document, alone) for name, content in contents.items() for document, alone in _ours(name, content, own)
    ]
    packages = [(name, document) for name, document, _ in ours if resources.name_of(document) == own.package_name]
    if len(packages) > 1:
        names = ", ".join(dict.fromkeys(name for name, _ in packages))
        raise _unfit(names, f"{own.package_name} more than once")
    for name, document, alone in ours:
        if document["kind"] == "PackageMetadata":
            if not alone:
                raise _unfit(name, f"PackageMetadata {own.ref_name} together with other documents")
            contents.pop(name, None)
    bundles = [resources.bundle_or_none(document) for _, document, _ in ours]
    return packages[0][1] if packages else None, {bundle for bundle in bundles if bundle}


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The names under which a repository bundle holds one version of a package."""

    ref_name: str
    version: str

    @property
    def package_name(self) -> str:
        """The Package's name."""
        return f"{self.ref_name}.{self.version}"

    @property
    def metadata(self) -> str:
        """The file of the PackageMetadata."""
        return f"{PACKAGES}/{self.ref_name}/metadata.yml"

    @property
    def package(self) -> str:
        """The file of the Package."""
        return f"{PACKAGES}/{self.ref_name}/{self.version}.yml"

    def refuse_obstacles(self, contents: Mapping[str, bytes]) -> None:
        """Refuse files in whose place a directory or a document of ours has to stand, and the other way round."""
        for name in contents:
            if name in (PACKAGES, f"{PACKAGES}/{self.ref_name}") or name.startswith(
                (f"{self.metadata}/", f"{self.package}/")
            ):
                raise _unfit(name, "a file in the place of this package's files")
        self._refuse_other_document(self.metadata, contents, "PackageMetadata", self.ref_name, RegistryError)
        released = functools.partial(ReleasedError, package=self.ref_name, version=self.version)
        self._refuse_other_document(self.package, contents, "Package", self.package_name, released)

    def _refuse_other_document(
        self, file: str, contents: Mapping[str, bytes], kind: str, name: str, make: _Makes
    ) -> None:
        if file not in contents:
            return
        details = None
        try:
            documents = _documents(file, contents[file])
        except CarvelwrightError as error:
            documents, details = [], "\n".join(error.lines())
        kinds = [(document["kind"], resources.name_of(document)) for document in documents if self.owns(document)]
        if len(documents) != 1 or kinds != [(kind, name)]:
            raise _unfit(file, f"something other than {kind} {name}", details, make)

    def owns(self, document: Document) -> bool:
        """Tell whether a document is a Package or the metadata of this package."""
        spec, name = document.get("spec"), resources.name_of(document)
        if document.get("kind") == "Package" and isinstance(spec, dict):
            return name == self.package_name or spec.get("refName") == self.ref_name
        return document.get("kind") == "PackageMetadata" and name == self.ref_name


def _ours(name: str, content: bytes, own: OwnFiles) -> Iterator[tuple[Document, bool]]:
    """Yield the Packages and the metadata of our package in a file, and whether nothing else is in it.

    Files of others need not be readable; most do not name the package, and are not even parsed.
    """
    if not name.endswith((".yml", ".yaml")) or own.ref_name.encode() not in content:
        return
    try:
        documents = _documents(name, content)
    except CarvelwrightError:
        return
    for document in documents:
        if own.owns(document):
            yield document, len(documents) == 1


def _documents(name: str, content: bytes) -> list[Document]:
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


def _refuse_name(name: str, contents: Mapping[str, bytes]) -> None:
    """Refuse names that a list of files, one a line, or imgpkg cannot hold, or no directory beside another name."""
    first, *inner = name.split("/")
    long = len(name.encode(errors="replace")) > _LONGEST_PATH or any(
        len(part.encode(errors="replace")) > _LONGEST_NAME for part in (first, *inner)
    )
    if not name.isprintable() or ".imgpkg" in inner or first == ".git" or long:
        raise unfit(f"the file name {name!a}")
    above = ["/".join([first, *inner[:number]]) for number in range(len(inner))]
    if both := [directory for directory in above if directory in contents]:
        raise unfit(f"{both[0]} is a file, and {name} is in a directory of that name")


def _locked(content: bytes) -> tuple[Document, ...]:
    try:
        document = yamldoc.parse(content.decode(), Path("package repository", LOCK)).data
        return locks.lock_entries(document)
    except ConfigError as error:
        raise _unfit(LOCK, "no ImagesLock", details="\n".join(error.lines())) from None
    except ValueError as error:
        raise _unfit(LOCK, "no ImagesLock", details=str(error)) from None


def _unfit(name: str, holds: str, details: str | None = None, make: _Makes = RegistryError) -> CarvelwrightError:
    return unfit(f"{name} holds {holds}", details, make)


def unfit(why: str, details: str | None = None, make: _Makes = RegistryError) -> CarvelwrightError:
    """Return the error for a published repository that cannot be carried on."""
    return make(f"the published package repository cannot be extended: {why}", details=details, hint=_HINT)
