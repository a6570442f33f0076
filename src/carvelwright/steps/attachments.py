"""Attestations in an archive: a bundle of their own, beside those of the packages, which imgpkg copies as any other.

`imgpkg copy --cosign-signatures` carries signatures, but no attestations. They cannot be in the lock of a package's
bundle: its digest would depend on who attested what.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carvelwright import jsondoc, yamldoc
from carvelwright.carvel import locks
from carvelwright.carvel.locks import ImagesLock, LockEntry
from carvelwright.catalog import foreign
from carvelwright.digest import Digest
from carvelwright.reference import Reference
from carvelwright.supply.attestation import tag_of
from carvelwright.tools import crane, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carvelwright.reference import Repository
    from carvelwright.steps.attached import Attaching

# By this file a bundle is known as one of attachments: which tag each of its images has beside what it is about.
INDEX = "attachments.json"
_SCHEMA_VERSION = 1
_TAG = re.compile(r"sha256-([0-9a-f]{64})\.att")


@dataclass(slots=True)
class Attested:
    """What is attested in some OCI repositories: each is listed once."""

    attaching: Attaching
    _listed: dict[Repository, frozenset[str] | None] = field(default_factory=dict)

    def may_be_in(self, place: Repository) -> bool:
        """Tell whether a repository has attestations; where it does not list its tags, it may."""
        listed = self._tags(place)
        return listed is None or any(map(_TAG.fullmatch, listed))

    def find(self, references: Iterable[Reference]) -> dict[str, Reference]:
        """Return what is attested of some digests where they lie: by tag, the artefacts by digest."""
        found = {}
        for reference in references:
            if reference.digest is None:
                continue
            place, tag = reference.repository, tag_of(reference.digest)
            listed = self._tags(place)
            if listed is not None and tag not in listed:
                continue
            if digest := crane.digest(self.attaching.crane, place.tagged(tag), **self.attaching.how()):
                found[tag] = place.at(digest)
        return found

    def _tags(self, place: Repository) -> frozenset[str] | None:
        if place not in self._listed:
            self._listed[place] = tags.list_tags(self.attaching.crane, place, **self.attaching.how())
        return self._listed[place]


def bundle(found: Mapping[str, Reference]) -> dict[str, bytes]:
    """Return the files of a bundle that carries attachments."""
    lock = ImagesLock(tuple(LockEntry(reference, name) for name, reference in found.items()))
    listed = [{"tag": name, "digest": str(reference.digest)} for name, reference in sorted(found.items())]
    index = {"schemaVersion": _SCHEMA_VERSION, "attachments": listed}
    return {
        locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode(),
        INDEX: f"{json.dumps(index, indent=2)}\n".encode(),
    }


def carried_in(bundles: Iterable[Mapping[str, bytes]]) -> dict[str, Digest]:
    """Return the attachments that the bundles of an archive carry, by tag; ValueError says what is wrong with one."""
    found: dict[str, Digest] = {}
    for content in bundles:
        if INDEX in content:
            listed = _parse(content[INDEX])
            _require_locked(listed, content)
            found |= listed
    return found


def _parse(content: bytes) -> dict[str, Digest]:
    try:
        document = jsondoc.parse(content)
        version = document["schemaVersion"]
        found = {str(each["tag"]): Digest.parse(each["digest"]) for each in document["attachments"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{INDEX} lists no attachments: {error!r}") from None
    if version != _SCHEMA_VERSION:
        raise ValueError(f"{INDEX} has the schemaVersion {version!r} (expected {_SCHEMA_VERSION})")
    return found


def _require_locked(listed: Mapping[str, Digest], content: Mapping[str, bytes]) -> None:
    """Refuse tags of something else, and what the bundle's lock does not bring along."""
    entries = foreign.lock_of(content.get(locks.IMAGES_LOCK, b""))
    locked = {Reference.of_image(entry["image"]).digest for entry in entries}
    for tag, digest in listed.items():
        if _TAG.fullmatch(tag) is None:
            raise ValueError(f"{INDEX} names {tag[:80]!r}, which is no tag of an attestation")
        if digest not in locked:
            raise ValueError(f"{INDEX} names {digest}, which the lock beside it does not")
