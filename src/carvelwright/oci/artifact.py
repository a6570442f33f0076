"""Artefacts beside an image, such as its signatures: a manifest of small layers, each with annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.digest import Digest
from carvelwright.oci import layout as layouts
from carvelwright.oci.image import MANIFEST_TYPE, Blob
from carvelwright.oci.layout import ImageLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class ArtifactLayer:
    """One document of an artefact, with what its descriptor says of it."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        """Return its OCI descriptor."""
        return {**Blob(self.media_type, self.data).descriptor(), "annotations": dict(self.annotations)}

    @property
    def key(self) -> bytes:
        """What is equal for equal layers, and orders them."""
        return _json(self.descriptor())


def in_order(layers: Iterable[ArtifactLayer]) -> tuple[ArtifactLayer, ...]:
    """Return layers, each once, in the order in which every writer writes them."""
    found = {layer.key: layer for layer in layers}
    return tuple(found[key] for key in sorted(found))


def write_artifact(layers: Iterable[ArtifactLayer], directory: Path) -> ImageLayout:
    """Write a layout that holds an artefact of these layers, as they are ordered; equal layers give equal bytes."""
    layers = tuple(layers)
    config = Blob(_CONFIG_TYPE, _json(_config(layers)))
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    manifest = Blob(MANIFEST_TYPE, _json(document))
    layouts.begin_layout(directory)
    for blob in (config, manifest, *(Blob(layer.media_type, layer.data) for layer in layers)):
        layouts.add_blob(directory, blob)
    layouts.end_layout(directory, manifest)
    return ImageLayout(directory, manifest.digest)


def _config(layers: Iterable[ArtifactLayer]) -> dict[str, Any]:
    # What a registry or a tool expects of an image, as cosign writes it; the layers are not compressed.
    digests = [str(Digest.of_bytes(layer.data)) for layer in layers]
    return {
        "architecture": "",
        "created": _NO_TIME,
        "history": [{"created": _NO_TIME} for _ in digests],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
        "config": {},
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
