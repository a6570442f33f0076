"""Attestations: in-toto statements about what has a digest, in the form in which cosign attaches them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.bounds import STREAM
from carvelwright.digest import Digest
from carvelwright.supply import dsse
from carvelwright.supply.signature import ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.supply.keys import PrivateKey, PublicKey

MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PREDICATE_TYPE = "predicateType"


class Predicate(StrEnum):
    """What an attestation can say, by the type of its predicate. The names are those of `cosign --type`."""

    PROVENANCE = "https://slsa.dev/provenance/v1"
    CYCLONEDX = "https://cyclonedx.org/bom"
    SPDX = "https://spdx.dev/Document"
    VEX = "https://openvex.dev/ns"

    @property
    def words(self) -> str:
        """What people call it."""
        return _WORDS[self]

    @property
    def is_optional(self) -> bool:
        """Whether there may be none: a build looks for no vulnerabilities."""
        return self is Predicate.VEX


_WORDS = {
    Predicate.PROVENANCE: "provenance",
    Predicate.CYCLONEDX: "CycloneDX SBOM",
    Predicate.SPDX: "SPDX SBOM",
    Predicate.VEX: "VEX",
}


def tag_of(digest: Digest) -> str:
    """Return the tag under which cosign looks for the attestations of what has a digest."""
    return f"sha256-{digest.hex}.att"


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said: about which digests, by their names, and what, as a document of the predicate's type."""

    subjects: Mapping[str, Digest]
    predicate_type: str
    predicate: Any

    @classmethod
    def parse(cls, payload: bytes) -> Statement:
        """Read one; ValueError says why it is none."""
        try:
            document = jsondoc.parse(payload, STREAM)
            kind = document["predicateType"]
            subjects = {
                str(each.get("name", "")): Digest.parse(f"sha256:{each['digest']['sha256']}")
                for each in document["subject"]
            }
            statement = document["_type"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an in-toto statement: {error!r}") from None
        if not isinstance(statement, str) or not statement.startswith("https://in-toto.io/Statement/"):
            raise ValueError(f"not an in-toto statement: its _type is {str(statement)[:80]!r}")
        return cls(subjects, str(kind), document.get("predicate"))

    def document(self) -> bytes:
        """Return it as JSON: equal statements give equal bytes."""
        subjects = [{"name": name, "digest": {"sha256": digest.hex}} for name, digest in self.subjects.items()]
        document = {
            "_type": _STATEMENT,
            "subject": subjects,
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    def supersedes(self, former: Statement) -> bool:
        """Tell whether it takes the place of one that the same signer has made: only VEX does, of data as new or newer.

        What is no VEX that can be read is replaced, too.
        """
        if self.predicate_type != Predicate.VEX or former.predicate_type != Predicate.VEX:
            return False
        return former.predicate != self.predicate and _timestamp(former) <= _timestamp(self)

    def sealed(self, key: PrivateKey) -> bytes:
        """Return it in an envelope, signed."""
        return dsse.sealed(key, _PAYLOAD_TYPE, self.document())

    def annotations(self) -> dict[str, str]:
        """Return the annotations of its layer."""
        # The signature is in the envelope; cosign wants the annotation none the less.
        return {ANNOTATION: "", _PREDICATE_TYPE: self.predicate_type}


def _timestamp(statement: Statement) -> str:
    """Return the moment of a VEX document, as text in UTC, which sorts by time."""
    document = statement.predicate
    return str(document.get("timestamp", "")) if isinstance(document, dict) else ""


@dataclass(frozen=True, slots=True)
class Attestation:
    """A statement in its envelope, as it was attached."""

    statement: Statement
    envelope: dsse.Envelope

    @classmethod
    def parse(cls, data: bytes) -> Attestation:
        """Read one; ValueError says why it is none."""
        envelope = dsse.Envelope.parse(data)
        if envelope.payload_type != _PAYLOAD_TYPE:
            raise ValueError(f"not an attestation: the type in its envelope is {envelope.payload_type[:80]!r}")
        return cls(Statement.parse(envelope.payload), envelope)

    def is_of(self, key: PublicKey) -> bool:
        """Tell whether it is signed with a key."""
        return self.envelope.is_of(key)
