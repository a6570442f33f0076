"""Repairs a published package repository, and marks versions in it: deprecated, withdrawn, restored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import resources
from carvelwright.catalog import survey
from carvelwright.catalog.merge import merged
from carvelwright.catalog.records import Action, Record
from carvelwright.catalog.tags import RecordTag
from carvelwright.errors import RegistryError, UsageError
from carvelwright.stepnames import RECORD
from carvelwright.uses import converge, repository

if TYPE_CHECKING:
    from carvelwright.catalog.content import Held
    from carvelwright.steps.published import Seen
    from carvelwright.uses.converge import Settled
    from carvelwright.uses.remote import Opened
    from carvelwright.uses.repository import Claim

_LONGEST_REASON = 500


def repair(opened: Opened, keep: str | None = None) -> tuple[Settled, tuple[Claim, ...]]:
    """Finish what crashed publishers left: the highest revision holds every record, and `latest` names it.

    `keep` is the tag of a contested record, which is to stand. Returns the end, and what is still contested.
    UsageError where there is nothing to repair: nothing is published there.
    """
    own: dict[RecordTag, Record] = {}
    with opened.reporter.step("repair the repository"):
        seen = opened.remote.look()
        if keep is not None:
            record = _contested(opened, seen, keep)
            chosen = replace(record, action=Action.RESTORE, number=seen.next_mark(record.key), metadata=None)
            own[opened.remote.push_record(chosen)] = chosen
        elif seen.digest is None and not seen.catalog.files:
            claims = [f"contested: {claim.record}" for claim in repository.contested(opened, seen)]
            raise UsageError(
                f"{opened.remote.repository} holds no package repository",
                details="\n".join(claims) or None,
                hint="choose a record with --keep" if claims else "publish to it: carvelwright publish REGISTRY/PATH",
            )
        settled = converge.converge(opened.remote, own)
        left = repository.contested(opened, opened.remote.look())
    return replace(settled, changed=settled.changed or bool(own)), left


def _contested(opened: Opened, seen: Seen, keep: str) -> Record:
    claims = repository.contested(opened, seen)
    tag = RecordTag.parse(keep) if any(claim.record == keep for claim in claims) else None
    if tag is not None and (record := opened.remote.record(tag)) is not None:
        return record
    raise UsageError(
        f"{keep} is no contested record",
        details=f"found: {', '.join(claim.record for claim in claims) or 'none'}",
        hint="name one of these with --keep" if claims else "run the command without --keep",
    )


def deprecate(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Mark a version: its Package says in an annotation and in its notes that it is deprecated. It stays available."""
    _require_reason(reason)
    seen, catalog, held = repository.find(opened, ref_name, version)
    if held.file is None:
        raise _withdrawn(held)
    if held.action is Action.DEPRECATE and held.reason == reason:
        return _settle(opened)
    document = survey.package_document(held, survey.package_text(catalog.files, held))
    marked = yamldoc.dump(resources.deprecated(document, reason)).encode()
    return _mark(opened, seen, held, Action.DEPRECATE, marked, reason)


def undeprecate(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Take back a deprecation; a version that is not deprecated stays as it is."""
    _require_reason(reason)
    seen, catalog, held = repository.find(opened, ref_name, version)
    if held.file is None:
        raise _withdrawn(held)
    if held.action is not Action.DEPRECATE:
        return _settle(opened)
    document = survey.package_document(held, survey.package_text(catalog.files, held))
    original = yamldoc.dump(resources.undeprecated(document)).encode()
    return _mark(opened, seen, held, Action.RESTORE, original, reason)


def withdraw(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Remove a version from the repository. Its bundle stays in the registry, and the version can be restored."""
    _require_reason(reason)
    seen, catalog, held = repository.find(opened, ref_name, version)
    if held.file is None:
        return _settle(opened)
    return _mark(opened, seen, held, Action.WITHDRAW, survey.package_text(catalog.files, held), reason)


def restore(opened: Opened, ref_name: str, version: str, reason: str) -> Settled:
    """Take back a withdrawal: the version is what it was, deprecated where it was deprecated."""
    _require_reason(reason)
    seen, _, held = repository.find(opened, ref_name, version)
    if held.file is not None:
        return _settle(opened)
    content = repository.withdrawn_package(opened, held)
    annotations = survey.package_document(held, content)["metadata"].get("annotations") or {}
    if (deprecated := annotations.get(resources.DEPRECATED)) is not None:
        return _mark(opened, seen, held, Action.DEPRECATE, content, str(deprecated))
    return _mark(opened, seen, held, Action.RESTORE, content, reason)


def _settle(opened: Opened) -> Settled:
    """Finish what an interrupted run may have left: there is nothing to add."""
    with opened.reporter.step(RECORD):
        return converge.converge(opened.remote, {})


def _mark(opened: Opened, seen: Seen, held: Held, action: Action, package: bytes, reason: str) -> Settled:
    try:
        record = _record(seen, held, action, package, reason)
    except ValueError as error:
        raise UsageError(
            f"{held.ref_name} {held.version} cannot be marked: {error}",
            hint="change the repository where it is made: others published this version",
        ) from None
    if held.file is not None and not survey.is_alone(seen.catalog.files, held):
        raise UsageError(
            f"{held.ref_name} {held.version} cannot be marked: {held.file} holds other documents, too",
            hint="publish the repository again with a file for each Package, or mark the version where it is made",
        )
    # A record that cannot be merged would stop every publisher: it is refused before it is pushed.
    merged(seen.catalog, {}, adopt=[held.ref_name])
    with opened.reporter.step(RECORD) as step:
        tag = opened.remote.push_record(record)
        settled = converge.converge(opened.remote, {tag: record})
        step.describe(settled.repository.tag or "")
    now = settled.catalog.versions.get((held.ref_name, held.version))
    if now is None or now.mark != str(tag):
        raise RegistryError(
            f"{held.ref_name} {held.version} was marked by somebody else at the same time: it is {_state(now)}",
            reference=str(opened.remote.repository),
            hint="list the states, then run the command again where it is still wanted",
        )
    return replace(settled, changed=True)


def _record(seen: Seen, held: Held, action: Action, package: bytes, reason: str) -> Record:
    document = survey.package_document(held, package)
    bundle = resources.bundle_or_none(document)
    record = Record(held.ref_name, held.version, action, 1, package, None, bundle, held.released_at, reason)
    return replace(record, number=seen.next_mark(record.key))


def _state(held: Held | None) -> str:
    return repository.state_of(held) if held else "gone"


def _require_reason(reason: str) -> None:
    """Refuse what a list cannot show in one line."""
    if reason.strip() and reason.isprintable() and len(reason) <= _LONGEST_REASON:
        return
    found = "nothing" if not reason.strip() else f"{len(reason)} characters: {reason[:40]!r}"
    raise UsageError(
        "not a reason",
        details=f"found: {found}\nexpected: one line of at most {_LONGEST_REASON} printable characters",
        hint="write with --reason why, for those who read it in the repository",
    )


def _withdrawn(held: Held) -> UsageError:
    name = f"{held.ref_name}/{held.version}"
    return UsageError(
        f"{held.ref_name} {held.version} is withdrawn: {held.reason}",
        hint=f"bring it back first: carvelwright repository withdraw --undo REGISTRY/PATH {name} --reason WHY",
    )
