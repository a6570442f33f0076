"""Image configurations, manifests, indexes and layouts: fixed bytes for fixed input."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from carvelwright.digest import Digest
from carvelwright.oci import image as oci
from carvelwright.oci import layout as layouts
from carvelwright.oci.layer import Layer, LayerFile, write_layer
from carvelwright.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.oci.layout import ImageLayout

SPEC = oci.ImageSpec(("/bin/x", "-v"), "/bin", "2026-11-01T00:00:00Z", {"b": "ü", "a": "1"})
LAYER = Layer(Digest("1" * 64), 10, Digest("2" * 64))
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def test_documents_have_these_digests() -> None:
    # Literals: whatever changes these bytes changes every digest that was ever released.
    config = oci.config_blob(SPEC, AMD64, [LAYER])
    manifest = oci.manifest_blob(SPEC, config, [LAYER])
    index = oci.index_blob(SPEC, [(AMD64, manifest)])
    assert [str(blob.digest) for blob in (config, manifest, index)] == [
        "sha256:32bbaac02fb55971d67659276c477c2d416063731055b04f86bce3b0664db1d8",
        "sha256:fd20464c0c00ec606c4d3ddfc8252b4d5d048fead3c2222bd02d504a1a1ad759",
        "sha256:7600f8353867697a3d5afa394f4abe04891b2858453cfa05d67472f7f436dc2b",
    ]


def test_the_order_of_annotations_does_not_count() -> None:
    other = oci.ImageSpec(SPEC.entrypoint, SPEC.path, SPEC.created, {"a": "1", "b": "ü"})
    assert oci.config_blob(SPEC, AMD64, [LAYER]) == oci.config_blob(other, AMD64, [LAYER])


def test_the_configuration_says_what_runs_and_as_whom() -> None:
    document = json.loads(oci.config_blob(SPEC, ARM64, [LAYER, LAYER]).data)
    assert (document["os"], document["architecture"], document["created"]) == ("linux", "arm64", SPEC.created)
    assert document["config"]["Entrypoint"] == ["/bin/x", "-v"]
    assert document["config"]["Env"] == ["PATH=/bin"]
    user, _, group = document["config"]["User"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert document["rootfs"]["diff_ids"] == [f"sha256:{'2' * 64}"] * 2
    assert len(document["history"]) == 2


def test_an_image_without_entrypoint_has_none() -> None:
    document = json.loads(oci.config_blob(oci.ImageSpec((), "/", "x", {}), AMD64, [LAYER]).data)
    assert "Entrypoint" not in document["config"]


def make(directory: Path) -> ImageLayout:
    (directory / "file").write_bytes(b"content")
    with (directory / "blob").open("wb") as blob:
        layer = write_layer([LayerFile("/file", 0o644, directory / "file")], blob)
    target = directory / "layout"
    layouts.begin_layout(target)
    manifests = []
    for platform in (AMD64, ARM64):
        layouts.add_layer(target, layer, directory / "blob")
        config = oci.config_blob(SPEC, platform, [layer])
        manifest = oci.manifest_blob(SPEC, config, [layer])
        for blob_ in (config, manifest):
            layouts.add_blob(target, blob_)
        manifests.append((platform, manifest))
    index = oci.index_blob(SPEC, manifests)
    layouts.add_blob(target, index)
    layouts.end_layout(target, index)
    return layouts.open_layout(target)


def test_a_real_registry_client_takes_the_layout(tmp_path: Path, crane: Path, registry: str) -> None:
    layout = make(tmp_path)
    target = f"{registry}/test/image:1"
    subprocess.run([crane, "push", layout.directory, target], check=True, capture_output=True)
    found = subprocess.run([crane, "digest", target], check=True, capture_output=True).stdout.decode().strip()
    assert found == str(layout.digest)
    for platform in ("linux/amd64", "linux/arm64"):
        subprocess.run([crane, "validate", "--remote", target, "--platform", platform], check=True, capture_output=True)


def test_sizes_are_those_of_the_blobs(tmp_path: Path) -> None:
    layout = make(tmp_path)
    blobs = {path.name: path.stat().st_size for path in (layout.directory / "blobs/sha256").iterdir()}
    sizes = layouts.platform_sizes(layout)
    assert [entry["platform"] for entry in sizes] == ["linux/amd64", "linux/arm64"]
    for entry in sizes:
        manifest = json.loads(
            (layout.directory / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        )
        parts = [manifest["config"], *manifest["layers"]]
        assert entry["compressedBytes"] == sum(blobs[part["digest"].removeprefix("sha256:")] for part in parts)


def test_every_blob_is_what_its_name_says(tmp_path: Path) -> None:
    layout = make(tmp_path)
    blobs = list((layout.directory / "blobs/sha256").iterdir())
    assert len(blobs) == 6
    assert all(Digest.of_file(path).hex == path.name for path in blobs)
