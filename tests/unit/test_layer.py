"""Layers: the same files give the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright.digest import Digest
from carvelwright.oci.layer import Layer, LayerFile, write_layer


def write(files: list[LayerFile]) -> tuple[Layer, bytes]:
    target = io.BytesIO()
    return write_layer(files, target), target.getvalue()


@pytest.fixture
def fixed(tmp_path: Path) -> list[LayerFile]:
    (tmp_path / "one").write_bytes(b"#!/bin/one\n")
    (tmp_path / "two").write_bytes(b"2" * 1000)
    return [
        LayerFile("/usr/local/bin/two", 0o755, tmp_path / "two"),
        LayerFile("/etc/one", 0o600, tmp_path / "one"),
    ]


def test_the_tar_within_has_this_digest(fixed: list[LayerFile]) -> None:
    # A literal: whatever changes these bytes changes every digest that was ever released.
    layer, _ = write(fixed)
    assert str(layer.diff_id) == "sha256:a4ded397ae2605f77c0acb1812a2730f5b5266584d674fb88642aa0a02d87ec8"


def test_the_record_is_true(fixed: list[LayerFile]) -> None:
    layer, data = write(fixed)
    assert (layer.digest, layer.size) == (Digest.of_bytes(data), len(data))
    assert layer.diff_id == Digest.of_bytes(gzip.decompress(data))


def test_other_programs_read_it(fixed: list[LayerFile], tmp_path: Path) -> None:
    _, data = write(fixed)
    (tmp_path / "layer.tar.gz").write_bytes(data)
    subprocess.run(["gzip", "-t", tmp_path / "layer.tar.gz"], check=True)
    listing = subprocess.run(
        ["tar", "--numeric-owner", "--utc", "-tvzf", tmp_path / "layer.tar.gz"], capture_output=True, check=True
    ).stdout.decode()
    assert [line.split()[:3] + line.split()[3:5] + line.split()[5:] for line in listing.splitlines()] == [
        ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "etc/"],
        ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "usr/"],
        ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "usr/local/"],
        ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "usr/local/bin/"],
        ["-rw-------", "0/0", "11", "1970-01-01", "00:00", "etc/one"],
        ["-rwxr-xr-x", "0/0", "1000", "1970-01-01", "00:00", "usr/local/bin/two"],
    ]


def test_names_modes_and_contents_count(fixed: list[LayerFile], tmp_path: Path) -> None:
    digests = {write(fixed)[0].diff_id}
    first = fixed[0]
    for other in (
        LayerFile("/usr/local/bin/tow", first.mode, first.source),
        LayerFile(first.path, 0o700, first.source),
        LayerFile(first.path, first.mode, fixed[1].source),
    ):
        digests.add(write([other, fixed[1]])[0].diff_id)
    assert len(digests) == 4


@given(
    st.dictionaries(
        st.sampled_from(["/a", "/b/c", "/b/d", "/b-e/f", "/b/c.d/e"]), st.binary(max_size=2000), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_order_modes_times_and_places_of_sources_do_not_count(contents: dict[str, bytes], random: object) -> None:
    with tempfile.TemporaryDirectory() as place:
        results = []
        for turn in range(2):
            files = []
            for number, (path, content) in enumerate(contents.items()):
                source = Path(place, f"{turn}{'x' * turn}-{number}")
                source.write_bytes(content)
                source.chmod(0o600 if turn else 0o777)
                os.utime(source, (turn * 10**9, turn * 10**9))
                files.append(LayerFile(path, 0o755, source))
            if turn:
                random.shuffle(files)  # type: ignore[attr-defined]
            results.append(write(files))
    assert results[0] == results[1]
    with tarfile.open(fileobj=io.BytesIO(results[0][1])) as tar:
        assert {f"/{m.name}": tar.extractfile(m).read() for m in tar if m.isfile()} == contents  # type: ignore[union-attr]


def test_a_source_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write([LayerFile("/a", 0o755, tmp_path / "none")])
