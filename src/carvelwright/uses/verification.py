"""Verifies published packages as a whole: every digest, every signature, and what is attested against what is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import session as sessions
from carvelwright.catalog import survey
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.places import Places
from carvelwright.catalog.records import PACKAGES
from carvelwright.errors import RegistryError, UsageError, did_you_mean
from carvelwright.reference import Reference, Repository
from carvelwright.stepnames import READ_PUBLISHED
from carvelwright.tools import crane, toolchain
from carvelwright.uses import archive, relocate, remote, repository, verify
from carvelwright.uses.evidence import Evidence
from carvelwright.uses.rebuild import Published, Rebuild, require_clone
from carvelwright.uses.verify import Finding, Verified

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.supply.keys import PublicKey
    from carvelwright.tools.tool import Tool
    from carvelwright.uses.remote import Opened, Surroundings

_STEP = "verify what is attested"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to verify: with which keys (none: no signature is verified), and the limit of each exchange in seconds.

    With `rebuild`, only that version of each package is verified, and it is built again from its git tag and compared.
    """

    around: Surroundings
    keys: tuple[PublicKey, ...]
    timeout: float
    rebuild: str | None = None

    def find_go(self) -> Tool:
        """Find the pinned Go, which reads binaries."""
        return toolchain.find_go(sessions.lone_search(self.around.root, self.around.environment))


def of_repository(asked: Asked, places: Places, wanted: Sequence[str] = ()) -> Verified:
    """Verify a package repository, or of it the named packages (REFNAME) and versions (REFNAME/VERSION).

    Without names the revision that clients follow is verified as well. UsageError for what is not there.
    """
    if asked.rebuild is not None:
        require_clone(asked.around)
    with remote.opened(asked.around, places, asked.timeout, "verify") as opened:
        with opened.reporter.step(READ_PUBLISHED):
            seen = opened.remote.look()
        catalog = survey.survey(seen.base).catalog
        chosen, everything = _choose(asked, catalog, wanted), not wanted and asked.rebuild is None
        read = verify.verify_seen(opened, seen, versions=None if everything else chosen)
        evidence = Evidence(opened, asked.keys, asked.find_go, read.locked)
        if everything and seen.digest is not None:
            evidence.revision(opened.remote.repository.at(seen.digest))
        return _check_versions(asked, opened, evidence, catalog, chosen, read)


def of_archive(asked: Asked, source: Path, wanted: Sequence[str] = ()) -> Verified:
    """Verify what an archive holds, or the named packages and versions of it.

    It is relocated into a registry of our own for that. The repository in an archive is made by `archive` and has no
    signature. InputError where the archive is incomplete or corrupt.
    """
    if asked.rebuild is not None:
        require_clone(asked.around)
    with (
        remote.at_work(asked.around, "verify") as (tools, scratch),
        archive.own_registry(tools.crane, scratch) as address,
    ):
        places = Places(Repository.parse(f"{address}/archive"))
        opened = remote.open_at(tools, scratch, asked.around, places, asked.timeout, "verify")
        _, read = relocate.relocate(opened, source)
        catalog = survey.survey(opened.remote.look().base).catalog
        evidence = Evidence(opened, asked.keys, asked.find_go, read.locked)
        found = _check_versions(asked, opened, evidence, catalog, _choose(asked, catalog, wanted), read)
        # The registry of our own says nothing to anyone.
        own = f"{places.packages}@"
        known = tuple(replace(each, image=each.image.replace(own, "")) for each in found.known)
        return replace(found, findings=tuple(_without(own, each) for each in found.findings), known=known)


def of_reference(asked: Asked, reference: Reference) -> Verified:
    """Verify one bundle with what its build made, one image, or one revision of a package repository.

    UsageError where nothing is there.
    """
    places = Places(reference.repository, single=True)
    with remote.opened(asked.around, places, asked.timeout, "verify") as opened:
        digest = crane.digest(opened.tools.crane, reference, **opened.remote.how())
        if digest is None:
            raise UsageError(
                f"nothing to verify: {reference} is not in the registry", hint="name an image or a bundle that is there"
            )
        place = reference.repository.at(digest)
        read, content = verify.verify_content(opened, place)
        evidence = Evidence(opened, asked.keys, asked.find_go, read.locked)
        with opened.reporter.step(_STEP):
            if content is None:
                evidence.image(str(reference), place)
            elif any(name.startswith(f"{PACKAGES}/") for name in content):
                evidence.revision(place)
            else:
                evidence.bundle(str(reference), place)
        return _checked(read, evidence)


def _without(place: str, finding: Finding) -> Finding:
    return Finding(finding.about.replace(place, ""), finding.message.replace(place, ""))


def _check_versions(
    asked: Asked,
    opened: Opened,
    evidence: Evidence,
    catalog: Catalog,
    chosen: Sequence[tuple[str, str]],
    read: Verified,
) -> Verified:
    with opened.reporter.step(_STEP) as step:
        for number, key in enumerate(chosen, 1):
            evidence.version(catalog.versions[key], catalog)
            step.count_packages(number, len(chosen))
    if asked.rebuild is None:
        return _checked(read, evidence)
    again = Rebuild(asked.around, opened.scratch)
    for key in chosen:
        again.version(_published(opened, evidence, catalog, catalog.versions[key]))
    return replace(_checked(read, evidence, again.findings), rebuilt=tuple(again.same))


def _published(opened: Opened, evidence: Evidence, catalog: Catalog, held: Held) -> Published:
    """Return a version as it is published, for what is built again to be compared with it."""
    document = survey.package_document(held, survey.package_text(catalog.files, held))
    made = evidence.made.get((held.ref_name, held.version))
    if held.bundle is None:
        return Published(held.ref_name, held.version, None, {}, (), document, made)
    place = repository.place_of(opened, Reference.parse(held.bundle))
    try:
        pulled = crane.pull_verified_bundle(opened.tools.crane, place, SIZE, **opened.remote.how())
    except (ValueError, RegistryError):
        # Found before: its digest is compared all the same.
        pulled = None
    content, locked = pulled.files if pulled else {}, evidence.locked.get(place, ())
    return Published(held.ref_name, held.version, place.digest, content, locked, document, made)


def _checked(read: Verified, evidence: Evidence, more: Sequence[Finding] = ()) -> Verified:
    # What cannot be read is found by both.
    findings = {str(finding): finding for finding in (*read.findings, *evidence.findings, *more)}
    return replace(
        read, findings=tuple(findings[text] for text in sorted(findings)), known=tuple(sorted(evidence.known, key=str))
    )


def _choose(asked: Asked, catalog: Catalog, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return the versions that are asked for; those that are withdrawn are none."""
    there = sorted(key for key, held in catalog.versions.items() if held.file)
    if asked.rebuild is not None:
        there = _of_version(there, asked.rebuild)
    repository.require_known([name.partition("/")[0] for name in wanted], {ref_name for ref_name, _ in there})
    chosen = [key for key in there if not wanted or key[0] in wanted or "/".join(key) in wanted]
    for name in wanted:
        if "/" in name and name not in map("/".join, chosen):
            raise UsageError(
                f"{name} is not in the repository",
                details=f"found: {', '.join(version for ref, version in there if ref == name.partition('/')[0])}",
                hint="name REFNAME or REFNAME/VERSION of what is there",
            )
    return chosen


def _of_version(there: Sequence[tuple[str, str]], version: str) -> list[tuple[str, str]]:
    """Return the packages that have a version; UsageError where none has."""
    if not (found := [key for key in there if key[1] == version]):
        versions = {each for _, each in there}
        raise UsageError(
            f"{version} is not in the repository{did_you_mean(version, versions)}",
            details=f"found: {', '.join(sorted(versions)) or 'no version'}",
            hint="name a version that is published there, as `carvelwright repository list` prints it",
        )
    return found
