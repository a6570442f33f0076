"""Equal input, equal bytes: built twice under all that must not count.

Of the clock: each build runs at another second, over sources with other time stamps, and no artefact holds today's
date. A library that fakes the clock would prove no more, since the Go tools are static and do not ask libc.
"""

from __future__ import annotations

import datetime as dt
import gzip
import os
import subprocess
import tarfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.helpers.builds import call, release_of, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

# Compiled from nothing for two platforms, which takes as long as what it imports is large.
SMALL = 'package main\n\nvar version = "unknown"\n\nfunc main() { println("hello", version) }\n'


def build(project: PackageProject, place: Path, *, umask: int, stamp: int, **environment: str) -> PackageProject:
    """Build a copy of a project whose files have a time stamp, from nothing."""
    place.mkdir(parents=True)
    moved = replace(project, root=place / "project")
    subprocess.run(["cp", "-r", project.root, moved.root], check=True)
    for path in moved.root.rglob("*"):
        os.utime(path, (stamp, stamp))
    home = place / "home"
    home.mkdir()
    # Another HOME would mean another compile cache: the first build compiles from nothing, the second may reuse.
    caches = {name: call("go", "env", name).decode().strip() for name in ("GOPATH", "GOMODCACHE", "GOCACHE")}
    moved.run_process("build", environment={**caches, "HOME": str(home), **environment}, umask=umask).ok()
    return moved


def images_of(project: PackageProject) -> dict[str, bytes]:
    """Return every blob of the image layouts and layers."""
    return {name: data for name, data in snapshot(project.root / "build/image").items() if "/blobs/" in name}


def test_two_builds_give_equal_digests(hello: PackageProject, tmp_path: Path) -> None:
    days = {dt.datetime.now(dt.UTC).date()}
    (hello.root / "payload/main.go").write_text(SMALL)
    one = build(
        hello,
        tmp_path / "a",
        umask=0o022,
        stamp=1_000_000_000,
        TZ="UTC",
        LC_ALL="C",
        PYTHONHASHSEED="1",
        GOCACHE=str(tmp_path / "gocache"),
    )
    second = int(time.time())
    while int(time.time()) <= second:
        time.sleep(0.05)
    two = build(
        hello,
        tmp_path / "b" / ("long name with spaces " * 4).strip() / "deeper",
        umask=0o077,
        stamp=2_000_000_000,
        TZ="Pacific/Kiritimati",
        LC_ALL="tr_TR.UTF-8",
        LANG="C.UTF-8",
        PYTHONHASHSEED="2",
    )
    days.add(dt.datetime.now(dt.UTC).date())
    releases = [release_of(project) for project in (one, two)]
    for name in ("images", "bundle", "repository", "tools", "files"):
        assert releases[0][name] == releases[1][name], name
    assert images_of(one) == images_of(two)
    assert len(images_of(one)) == 8
    dists = [snapshot(project.root / "dist") for project in (one, two)]
    assert dists[0] == dists[1]
    no_time_of_the_build_shows(one, dists[0], days)


def no_time_of_the_build_shows(project: PackageProject, dist: dict[str, bytes], days: set[dt.date]) -> None:
    contents = {**dist, **images_of(project)}
    plain = {name: gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for name, data in contents.items()}
    for day in days:
        for name, data in plain.items():
            assert day.isoformat().encode() not in data, name
    with tarfile.open(next((project.root / "dist").glob("*.tar"))) as archive:
        members = archive.getmembers()
        assert members
        assert {member.mtime for member in members} == {0}
        layers = [archive.extractfile(member) for member in members if member.name.endswith(".tar.gz")]
        for layer in layers:
            assert layer
            with tarfile.open(fileobj=layer) as tar:
                assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar} == {(0, 0, 0, "")}


def test_source_date_epoch_moves_the_images_date_and_nothing_else(hello: PackageProject, tmp_path: Path) -> None:
    hello.run("build").ok()
    before = images_of(hello)
    hello.run("build", environment={"SOURCE_DATE_EPOCH": "86400"}).ok()
    blobs = b"".join(data for name, data in images_of(hello).items() if name not in before)
    assert b'"created":"1970-01-02T00:00:00Z"' in blobs
    package = next((hello.root / "dist/packages").rglob("1.0.0*.yml")).read_text()
    assert "releasedAt: '2026-11-01T00:00:00Z'" in package
