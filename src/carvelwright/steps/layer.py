"""Packs the binaries of a Go module into an image layer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carvelwright import recipe
from carvelwright.digest import Digest
from carvelwright.errors import FilesystemError
from carvelwright.files import walk_files
from carvelwright.oci.layer import Layer, LayerFile, LayerLink, write_layer
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carvelwright.steps.licences import Licences
    from carvelwright.steps.payload import PayloadModule

DIRECTORY = "/usr/local/bin"
# By the name of the image.
LICENCES = "/usr/share/licenses"
_BLOB = "layer.tar.gz"
_RECORD = "layer.json"


def pack(root: Path, module: PayloadModule) -> tuple[Layer, Path]:
    """Write the layer of a module's binaries, or reuse it; returns it and its blob."""

    def entries() -> list[LayerFile | LayerLink]:
        for binary in module.binaries:
            _verify(binary.path, binary.digest)
        return [
            *(LayerFile(f"{DIRECTORY}/{binary.name}", 0o755, binary.path) for binary in module.binaries),
            *(LayerLink(f"{DIRECTORY}/{name}", binary) for name, binary in module.links.items()),
        ]

    return _write(root, key(module), entries)


def pack_licences(root: Path, image: str, licences: Licences) -> tuple[Layer, Path]:
    """Write the layer of the licenses of an image, or reuse it; returns it and its blob."""

    def entries() -> list[LayerFile | LayerLink]:
        directory = licences.directory
        return [
            LayerFile(f"{LICENCES}/{image}/{path.relative_to(directory).as_posix()}", 0o644, path)
            for path in walk_files(directory)
        ]

    return _write(root, licences_key(licences), entries)


def _write(root: Path, named: str, entries: Callable[[], list[LayerFile | LayerLink]]) -> tuple[Layer, Path]:
    def make(target: Path) -> None:
        with (target / _BLOB).open("wb") as blob:
            layer = write_layer(entries(), blob)
        record = {"digest": str(layer.digest), "size": layer.size, "diffId": str(layer.diff_id)}
        (target / _RECORD).write_text(json.dumps(record))

    made = Store(root).product("layer", named, None, make)
    record = json.loads((made / _RECORD).read_bytes())
    layer = Layer(Digest.parse(record["digest"]), record["size"], Digest.parse(record["diffId"]))
    _verify(made / _BLOB, layer.digest)
    return layer, made / _BLOB


def key(module: PayloadModule) -> str:
    """Return what a layer is named by in build/: its content and what packs it."""
    binaries = [(binary.name, str(binary.digest)) for binary in module.binaries]
    return content_key(binaries, module.links, recipe.of("layer"))


def licences_key(licences: Licences) -> str:
    """Return what a layer of licenses is named by in build/."""
    return content_key(licences.key, recipe.of("layer"))


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
