"""Signs what is in a registry, by digest: images, bundles, revisions of a package repository."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from carvelwright.errors import UsageError
from carvelwright.oci.artifact import ArtifactLayer
from carvelwright.stepnames import SIGN
from carvelwright.steps import attached
from carvelwright.supply import attestation, signature
from carvelwright.supply.attestation import Attestation
from carvelwright.tools import cosign, crane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.digest import Digest
    from carvelwright.reference import Reference
    from carvelwright.steps.attached import Attaching
    from carvelwright.steps.published import Remote
    from carvelwright.supply.attestation import Statement
    from carvelwright.supply.keys import PrivateKey
    from carvelwright.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, by digest; `added` tells whether the signature is new there."""

    reference: Reference
    added: bool

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {"reference": str(self.reference), "added": self.added}


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, the way to the registry, and what is to be attested of digests that are signed."""

    key: PrivateKey
    attaching: Attaching
    statements: Mapping[Digest, Sequence[Statement]] = field(default_factory=dict)

    def vouch(self, reference: Reference) -> None:
        """Sign a digest, and attest what is known of it."""
        self.sign(reference)
        self.attest(reference)

    def attest(self, reference: Reference) -> bool:
        """Attach to a digest what is known of it; False where the key has attested as much there already.

        What the key has attested once stays, also where it would say something else of the same kind now. VEX is
        replaced, unless what is there is from a newer database: what is known changes while the image does not.
        """
        if reference.digest is None:
            raise AssertionError(f"attested without a digest: {reference}")
        statements = self.statements.get(reference.digest, ())
        if not statements:
            return False
        tag = reference.repository.tagged(attestation.tag_of(reference.digest))
        found = attached.read(self.attaching, tag)
        own = [each for layer in (found.layers if found else ()) if (each := self._own(layer))]
        new = [
            each
            for each in statements
            if all(each.supersedes(other) for other in own if other.predicate_type == each.predicate_type)
        ]
        layers = [ArtifactLayer(attestation.MEDIA_TYPE, each.sealed(self.key), each.annotations()) for each in new]

        def is_outdated(layer: ArtifactLayer) -> bool:
            there = self._own(layer)
            return there is not None and any(each.supersedes(there) for each in new)

        return bool(layers) and attached.add(self.attaching, tag, layers, is_outdated)

    def _own(self, layer: ArtifactLayer) -> Statement | None:
        """Return what this key attests; None for anything else."""
        try:
            found = Attestation.parse(layer.data)
        except ValueError:
            return None
        return found.statement if found.is_of(self.key.public()) else None

    def sign(self, reference: Reference) -> bool:
        """Add the key's signature of a digest beside it; False where it is there already. RegistryError.

        The digest itself need not be there yet: what clients follow is signed before they see it.
        """
        if reference.digest is None:
            raise AssertionError(f"signed without a digest: {reference}")
        place = replace(reference, tag=None)
        data = signature.payload(place.repository, reference.digest)
        layer = ArtifactLayer(signature.MEDIA_TYPE, data, signature.annotate(self.key, data))
        return attached.add(self.attaching, place.repository.tagged(signature.tag_of(reference.digest)), [layer])


def signer_for(key: PrivateKey | None, remote: Remote) -> Signer | None:
    """Return what signs with a key at a package repository, from now on its revisions, too; None without a key."""
    if key is None:
        return None
    signer = Signer(key, attaching(remote, SIGN))
    remote.sign = signer.sign
    return signer


def attaching(remote: Remote, step: str) -> Attaching:
    """Return how attachments are read and written in the registry of a package repository, in a step of this name."""
    return attached.Attaching(remote.crane, remote.store, step, remote.timeout, remote.reporter.note)


@dataclass(frozen=True, slots=True)
class CosignSigner:
    """cosign itself, with a key as its `--key` takes it; without one it signs keyless."""

    tool: Tool
    key: str | None
    attaching: Attaching

    def sign(self, reference: Reference) -> bool:
        """Add a signature beside a digest, always a new one. RegistryError, also for what cosign says of the key."""
        cosign.sign(self.tool, replace(reference, tag=None), self.key, **self.attaching.how())
        return True


def sign(references: Sequence[Reference], signer: Signer | CosignSigner) -> tuple[Signed, ...]:
    """Sign images and bundles that are in a registry, each by the digest that it has now.

    UsageError where one is not there; then nothing was signed.
    """
    found = [_pinned(reference, signer.attaching) for reference in references]
    return tuple(Signed(reference, signer.sign(reference)) for reference in found)


def _pinned(reference: Reference, attaching: Attaching) -> Reference:
    digest = crane.digest(attaching.crane, reference, **attaching.how())
    if digest is None:
        raise UsageError(
            f"nothing to sign: {reference} is not in the registry",
            hint="name an image or a bundle by tag or digest, as `carvelwright publish` prints them",
        )
    return reference.with_digest(digest)
