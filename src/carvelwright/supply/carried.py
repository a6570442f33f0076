"""What an existing image has with it about its own content: the attestations that its builder put into its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.digest import Digest

# As BuildKit writes them: manifests of no platform, each about another manifest of the same index.
_TYPE, _OF = "vnd.docker.reference.type", "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"
_PREDICATE = "in-toto.io/predicate-type"
# What is raised for documents of another shape.
_SHAPE = (ValueError, KeyError, TypeError, AttributeError)


def attestations(documents: Mapping[str, bytes], image: Digest) -> tuple[str, ...]:
    """Return a line for each attestation of an image: what it states, of which manifest, and its own digest.

    `documents` are manifests and indexes by digest; what is no image, or not among them, has none.
    """
    try:
        index = jsondoc.parse(documents[str(image)])
        entries = [each for each in index.get("manifests", []) if _annotations(each).get(_TYPE) == _ATTESTATION]
        return tuple(
            f"{predicate} of {_annotations(entry)[_OF]} in {entry['digest']}"
            for entry in entries
            for predicate in _predicates(documents.get(entry["digest"]))
        )
    except _SHAPE:
        return ()


def _predicates(raw: bytes | None) -> list[str]:
    """Return what the layers of an attestation state; all of it, where they do not say."""
    layers = jsondoc.parse(raw)["layers"] if raw else [{}]
    return [str(_annotations(layer).get(_PREDICATE, "an attestation")) for layer in layers]


def _annotations(descriptor: Mapping[str, Any]) -> Mapping[str, Any]:
    return descriptor.get("annotations") or {}
