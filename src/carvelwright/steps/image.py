"""Assembles images FROM scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import recipe
from carvelwright.oci import image as oci
from carvelwright.oci import layout as layouts
from carvelwright.process import in_parallel
from carvelwright.stepnames import assemble_step
from carvelwright.steps import layer as layers
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.oci.layer import Layer
    from carvelwright.oci.layout import ImageLayout
    from carvelwright.plan import BuildPlan, ImagePlan
    from carvelwright.platform import Platform
    from carvelwright.report import Reporter
    from carvelwright.steps.licences import Licences
    from carvelwright.steps.payload import PayloadModule


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that was made: its layout, the binaries in it, and their licenses."""

    plan: ImagePlan
    layout: ImageLayout
    modules: tuple[PayloadModule, ...]
    licences: Licences


def assemble(
    plan: BuildPlan, image: ImagePlan, modules: Sequence[PayloadModule], licences: Licences, *, reporter: Reporter
) -> BuiltImage:
    """Make the image's layout, or reuse it where binaries and texts are the same.

    Each Go module is a layer of its own: a new installer leaves the layer with the upstream binaries as it is, for
    registries and nodes to keep. The licenses are one layer, of every platform.
    """
    spec = _spec(plan, image)
    contents = [(str(module.platform), layers.key(module)) for module in modules]
    texts = layers.licences_key(licences)
    key = content_key(contents, texts, spec.entrypoint, spec.created, spec.annotations, recipe.of("image"))
    root = plan.project.workspace.root

    def make(target: Path) -> None:
        last, *packed = in_parallel(
            lambda: layers.pack_licences(root, image.config.name, licences),
            *[lambda module=module: layers.pack(root, module) for module in modules],
        )
        by_platform: dict[Platform, list[tuple[Layer, Path]]] = {}
        for module, layer in zip(modules, packed, strict=True):
            by_platform.setdefault(module.platform, []).append(layer)
        layouts.begin_layout(target)
        manifests = [_manifest(target, spec, platform, [*made, last]) for platform, made in by_platform.items()]
        index = oci.index_blob(spec, manifests)
        layouts.add_blob(target, index)
        layouts.end_layout(target, index)

    with reporter.step(assemble_step(image.config.name)) as step:
        made = Store(root).product("image", key, step, make)
    return BuiltImage(image, layouts.open_layout(made), tuple(modules), licences)


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
    return oci.ImageSpec(image.config.entrypoint, layers.DIRECTORY, plan.created, annotations)


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
