"""What a build leaves for the next command to read: dist/release.json and the states in build/, read strictly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.digest import Digest
from carvelwright.platform import Platform
from carvelwright.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Mapping

# Raised when a reader of an older release.json could take it for something else.
SCHEMA_VERSION = 2
_SHAPE = {
    "schemaVersion": int,
    "registry": str,
    "repository": [str],
    "archive": str,
    "packages": [
        {
            "refName": str,
            "version": str,
            "upstream": str,
            "releasedAt": str,
            "images": [
                {"name": str, "reference": str, "platforms": [{"platform": str, "digest": str, "compressedBytes": int}]}
            ],
            "existingImages": [{"name": str, "reference": str, "platforms": [str]}],
            "bundle": str,
            "archive": str,
            "defaultValues": str,
        }
    ],
    "tools": {},
    "files": [{"name": str, "size": int, "digest": str}],
}


@dataclass(frozen=True, slots=True)
class PlatformRecord:
    """One platform of an image: the digest of its manifest, and the bytes that a node pulls."""

    platform: Platform
    digest: Digest
    compressed_bytes: int


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image that the build made, by digest."""

    name: str
    reference: Reference
    platforms: tuple[PlatformRecord, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        platforms = [
            {"platform": str(each.platform), "digest": str(each.digest), "compressedBytes": each.compressed_bytes}
            for each in self.platforms
        ]
        return {"name": self.name, "reference": str(self.reference), "platforms": platforms}


@dataclass(frozen=True, slots=True)
class ExistingImageRecord:
    """An image that existed before: `name` is what the manifests write, `platforms` what it offers."""

    name: str
    reference: Reference
    platforms: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"name": self.name, "reference": str(self.reference), "platforms": list(self.platforms)}


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """A package that was built; `archive` and `default_values` are names of files in dist/."""

    ref_name: str
    version: str
    upstream: str
    released_at: str
    images: tuple[ImageRecord, ...]
    existing_images: tuple[ExistingImageRecord, ...]
    bundle: Reference
    archive: str
    default_values: str

    @property
    def short_name(self) -> str:
        """The first segment of the refName."""
        return self.ref_name.partition(".")[0]

    @property
    def file(self) -> str:
        """The file in dist/ that holds the Package."""
        return f"packages/{self.ref_name}/{self.version}.yml"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "refName": self.ref_name,
            "version": self.version,
            "upstream": self.upstream,
            "releasedAt": self.released_at,
            "images": [image.document() for image in self.images],
            "existingImages": [image.document() for image in self.existing_images],
            "bundle": str(self.bundle),
            "archive": self.archive,
            "defaultValues": self.default_values,
        }


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of dist/: its name there, its size in bytes, its digest."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """dist/release.json: what was built, without times, so that equal inputs give equal bytes.

    `registry` is the embedded one, of which all references are, `repository` the package repository by digest, once for
    each tag it got; `archive` is the file in dist/ that carries all of it. `tool_modules` are, by the names of tools
    that were built here, the Go module of each as MODULE@VERSION, and its checksum as go.sum has it.
    """

    registry: Repository
    repository: tuple[Reference, ...]
    archive: str
    packages: tuple[PackageRecord, ...]
    tools: Mapping[str, str]
    files: tuple[FileRecord, ...]
    tool_modules: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "schemaVersion": SCHEMA_VERSION,
            "registry": str(self.registry),
            "repository": [str(reference) for reference in self.repository],
            "archive": self.archive,
            "packages": [package.document() for package in self.packages],
            "tools": dict(self.tools),
            "toolModules": {
                name: {"module": module, "sum": checksum} for name, (module, checksum) in self.tool_modules.items()
            },
            "files": [{"name": file.name, "size": file.size, "digest": str(file.digest)} for file in self.files],
        }

    @classmethod
    def parse(cls, data: bytes) -> ReleaseRecord:
        """Read one; ValueError says what is wrong in it."""
        document = jsondoc.parse(data)
        _check(document, _SHAPE, "release")
        if document["schemaVersion"] != SCHEMA_VERSION:
            raise ValueError(f"release.schemaVersion is {document['schemaVersion']}, expected {SCHEMA_VERSION}")
        if not document["repository"] or not document["packages"]:
            raise ValueError("release names no repository or no package")
        files = tuple(_file(file) for file in document["files"])
        packages = tuple(_package(package) for package in document["packages"])
        for name in (document["archive"], *(package.archive for package in packages)):
            if name not in {file.name for file in files}:
                raise ValueError(f"release.archive is no file of dist/: {name!r}")
        return cls(
            registry=Repository.parse(document["registry"]),
            repository=tuple(_pinned(text) for text in document["repository"]),
            archive=document["archive"],
            packages=packages,
            tools=document["tools"],
            files=files,
            tool_modules={name: (each["module"], each["sum"]) for name, each in _tool_modules(document).items()},
        )


def _tool_modules(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = document.get("toolModules", {})
    _check(found, {}, "release.toolModules")
    _check(found, {name: {"module": str, "sum": str} for name in found}, "release.toolModules")
    return dict(found)


def _package(document: Mapping[str, Any]) -> PackageRecord:
    return PackageRecord(
        ref_name=document["refName"],
        version=document["version"],
        upstream=document["upstream"],
        released_at=document["releasedAt"],
        images=tuple(_image(image) for image in document["images"]),
        existing_images=tuple(
            ExistingImageRecord(image["name"], _pinned(image["reference"]), tuple(image["platforms"]))
            for image in document["existingImages"]
        ),
        bundle=_pinned(document["bundle"]),
        archive=document["archive"],
        default_values=document["defaultValues"],
    )


def _image(document: Mapping[str, Any]) -> ImageRecord:
    platforms = [
        PlatformRecord(Platform.parse(each["platform"]), Digest.parse(each["digest"]), each["compressedBytes"])
        for each in document["platforms"]
    ]
    return ImageRecord(document["name"], _pinned(document["reference"]), tuple(platforms))


def _file(document: Mapping[str, Any]) -> FileRecord:
    name = document["name"]
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"not a file of dist/: {name!r}")
    return FileRecord(name, document["size"], Digest.parse(document["digest"]))


@dataclass(frozen=True, slots=True)
class BuildState:
    """build/state.json: the key of what dist/ was made from, and its packages, Go modules and vendored directories.

    `sources` is the key of the files alone, and `epoch` SOURCE_DATE_EPOCH, empty where it was not set.
    """

    key: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    vendored: tuple[str, ...]
    sources: str = ""
    epoch: str = ""

    @classmethod
    def parse(cls, data: bytes) -> BuildState:
        """Read one; ValueError says what is wrong in it."""
        document = jsondoc.parse(data)
        texts, lists = ("key", "sources", "epoch"), ("packages", "modules", "vendored")
        _check(document, {**dict.fromkeys(texts[:1], str), **{name: [str] for name in lists}}, "state")
        _check(document, dict.fromkeys(texts, str), "state")
        packages, modules, vendored = (tuple(document[name]) for name in lists)
        return cls(document["key"], packages, modules, vendored, document["sources"], document["epoch"])

    def text(self) -> str:
        """Return it as it is kept."""
        return json.dumps(asdict(self))


def _check(value: Any, shape: Any, at: str) -> None:
    """Compare a value with a shape: a type, a list of one shape, or a map of keys that have to be there."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _wrong(at, "object")
        for key, inner in shape.items():
            if key not in value:
                raise ValueError(f"{at} has no key {key!r}")
            _check(value[key], inner, f"{at}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(at, "list")
        for index, item in enumerate(value):
            _check(item, shape[0], f"{at}[{index}]")
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise _wrong(at, shape.__name__)


def _wrong(at: str, expected: str) -> ValueError:
    return ValueError(f"{at} is no {expected}")


def _pinned(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is None:
        raise ValueError(f"not pinned by digest: {text}")
    return reference
