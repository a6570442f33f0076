"""Makes the air-gap archive and verifies that it holds everything."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import ToolError
from carvelwright.report import readable_size
from carvelwright.tools import imgpkg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.plan import WorkspacePlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.tools.toolchain import Toolchain

_CHUNK = 1 << 20
_MANIFEST = "manifest.json"
_BLOB = re.compile(r"sha256-([0-9a-f]{64})\.tar\.gz")
# Layers of these types stay where their owner publishes them; imgpkg leaves them out.
_NOT_CARRIED = re.compile(r"\.foreign\.|\.nondistributable\.")


def archive(
    plan: WorkspacePlan, bundle: Reference, target: Path, name: str, *, tools: Toolchain, reporter: Reporter
) -> None:
    """Copy a bundle into one tar, with every bundle and every image that it locks; `name` is the step's."""
    with reporter.step(name) as step:
        target.parent.mkdir(parents=True, exist_ok=True)
        imgpkg.copy_to_tar(tools.imgpkg, bundle, target, step=name, timeout=plan.registry_timeout, note=reporter.note)
        step.describe(readable_size(target.stat().st_size))


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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = [f"damaged: {_MANIFEST} ({type(error).__name__}: {error})"]
    if wrong:
        raise ToolError(
            f"step archive: {target.name} is incomplete or corrupt",
            details="\n".join(wrong),
            hint="build again; if it fails again, report it",
            step="archive",
        )


@dataclass(frozen=True, slots=True)
class _Contents:
    """What an archive holds: documents (configurations, manifests, indexes) and sizes of blobs, by digest."""

    documents: Mapping[str, bytes]
    blobs: Mapping[str, int]

    def size(self, digest: str) -> int | None:
        return len(self.documents[digest]) if digest in self.documents else self.blobs.get(digest)


def _problems(target: Path, expected: Iterable[str]) -> list[str]:
    with tarfile.open(target) as tar:
        members = tar.getmembers()
        damaged = [f"damaged: {member.name}" for member in members if not _is_what_it_says(tar, member)]
        document = tar.extractfile(_MANIFEST)
        if document is None:
            return [*damaged, f"damaged: {_MANIFEST} is no file"]
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
