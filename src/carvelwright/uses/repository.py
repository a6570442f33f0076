"""Looks at a published package repository: its versions, one of them, the resource that points at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog import foreign, survey
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.merge import version_order
from carvelwright.catalog.records import Action
from carvelwright.catalog.tags import RecordTag, key_of
from carvelwright.errors import RegistryError, UsageError, did_you_mean
from carvelwright.reference import Reference
from carvelwright.stepnames import READ_PUBLISHED
from carvelwright.tools import crane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.steps.published import Seen
    from carvelwright.uses.remote import Opened


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
class Claim:
    """A record, by its tag, that contests a version: several claim it with different contents, and none is visible."""

    record: str
    ref_name: str
    version: str
    released_at: str
    bundle: str | None

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "record": self.record,
            "refName": self.ref_name,
            "version": self.version,
            "releasedAt": self.released_at or None,
            "bundle": self.bundle,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds: the revision that clients follow (None: there is none yet), and its versions.

    `pending` are versions (REFNAME/VERSION) with a record that the revision does not account for yet.
    """

    revision: Reference | None
    versions: tuple[Listed, ...]
    pending: tuple[str, ...]
    contested: tuple[Claim, ...]

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "repository": str(self.revision) if self.revision else None,
            "versions": [version.document() for version in self.versions],
            "pending": list(self.pending),
            "contested": [claim.document() for claim in self.contested],
        }


def listing(opened: Opened, ref_names: Sequence[str] = ()) -> Listing:
    """List the versions, highest first; with names only of these packages."""
    with opened.reporter.step(READ_PUBLISHED):
        seen = opened.remote.look()
    base, pending, claims = survey.survey(seen.base).catalog, _pending(seen), contested(opened, seen)
    known = {held.ref_name for held in (*base.versions.values(), *pending)} | {claim.ref_name for claim in claims}
    require_known(ref_names, known)
    wanted = set(ref_names) or known
    found = [_listed(held) for held in base.versions.values() if held.ref_name in wanted]
    found.sort(key=lambda each: version_order(each.version), reverse=True)
    found.sort(key=lambda each: each.ref_name)
    return Listing(
        _revision(opened, seen),
        tuple(found),
        tuple(f"{held.ref_name}/{held.version}" for held in pending if held.ref_name in wanted),
        tuple(claim for claim in claims if claim.ref_name in wanted),
    )


def _pending(seen: Seen) -> list[Held]:
    """Return the versions with a record that clients do not see the effect of."""
    tags = map(RecordTag.parse, seen.catalog.records - seen.base.accounted)
    keys = {tag.key for tag in tags if tag}
    return [held for held in seen.catalog.versions.values() if keys and key_of(held.ref_name, held.version) in keys]


def contested(opened: Opened, seen: Seen) -> tuple[Claim, ...]:
    """Return the records that claim one version with different contents, none of which is visible."""
    claims = []
    for name in sorted((seen.listed or frozenset()) - seen.catalog.accounted):
        tag = RecordTag.parse(name)
        if tag is not None and (record := opened.remote.record(tag)) is not None:
            bundle = str(record.bundle) if record.bundle else None
            claims.append(Claim(name, record.ref_name, record.version, record.released_at, bundle))
    return tuple(sorted(claims, key=lambda claim: (claim.ref_name, claim.version, claim.record)))


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
            ("state", listed.state),
            *([("reason", listed.reason)] if listed.reason else []),
            ("released at", listed.released_at or "unknown"),
            ("bundle", listed.bundle or "not fetched by digest"),
            *(("image", image) for image in self.images),
            *(("record", record) for record in self.records),
        ]
        return rows + [("" if number else "notes", line) for number, line in enumerate(self.notes.strip().splitlines())]


def show(opened: Opened, ref_name: str, version: str) -> Shown:
    """Look at one version and its bundle."""
    seen, catalog, held = find(opened, ref_name, version)
    content = survey.package_text(catalog.files, held) if held.file else withdrawn_package(opened, held)
    spec = survey.package_document(held, content)["spec"]
    key = key_of(ref_name, version)
    tags = [
        tag for tag in seen.listed or seen.catalog.accounted if (parsed := RecordTag.parse(tag)) and parsed.key == key
    ]
    return Shown(_listed(held), tuple(sorted(tags)), _images(opened, held), str(spec.get("releaseNotes") or ""))


def _images(opened: Opened, held: Held) -> tuple[str, ...]:
    if held.bundle is None:
        return ()
    bundle = place_of(opened, Reference.parse(held.bundle))
    with opened.reporter.step("read bundle"):
        found = crane.pull_verified_bundle(opened.tools.crane, bundle, SIZE, **opened.remote.how())
    if found is None or locks.IMAGES_LOCK not in found.files:
        raise RegistryError(
            f"the bundle of {held.ref_name} {held.version} is {'not there' if found is None else 'no bundle'}",
            reference=str(bundle),
            details=f"bundle: {bundle}",
            hint="verify the repository: carvelwright repository verify REGISTRY/PATH",
        )
    entries = foreign.lock_of(found.files[locks.IMAGES_LOCK])
    digests = [Reference.of_image(entry["image"]).digest for entry in entries]
    # Where clients look first, and where publish and relocate put them.
    return tuple(str(bundle.repository.at(digest)) for digest in digests if digest)


def place_of(opened: Opened, bundle: Reference) -> Reference:
    """Return where clients get a bundle from: beside the package repository, where `imgpkg copy` has put it there."""
    beside = opened.remote.repository
    if bundle.digest is None or bundle.repository == beside:
        return bundle
    found = crane.digest(opened.tools.crane, beside.at(bundle.digest), **opened.remote.how())
    return beside.at(bundle.digest) if found else bundle


def resource(opened: Opened, name: str, *, follow: bool) -> str:
    """Return the PackageRepository resource of a repository: of its highest revision by digest, or one that follows."""
    with opened.reporter.step(READ_PUBLISHED):
        revision = _revision(opened, opened.remote.look())
    if revision is None:
        raise UsageError(
            f"{opened.remote.repository} has no revision to point at",
            hint="publish to it first: carvelwright publish REGISTRY/PATH; where something is published, run "
            "carvelwright repository repair REGISTRY/PATH",
        )
    return yamldoc.dump(resources.package_repository(name, revision, follow=follow))


def find(opened: Opened, ref_name: str, version: str) -> tuple[Seen, Catalog, Held]:
    """Find a version; returns what was seen, the repository with the versions of others, and the version.

    Records count that the revision does not hold yet.
    """
    with opened.reporter.step(READ_PUBLISHED):
        seen = opened.remote.look()
    catalog = survey.survey(seen.catalog).catalog
    if held := catalog.versions.get((ref_name, version)):
        return seen, catalog, held
    names = {name for name, _ in catalog.versions}
    if ref_name not in names:
        raise _unknown(ref_name, names)
    versions = [other for name, other in catalog.versions if name == ref_name]
    raise UsageError(
        f"no version {version} of {ref_name} in the repository{did_you_mean(version, versions)}",
        details=f"found: {', '.join(sorted(versions, key=version_order))}",
        hint="name one of these",
    )


def require_known(ref_names: Sequence[str], known: set[str]) -> None:
    """Refuse names of packages that a repository does not hold."""
    for name in ref_names:
        if name not in known:
            raise _unknown(name, known)


def _unknown(ref_name: str, known: set[str]) -> UsageError:
    return UsageError(
        f"no package {ref_name} in the repository{did_you_mean(ref_name, known)}",
        details=f"found: {', '.join(sorted(known)) or 'none'}",
        hint="name one of these, by its refName"
        if known
        else "publish to it first: carvelwright publish REGISTRY/PATH",
    )


def _listed(held: Held) -> Listed:
    about = (state_of(held), held.released_at, held.bundle, held.reason)
    return Listed(held.ref_name, held.version, *about, ours=(held.release or held.mark) is not None)


def state_of(held: Held) -> str:
    """Return the state of a version in one word."""
    states = {Action.DEPRECATE: "deprecated", Action.WITHDRAW: "withdrawn"}
    return states.get(held.action, "released")


def _revision(opened: Opened, seen: Seen) -> Reference | None:
    if seen.digest is None:
        return None
    tag = seen.highest.tag if seen.highest else None
    repository = opened.remote.repository
    return (repository.tagged(tag) if tag else repository.at(seen.digest)).with_digest(seen.digest)


def withdrawn_package(opened: Opened, held: Held) -> bytes:
    """Return the Package of a withdrawn version, as it was; RegistryError where its record is lost."""
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
