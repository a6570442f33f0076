"""Publishes what an archive holds to another registry, digest for digest, and verifies it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog import content, survey
from carvelwright.catalog.places import full_tag
from carvelwright.catalog.records import Action, Record, metadata_file, package_file
from carvelwright.errors import InputError, RegistryError
from carvelwright.process import in_parallel
from carvelwright.reference import Reference
from carvelwright.stepnames import READ_PUBLISHED, SIGN
from carvelwright.steps import airgap, attached, attachments
from carvelwright.uses import archive, commit, publish, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.carvel.resources import Document
    from carvelwright.catalog.content import Held
    from carvelwright.digest import Digest
    from carvelwright.reference import Repository
    from carvelwright.steps.published import Seen
    from carvelwright.uses.remote import Opened
    from carvelwright.uses.verify import Verified


def relocate(opened: Opened, source: Path) -> tuple[commit.Published, Verified]:
    """Publish what an archive holds to another registry, digest for digest, and verify it there to the last byte.

    All content goes to the package repository's own OCI repository, which has a tag for every digest. What is there is
    not pushed again: an interrupted run is repeated. A version that was withdrawn there stays so, and a deprecation
    is taken over where the version has no mark there. Raises as `publish`.
    """
    if not source.is_file():
        raise InputError(f"{source} is no regular file", hint="name an archive")
    with opened.reporter.step("verify the archive"):
        root = archive.verified(source, source, "copy the archive again from where it was made")
        found = _versions(root, source, opened.remote.repository)
        carried = _attachments(source)
    with opened.reporter.step(READ_PUBLISHED):
        seen = opened.remote.look()
    found = _not_withdrawn(opened, found, seen)
    jobs = commit.jobs([each.version for each in found], seen, opened.scratch)
    jobs = [_with_deprecation(job, each, seen) for job, each in zip(jobs, found, strict=True)]
    plain = airgap.without_tags(source, opened.scratch / "archive.tar")
    # Also where all versions are there: something of them may be lost. What is there is not sent again.
    publish.push_content(plain, opened.remote.repository, "the archive", opened.remote, opened.tools)
    _carry(carried, opened)
    done = commit.commit(jobs, opened.remote, opened.tools, opened.signer)
    return done, verify.verify(opened, versions=[each.key for each in found])


def _attachments(source: Path) -> dict[str, Digest]:
    """Return the signatures and attestations that an archive carries, by the tags that they have."""
    _, bundles = airgap.read_bundles(source, content.SIZE)
    try:
        return airgap.signatures_in(source) | attachments.carried_in(bundles.values())
    except ValueError as error:
        raise _unfit(source, str(error)) from None


def _carry(carried: Mapping[str, Digest], opened: Opened) -> None:
    """Give attachments the tags by which they are found, beside those that are there."""
    if not carried:
        return
    place = opened.remote.repository
    with opened.reporter.step(SIGN):
        in_parallel(
            *[
                lambda tag=tag, digest=digest: attached.carry(opened.attaching, place.at(digest), tag)
                for tag, digest in sorted(carried.items())
            ]
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A version in an archive; `deprecated` is the file of its Package where it is deprecated, with the reason."""

    version: commit.Version
    deprecated: bytes | None = None
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Its refName and version."""
        return self.version.record.ref_name, self.version.record.version


def _not_withdrawn(opened: Opened, found: list[_Found], seen: Seen) -> list[_Found]:
    """Leave out what was withdrawn at the target; where that is all, the error comes with the first."""
    held = {
        each: seen.catalog.versions.get((each.version.record.ref_name, each.version.record.version)) for each in found
    }
    left = [each for each in found if (there := held[each]) is None or there.file is not None]
    for each in found if left else ():
        if (there := held[each]) is not None and there.file is None:
            opened.reporter.note(f"{there.ref_name} {there.version} was withdrawn there and stays so: {there.reason}")
    return left or found


def _with_deprecation(job: commit.Job, found: _Found, seen: Seen) -> commit.Job:
    record = found.version.record
    held = seen.catalog.versions.get(found.key)
    ours = held is None or (held.mark is None and held.file == package_file(*found.key))
    if found.deprecated is None or not ours:
        return job
    number = seen.next_mark(record.key)
    bundle = record.bundle if held is None or held.bundle is None else Reference.parse(held.bundle)
    package = found.deprecated
    if bundle and record.bundle:
        package, _ = publish.moved_package(package, record.bundle, bundle)
    mark = replace(
        record,
        action=Action.DEPRECATE,
        number=number,
        package=package,
        metadata=None,
        bundle=bundle,
        reason=found.reason,
    )
    return replace(job, records=(*job.records, mark))


def _versions(root: airgap.Root, source: Path, place: Repository) -> list[_Found]:
    """Return the versions of the repository that an archive holds, as they are to be published."""
    try:
        surveyed = survey.survey(content.read(root.files))
        there = [held for _, held in sorted(surveyed.catalog.versions.items()) if held.file]
        found = [_version(held, surveyed.catalog.files, place) for held in there]
    except (ValueError, RegistryError) as error:
        details = str(error) if isinstance(error, ValueError) else error.details or error.message
        raise _unfit(source, details) from None
    if surveyed.problems:
        raise _unfit(source, "\n".join(surveyed.problems))
    if not found:
        raise InputError(
            f"{source} holds no package repository",
            details=f"found: a bundle with the files {', '.join(sorted(root.files)[:5])}",
            hint="use the archive that dist/release.json names, or one that `carvelwright archive` made",
        )
    return found


def _unfit(source: Path, details: str) -> InputError:
    message = f"{source} holds a package repository that cannot be relocated"
    return InputError(message, details=details, hint="mend that repository, and make the archive again")


def _version(held: Held, others: Mapping[str, bytes], place: Repository) -> _Found:
    """Return a version as it is to be published; ValueError where it can have no record."""
    package = survey.package_text(others, held)
    old = Reference.parse(held.bundle) if held.bundle else None
    new = place.at(old.digest) if old and old.digest else None
    if old and new:
        moved, count = publish.moved_package(package, old, new)
        package = moved if count == 1 else _dump(resources.with_bundle(survey.package_document(held, package), new))
    metadata = others.get(metadata_file(held.ref_name))
    deprecated = package if held.action is Action.DEPRECATE else None
    if deprecated is not None:
        package = _dump(resources.undeprecated(survey.package_document(held, package)))
    about = (held.ref_name, held.version)
    record = Record(*about, Action.RELEASE, 0, package, metadata, new, held.released_at)
    name = place.tagged(full_tag(held.ref_name, PackageVersion.parse(held.version))) if new else None
    version = commit.Version(record, place, name.with_digest(new.digest) if name and new and new.digest else None)
    return _Found(version, deprecated, held.reason)


def _dump(document: Document) -> bytes:
    return yamldoc.dump(document).encode()
