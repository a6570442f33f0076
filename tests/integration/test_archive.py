"""The archive's verification: nothing that is missing, damaged or of another kind in it goes unseen."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.reference import Reference
from carvelwright.steps import airgap
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

Members = dict[str, bytes]


@pytest.fixture
def members(built: PackageProject) -> Members:
    """The members of the archive that a real build made."""
    with tarfile.open(built.root / "dist" / release_of(built)["archive"]) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.fixture
def expected(built: PackageProject) -> list[Digest]:
    release = release_of(built)
    texts = [release["bundle"], release["repository"], *(image["reference"] for image in release["images"])]
    return [digest for text in texts if (digest := Reference.parse(text).digest)]


def write(path: Path, members: Members, odd: dict[str, bytes] | None = None) -> Path:
    """Write a tar of these members, and of those of another type: directories, links."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, kind in (odd or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "manifest.json"
            tar.addfile(entry)
    return path


def refusal(path: Path, expected: list[Digest]) -> list[str]:
    with pytest.raises(CarvelwrightError, match="is incomplete or corrupt") as caught:
        airgap.verify(path, expected)
    assert caught.value.exit_code is ExitCode.TOOL_FAILED
    return (caught.value.details or "").splitlines()


def hex_of(name: str) -> str:
    return name.removeprefix("sha256-").removesuffix(".tar.gz")


def test_the_archive_of_a_build_is_complete(members: Members, expected: list[Digest], tmp_path: Path) -> None:
    airgap.verify(write(tmp_path / "a.tar", members), expected)
    other = Digest("0" * 64)
    assert refusal(tmp_path / "a.tar", [*expected, other]) == [f"missing: {other}"]


def test_every_blob_is_missed_when_it_is_not_there(members: Members, expected: list[Digest], tmp_path: Path) -> None:
    blobs = [name for name in members if name != "manifest.json"]
    assert len(blobs) == 5
    for name in blobs:
        rest = {other: content for other, content in members.items() if other != name}
        lines = refusal(write(tmp_path / "a.tar", rest), expected)
        # The layer of the licenses is that of every platform.
        assert lines
        assert all(line.startswith(f"missing: sha256:{hex_of(name)}, named by sha256:") for line in lines)


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_is_no_blob(members: Members, expected: list[Digest], tmp_path: Path, kind: bytes) -> None:
    name = next(name for name in members if name != "manifest.json")
    rest = {other: content for other, content in members.items() if other != name}
    assert f"damaged: {name}" in refusal(write(tmp_path / "a.tar", rest, {name: kind}), expected)
    # Of another name it is none of ours.
    airgap.verify(write(tmp_path / "a.tar", members, {"other": kind}), expected)


def test_damaged_blobs_are_named(members: Members, expected: list[Digest], tmp_path: Path) -> None:
    name = next(name for name in members if name != "manifest.json")
    flipped = members | {name: bytes([members[name][0] ^ 1]) + members[name][1:]}
    assert refusal(write(tmp_path / "a.tar", flipped), expected) == [f"damaged: {name}"]
    longer = members | {name: members[name] + b"x"}
    found = refusal(write(tmp_path / "a.tar", longer), expected)
    assert found[0] == f"damaged: {name}"
    assert f"has {len(members[name]) + 1} bytes" in found[1]


def documents(node: Any) -> list[dict[str, Any]]:
    """Return every object of imgpkg's manifest.json that holds a document."""
    if isinstance(node, list):
        return [found for child in node for found in documents(child)]
    if not isinstance(node, dict):
        return []
    own = [node] if "Raw" in node else []
    return own + [found for child in node.values() for found in documents(child)]


def test_every_document_is_missed_and_every_damaged_one_named(
    members: Members, expected: list[Digest], tmp_path: Path
) -> None:
    count = len(documents(json.loads(members["manifest.json"])))
    # The repository and the bundle: manifest and configuration; the image: an index, twice manifest and configuration.
    assert count == 2 * 2 + 1 + 2 * 2
    for number in range(count):
        tree = json.loads(members["manifest.json"])
        document = documents(tree)[number]
        digest = document["Digest"]
        document["Raw"] += " "
        damaged = write(tmp_path / "a.tar", members | {"manifest.json": json.dumps(tree).encode()})
        assert f"damaged: {digest}" in refusal(damaged, expected)
        del document["Raw"]
        missing = write(tmp_path / "a.tar", members | {"manifest.json": json.dumps(tree).encode()})
        assert any(line.startswith(f"missing: {digest}") for line in refusal(missing, expected))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'[{"Raw": 1}]', b'[{"Raw": "[]", "Digest": 3}]'])
def test_a_manifest_that_is_none_is_told(
    members: Members, expected: list[Digest], tmp_path: Path, content: bytes
) -> None:
    assert (
        "damaged: manifest.json"
        in refusal(write(tmp_path / "a.tar", members | {"manifest.json": content}), expected)[0]
    )


def test_no_manifest_and_no_tar_are_told(members: Members, expected: list[Digest], tmp_path: Path) -> None:
    rest = {name: content for name, content in members.items() if name != "manifest.json"}
    assert "damaged: manifest.json" in refusal(write(tmp_path / "a.tar", rest), expected)[0]
    whole = write(tmp_path / "a.tar", members).read_bytes()
    for content in (b"", b"no tar", whole[: len(whole) // 2]):
        (tmp_path / "b.tar").write_bytes(content)
        refusal(tmp_path / "b.tar", expected)
