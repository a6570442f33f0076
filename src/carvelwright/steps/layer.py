"""Packs the binaries of a Go module into an image layer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carvelwright import recipe
from carvelwright.digest import Digest
from carvelwright.errors import FilesystemError
from carvelwright.oci.layer import Layer, LayerFile, LayerLink, write_layer
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.steps.payload import PayloadModule

DIRECTORY = "/usr/local/bin"
_BLOB = "layer.tar.gz"
_RECORD = "layer.json"


def pack(root: Path, module: PayloadModule) -> tuple[Layer, Path]:
    """Write the layer of a module's binaries, or reuse it; returns it and its blob."""

    def make(target: Path) -> None:
        for binary in module.binaries:
            _verify(binary.path, binary.digest)
        files = [LayerFile(f"{DIRECTORY}/{binary.name}", 0o755, binary.path) for binary in module.binaries]
        links = [LayerLink(f"{DIRECTORY}/{name}", binary) for name, binary in module.links.items()]
        with (target / _BLOB).open("wb") as blob:
            layer = write_layer([*files, *links], blob)
        record = {"digest": str(layer.digest), "size": layer.size, "diffId": str(layer.diff_id)}
        (target / _RECORD).write_text(json.dumps(record))

    made = Store(root).product("layer", key(module), None, make)
    record = json.loads((made / _RECORD).read_bytes())
    layer = Layer(Digest.parse(record["digest"]), record["size"], Digest.parse(record["diffId"]))
    _verify(made / _BLOB, layer.digest)
    return layer, made / _BLOB


def key(module: PayloadModule) -> str:
    """Return what a layer is named by in build/: its content and what packs it."""
    binaries = [(binary.name, str(binary.digest)) for binary in module.binaries]
    return content_key(binaries, module.links, recipe.of("layer"))


def _verify(path: Path, expected: Digest) -> None:
    found = Digest.of_file(path)
    if found != expected:
        raise FilesystemError(
            f"step image: {path} differs from what was built",
            path=path,
            details=f"found: {found}\nexpected: {expected}",
            hint=f"remove {path.parent} and build again",
            step="image",
        )
