"""Signatures in cosign's form for key files, which `imgpkg copy --cosign-signatures` carries."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.digest import Digest
    from carvelwright.reference import Repository
    from carvelwright.supply.keys import PrivateKey, PublicKey

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"


def tag_of(digest: Digest) -> str:
    """Return the tag under which cosign and imgpkg look for the signatures of what has a digest."""
    return f"sha256-{digest.hex}.sig"


def payload(repository: Repository, digest: Digest) -> bytes:
    """Return what is signed: that a digest is what the signer published in a repository."""
    document = {
        "critical": {
            "identity": {"docker-reference": str(repository)},
            "image": {"docker-manifest-digest": str(digest)},
            "type": _TYPE,
        },
        "optional": None,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def annotate(key: PrivateKey, data: bytes) -> dict[str, str]:
    """Return the annotations of a payload's layer: the signature is one of them."""
    return {ANNOTATION: base64.b64encode(key.sign(data)).decode()}


def is_of(key: PublicKey, data: bytes, annotations: Mapping[str, str]) -> bool:
    """Tell whether a payload is signed with a key."""
    try:
        found = base64.b64decode(annotations.get(ANNOTATION, ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return key.verifies(found, data)


def problem(data: bytes, digest: Digest) -> str | None:
    """Say what a payload, whose signature is right, does not say of a digest; None where it vouches for it."""
    try:
        critical: Any = jsondoc.parse(data)["critical"]
        kind, signed = critical["type"], critical["image"]["docker-manifest-digest"]
    except (ValueError, TypeError, KeyError):
        return "what is signed is no payload of cosign"
    if kind != _TYPE:
        return f"what is signed is no signature of an image, but {str(kind)[:80]!r}"
    return None if signed == str(digest) else f"the signature is of {str(signed)[:80]}"
