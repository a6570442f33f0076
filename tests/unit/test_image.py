"""Images are assembled from modules in whatever order these come."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright.digest import Digest
from carvelwright.plan import BuildOptions, make_plan
from carvelwright.platform import Platform
from carvelwright.project.config import load_package
from carvelwright.report import StreamReporter
from carvelwright.steps import image, licences, payload
from carvelwright.supply.licences import Index

if TYPE_CHECKING:
    from pathlib import Path

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def test_the_order_of_modules_gives_each_platform_one_manifest(repository_root: Path, tmp_path: Path) -> None:
    # Platforms that alternate, as when each module is compiled for every platform in turn.
    binary = tmp_path / "binary"
    binary.write_bytes(b"program")
    made = payload.PayloadBinary("program", binary, Digest.of_file(binary))
    modules = [
        payload.PayloadModule(platform, (replace(made, name=name),), {})
        for name in ("one", "two")
        for platform in (AMD64, ARM64)
    ]
    reporter = StreamReporter(io.StringIO())
    package = load_package(repository_root / "examples/hello-package")
    shared = replace(package.workspace, root=tmp_path)
    (plan,) = make_plan([replace(package, root=tmp_path, workspace=shared)], BuildOptions(), {}).packages
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/index.json").write_text("{}")
    terms = licences.Licences(Index(()), tmp_path / "texts", "key")
    layout = image.assemble(plan, plan.images[0], modules, terms, reporter=reporter).layout
    index = json.loads((layout.directory / "blobs/sha256" / layout.digest.hex).read_bytes())
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for entry in index["manifests"]:
        manifest = json.loads(
            (layout.directory / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        )
        # The last is that of the licenses.
        assert len(manifest["layers"]) == 3
