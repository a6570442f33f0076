"""Image configurations, manifests and indexes as the OCI image specification 1.1 writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.digest import Digest
from carvelwright.oci.layer import MEDIA_TYPE as LAYER_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.oci.layer import Layer
    from carvelwright.platform import Platform

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
# Numeric, since a FROM scratch image has no passwd file; a pod that writes to the host says runAsUser: 0 itself.
_USER = "65532:65532"


@dataclass(frozen=True, slots=True)
class Blob:
    """A document of an image: its exact bytes."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> Digest:
        """The digest of the bytes."""
        return Digest.of_bytes(self.data)

    def descriptor(self) -> dict[str, Any]:
        """Return the OCI descriptor of this blob."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.data)}


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What an image says of itself. `created` is UTC text; annotations go on index, manifest and, as labels, config."""

    entrypoint: tuple[str, ...]
    path: str
    created: str
    annotations: Mapping[str, str]


def config_blob(spec: ImageSpec, platform: Platform, layers: Sequence[Layer]) -> Blob:
    """Return the image configuration for one platform."""
    document = {
        "created": spec.created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {
            "User": _USER,
            "Env": [f"PATH={spec.path}"],
            **({"Entrypoint": list(spec.entrypoint)} if spec.entrypoint else {}),
            "WorkingDir": "/",
            "Labels": dict(spec.annotations),
        },
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        "history": [{"created": spec.created, "created_by": "carvelwright"} for _ in layers],
    }
    return Blob(_CONFIG_TYPE, _json(document))


def manifest_blob(spec: ImageSpec, config: Blob, layers: Sequence[Layer]) -> Blob:
    """Return the manifest of one platform's image."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [{"mediaType": LAYER_TYPE, "digest": str(layer.digest), "size": layer.size} for layer in layers],
        "annotations": dict(spec.annotations),
    }
    return Blob(MANIFEST_TYPE, _json(document))


def index_blob(spec: ImageSpec, manifests: Sequence[tuple[Platform, Blob]]) -> Blob:
    """Return the index over the platforms, in the order given."""
    entries = [
        {**blob.descriptor(), "platform": {"architecture": platform.architecture, "os": platform.os}}
        for platform, blob in manifests
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": entries,
        "annotations": dict(spec.annotations),
    }
    return Blob(INDEX_TYPE, _json(document))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
