"""Looks at a published package repository, and marks versions in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog import foreign
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.merge import merged, version_order
from carvelwright.catalog.records import PACKAGES, Action, Record
from carvelwright.catalog.tags import RecordTag, key_of
from carvelwright.errors import RegistryError, ReleasedError, UsageError, did_you_mean
from carvelwright.reference import Reference
from carvelwright.tools import crane
from carvelwright.uses import converge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.steps.published import Seen
    from carvelwright.uses.converge import Settled
    from carvelwright.uses.remote import Opened

_READ = "read published repository"


@dataclass(frozen=True, slots=True)
class Listed:
    """A version in a repository: its state, the Package's releasedAt, and the bundle by digest (None: not by digest).

    `state` is released, deprecated or withdrawn; `ours` says that it was published with a record.
    """

    ref_name: str
    version: str
    state: str
    released_at: str
    bundle: str | None
    reason: str
    ours: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "refName": self.ref_name,
            "version": self.version,
            "state": self.state,
            "releasedAt": self.released_at or None,
            "bundle": self.bundle,
            "reason": self.reason or None,
            "recorded": self.ours,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds: the revision that clients follow (None: there is none yet), and its versions.

    `pending` names versions that were recorded and that the revision does not hold yet, `contested` the tags of records
    that claim one version with different contents, of which none is visible.
    """

    revision: Reference | None
    versions: tuple[Listed, ...]
    pending: tuple[str, ...]
    contested: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "repository": str(self.revision) if self.revision else None,
            "versions": [version.document() for version in self.versions],
            "pending": list(self.pending),
            "contested": list(self.contested),
        }


def listing(opened: Opened, ref_names: Sequence[str] = ()) -> Listing:
    """List the versions, highest first; with names only of these packages."""
    with opened.reporter.step(_READ):
        seen = opened.remote.look()
    base = adopted(seen.base)
    found = [_listed(held) for held in base.versions.values() if not ref_names or held.ref_name in ref_names]
    known = {held.ref_name for held in base.versions.values()}
    for name in ref_names:
        if name not in known:
            raise _unknown(name, known)
    found.sort(key=lambda each: version_order(each.version), reverse=True)
    found.sort(key=lambda each: each.ref_name)
    pending = [held for key, held in seen.catalog.versions.items() if key not in base.versions]
    return Listing(
        _revision(opened, seen),
        tuple(found),
        tuple(f"{held.ref_name} {held.version}" for held in pending),
        tuple(sorted(contested(seen))),
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """One version: what the list says, the tags of its records, the images that its bundle locks, its notes.

    The images are named in the bundle's repository, where clients look for them first.
    """

    listed: Listed
    records: tuple[str, ...]
    images: tuple[str, ...]
    notes: str

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            **self.listed.document(),
            "records": list(self.records),
            "images": list(self.images),
            "releaseNotes": self.notes,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return it as names and texts, for people."""
        listed = self.listed
        rows = [
            ("package", f"{listed.ref_name}/{listed.version}"),
            ("state", f"{listed.state}{': ' if listed.reason else ''}{listed.reason}"),
            ("released at", listed.released_at or "unknown"),
            ("bundle", listed.bundle or "not fetched by digest"),
            *(("image", image) for image in self.images),
            *(("record", record) for record in self.records),
        ]
        return rows + [("notes", line) for line in self.notes.strip().splitlines()]


def show(opened: Opened, ref_name: str, version: str) -> Shown:
    """Look at one version and its bundle."""
    seen, held = _find(opened, ref_name, version)
    content = seen.catalog.files[held.file] if held.file else _withdrawn_package(opened, held)
    name = f"{ref_name}.{version}"
    documents = [each for each in foreign.documents_of(f"{version}.yml", content) if resources.name_of(each) == name]
    key = key_of(ref_name, version)
    tags = [
        tag for tag in (seen.listed or seen.catalog.accounted) if (parsed := RecordTag.parse(tag)) and parsed.key == key
    ]
    notes = documents[0]["spec"].get("releaseNotes") if documents else ""
    return Shown(_listed(held), tuple(sorted(tags)), _images(opened, held), str(notes or ""))


def _images(opened: Opened, held: Held) -> tuple[str, ...]:
    if held.bundle is None:
        return ()
    bundle = Reference.parse(held.bundle)
    remote = opened.remote
    found = crane.pull_verified_bundle(
        opened.tools.crane, bundle, SIZE, step=remote.step, timeout=remote.timeout, note=opened.reporter.note
    )
    if found is None or locks.IMAGES_LOCK not in found.files:
        raise RegistryError(
            f"the bundle of {held.ref_name} {held.version} is not there, or is no bundle",
            reference=held.bundle,
            hint="verify the repository: carvelwright repository verify REGISTRY/PATH",
        )
    entries = foreign.lock_of(found.files[locks.IMAGES_LOCK])
    digests = [Reference.of_image(entry["image"]).digest for entry in entries]
    # Where clients look first, and where publish and relocate put them.
    return tuple(str(bundle.repository.at(digest)) for digest in digests if digest)


def resource(opened: Opened, name: str, *, follow: bool) -> str:
    """Return the PackageRepository resource of a repository: of its highest revision by digest, or one that follows."""
    with opened.reporter.step(_READ):
        revision = _revision(opened, opened.remote.look())
    if revision is None:
        raise UsageError(
            f"{opened.remote.repository} has no revision to point at",
            hint="publish to it first: carvelwright publish REGISTRY/PATH; where something is published, run "
            "carvelwright repository repair REGISTRY/PATH",
        )
    return yamldoc.dump(resources.package_repository(name, revision, follow=follow))


def contested(seen: Seen) -> list[str]:
    """Return the tags of the records that claim one version with different contents, none of which is visible."""
    names = seen.listed or frozenset()
    return [name for name in names - seen.catalog.accounted if RecordTag.parse(name)]


def repair(opened: Opened, keep: str | None = None) -> tuple[Settled, tuple[str, ...]]:
    """Finish what crashed publishers left: the highest revision holds every record, and `latest` names it.

    `keep` is the tag of a contested record, which is to stand. Returns the end, and what is still contested.
    """
    own: dict[RecordTag, Record] = {}
    with opened.reporter.step("repair the repository"):
        if keep is not None:
            seen = opened.remote.look()
            record = _contested_record(opened, seen, keep)
            chosen = replace(record, action=Action.RESTORE, number=seen.next_mark(record.key), metadata=None)
            own[opened.remote.push_record(chosen)] = chosen
        settled = converge.converge(opened.remote, own)
        return settled, tuple(sorted(contested(opened.remote.look())))


def deprecate(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Mark a version: its Package says in an annotation and in its notes that it is deprecated. It stays available."""
    seen, held = _find(opened, ref_name, version)
    content = _package(seen.catalog, held)
    document = foreign.require_document(held.file or "", content, "Package", f"{ref_name}.{version}")
    marked = yamldoc.dump(resources.deprecated(document, reason)).encode()
    return _mark(opened, seen, held, Action.DEPRECATE, marked, reason)


def withdraw(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Remove a version from the repository. Its bundle stays in the registry, and the version can be restored."""
    seen, held = _find(opened, ref_name, version)
    return _mark(opened, seen, held, Action.WITHDRAW, _package(seen.catalog, held), reason)


def restore(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Take back a deprecation or a withdrawal."""
    seen, held = _find(opened, ref_name, version)
    if held.action not in (Action.DEPRECATE, Action.WITHDRAW):
        raise UsageError(
            f"{ref_name} {version} is neither deprecated nor withdrawn",
            hint="list the states: carvelwright repository list REGISTRY/PATH",
        )
    content = _package(seen.catalog, held) if held.file else _withdrawn_package(opened, held)
    document = foreign.require_document(f"{version}.yml", content, "Package", f"{ref_name}.{version}")
    original = resources.undeprecated(document)
    restored = content if original == document else yamldoc.dump(original).encode()
    return _mark(opened, seen, held, Action.RESTORE, restored, reason)


def _mark(opened: Opened, seen: Seen, held: Held, action: Action, package: bytes, reason: str) -> Settled:
    bundle = resources.bundle_or_none(
        foreign.require_document(f"{held.version}.yml", package, "Package", f"{held.ref_name}.{held.version}")
    )
    number = seen.next_mark(key_of(held.ref_name, held.version))
    record = Record(held.ref_name, held.version, action, number, package, None, bundle, held.released_at, reason)
    with opened.reporter.step("push repository") as step:
        tag = opened.remote.push_record(record)
        settled = converge.converge(opened.remote, {tag: record})
        step.describe(settled.repository.tag or "")
    return settled


def _find(opened: Opened, ref_name: str, version: str) -> tuple[Seen, Held]:
    with opened.reporter.step(_READ):
        seen = opened.remote.look()
    catalog = adopted(seen.catalog)
    if held := catalog.versions.get((ref_name, version)):
        return replace(seen, catalog=catalog), held
    names = {name for name, _ in catalog.versions}
    if ref_name not in names:
        raise _unknown(ref_name, names)
    versions = [other for name, other in catalog.versions if name == ref_name]
    raise UsageError(
        f"no version {version} of {ref_name} in the repository{did_you_mean(version, versions)}",
        details=f"found: {', '.join(sorted(versions, key=version_order))}",
        hint="name one of these",
    )


def _unknown(ref_name: str, known: set[str]) -> UsageError:
    return UsageError(
        f"no package {ref_name} in the repository{did_you_mean(ref_name, known)}",
        details=f"found: {', '.join(sorted(known)) or 'none'}",
        hint="name one of these, by its refName",
    )


def _contested_record(opened: Opened, seen: Seen, keep: str) -> Record:
    names = contested(seen)
    tag = RecordTag.parse(keep) if keep in names else None
    if tag is None:
        raise UsageError(
            f"{keep} is no contested record",
            details=f"found: {', '.join(sorted(names)) or 'none'}",
            hint="name one of these with --keep",
        )
    record = opened.remote.record(tag)
    if record is None:
        raise ReleasedError(f"{keep} cannot be read", package="", version="", hint="choose another record")
    return record


def adopted(catalog: Catalog) -> Catalog:
    """Return a repository in which the versions of others are known as well."""
    known = {held.file for held in catalog.versions.values()} | set(catalog.looked_at)
    names: set[str] = set()
    for name, content in catalog.files.items():
        if name.startswith(f"{PACKAGES}/") and name not in known:
            names |= foreign.ref_names(name, content)
    return merged(catalog, {}, adopt=names)


def _listed(held: Held) -> Listed:
    states = {Action.DEPRECATE: "deprecated", Action.WITHDRAW: "withdrawn"}
    state = states.get(held.action, "released")
    return Listed(
        held.ref_name, held.version, state, held.released_at, held.bundle, held.reason, ours=held.release is not None
    )


def _revision(opened: Opened, seen: Seen) -> Reference | None:
    if seen.digest is None:
        return None
    tag = seen.highest.tag if seen.highest else None
    repository = opened.remote.repository
    return (repository.tagged(tag) if tag else repository.at(seen.digest)).with_digest(seen.digest)


def _package(catalog: Catalog, held: Held) -> bytes:
    if held.file is None:
        raise UsageError(
            f"{held.ref_name} {held.version} is withdrawn: {held.reason}",
            hint="restore it first: carvelwright repository restore",
        )
    return catalog.files[held.file]


def _withdrawn_package(opened: Opened, held: Held) -> bytes:
    tag = RecordTag.parse(held.mark or "")
    record = opened.remote.record(tag) if tag else None
    if record is None or record.package is None:
        raise RegistryError(
            f"the record of the withdrawal of {held.ref_name} {held.version} cannot be read",
            reference=str(opened.remote.repository),
            details=f"record: {held.mark}",
            hint="publish the version's content again under a new version",
        )
    return record.package
