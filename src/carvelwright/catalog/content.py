"""What one revision of a package repository holds, as its bundle says it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, jsondoc
from carvelwright.carvel import locks
from carvelwright.catalog import foreign
from carvelwright.catalog.records import INDEX, Action
from carvelwright.catalog.tags import RecordTag
from carvelwright.digest import Digest
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carvelwright.carvel.resources import Document

# Of a layer, packed and unpacked, in bytes.
SIZE = 256 << 20
_SCHEMA_VERSION = 1
_BOUNDS = bounds.Bounds(size=64 << 20, depth=8, nodes=4_000_000)


@dataclass(frozen=True, slots=True)
class Held:
    """A version that a repository holds, or held until it was withdrawn: `file` is None then.

    `release` is the tag of its record, None where others published it; `mark` is that of the mark that counts.
    `bundle` is what its Package fetches by digest.
    """

    ref_name: str
    version: str
    file: str | None
    bundle: str | None
    release: str | None = None
    mark: str | None = None
    action: Action = Action.RELEASE
    released_at: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MetadataOf:
    """Which record gave the metadata of a package: that of the highest version, and of that the last one."""

    version: str
    number: int
    record: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """The content of a package repository.

    `files` holds every file by its name in the bundle but the ImagesLock and the index, `locked` the entries of that
    lock. The rest is the index: the tags of the records that are held, those of others that claim a held version with
    other content, the versions and the metadata by refName, and which files of others were looked at for them.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    locked: tuple[Document, ...] = ()
    records: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()
    versions: Mapping[tuple[str, str], Held] = field(default_factory=dict)
    metadata: Mapping[str, MetadataOf] = field(default_factory=dict)
    looked_at: Mapping[str, str] = field(default_factory=dict)
    ref_names: frozenset[str] = frozenset()

    @property
    def accounted(self) -> frozenset[str]:
        """The tags of all records that need not be read again."""
        return self.records | self.rejected

    def bundle_files(self) -> dict[str, bytes]:
        """Return the content of the repository's bundle."""
        lock = _lock_text(self.locked)
        return {**self.files, locks.IMAGES_LOCK: lock, INDEX: self._index(lock)}

    def _index(self, lock: bytes) -> bytes:
        document = {
            "schemaVersion": _SCHEMA_VERSION,
            "records": sorted(self.records),
            "rejected": sorted(self.rejected),
            "versions": [_version_document(held) for _, held in sorted(self.versions.items())],
            "metadata": {
                name: {"version": of.version, "number": of.number, "record": of.record}
                for name, of in sorted(self.metadata.items())
            },
            "lookedAt": dict(sorted(self.looked_at.items())),
            "refNames": sorted(self.ref_names),
            # So that a reader need not parse the lock, where it is what was written with this.
            "lock": {"digest": str(Digest.of_bytes(lock)), "images": list(self.locked)},
        }
        return (json.dumps(document, indent=0) + "\n").encode()


def read(published: Mapping[str, bytes]) -> Catalog:
    """Read the files of a published repository bundle. CarvelwrightError for what cannot be carried on.

    No name of a file may stand in the way of new ones, and what is ours must be readable. Files of others need not be.
    """
    files = dict(sorted(published.items()))
    foreign.refuse_names(files)
    lock, index = files.pop(locks.IMAGES_LOCK, None), files.pop(INDEX, None)
    if lock is None:
        raise foreign.unfit(f"it is no bundle: it has no {locks.IMAGES_LOCK}")
    if index is None:
        return Catalog(files, foreign.lock_of(lock))
    try:
        return _with_index(files, lock, jsondoc.parse(index, _BOUNDS))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise foreign.unfit_file(INDEX, "no index", f"{type(error).__name__}: {error}") from None


def _with_index(files: dict[str, bytes], lock: bytes, index: dict[str, Any]) -> Catalog:
    if index["schemaVersion"] != _SCHEMA_VERSION:
        raise ValueError(f"schemaVersion is {index['schemaVersion']!r}, expected {_SCHEMA_VERSION}")
    held = [_held(document) for document in index["versions"]]
    # Others may have written the repository since, without knowing of the index.
    lost = [each for each in held if each.file is not None and each.file not in files]
    gone = {tag for each in lost for tag in (each.release, each.mark) if tag}
    known = index["lock"]
    same = known["digest"] == str(Digest.of_bytes(lock))
    return Catalog(
        files,
        locks.lock_entries({"kind": "ImagesLock", "images": known["images"]}) if same else foreign.lock_of(lock),
        _tags(index["records"]) - gone,
        _tags(index["rejected"]),
        {(each.ref_name, each.version): each for each in held if each not in lost},
        {name: _metadata_of(of) for name, of in index["metadata"].items()},
        {name: _text(digest) for name, digest in index["lookedAt"].items()},
        frozenset(map(_text, index["refNames"])),
    )


def _held(document: dict[str, Any]) -> Held:
    bundle, release, mark = (document[key] for key in ("bundle", "release", "mark"))
    return Held(
        _text(document["refName"]),
        _text(document["version"]),
        None if document["file"] is None else _text(document["file"]),
        None if bundle is None else str(Reference.parse(_text(bundle))),
        None if release is None else _tag(release),
        None if mark is None else _tag(mark),
        action=Action(document["action"]),
        released_at=_text(document["releasedAt"]),
        reason=_text(document["reason"]),
    )


def _metadata_of(document: dict[str, Any]) -> MetadataOf:
    if type(document["number"]) is not int:
        raise ValueError(f"a number is {document['number']!r}")
    return MetadataOf(_text(document["version"]), document["number"], _tag(document["record"]))


def _version_document(held: Held) -> dict[str, Any]:
    return {
        "refName": held.ref_name,
        "version": held.version,
        "file": held.file,
        "bundle": held.bundle,
        "release": held.release,
        "mark": held.mark,
        "action": str(held.action),
        "releasedAt": held.released_at,
        "reason": held.reason,
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - the file's, not the caller's
    return value


def _tag(value: object) -> str:
    if RecordTag.parse(_text(value)) is None:
        raise ValueError(f"{value!r} is not the tag of a record")
    return str(value)


def _tags(values: object) -> frozenset[str]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r} is no list")  # noqa: TRY004 - the file's, not the caller's
    return frozenset(map(_tag, values))


def _lock_text(entries: Iterable[Document]) -> bytes:
    """Write an ImagesLock: by hand, since a YAML library takes a second for a thousand entries."""
    lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock"]
    images = [line for entry in entries for line in _entry_lines(entry)]
    lines += ["images:", *images] if images else ["images: []"]
    return ("\n".join(lines) + "\n").encode()


def _entry_lines(entry: Document) -> list[str]:
    # A JSON text is a YAML text as it stands.
    lines = [f"- image: {json.dumps(entry['image'])}"]
    others = {key: value for key, value in entry.items() if key not in ("image", "annotations")}
    if annotations := entry.get("annotations"):
        lines += [
            "  annotations:",
            *(f"    {json.dumps(key)}: {json.dumps(text)}" for key, text in annotations.items()),
        ]
    return lines + [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in others.items()]
