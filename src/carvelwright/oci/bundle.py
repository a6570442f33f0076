"""imgpkg bundles as image layouts: one layer of files, and the label by which imgpkg knows a bundle."""

from __future__ import annotations

import io
import json
import tarfile
from typing import IO, TYPE_CHECKING, cast

from carvelwright.oci import layout as layouts
from carvelwright.oci.image import Blob
from carvelwright.oci.layer import GzipSink, parents_of
from carvelwright.oci.layout import ImageLayout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Docker's, as imgpkg itself pushes bundles: `imgpkg copy` refuses a bundle whose layer is of the OCI type.
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# By this label imgpkg tells a bundle from other images.
BUNDLE_LABEL = "dev.carvel.imgpkg.bundle"
_NO_TIME = "0001-01-01T00:00:00Z"


def write_bundle(files: Mapping[str, bytes], directory: Path) -> ImageLayout:
    """Write a layout that holds a bundle of these files, by their names in it; equal files give equal bytes.

    The layout names one image, without a platform, as imgpkg pushes bundles.
    """
    packed = io.BytesIO()
    sink = GzipSink(packed)
    with tarfile.open(fileobj=cast("IO[bytes]", sink), mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name in parents_of(files):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o644, len(content)
            tar.addfile(entry, io.BytesIO(content))
    sink.finish()
    layer = Blob(_LAYER_TYPE, packed.getvalue())
    config = Blob(_CONFIG_TYPE, _json(_config(sink.plain.hexdigest())))
    manifest = Blob(_MANIFEST_TYPE, _json(_manifest(config, layer)))
    layouts.begin_layout(directory)
    for blob in (layer, config, manifest):
        layouts.add_blob(directory, blob)
    layouts.end_layout(directory, manifest)
    return ImageLayout(directory, manifest.digest)


def _config(plain: str) -> dict[str, object]:
    return {
        "architecture": "",
        "os": "",
        "created": _NO_TIME,
        "config": {"Labels": {BUNDLE_LABEL: "true"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}"]},
        "history": [{"created": _NO_TIME, "created_by": "carvelwright"}],
    }


def _manifest(config: Blob, layer: Blob) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    }


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
