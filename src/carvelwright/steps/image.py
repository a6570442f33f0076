"""Assembles images FROM scratch."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.oci import image as oci
from carvelwright.oci import layout as layouts
from carvelwright.oci.layer import Layer, LayerFile, LayerLink, write_layer
from carvelwright.process import in_parallel
from carvelwright.workspace import Workspace, content_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.oci.layout import ImageLayout
    from carvelwright.plan import BuildPlan, ImagePlan
    from carvelwright.platform import Platform
    from carvelwright.report import Reporter
    from carvelwright.steps.payload import PayloadModule

_DIRECTORY = "/usr/local/bin"
_BLOB = "layer.tar.gz"
_RECORD = "layer.json"


def assemble(plan: BuildPlan, image: ImagePlan, modules: Sequence[PayloadModule], *, reporter: Reporter) -> ImageLayout:
    """Make the image's layout, or reuse it where binaries and texts are the same.

    Each Go module is a layer of its own: a new installer leaves the layer with the upstream binaries as it is, for
    registries and nodes to keep.
    """
    spec = _spec(plan, image)
    contents = [(str(module.platform), _layer_key(module)) for module in modules]
    key = content_key(contents, spec.entrypoint, spec.created, spec.annotations)

    def make(target: Path) -> None:
        layers = in_parallel(*[lambda module=module: _layer(plan, module) for module in modules])
        by_platform: dict[Platform, list[tuple[Layer, Path]]] = {}
        for module, layer in zip(modules, layers, strict=True):
            by_platform.setdefault(module.platform, []).append(layer)
        layouts.begin_layout(target)
        manifests = [_manifest(target, spec, platform, made) for platform, made in by_platform.items()]
        index = oci.index_blob(spec, manifests)
        layouts.add_blob(target, index)
        layouts.end_layout(target, index)

    with reporter.step(f"assemble image {image.config.name}") as step:
        return layouts.open_layout(Workspace(plan.project.root).product("image", key, step, make))


def _spec(plan: BuildPlan, image: ImagePlan) -> oci.ImageSpec:
    prefix = "org.opencontainers.image"
    annotations = {
        f"{prefix}.title": image.config.title,
        f"{prefix}.description": image.config.description,
        f"{prefix}.licenses": image.config.licenses,
        f"{prefix}.version": str(plan.release.version),
        f"{prefix}.created": plan.created,
    }
    if image.config.source:
        annotations[f"{prefix}.source"] = image.config.source
    return oci.ImageSpec(image.config.entrypoint, _DIRECTORY, plan.created, annotations)


def _layer(plan: BuildPlan, module: PayloadModule) -> tuple[Layer, Path]:
    """Write the layer of a module's binaries, or reuse it; returns it and its blob."""

    def make(target: Path) -> None:
        for binary in module.binaries:
            _verify(binary.path, binary.digest)
        files = [LayerFile(f"{_DIRECTORY}/{binary.name}", 0o755, binary.path) for binary in module.binaries]
        links = [LayerLink(f"{_DIRECTORY}/{name}", binary) for name, binary in module.links.items()]
        with (target / _BLOB).open("wb") as blob:
            layer = write_layer([*files, *links], blob)
        record = {"digest": str(layer.digest), "size": layer.size, "diffId": str(layer.diff_id)}
        (target / _RECORD).write_text(json.dumps(record))

    made = Workspace(plan.project.root).product("layer", _layer_key(module), None, make)
    record = json.loads((made / _RECORD).read_bytes())
    layer = Layer(Digest.parse(record["digest"]), record["size"], Digest.parse(record["diffId"]))
    _verify(made / _BLOB, layer.digest)
    return layer, made / _BLOB


def _layer_key(module: PayloadModule) -> str:
    binaries = [(binary.name, str(binary.digest)) for binary in module.binaries]
    return content_key(binaries, module.links, zlib.ZLIB_RUNTIME_VERSION)


def _manifest(
    target: Path, spec: oci.ImageSpec, platform: Platform, layers: Sequence[tuple[Layer, Path]]
) -> tuple[Platform, oci.Blob]:
    for layer, blob in layers:
        layouts.add_layer(target, layer, blob)
    config = oci.config_blob(spec, platform, [layer for layer, _ in layers])
    manifest = oci.manifest_blob(spec, config, [layer for layer, _ in layers])
    for document in (config, manifest):
        layouts.add_blob(target, document)
    return platform, manifest


def _verify(path: Path, expected: Digest) -> None:
    found = Digest.of_file(path)
    if found != expected:
        raise CarvelwrightError(
            f"step image: {path} is not what was made",
            exit_code=ExitCode.FILESYSTEM,
            details=f"found: {found}\nexpected: {expected}",
            hint=f"remove {path.parent} and build again",
            step="image",
        )
