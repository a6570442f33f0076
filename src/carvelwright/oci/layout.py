"""OCI image layouts on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.oci.image import Blob
    from carvelwright.oci.layer import Layer


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """A directory with an OCI image layout whose index.json names one index, or one image, of this `digest`."""

    directory: Path
    digest: Digest


def begin_layout(directory: Path) -> None:
    """Make an empty layout in a directory."""
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')


def add_layer(directory: Path, layer: Layer, blob: Path) -> None:
    """Copy a written layer into a layout."""
    shutil.copyfile(blob, directory / "blobs/sha256" / layer.digest.hex)


def add_blob(directory: Path, blob: Blob) -> None:
    """Write a document into a layout."""
    (directory / "blobs/sha256" / blob.digest.hex).write_bytes(blob.data)


def end_layout(directory: Path, index: Blob) -> None:
    """Name the index, or the image, that the layout holds."""
    document = {"schemaVersion": 2, "manifests": [index.descriptor()]}
    (directory / "index.json").write_bytes(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())


def open_layout(directory: Path) -> ImageLayout:
    """Read which index a layout holds."""
    document = json.loads((directory / "index.json").read_bytes())
    return ImageLayout(directory, Digest.parse(document["manifests"][0]["digest"]))


def platform_sizes(layout: ImageLayout) -> list[dict[str, Any]]:
    """Return platform, manifest digest and compressed size in bytes of each image of a layout's index."""
    sizes = []
    for entry in _blob(layout, str(layout.digest))["manifests"]:
        manifest = _blob(layout, entry["digest"])
        size = sum(part["size"] for part in [manifest["config"], *manifest["layers"]])
        platform = f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        sizes.append({"platform": platform, "digest": entry["digest"], "compressedBytes": size})
    return sizes


def _blob(layout: ImageLayout, digest: str) -> Any:
    return json.loads((layout.directory / "blobs/sha256" / Digest.parse(digest).hex).read_bytes())
