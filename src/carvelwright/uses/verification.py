"""Verifies published packages as a whole: every digest, every signature, and what is attested against what is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import session as sessions
from carvelwright.catalog import survey
from carvelwright.catalog.places import Places
from carvelwright.catalog.records import PACKAGES
from carvelwright.errors import UsageError
from carvelwright.reference import Repository
from carvelwright.stepnames import READ_PUBLISHED
from carvelwright.tools import crane, toolchain
from carvelwright.uses import archive, relocate, remote, repository, verify
from carvelwright.uses.evidence import Evidence
from carvelwright.uses.verify import Finding, Verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Catalog
    from carvelwright.reference import Reference
    from carvelwright.supply.keys import PublicKey
    from carvelwright.tools.tool import Tool
    from carvelwright.uses.remote import Opened, Surroundings

_STEP = "verify what is attested"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to verify: with which keys (none: no signature is verified), and the limit of each exchange in seconds."""

    around: Surroundings
    keys: tuple[PublicKey, ...]
    timeout: float

    def find_go(self) -> Tool:
        """Find the pinned Go, which reads binaries."""
        return toolchain.find_go(sessions.lone_search(self.around.root, self.around.environment))


def of_repository(asked: Asked, places: Places, wanted: Sequence[str] = ()) -> Verified:
    """Verify a package repository, or of it the named packages (REFNAME) and versions (REFNAME/VERSION).

    Without names the revision that clients follow is verified as well. UsageError for what is not there.
    """
    with remote.opened(asked.around, places, asked.timeout, "verify") as opened:
        with opened.reporter.step(READ_PUBLISHED):
            seen = opened.remote.look()
        catalog = survey.survey(seen.base).catalog
        chosen = _choose(catalog, wanted)
        read = verify.verify_seen(opened, seen, versions=chosen if wanted else None)
        evidence = Evidence(opened, asked.keys, asked.find_go, read.locked)
        if not wanted and seen.digest is not None:
            evidence.revision(opened.remote.repository.at(seen.digest))
        return _check_versions(opened, evidence, catalog, chosen, read)


def of_archive(asked: Asked, source: Path, wanted: Sequence[str] = ()) -> Verified:
    """Verify what an archive holds, or the named packages and versions of it.

    It is relocated into a registry of our own for that. The repository in an archive is made by `archive` and has no
    signature. InputError where the archive is incomplete or corrupt.
    """
    with (
        remote.at_work(asked.around, "verify") as (tools, scratch),
        archive.own_registry(tools.crane, scratch) as address,
    ):
        places = Places(Repository.parse(f"{address}/archive"))
        opened = remote.open_at(tools, scratch, asked.around, places, asked.timeout, "verify")
        _, read = relocate.relocate(opened, source)
        catalog = survey.survey(opened.remote.look().base).catalog
        evidence = Evidence(opened, asked.keys, asked.find_go, read.locked)
        found = _check_versions(opened, evidence, catalog, _choose(catalog, wanted), read)
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
    opened: Opened, evidence: Evidence, catalog: Catalog, chosen: Iterable[tuple[str, str]], read: Verified
) -> Verified:
    with opened.reporter.step(_STEP) as step:
        names = list(chosen)
        for number, key in enumerate(names, 1):
            evidence.version(catalog.versions[key], catalog)
            step.count_packages(number, len(names))
    return _checked(read, evidence)


def _checked(read: Verified, evidence: Evidence) -> Verified:
    # What cannot be read is found by both.
    findings = {str(finding): finding for finding in (*read.findings, *evidence.findings)}
    return replace(
        read, findings=tuple(findings[text] for text in sorted(findings)), known=tuple(sorted(evidence.known, key=str))
    )


def _choose(catalog: Catalog, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return the versions that are asked for; those that are withdrawn are none."""
    there = sorted(key for key, held in catalog.versions.items() if held.file)
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
