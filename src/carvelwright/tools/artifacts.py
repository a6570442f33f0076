"""Reads artefacts beside images, such as signatures, from a registry: within bounds, and by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.digest import Digest
from carvelwright.oci.artifact import ArtifactLayer
from carvelwright.tools import crane, registry
from carvelwright.tools.registry import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.reference import Reference
    from carvelwright.tools.tool import Tool

# An SBOM of some hundred components has a few hundred KB.
_LAYERS, _SIZE = 64, 32 << 20


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artefact as a registry has it: the digest of its manifest, and its layers."""

    digest: Digest
    layers: tuple[ArtifactLayer, ...]


def pull(
    tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]
) -> Artifact | None:
    """Return an artefact; None where it is not there.

    `tool` is crane, `timeout` in seconds. ValueError where it is no such artefact, has more than 64 layers or layers of
    more than 32 MiB together, or where a layer is not what its digest says.
    """
    found = crane.manifest(tool, reference, step=step, timeout=timeout, note=note)
    if found is None:
        return None
    digest = Digest.of_bytes(found)
    if reference.digest not in (None, digest):
        raise ValueError(f"the registry returned something other than {reference.digest}: its digest is {digest}")
    parts = _parts(found)
    layers = []
    for part in parts:
        place = reference.repository.at(part.digest)
        content = blob(tool, place, part.size, step=step, timeout=timeout, note=note)
        layers.append(ArtifactLayer(part.media_type, content, part.annotations))
    return Artifact(digest, tuple(layers))


def blob(
    tool: Tool, reference: Reference, size: int, *, step: str, timeout: float, note: Callable[[str], None]
) -> bytes:
    """Return a blob by its digest; ValueError where what the registry returns has another digest or size."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    content = registry.run(tool, ["blob", "--", str(reference)], exchange).stdout
    if (len(content), Digest.of_bytes(content)) != (size, reference.digest):
        raise ValueError(f"the registry returned something other than its layer {reference.digest}")
    return content


@dataclass(frozen=True, slots=True)
class _Part:
    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str]


def _parts(manifest: bytes) -> list[_Part]:
    try:
        layers = jsondoc.parse(manifest)["layers"]
        parts = [_part(layer) for layer in layers]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no artefact, whose manifest lists layers: {error!r}") from None
    if len(parts) > _LAYERS or sum(part.size for part in parts) > _SIZE:
        raise ValueError(f"it is larger than {_LAYERS} layers or {_SIZE} bytes")
    return parts


def _part(layer: dict[str, Any]) -> _Part:
    size, annotations = layer["size"], layer.get("annotations") or {}
    if type(size) is not int or size < 0:
        raise ValueError(f"the size of a layer is {size!r}")
    texts = {key: value for key, value in annotations.items() if isinstance(value, str)}
    if len(texts) != len(annotations):
        raise ValueError("an annotation is no text")
    return _Part(str(layer["mediaType"]), Digest.parse(layer["digest"]), size, texts)
