"""What is attested in a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carvelwright.digest import Digest
from carvelwright.supply.attestation import Attestation, tag_of
from tests.helpers.builds import call

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.supply.attestation import Predicate


def attested(crane: Path, reference: str) -> list[Attestation]:
    """Return what is attested of what a reference names."""
    place = reference.partition("@")[0].rpartition(":")[0] if "@" not in reference else reference.partition("@")[0]
    tag = tag_of(Digest.parse(call(crane, "digest", reference).decode().strip()))
    if tag not in call(crane, "ls", place).decode().split():
        return []
    layers = json.loads(call(crane, "manifest", f"{place}:{tag}"))["layers"]
    return [Attestation.parse(call(crane, "blob", f"{place}@{layer['digest']}")) for layer in layers]


def kinds(crane: Path, reference: str) -> set[str]:
    return {each.statement.predicate_type for each in attested(crane, reference)}


def of_kind(crane: Path, reference: str, kind: Predicate) -> Attestation:
    (found,) = [each for each in attested(crane, reference) if each.statement.predicate_type == kind]
    return found
