"""What Packages fetch, read back: bundles and images of a registry, or of an air-gap archive. Nothing is written."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from carvelwright import bounds, files, jsondoc
from carvelwright.catalog import foreign
from carvelwright.catalog.content import SIZE
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.oci import unpack
from carvelwright.steps import airgap, existing
from carvelwright.tools import crane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carvelwright.reference import Reference, Repository
    from carvelwright.tools.tool import Tool

_STEP = "read published package"
_SHAPE = (ValueError, KeyError, TypeError, AttributeError)


class Contents(Protocol):
    """Where bundles and images lie."""

    def bundle(self, reference: Reference) -> dict[str, bytes] | None:
        """Return the files of a bundle by name; None where it is not there, ValueError where it is none."""

    def platforms(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the platforms of an image; None where they cannot be told."""


@dataclass(frozen=True, slots=True)
class RegistryContents:
    """What registries hold: in the OCI repositories `near`, where it is published or copied to, or as it is named."""

    crane: Tool
    near: tuple[Repository, ...]
    timeout: float
    note: Callable[[str], None]

    def bundle(self, reference: Reference) -> dict[str, bytes] | None:
        """Return the files of a bundle; also one that was copied beside the repository."""
        for place in self._places(reference):
            found = crane.pull_verified_bundle(
                self.crane, place, SIZE, step=_STEP, timeout=self.timeout, note=self.note
            )
            if found is not None:
                return dict(found.files)
        return None

    def platforms(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the platforms of an image."""
        for place in self._places(reference):
            raw = crane.manifest(self.crane, place, step=_STEP, timeout=self.timeout, note=self.note)
            if raw is not None:
                return _platforms(raw, lambda place=place: self._configuration(place))  # type: ignore[misc]
        return None

    def _configuration(self, place: Reference) -> bytes:
        return crane.configuration(self.crane, place, step=_STEP, timeout=self.timeout, note=self.note)

    def _places(self, reference: Reference) -> Iterator[Reference]:
        if reference.digest is not None:
            yield from (near.at(reference.digest) for near in self.near)
        if reference.repository not in self.near:
            yield reference


@dataclass(frozen=True, slots=True)
class ArchiveContents:
    """What an archive of imgpkg holds: its documents by digest, the digest of the outermost bundle, and layers."""

    path: Path
    documents: Mapping[str, bytes]
    root: str | None

    @classmethod
    def open(cls, path: Path) -> ArchiveContents:
        """Read what an archive lists; FilesystemError where it is none."""
        try:
            with files.reporting_file_errors("read", path):
                with tarfile.open(path, "r:") as tar:
                    text = airgap.read_member(tar, airgap.MANIFEST, bounds.STREAM.size)
                listed = jsondoc.parse(text, bounds.STREAM)
            return cls(path, dict(airgap.documents_in(listed)), airgap.root_of(listed))
        except (tarfile.TarError, EOFError, *_SHAPE) as error:
            raise _not_an_archive(path, error) from None

    def bundle(self, reference: Reference) -> dict[str, bytes] | None:
        """Return the files of a bundle."""
        digest = str(reference.digest)
        return self._files(digest) if digest in self.documents else None

    def outermost(self) -> dict[str, bytes]:
        """Return the files of the outermost bundle; FilesystemError where there is none."""
        if self.root is None:
            raise _not_an_archive(self.path, ValueError("it has no outermost bundle"))
        return self._files(self.root)

    def platforms(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the platforms of an image."""
        raw = self.documents.get(str(reference.digest))
        return None if raw is None else _platforms(raw, lambda: self._configuration(raw))

    def _configuration(self, raw: bytes) -> bytes:
        return self.documents[jsondoc.parse(raw)["config"]["digest"]]

    def _files(self, digest: str) -> dict[str, bytes]:
        try:
            (layer,) = jsondoc.parse(self.documents[digest])["layers"]
            with files.reporting_file_errors("read", self.path), tarfile.open(self.path, "r:") as tar:
                content = airgap.read_layer(tar, Digest.parse(layer["digest"]), SIZE)
            return unpack.files_of(content, SIZE)
        except (tarfile.TarError, EOFError, *_SHAPE) as error:
            raise _not_an_archive(self.path, error) from None


def packages_in(contents: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the Packages of a package repository, from the files of its bundle; what cannot be read is none."""
    found = []
    for name, content in sorted(contents.items()):
        if name.startswith("packages/") and name.endswith((".yml", ".yaml")):
            try:
                documents = foreign.documents_of(name, content)
            except CarvelwrightError:
                continue
            found += [document for document in documents if is_package(document)]
    return found


def is_package(document: Any) -> bool:
    """Tell whether a document is a Package that says of what it is which version."""
    spec = document.get("spec") if isinstance(document, dict) and document.get("kind") == "Package" else None
    return isinstance(spec, dict) and isinstance(spec.get("refName"), str) and isinstance(spec.get("version"), str)


def write_bundle(contents: Mapping[str, bytes], target: Path) -> None:
    """Write the files of a bundle below a directory; ValueError for names that do not fit into one."""
    names = {PurePosixPath(name) for name in contents}
    for name, content in contents.items():
        if any(parent in names for parent in PurePosixPath(name).parents) or not name.isprintable():
            raise ValueError(f"it holds a file of the name {name!a}, which has no place")
        files.write_file(target / name, content)


def _platforms(raw: bytes, configuration: Callable[[], bytes]) -> tuple[str, ...] | None:
    try:
        return tuple(sorted(set(existing.platforms_in(jsondoc.parse(raw), configuration))))
    except _SHAPE:
        return None


def _not_an_archive(path: Path, error: Exception) -> CarvelwrightError:
    return FilesystemError(
        f"{path} is not an archive of a package repository, or it is damaged",
        path=path,
        details=f"{type(error).__name__}: {error}",
        hint="name an archive that `carvelwright build` or `imgpkg copy --to-tar` made",
    )
