"""Decides what versions need to be in a package repository, records them there, and gives them names for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carvelwright.carvel import resources
from carvelwright.catalog.foreign import documents_of
from carvelwright.catalog.merge import merged, version_order
from carvelwright.catalog.records import Action, Record, metadata_file
from carvelwright.errors import CarvelwrightError, ReleasedError
from carvelwright.oci.bundle import write_bundle
from carvelwright.process import in_parallel
from carvelwright.reference import Reference
from carvelwright.stepnames import RECORD, SIGN, TAG
from carvelwright.tools import crane
from carvelwright.uses import converge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.catalog.tags import RecordTag
    from carvelwright.reference import Repository
    from carvelwright.steps.published import Remote, Seen
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.uses.signing import Signer


@dataclass(frozen=True, slots=True)
class PublishedPackage:
    """A version in a registry: its bundle and the images that its build made, by tag and digest.

    `added` tells whether the version is new there; `bundle` is None where the Package fetches no bundle by digest.
    """

    ref_name: str
    version: str
    bundle: Reference | None
    images: tuple[Reference, ...]
    added: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "refName": self.ref_name,
            "version": self.version,
            "bundle": str(self.bundle) if self.bundle else None,
            "images": [str(image) for image in self.images],
            "added": self.added,
        }


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication made, or, of a dry run, would make.

    `repository` is the revision of the package repository that holds the packages, by tag and digest; `changed` tells
    whether anything was pushed that clients see; `records` are the tags of what was added there; `signed` is what has
    a signature of the publisher's key, by digest.
    """

    packages: tuple[PublishedPackage, ...]
    repository: Reference
    records: tuple[str, ...]
    changed: bool
    signed: tuple[Reference, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "repository": str(self.repository),
            "changed": self.changed,
            "records": list(self.records),
            "signed": [str(reference) for reference in self.signed],
            "packages": [package.document() for package in self.packages],
        }


@dataclass(frozen=True, slots=True)
class Version:
    """A version to publish: its record, and the names that its bundle and its images get, by tag and digest.

    `content` is the OCI repository that has all of them.
    """

    record: Record
    content: Repository
    bundle: Reference | None
    images: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done for a version: `present` tells that the repository holds it, `records` are to be pushed.

    `elsewhere` is the bundle of a version that is there already and fetches from another place than this one would.
    `recorded` is the tag of the version's release where the registry has that record already.
    """

    version: Version
    present: bool
    records: tuple[Record, ...]
    elsewhere: Reference | None = None
    recorded: RecordTag | None = None

    def result(self) -> PublishedPackage:
        """Return where the version lies in the end."""
        record, version = self.version.record, self.version
        bundle = self.elsewhere or version.bundle
        return PublishedPackage(record.ref_name, record.version, bundle, version.images, not self.present)


def jobs(versions: Sequence[Version], seen: Seen, scratch: Path) -> list[Job]:
    """Decide what to do about some versions, each once; ReleasedError where one is not what is published."""
    tags: dict[RecordTag, Version] = {}
    for number, version in enumerate(versions):
        layout = write_bundle(version.record.files(), scratch / "records" / str(number))
        tags[version.record.tag(layout.digest)] = version
    after = merged(seen.catalog, {tag: version.record for tag, version in tags.items()})
    # Not `after`: of two releases with the same Package, the metadata of either may be the one that counts.
    before = merged(seen.catalog, {}, adopt={version.record.ref_name for version in versions})
    return [_job(tag, version, seen, (before, after)) for tag, version in tags.items()]


def _job(tag: RecordTag, version: Version, seen: Seen, catalogs: tuple[Catalog, Catalog]) -> Job:
    record, (_, after) = version.record, catalogs
    held = after.versions.get((record.ref_name, record.version))
    if held is None:
        raise converge.contested(record)
    if str(tag) in after.rejected or held.file is None:
        raise _released(held, after.files.get(held.file or ""), record)
    if held.file not in seen.catalog.files and str(tag) not in seen.catalog.records:
        return Job(version, present=False, records=(record,))
    elsewhere = None
    if held.bundle != str(record.bundle):
        # The same content, published by others to a place of theirs.
        version = Version(record, version.content, None)
        elsewhere = Reference.parse(held.bundle) if held.bundle else None
    there = str(tag) in seen.catalog.accounted | (seen.listed or frozenset())
    records = _metadata(record, catalogs, seen)
    return Job(version, present=True, records=records, elsewhere=elsewhere, recorded=tag if there else None)


def _metadata(record: Record, catalogs: tuple[Catalog, Catalog], seen: Seen) -> tuple[Record, ...]:
    """Return a record of the metadata where they were changed since the version was published."""
    before, after = catalogs
    same = record.metadata in (None, before.files.get(metadata_file(record.ref_name)))
    if same or any(
        version_order(other) > version_order(record.version)
        for name, other in after.versions
        if name == record.ref_name
    ):
        return ()
    number = seen.next_mark(record.key)
    return (Record(record.ref_name, record.version, Action.METADATA, number, None, record.metadata, None),)


def commit(jobs: Sequence[Job], remote: Remote, tools: Toolchain, signer: Signer | None = None) -> Published:
    """Record the versions whose content is pushed, then name them. Killed at any point, the next run goes on.

    With a signer everything is signed before anybody sees it.
    """
    if signer is not None:
        with remote.reporter.step(SIGN):
            in_parallel(*[lambda each=each: signer.vouch(each) for each in _content(jobs)])
    with remote.reporter.step(RECORD) as step:
        wanted = [record for job in jobs for record in job.records]
        pushed = in_parallel(*[lambda record=record: remote.push_record(record) for record in wanted])
        records = dict(zip(pushed, wanted, strict=True))
        # What was recorded by a former run may not have been seen by anybody yet: it has to stand in the end, too.
        former = {job.recorded: job.version.record for job in jobs if job.recorded}
        settled = converge.converge(remote, former | records)
        _require_held(jobs, settled.catalog)
        step.describe(settled.repository.tag or "")
    with remote.reporter.step(TAG):
        names = [
            (job, reference)
            for job in jobs
            for reference in (job.version.bundle, *job.version.images)
            if reference is not None
        ]
        in_parallel(*[lambda job=job, name=name: _name(remote, tools, job, name, signer) for job, name in names])
    results = tuple(job.result() for job in jobs)
    signed = _signed(jobs, settled.repository) if signer is not None else ()
    return Published(results, settled.repository, tuple(map(str, records)), settled.changed, signed)


def _content(jobs: Sequence[Job]) -> list[Reference]:
    """Return the bundles and images of some versions where their content lies, each by digest."""
    named = [(job.version.content, name) for job in jobs for name in (job.version.bundle, *job.version.images)]
    return list(dict.fromkeys(place.at(name.digest) for place, name in named if name and name.digest))


def _signed(jobs: Sequence[Job], repository: Reference) -> tuple[Reference, ...]:
    """Return everything that a publication signs: content, the same where people find it, and the revision."""
    names = [name for job in jobs for name in (job.version.bundle, *job.version.images) if name]
    found = [*_content(jobs), *(replace(name, tag=None) for name in names), replace(repository, tag=None)]
    return tuple(dict.fromkeys(found))


def _require_held(jobs: Sequence[Job], catalog: Catalog) -> None:
    """Refuse to call a version published that the repository does not know in the end."""
    records = [job.version.record for job in jobs]
    # Others may have published it: that is known only of packages that have records.
    held = merged(catalog, {}, adopt={record.ref_name for record in records}).versions
    for record in records:
        if (record.ref_name, record.version) not in held:
            raise converge.contested(record)


def _name(remote: Remote, tools: Toolchain, job: Job, name: Reference, signer: Signer | None) -> None:
    """Give content its name for people, now that it is certain whose the name is."""
    how = remote.how(TAG)
    if name.digest is None or name.tag is None:
        raise AssertionError(f"a name without tag or digest: {name}")
    if job.version.content != name.repository:
        crane.copy(tools.crane, job.version.content.at(name.digest), name.repository.at(name.digest), **how)
        if signer is not None:
            signer.vouch(name)
    # A new version has no name yet. Where another publisher of it has just written the name, it is the same.
    crane.put_tag(tools.crane, name.repository.at(name.digest), name.tag, differs=not job.present, **how)


def would_be(jobs: Sequence[Job], seen: Seen, remote: Remote, signer: Signer | None = None) -> Published:
    """Return what `commit` would make, without pushing anything."""
    made = _would_be(jobs, seen, remote)
    return made if signer is None else replace(made, signed=_signed(jobs, made.repository))


def _would_be(jobs: Sequence[Job], seen: Seen, remote: Remote) -> Published:
    results = tuple(job.result() for job in jobs)
    with remote.store.scratch("dry-run") as scratch:
        records: dict[RecordTag, Record] = {}
        for number, record in enumerate(record for job in jobs for record in job.records):
            records[record.tag(write_bundle(record.files(), scratch / f"record-{number}").digest)] = record
        if not records and seen.is_current and seen.highest and seen.digest:
            repository = remote.repository.tagged(seen.highest.tag).with_digest(seen.digest)
            return Published(results, repository, (), changed=False)
        revision, layout = remote.would_be(merged(seen.catalog, records), seen, scratch / "revision")
    repository = remote.repository.tagged(revision.tag).with_digest(layout.digest)
    return Published(results, repository, tuple(map(str, records)), changed=True)


def _released(held: Held, content: bytes | None, record: Record) -> CarvelwrightError:
    """Return the error for a version that the repository has with other content, or has withdrawn."""
    name = f"{held.ref_name} {held.version}"
    common: dict[str, Any] = {
        "package": held.ref_name,
        "version": held.version,
        "published": held.bundle,
        "new": str(record.bundle),
        "step": RECORD,
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
