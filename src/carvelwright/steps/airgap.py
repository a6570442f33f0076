"""Makes the air-gap archive and verifies that it holds everything."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import InputError, ToolError
from carvelwright.oci import unpack
from carvelwright.report import readable_size
from carvelwright.stepnames import ARCHIVE
from carvelwright.tools import imgpkg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool

_CHUNK = 1 << 20
# What is raised for an archive that says something other than imgpkg's do.
_NONSENSE = (
    tarfile.TarError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
MANIFEST = "manifest.json"
# Labels: on a bundle, and on the one that imgpkg was told to copy.
_BUNDLE, _ROOT = "dev.carvel.imgpkg.bundle", "dev.carvel.imgpkg.copy.root-bundle"
_SIGNATURE_TAG = re.compile(r"sha256-[0-9a-f]{64}\.sig")
_BLOB = re.compile(r"sha256-([0-9a-f]{64})\.tar\.gz")
# Layers of these types stay where their owner publishes them; imgpkg leaves them out.
_NOT_CARRIED = re.compile(r"\.foreign\.|\.nondistributable\.")


def archive(
    tool: Tool,
    bundle: Reference,
    target: Path,
    name: str,
    *,
    timeout: float,
    reporter: Reporter,
    signatures: bool = False,
) -> None:
    """Copy a bundle into one tar, with every bundle and every image that it locks, on demand with their signatures.

    `tool` is imgpkg, `timeout` in seconds, `name` that of the step.
    """
    with reporter.step(name) as step:
        target.parent.mkdir(parents=True, exist_ok=True)
        note = reporter.note
        imgpkg.copy_to_tar(tool, bundle, target, step=name, timeout=timeout, note=note, signatures=signatures)
        step.describe(readable_size(target.stat().st_size))


@dataclass(frozen=True, slots=True)
class Root:
    """The outermost bundle of an archive: its digest, and its files by their names."""

    digest: Digest
    files: Mapping[str, bytes]


def read_bundles(archive: Path, limit: int) -> tuple[Root, dict[Digest, Mapping[str, bytes]]]:
    """Return the outermost bundle of an archive, and the files of every bundle in it by its digest.

    InputError where it is no archive that imgpkg made, or a bundle in it is larger than `limit` bytes or corrupt.
    """
    try:
        with tarfile.open(archive, mode="r:") as tar, files.reporting_file_errors("read", archive):
            document = tar.extractfile(MANIFEST)
            entries = json.loads(document.read()) if document else []
            images = [entry["Image"] for entry in entries if entry["Image"]]
            found = {
                Digest.parse(image["Manifest"]["Digest"]): unpack.files_of(_only_layer(tar, image, limit), limit)
                for image in images
                if _is_bundle(image)
            }
            named = root_of(entries)
            if named is None:
                raise ValueError("it holds no bundle that was copied as such, with `imgpkg copy --bundle`")
            root = Digest.parse(named)
            return Root(root, found[root]), dict(found)
    except _NONSENSE as error:
        raise InputError(
            f"{archive} is no air-gap archive, or a corrupt one",
            details=str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}",
            hint="copy the archive again; `carvelwright build` and `carvelwright archive` make them",
        ) from None


def _is_bundle(image: Mapping[str, Any]) -> bool:
    labels = json.loads(image["Config"]["Raw"]).get("config", {}).get("Labels") or {}
    return _BUNDLE in labels


def _only_layer(tar: tarfile.TarFile, image: Mapping[str, Any], limit: int) -> bytes:
    (layer,) = image["Layers"]
    return read_layer(tar, Digest.parse(layer["Digest"]), limit)


def root_of(entries: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the digest of the bundle that imgpkg was told to copy, of its manifest.json; None if none is named."""
    images = [entry["Image"] for entry in entries if entry["Image"] is not None]
    return next((image["Manifest"]["Digest"] for image in images if _ROOT in (image["Labels"] or {})), None)


def copied_as(archive: Path) -> list[Digest]:
    """Return what an archive gives a repository that it is copied to: its bundles, images and indexes by digest."""
    with files.reporting_file_errors("read", archive), tarfile.open(archive, mode="r:") as tar:
        document = tar.extractfile(MANIFEST)
        entries = json.loads(document.read()) if document else []
    images = [entry["Image"]["Manifest"] if entry["Image"] else entry["ImageIndex"] for entry in entries]
    return [Digest.parse(image["Digest"]) for image in images]


def read_member(tar: tarfile.TarFile, name: str, limit: int) -> bytes:
    """Return a file of an archive; KeyError where it is not there, ValueError where it is none or above the limit."""
    member = tar.getmember(name)
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None or member.size > limit:
        raise ValueError(f"{name} is no file, or larger than {limit} bytes")
    return content.read()


def read_layer(tar: tarfile.TarFile, wanted: Digest, limit: int) -> bytes:
    """Return a layer of an archive, packed, as `read_member`; ValueError where it has another digest, too."""
    content = read_member(tar, f"sha256-{wanted.hex}.tar.gz", limit)
    if Digest.of_bytes(content) != wanted:
        raise ValueError(f"its layer {wanted} is damaged")
    return content


def signatures_in(archive: Path) -> dict[str, Digest]:
    """Return the signatures that an archive carries, by the tags that they have beside what they sign.

    The archive is one that `verify` has passed.
    """
    with files.reporting_file_errors("read", archive), tarfile.open(archive, mode="r:") as tar:
        document = tar.extractfile(MANIFEST)
        entries = json.loads(document.read()) if document else []
    images = [entry["Image"] for entry in entries if entry["Image"]]
    tags = ((str(image.get("Tag")), image["Manifest"]["Digest"]) for image in images)
    return {tag: Digest.parse(digest) for tag, digest in tags if _SIGNATURE_TAG.fullmatch(tag)}


def without_tags(archive: Path, target: Path) -> Path:
    """Return an archive that gives nothing a tag where it is copied to: this one, or a copy of it, at `target`.

    `imgpkg copy --bundle REPOSITORY:TAG` notes the tag, and writes it wherever the archive goes: over another `latest`,
    or as a revision above those that are there. The archive is one that `verify` has passed.
    """
    with files.reporting_file_errors("copy", target), tarfile.open(archive, mode="r:") as source:
        document = source.extractfile(MANIFEST)
        entries = json.loads(document.read()) if document else []
        tagged = [
            image for entry in entries for image in entry.values() if isinstance(image, dict) and image.get("Tag")
        ]
        if not tagged:
            return archive
        for image in tagged:
            del image["Tag"]
        text = json.dumps(entries).encode()
        with tarfile.open(target, mode="w") as copy:
            for member in source:
                if member.name == MANIFEST:
                    member.size = len(text)
                    copy.addfile(member, io.BytesIO(text))
                else:
                    copy.addfile(member, source.extractfile(member))
    return target


def verify(target: Path, expected: Iterable[Digest]) -> None:
    """Check that an archive is complete and that every part of it is what its digest says.

    Complete: each expected digest is a manifest or an index of the archive, and whatever any of its manifests and
    indexes names (configuration, layer, child manifest) is there in the named size.
    """
    with files.reporting_file_errors("read"):
        try:
            wrong = _problems(target, [str(digest) for digest in expected])
        except (tarfile.TarError, EOFError) as error:
            wrong = [f"not a tar file: {error}"]
        except _NONSENSE as error:
            wrong = [f"damaged: {MANIFEST} ({type(error).__name__}: {error})"]
    if wrong:
        raise ToolError(
            f"step {ARCHIVE}: {target.name} is incomplete or corrupt",
            details="\n".join(wrong),
            hint="build again; if it fails again, report it",
            step=ARCHIVE,
        )


@dataclass(frozen=True, slots=True)
class _Contents:
    """What an archive holds: documents (configurations, manifests, indexes) and sizes of blobs, by digest."""

    documents: Mapping[str, bytes]
    blobs: Mapping[str, int]

    def size(self, digest: str) -> int | None:
        return len(self.documents[digest]) if digest in self.documents else self.blobs.get(digest)


def _problems(target: Path, expected: Iterable[str]) -> list[str]:
    with tarfile.open(target, mode="r:") as tar:
        members = tar.getmembers()
        damaged = [f"damaged: {member.name}" for member in members if not _is_what_it_says(tar, member)]
        document = tar.extractfile(MANIFEST)
        if document is None:
            return [*damaged, f"damaged: {MANIFEST} is no file"]
        documents = dict(documents_in(json.loads(document.read())))
    damaged += [f"damaged: {digest}" for digest, raw in documents.items() if str(Digest.of_bytes(raw)) != digest]
    names = (_BLOB.fullmatch(member.name) for member in members)
    blobs = {f"sha256:{name[1]}": member.size for name, member in zip(names, members, strict=True) if name}
    contents = _Contents(documents, blobs)
    missing = [f"missing: {digest}" for digest in expected if digest not in documents]
    named = [problem for digest in documents for problem in _missing_parts(contents, digest)]
    return damaged + missing + list(dict.fromkeys(named))


def documents_in(node: Any) -> Iterator[tuple[str, bytes]]:
    """Find every document that imgpkg wrote into its manifest.json, at whatever depth: a digest beside its bytes."""
    if isinstance(node, list):
        for child in node:
            yield from documents_in(child)
    elif isinstance(node, dict):
        if "Raw" in node:
            yield node["Digest"], node["Raw"].encode()
        for child in node.values():
            yield from documents_in(child)


def _missing_parts(contents: _Contents, digest: str) -> Iterator[str]:
    """Say what a manifest or an index names and the archive does not hold, or holds in another size."""
    document = json.loads(contents.documents[digest])
    parts = [document["config"], *document["layers"]] if "layers" in document else document.get("manifests", [])
    for part in parts:
        if _NOT_CARRIED.search(part["mediaType"]):
            continue
        found = contents.size(part["digest"])
        if found is None:
            yield f"missing: {part['digest']}, named by {digest}"
        elif found != part["size"]:
            yield f"damaged: {part['digest']} has {found} bytes; {digest} says {part['size']}"


def _is_what_it_says(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Tell whether a blob has the digest that it is named by; a link or a directory of such a name has none."""
    name = _BLOB.fullmatch(member.name)
    if name is None:
        return True
    content = tar.extractfile(member) if member.isreg() else None
    return content is not None and _sha256(content) == name[1]


def _sha256(content: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()
