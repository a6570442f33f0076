"""Assembles images FROM scratch and pushes them."""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.oci import image as oci
from carvelwright.oci import layout as layouts
from carvelwright.oci.layer import LayerFile
from carvelwright.workspace import Workspace, content_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carvelwright.oci.layout import ImageLayout
    from carvelwright.plan import BuildPlan, ImagePlan
    from carvelwright.platform import Platform
    from carvelwright.report import Reporter
    from carvelwright.steps.payload import PayloadBinary

_DIRECTORY = "/usr/local/bin"


def assemble(
    plan: BuildPlan, image: ImagePlan, binaries: Sequence[PayloadBinary], *, reporter: Reporter
) -> ImageLayout:
    """Make the image's layout, one manifest for each platform, or reuse it where binaries and texts are the same."""
    spec = _spec(plan, image)
    contents = [(binary.name, str(binary.platform), str(binary.digest)) for binary in binaries]
    key = content_key(contents, spec.entrypoint, spec.created, spec.annotations, zlib.ZLIB_RUNTIME_VERSION)

    def make(target: Path) -> None:
        layouts.begin_layout(target)
        platforms = [list(group) for _, group in itertools.groupby(binaries, lambda binary: binary.platform)]
        manifests = process.in_parallel(*[lambda group=group: _manifest(target, spec, group) for group in platforms])
        index = oci.index_blob(spec, manifests)
        layouts.add_blob(target, index)
        layouts.end_layout(target, index)

    with reporter.step(f"image {image.config.name}") as step:
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


def _manifest(target: Path, spec: oci.ImageSpec, binaries: Sequence[PayloadBinary]) -> tuple[Platform, oci.Blob]:
    for binary in binaries:
        _verify(binary)
    layer = layouts.add_layer(
        target, [LayerFile(f"{_DIRECTORY}/{binary.name}", 0o755, binary.path) for binary in binaries]
    )
    config = oci.config_blob(spec, binaries[0].platform, layer)
    manifest = oci.manifest_blob(spec, config, layer)
    for blob in (config, manifest):
        layouts.add_blob(target, blob)
    return binaries[0].platform, manifest


def _verify(binary: PayloadBinary) -> None:
    found = Digest.of_file(binary.path)
    if found != binary.digest:
        raise CarvelwrightError(
            f"step image: {binary.path} is not what was compiled",
            exit_code=ExitCode.FILESYSTEM,
            details=f"found: {found}\nexpected: {binary.digest}",
            hint=f"remove {binary.path.parent} and build again",
            step="image",
        )
