"""What the archive's verification reports of a small archive; tests/integration/test_archive.py asks imgpkg's own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.steps import airgap

if TYPE_CHECKING:
    from pathlib import Path


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def part(content: bytes, kind: str = "application/vnd.oci.image.layer.v1.tar+gzip") -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


# More than one chunk is read at a time, so that what comes after the first counts.
LAYER = gzip.compress(b"layer", mtime=0) + b"\0" * (1 << 20) + b"end"
CONFIG = b'{"architecture": "amd64"}'
OCI = "application/vnd.oci.image"


@dataclass
class Archive:
    """An archive of one index, one manifest, one configuration and one layer, as imgpkg lays it out."""

    layers: list[dict[str, Any]] = field(default_factory=lambda: [part(LAYER)])
    blobs: dict[str, bytes] = field(default_factory=lambda: {digest_of(LAYER): LAYER})
    config: bytes | None = CONFIG
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def manifest(self) -> bytes:
        config = part(CONFIG, f"{OCI}.config.v1+json") | {"size": self.sizes.get("config", len(CONFIG))}
        return json.dumps({"config": config, "layers": self.layers}).encode()

    @property
    def index(self) -> bytes:
        child = part(self.manifest, f"{OCI}.manifest.v1+json")
        return json.dumps({"manifests": [child | {"size": self.sizes.get("manifest", child["size"])}]}).encode()

    @property
    def digests(self) -> list[Digest]:
        return [Digest.parse(digest_of(raw)) for raw in (self.index, self.manifest)]

    def write(self, path: Path) -> Path:
        def document(raw: bytes) -> dict[str, Any]:
            return {"Digest": digest_of(raw), "Raw": raw.decode()}

        image: dict[str, Any] = {"Manifest": document(self.manifest), "Labels": {"a": 1}, "Refs": ["r"]}
        if self.config is not None:
            image["Config"] = {"Digest": digest_of(CONFIG), "Raw": self.config.decode()}
        tree = [{"ImageIndex": document(self.index) | {"Images": [{"Image": image}]}}]
        members = {f"{digest.replace(':', '-')}.tar.gz": content for digest, content in self.blobs.items()}
        with tarfile.open(path, "w") as tar:
            for name, content in {"manifest.json": json.dumps(tree).encode(), **members}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return path


def refused(archive: Archive, path: Path, *expected: str) -> list[str]:
    wanted = [Digest.parse(text) for text in expected] or archive.digests
    with pytest.raises(CarvelwrightError, match=f"^step archive: {path.name} is incomplete or corrupt$") as caught:
        airgap.verify(archive.write(path), wanted)
    assert caught.value.exit_code is ExitCode.TOOL_FAILED
    assert caught.value.step == "archive"
    assert (caught.value.hint or "").startswith("build again")
    return (caught.value.details or "").splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.tar"


def test_a_complete_archive_is_accepted(path: Path) -> None:
    airgap.verify(Archive().write(path), Archive().digests)


def test_an_expected_image_that_is_not_there_is_missing(path: Path) -> None:
    other = "sha256:" + "0" * 64
    assert refused(Archive(), path, other) == [f"missing: {other}"]
    # A blob is no image.
    assert refused(Archive(), path, digest_of(LAYER)) == [f"missing: {digest_of(LAYER)}"]


def test_a_layer_that_is_not_there_is_missing(path: Path) -> None:
    archive = Archive(blobs={})
    assert refused(archive, path) == [f"missing: {digest_of(LAYER)}, named by {digest_of(archive.manifest)}"]


def test_a_layer_damaged_beyond_its_first_part_is_named(path: Path) -> None:
    archive = Archive(blobs={digest_of(LAYER): LAYER[:-1] + b"!"})
    assert refused(archive, path) == [f"damaged: {digest_of(LAYER).replace(':', '-')}.tar.gz"]


def test_a_size_that_differs_is_named_with_both(path: Path) -> None:
    archive = Archive(sizes={"config": 7})
    assert refused(archive, path) == [
        f"damaged: {digest_of(CONFIG)} has {len(CONFIG)} bytes; {digest_of(archive.manifest)} says 7"
    ]
    archive = Archive(sizes={"manifest": 7})
    assert refused(archive, path) == [
        f"damaged: {digest_of(archive.manifest)} has {len(archive.manifest)} bytes; {digest_of(archive.index)} says 7"
    ]


def test_a_layer_named_twice_is_missing_once(path: Path) -> None:
    archive = Archive(layers=[part(LAYER), part(LAYER)], blobs={})
    assert len(refused(archive, path)) == 1


def test_a_configuration_that_is_missing_or_damaged_is_named(path: Path) -> None:
    archive = Archive(config=None)
    assert refused(archive, path) == [f"missing: {digest_of(CONFIG)}, named by {digest_of(archive.manifest)}"]
    assert f"damaged: {digest_of(CONFIG)}" in refused(Archive(config=CONFIG.replace(b"a", b"b", 1)), path)


@pytest.mark.parametrize("kind", ["nondistributable.", "foreign."])
@pytest.mark.parametrize("first", [True, False])
def test_layers_that_stay_with_their_owner_are_not_missed_but_the_others_are(
    path: Path, kind: str, first: bool
) -> None:
    owned = part(b"elsewhere", f"{OCI}.layer.{kind}v1.tar")
    archive = Archive(layers=[owned, part(LAYER)] if first else [part(LAYER), owned])
    airgap.verify(archive.write(path), archive.digests)
    archive.blobs = {}
    assert refused(archive, path) == [f"missing: {digest_of(LAYER)}, named by {digest_of(archive.manifest)}"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_or_a_directory_is_no_layer_even_where_the_link_leads_to_one(path: Path, kind: bytes) -> None:
    archive = Archive(blobs={digest_of(LAYER): LAYER})
    content = archive.write(path).read_bytes()
    name = f"{digest_of(LAYER).replace(':', '-')}.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(path, "w") as tar:
        for member in old:
            raw = old.extractfile(member)
            if member.name == name:
                member.name = "copy"
            tar.addfile(member, raw)
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "copy"
        tar.addfile(entry)
    with pytest.raises(CarvelwrightError) as caught:
        airgap.verify(path, archive.digests)
    assert (caught.value.details or "").splitlines()[0] == f"damaged: {name}"


def test_all_that_is_wrong_comes_at_once(path: Path) -> None:
    other = "sha256:" + "0" * 64
    archive = Archive(blobs={digest_of(b"x"): b"y"}, sizes={"config": 7})
    lines = refused(archive, path, other)
    assert [line.split(":")[0] for line in lines] == ["damaged", "missing", "damaged", "missing"]


def test_what_is_no_archive_is_reported_with_the_reason(path: Path) -> None:
    def details() -> str:
        with pytest.raises(CarvelwrightError) as caught:
            airgap.verify(path, [])
        return caught.value.details or ""

    path.write_bytes(b"text")
    assert details().startswith("not a tar file: ")
    whole = Archive().write(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert details().startswith("not a tar file: ")
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    assert details() == "damaged: manifest.json is no file"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    assert details().startswith("damaged: manifest.json (JSONDecodeError: ")
    path.unlink()
    with pytest.raises(CarvelwrightError, match=f"cannot read {path}") as caught:
        airgap.verify(path, [])
    assert caught.value.exit_code is ExitCode.FILESYSTEM
