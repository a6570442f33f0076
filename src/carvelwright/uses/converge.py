"""Makes a package repository hold all of its records, whoever else is writing to it.

No registry offers compare-and-swap for tags. So a publisher first writes what cannot be lost: a record, under a tag
that is the digest of its content. Then it makes the union of all records the highest revision, and looks again until
that holds. A publisher that was killed or stalled in between saw fewer records, so its revision has a lower number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.errors import RegistryError, ReleasedError
from carvelwright.process import stopwatch
from carvelwright.stepnames import RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.catalog.content import Catalog
    from carvelwright.catalog.records import Record
    from carvelwright.catalog.tags import RecordTag
    from carvelwright.errors import CarvelwrightError
    from carvelwright.reference import Reference
    from carvelwright.steps.published import PackageRepository, Seen

# Seconds, of four looks at who was first.
_CONTEST_WAITS = (0.5, 1.0, 1.5, 2.0)
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of it: the revision that clients follow, by tag and digest, its content, whether anything was pushed."""

    repository: Reference
    catalog: Catalog
    changed: bool


def converge(remote: PackageRepository, own: Mapping[RecordTag, Record]) -> Settled:
    """Make the highest revision hold every record, then let `latest` name it.

    `own` are records that the caller has pushed. ReleasedError where one of them is not what the repository holds,
    RegistryError where the registry does not show within the time limit what was pushed.
    """
    seconds, changed, wait = stopwatch(), False, 0.0
    seen = _look_for_first(remote, own)
    while True:
        _refuse_lost(own, seen.catalog)
        if seen.is_current:
            return Settled(_end(remote, seen), seen.catalog, changed)
        if seconds() + wait > remote.timeout:
            raise _too_late(remote, seen)
        if wait:
            # Others write at the same time, or the registry is late to show what it has.
            remote.wait(wait)
            seen = remote.look(own)
        wait = min(2 * wait, _LONGEST_WAIT) or _FIRST_WAIT
        if not seen.is_current:
            _refuse_lost(own, seen.catalog)
            digest = remote.push_revision(seen.catalog, seen)
            changed = True
            if seen.listed is None:
                _warn_of_others(remote)
                remote.move_latest(digest)
        seen = remote.look(own)


def _look_for_first(remote: PackageRepository, own: Mapping[RecordTag, Record]) -> Seen:
    """Look, and give others the time to settle who was first, where several claim a version of ours.

    One that listed before the second record was there publishes the first.
    """
    for wait in _CONTEST_WAITS:
        seen = remote.look(own)
        if all((record.ref_name, record.version) in seen.catalog.versions for record in own.values()):
            return seen
        remote.wait(wait)
    return remote.look(own)


def _warn_of_others(remote: PackageRepository) -> None:
    remote.reporter.note(
        f"registry {remote.repository.registry} does not list the tags of {remote.repository}: "
        "only `latest` is followed there, and one publisher at a time must write to it"
    )


def _end(remote: PackageRepository, seen: Seen) -> Reference:
    digest = seen.digest
    if digest is None:
        raise AssertionError("a repository that is current without a revision")
    # Another publisher may have pushed it, without this key.
    remote.sign_revision(digest)
    if seen.latest != digest:
        remote.move_latest(digest)
    tag = seen.highest.tag if seen.highest else None
    return remote.repository.tagged(tag).with_digest(digest) if tag else remote.repository.at(digest)


def _refuse_lost(own: Mapping[RecordTag, Record], catalog: Catalog) -> None:
    for tag, record in own.items():
        if str(tag) in catalog.records:
            continue
        held = catalog.versions.get((record.ref_name, record.version))
        if held is None:
            raise contested(record)
        raise ReleasedError(
            f"{record.ref_name} {record.version} was released with different content by another publisher meanwhile",
            package=record.ref_name,
            version=record.version,
            published=held.bundle,
            new=str(record.bundle),
            details=f"published bundle: {held.bundle}\nthis bundle:      {record.bundle}",
            hint="release this content as a new revision",
            step=RECORD,
        )


def contested(record: Record) -> CarvelwrightError:
    """Return the error for a version that several publishers claim at once, of which none is visible."""
    return ReleasedError(
        f"{record.ref_name} {record.version} was pushed with different contents by several publishers at once",
        package=record.ref_name,
        version=record.version,
        new=str(record.bundle),
        # A publisher that looked before the second one was pushed may still be on its way.
        details="none of them was visible to clients; a publisher that is still running may make one visible",
        hint="choose one: carvelwright repository repair REGISTRY/PATH lists them",
        step=RECORD,
    )


def _too_late(remote: PackageRepository, seen: Seen) -> CarvelwrightError:
    highest = seen.highest.tag if seen.highest else "none"
    return RegistryError(
        f"step {remote.step}: registry {remote.repository.registry} does not show the revision that was pushed",
        registry=remote.repository.registry,
        reference=str(remote.repository),
        details=f"highest revision listed: {highest}\nwaited: {remote.timeout:g} s",
        hint="run the same command again: nothing is lost, the versions are recorded",
        step=remote.step,
    )
