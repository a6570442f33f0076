"""Publishes what a build made: content, then the records of its versions, then the revision that clients follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import session as sessions
from carvelwright.carvel import resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.foreign import documents_of
from carvelwright.catalog.merge import merged
from carvelwright.catalog.places import Places
from carvelwright.catalog.records import Action, Record, metadata_file
from carvelwright.errors import CarvelwrightError, FilesystemError, ReleasedError, UsageError, did_you_mean
from carvelwright.files import read_bytes
from carvelwright.oci.bundle import write_bundle
from carvelwright.process import in_parallel
from carvelwright.project import paths
from carvelwright.report import readable_size
from carvelwright.steps import published
from carvelwright.store import Store
from carvelwright.tools import crane, imgpkg, toolchain
from carvelwright.uses import converge, finished

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Held
    from carvelwright.catalog.tags import RecordTag
    from carvelwright.digest import Digest
    from carvelwright.record import PackageRecord
    from carvelwright.reference import Reference, Repository
    from carvelwright.report import Reporter
    from carvelwright.steps.published import Remote, Seen
    from carvelwright.tools.toolchain import Toolchain

_READ = "read published repository"
_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Where to publish: below `to`, or with `single` in that one OCI repository; `registry_timeout` is in seconds.

    The timeout is the limit of each exchange with the registry.
    """

    to: Repository
    single: bool = False
    registry_timeout: float = _SECONDS

    @property
    def places(self) -> Places:
        """Where things are put."""
        return Places(self.to, self.single)


@dataclass(frozen=True, slots=True)
class PublishedPackage:
    """A version in a registry: its bundle and images by tag and digest; `added` tells whether it is new there."""

    ref_name: str
    version: str
    bundle: Reference
    images: tuple[Reference, ...]
    added: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "refName": self.ref_name,
            "version": self.version,
            "bundle": str(self.bundle),
            "images": [str(image) for image in self.images],
            "added": self.added,
        }


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication made, or, of a dry run, would make.

    `repository` is the revision of the package repository that holds the packages, by tag and digest; `changed` tells
    whether anything was pushed that clients see; `records` are the tags of what was added there.
    """

    packages: tuple[PublishedPackage, ...]
    repository: Reference
    records: tuple[str, ...]
    changed: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "repository": str(self.repository),
            "changed": self.changed,
            "records": list(self.records),
            "packages": [package.document() for package in self.packages],
        }


@dataclass(frozen=True, slots=True)
class _Job:
    """One version to publish. `present` tells whether the repository holds it; `records` are pushed for it."""

    package: PackageRecord
    archive: Path
    present: bool
    records: tuple[Record, ...]

    def result(self, places: Places) -> PublishedPackage:
        """Return where it lies."""
        version = PackageVersion.parse(self.package.version)
        images = [
            places.image(image.name, version).with_digest(_digest(image.reference)) for image in self.package.images
        ]
        bundle = places.bundle(self.package.ref_name, version).with_digest(_digest(self.package.bundle))
        return PublishedPackage(self.package.ref_name, self.package.version, bundle, tuple(images), not self.present)


def publish(
    root: Path,
    options: PublishOptions,
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    names: Sequence[str] = (),
    dry_run: bool = False,
) -> Published:
    """Publish what dist/ holds, or the named packages of it, as it was built: digests are kept.

    A version that is published stays as it is: ReleasedError, before anything is visible, where the registry has
    another content for it. Publishing again changes nothing. Any number of publishers may work at once.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    with store.in_use(), store.scratch("publish") as scratch:
        release = finished.take(store, scratch / "dist", "publish")
        packages = _select(release.packages, names)
        search = sessions.lone_search(root, environment)
        toolchain.install(search, reporter)
        tools = toolchain.find(search)
        places = options.places
        remote = published.Remote(tools.crane, places.packages, store, options.registry_timeout, reporter, _READ)
        with reporter.step(_READ) as step:
            seen = remote.look()
            step.describe(f"{len(seen.catalog.versions)} versions" if seen.catalog.versions else "")
        jobs = [_job(package, scratch, seen, places) for package in packages]
        if dry_run:
            return _would_be(jobs, seen, remote, places)
        return _Publication(jobs, places, remote, tools, reporter, scratch).run()


@dataclass(frozen=True, slots=True)
class _Publication:
    """The part that writes to the registry."""

    jobs: Sequence[_Job]
    places: Places
    remote: Remote
    tools: Toolchain
    reporter: Reporter
    scratch: Path

    def run(self) -> Published:
        """Push, commit, converge, tag: killed at any point, the next run goes on."""
        for job in self.jobs:
            if not job.present:
                self._push_content(job)
        with self.reporter.step("push repository") as step:
            records = {self.remote.push_record(record): record for job in self.jobs for record in job.records}
            settled = converge.converge(self.remote, records)
            step.describe(settled.repository.tag or "")
        results = tuple(job.result(self.places) for job in self.jobs)
        with self.reporter.step("tag versions"):
            self._tag(results)
        return Published(results, settled.repository, tuple(map(str, records)), settled.changed)

    def _push_content(self, job: _Job) -> None:
        """Push bundle and images, all of them to the bundle's repository, where the client looks for them first."""
        name = f"push {job.package.ref_name}"
        with self.reporter.step(name) as step:
            step.describe(readable_size(job.archive.stat().st_size))
            imgpkg.copy_from_tar(
                self.tools.imgpkg,
                job.archive,
                self.places.content(job.package.ref_name),
                self.scratch / "bundle-lock.yml",
                step=name,
                timeout=self.remote.timeout,
                note=self.reporter.note,
            )

    def _tag(self, results: Sequence[PublishedPackage]) -> None:
        """Give versions their names for people, now that it is certain whose they are."""
        wanted = [
            (self.places.content(result.ref_name), reference)
            for result in results
            for reference in (result.bundle, *result.images)
        ]
        in_parallel(*[lambda source=source, target=target: self._name(source, target) for source, target in wanted])

    def _name(self, source: Repository, target: Reference) -> None:
        how: dict[str, Any] = {"step": "tag versions", "timeout": self.remote.timeout, "note": self.reporter.note}
        digest = _digest(target)
        if source != target.repository:
            crane.copy(self.tools.crane, source.at(digest), target.repository.at(digest), **how)
        crane.put_tag(self.tools.crane, target.repository.at(digest), str(target.tag), **how)


def _select(packages: Sequence[PackageRecord], names: Sequence[str]) -> list[PackageRecord]:
    known = {name: package for package in packages for name in (package.ref_name.partition(".")[0], package.ref_name)}
    for name in names:
        if name not in known:
            raise UsageError(
                f"no package {name} in dist/{did_you_mean(name, known)}",
                details=f"found: {', '.join(package.ref_name for package in packages)}",
                hint=f"use one of these, or build it first: carvelwright build {name}",
            )
    wanted = {known[name].ref_name for name in names}
    return [package for package in packages if not names or package.ref_name in wanted]


def _job(package: PackageRecord, scratch: Path, seen: Seen, places: Places) -> _Job:
    """Decide what to do about a version; ReleasedError where it is not what is published."""
    record = _record(package, scratch / "dist", places)
    layout = write_bundle(record.files(), scratch / f"record-{package.ref_name}")
    tag = record.tag(layout.digest)
    after = merged(seen.catalog, {tag: record})
    held = after.versions.get((package.ref_name, package.version))
    if held is None:
        raise converge.contested(record)
    if str(tag) in after.rejected or held.file is None:
        raise released(held, after.files.get(held.file or ""), record)
    present = held.file in seen.catalog.files or str(tag) in seen.catalog.records
    records = _metadata(record, after.files, seen) if present else (record,)
    return _Job(package, scratch / "dist" / package.archive, present, records)


def _metadata(record: Record, files: Mapping[str, bytes], seen: Seen) -> tuple[Record, ...]:
    """Return a record of the metadata where they were changed since the version was published."""
    version = PackageVersion.parse(record.version)
    others = [PackageVersion.read(other) for name, other in seen.catalog.versions if name == record.ref_name]
    if files.get(metadata_file(record.ref_name)) == record.metadata or any(other > version for other in others):
        return ()
    number = seen.next_mark(record.key)
    return (Record(record.ref_name, record.version, Action.METADATA, number, None, record.metadata, None),)


def _record(package: PackageRecord, dist: Path, places: Places) -> Record:
    """Return the record of a version: its Package fetches from the place that it is published to."""
    digest = _digest(package.bundle)
    old, new = package.bundle.repository.at(digest), places.content(package.ref_name).at(digest)
    content = read_bytes(dist / package.file)
    moved, count = re.subn(
        rb"(?m)^(\s+image: )" + re.escape(str(old).encode()) + rb"$", rb"\g<1>" + str(new).encode(), content
    )
    if count != 1:
        raise FilesystemError(
            f"dist/{package.file} does not fetch {old}",
            details=f"found: {count} times\nexpected: once",
            hint="remove dist/, then run `carvelwright build`",
        )
    metadata = read_bytes(dist / metadata_file(package.ref_name))
    return Record(package.ref_name, package.version, Action.RELEASE, 0, moved, metadata, new, package.released_at)


def released(held: Held, content: bytes | None, record: Record) -> CarvelwrightError:
    """Return the error for a version that the repository has with other content, or has withdrawn."""
    name = f"{held.ref_name} {held.version}"
    common: dict[str, Any] = {
        "package": held.ref_name,
        "version": held.version,
        "published": held.bundle,
        "new": str(record.bundle),
    }
    hint = f"release the change as a new revision, in a new file beside package/releases/{held.version}.yaml"
    if held.file is None:
        back = "carvelwright repository withdraw --undo brings it back, with the content that it had"
        return ReleasedError(f"{name} was withdrawn: {held.reason}", details=back, hint=hint, **common)
    old, new = (_spec(held, each) for each in (content or b"", record.package or b""))
    differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    details = [
        f"published bundle: {held.bundle or 'none by digest'}",
        f"this bundle:      {record.bundle}",
        f"differs in spec:  {', '.join(differing)}",
    ]
    return ReleasedError(
        f"{name} is already released with different content", details="\n".join(details), hint=hint, **common
    )


def _spec(held: Held, content: bytes) -> Mapping[str, object]:
    for document in documents_of(held.file or "", content):
        if resources.name_of(document) == f"{held.ref_name}.{held.version}":
            spec: Mapping[str, object] = resources.undeprecated(document)["spec"]
            return spec
    return {}


def _would_be(jobs: Sequence[_Job], seen: Seen, remote: Remote, places: Places) -> Published:
    """Return what a publication would make, without pushing anything."""
    with remote.store.scratch("dry-run") as scratch:
        records: dict[RecordTag, Record] = {}
        for number, record in enumerate(record for job in jobs for record in job.records):
            records[record.tag(write_bundle(record.files(), scratch / f"record-{number}").digest)] = record
        catalog = merged(seen.catalog, records)
        if not records and seen.is_current and seen.highest and seen.digest:
            repository = remote.repository.tagged(seen.highest.tag).with_digest(seen.digest)
            return Published(tuple(job.result(places) for job in jobs), repository, (), changed=False)
        revision, layout = remote.would_be(catalog, seen, scratch / "revision")
    repository = remote.repository.tagged(revision.tag).with_digest(layout.digest)
    return Published(tuple(job.result(places) for job in jobs), repository, tuple(map(str, records)), changed=True)


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise AssertionError(f"a record without a digest: {reference}")
    return reference.digest
