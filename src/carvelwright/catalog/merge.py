"""What becomes of a package repository when records are added: a function of the two, in whatever order they came."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog import foreign
from carvelwright.catalog.content import Catalog, Held, MetadataOf
from carvelwright.catalog.records import PACKAGES, Action, metadata_file, package_file
from carvelwright.catalog.tags import RecordTag
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ReleasedError
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from carvelwright.carvel.resources import Document
    from carvelwright.catalog.records import Record

    _Group = dict[RecordTag, Record]


def merged(
    base: Catalog,
    records: Mapping[RecordTag, Record],
    broken: frozenset[str] = frozenset(),
    adopt: Collection[str] = (),
) -> Catalog:
    """Add records to a repository; `broken` are tags of records that cannot be read, which are rejected.

    What others published is found of the packages of the records, and of those that are to be adopted, by refName.

    The first release of a version stands: another one with other content is rejected. Of several that come at once for
    a version that is not held, with different content, none is taken, and none accounted for: the repository is then
    silent on that version. Of the marks of a version the one with the highest number counts.
    CarvelwrightError where files of others stand in the way.
    """
    draft = _Draft(base, broken)
    groups: dict[tuple[str, str], _Group] = defaultdict(dict)
    for tag, record in sorted(records.items(), key=lambda item: str(item[0])):
        groups[record.ref_name, record.version][tag] = record
    for ref_name in sorted({ref_name for ref_name, _ in groups} | set(adopt)):
        draft.adopt(ref_name)
    for (ref_name, version), group in sorted(groups.items()):
        draft.release(ref_name, version, {tag: each for tag, each in group.items() if not tag.number})
        draft.mark(ref_name, version, {tag: each for tag, each in group.items() if tag.number})
    return draft.catalog()


def joined(base: Catalog, other: Catalog) -> Catalog:
    """Add the files that another state of the repository holds and this one does not, as `latest` by older writers.

    What was withdrawn here stays so.
    """
    withdrawn = {
        package_file(held.ref_name, held.version) for held in base.versions.values() if held.action is Action.WITHDRAW
    }
    files = {name: content for name, content in other.files.items() if name not in withdrawn}
    known = {entry["image"] for entry in base.locked}
    gone = {held.bundle for held in base.versions.values() if held.action is Action.WITHDRAW}
    entries = [entry for entry in other.locked if entry["image"] not in known | gone]
    return replace(base, files=dict(sorted((files | dict(base.files)).items())), locked=(*base.locked, *entries))


class _Draft:
    """A repository that is being changed."""

    def __init__(self, base: Catalog, broken: frozenset[str]) -> None:
        self._base = base
        self._files = dict(base.files)
        self._records, self._rejected = set(base.records), set(base.rejected | broken)
        self._versions, self._metadata = dict(base.versions), dict(base.metadata)
        self._looked_at = dict(base.looked_at)
        self._ref_names = set(base.ref_names)

    def adopt(self, ref_name: str) -> None:
        """Find what others published of a package: each of their files is looked at once."""
        foreign.refuse_obstacles(ref_name, self._files)
        ours = {held.file for held in self._versions.values()}
        ours |= {metadata_file(name) for name in self._metadata}
        unknown = {name: content for name, content in self._files.items() if name not in ours}
        digests = {
            name: Digest.of_bytes(content).hex
            for name, content in unknown.items()
            if name.startswith(f"{PACKAGES}/") and ref_name.encode() in content
        }
        if ref_name in self._ref_names:
            digests = {name: digest for name, digest in digests.items() if self._looked_at.get(name) != digest}
        found, metadata = foreign.packages_and_metadata(ref_name, {name: unknown[name] for name in digests})
        for version, each in found.items():
            if (ref_name, version) in self._versions:
                # It stands elsewhere, or was withdrawn; others do not know of that.
                if each.alone:
                    del self._files[each.file]
                continue
            bundle = resources.bundle_or_none(each.document)
            date = str((each.document.get("spec") or {}).get("releasedAt") or "")
            held = Held(ref_name, version, each.file, str(bundle) if bundle else None, released_at=date)
            self._versions[ref_name, version] = held
        for each in metadata:
            content = self._files.pop(each.file)
            kept = self._files.setdefault(metadata_file(ref_name), content)
            digests[metadata_file(ref_name)] = Digest.of_bytes(kept).hex
        self._looked_at |= {name: digest for name, digest in digests.items() if name in self._files}
        self._ref_names.add(ref_name)

    def release(self, ref_name: str, version: str, releases: _Group) -> None:
        """Add the releases of one version."""
        key = (ref_name, version)
        if releases and key not in self._versions:
            (tag, record), *others = releases.items()
            new = _held(record, release=str(tag))
            if not all(same_release(new, record.package or b"", each.package or b"") for _, each in others):
                return
            self._put(record, new)
            self._versions[key] = new
        for tag, record in releases.items():
            held = self._versions[key]
            if held.release == str(tag) or self._is(held, record):
                self._records.add(str(tag))
                self._versions[key] = replace(held, release=held.release or str(tag))
                self._describe(tag, record)
            else:
                self._rejected.add(str(tag))

    def mark(self, ref_name: str, version: str, marks: _Group) -> None:
        """Add the marks of one version."""
        for tag, record in marks.items():
            self._records.add(str(tag))
            if record.action is Action.METADATA:
                self._describe(tag, record)
                continue
            held = self._versions.get((ref_name, version))
            before = RecordTag.parse(held.mark) if held and held.mark else None
            if before is None or _mark_order(before) < _mark_order(tag):
                self._apply(tag, record, held)

    def _apply(self, tag: RecordTag, record: Record, held: Held | None) -> None:
        if held and held.file:
            self._files.pop(held.file, None)
        new = _held(record, release=held.release if held else None, mark=str(tag))
        self._versions[record.ref_name, record.version] = new
        self._put(record, new)

    def _put(self, record: Record, held: Held) -> None:
        if held.file is None or record.package is None:
            return
        for name in self._files:
            if name.startswith(f"{held.file}/"):
                raise foreign.unfit_file(name, "a file in the place of this package's files")
        if held.file in self._files:
            released = functools.partial(ReleasedError, package=record.ref_name, version=record.version)
            what = f"something other than Package {record.ref_name}.{record.version}"
            raise foreign.unfit_file(held.file, what, make=released)
        self._files[held.file] = record.package

    def _describe(self, tag: RecordTag, record: Record) -> None:
        """Take the metadata of a record, where it is that of the highest version."""
        if record.metadata is None:
            return
        name, before = record.ref_name, self._metadata.get(record.ref_name)
        new = MetadataOf(record.version, record.number, str(tag))
        if before is not None:
            if _metadata_order(before) > _metadata_order(new):
                return
        elif metadata_file(name) in self._files:
            others = [version for ref_name, version in self._versions if ref_name == name]
            if any(version_order(version) > version_order(record.version) for version in others):
                return
        self._files[metadata_file(name)] = record.metadata
        self._metadata[name] = new

    def _is(self, held: Held, record: Record) -> bool:
        """Tell whether a release has the content of what is held, whoever published that."""
        return held.file is not None and same_release(held, self._files[held.file], record.package or b"")

    def catalog(self) -> Catalog:
        """Return the repository."""
        files = dict(sorted(self._files.items()))
        shown = {held.bundle for held in self._versions.values() if held.file is not None}
        gone = {held.bundle for held in self._versions.values() if held.file is None} - shown
        entries = [entry for entry in self._base.locked if not locks.names_of(entry) & gone]
        bundles = [Reference.parse(bundle) for bundle in shown if bundle]
        return Catalog(
            files,
            tuple(locks.extended_lock(entries, bundles)["images"]),
            frozenset(self._records),
            frozenset(self._rejected),
            self._versions,
            self._metadata,
            {name: digest for name, digest in self._looked_at.items() if name in files},
            frozenset(self._ref_names),
        )


def same_release(held: Held, published: bytes, package: bytes) -> bool:
    """Tell whether two Package files are the same release: of their bundles the digests count, not where they lie."""
    if published == package:
        return True
    try:
        one, other = (_document(held, content) for content in (published, package))
    except CarvelwrightError:
        return False
    return (
        one is not None
        and other is not None
        and resources.same_package(*(resources.undeprecated(each) for each in (one, other)))
    )


def _document(held: Held, content: bytes) -> Document | None:
    found, _ = foreign.packages_and_metadata(held.ref_name, {"package.yml": content})
    return found[held.version].document if held.version in found else None


def _held(record: Record, release: str | None = None, mark: str | None = None) -> Held:
    file = None if record.action is Action.WITHDRAW else package_file(record.ref_name, record.version)
    bundle = str(record.bundle) if record.bundle else None
    about = (record.action, record.released_at, record.reason)
    return Held(record.ref_name, record.version, file, bundle, release, mark, *about)


def _mark_order(tag: RecordTag) -> tuple[int, str]:
    return tag.number, tag.content.hex


def _metadata_order(of: MetadataOf) -> tuple[PackageVersion, int, str]:
    return version_order(of.version), of.number, of.record


def version_order(version: str) -> PackageVersion:
    """Return a version to compare; others may publish what is none, which counts as the lowest."""
    try:
        return PackageVersion.read(version)
    except ValueError:
        return PackageVersion((0, 0, 0), ("0",))
