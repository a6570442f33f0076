"""build/ and dist/: what no build made is kept, commands at once do not disturb each other, a recipe counts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of, scraps, snapshot, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import PackageProject


# What a user puts into dist/, or changes there, and how the error names it.
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda dist: (dist / "notes.txt").write_text("mine"), "dist/notes.txt: not made by a build"),
    "file below": (
        lambda dist: (dist / "packages/SHA256SUMS").write_text("mine"),
        "dist/packages/SHA256SUMS: not made by a build",
    ),
    "directory": (lambda dist: (dist / "mine").mkdir(), "dist/mine: not made by a build"),
    "link": (lambda dist: (dist / "link").symlink_to("release.json"), "dist/link: not made by a build"),
    "dangling link": (lambda dist: (dist / "link").symlink_to("none"), "dist/link: not made by a build"),
    "pipe": (lambda dist: os.mkfifo(dist / "pipe"), "dist/pipe: not made by a build"),
    "changed": (
        lambda dist: (dist / "hello-data-values.yaml").write_text("name: moon\n"),
        "dist/hello-data-values.yaml: changed since the build made it",
    ),
    "changed record": (
        lambda dist: (dist / "release.json").write_text("[]"),
        "dist/release.json: changed since the build made it",
    ),
    "changed sums": (
        lambda dist: (dist / "SHA256SUMS").write_text((dist / "SHA256SUMS").read_text() + "# mine\n"),
        "dist/SHA256SUMS: changed since the build made it",
    ),
    "no sums": (lambda dist: (dist / "SHA256SUMS").unlink(), "dist/release.json: not made by a build"),
}


def everything(directory: Path) -> dict[str, tuple[int, int]]:
    paths = [directory, *sorted(directory.rglob("*"))]
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("changed_too", [False, True], ids=["same inputs", "other inputs"])
def test_what_no_build_made_is_named_and_kept(built: PackageProject, tmp_path: Path, changed_too: bool) -> None:
    if changed_too:
        built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    dist, intact = built.root / "dist", tmp_path / "intact"
    shutil.copytree(dist, intact)
    for name, (change, words) in FOREIGN.items():
        shutil.rmtree(dist)
        shutil.copytree(intact, dist)
        change(dist)
        before = everything(dist)
        outcome = built.run("build")
        assert everything(dist) == before, name
        if name == "directory" and not changed_too:
            # Nothing to do, so nothing to replace.
            assert outcome.code == 0
            continue
        assert outcome.code == 8, (name, outcome)
        assert words in outcome.err, (name, outcome.err)
        assert "hint: move or delete them, then run the same command again" in outcome.err
        assert not [line for line in outcome.err.splitlines() if line.endswith(" s")]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_dist_that_is_no_directory_is_kept(built: PackageProject, tmp_path: Path, kind: str) -> None:
    dist = built.root / "dist"
    dist.rename(tmp_path / "moved")
    if kind == "file":
        dist.write_text("mine")
    else:
        dist.symlink_to(tmp_path / "moved")
        built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    before = snapshot(tmp_path / "moved")
    outcome = built.run("build")
    assert outcome.code == 8
    assert f"dist is {'not a directory' if kind == 'file' else 'a symbolic link'}" in outcome.err
    assert dist.is_symlink() if kind == "link" else dist.read_text() == "mine"
    assert snapshot(tmp_path / "moved") == before


def test_a_file_that_comes_into_dist_while_it_builds_is_kept(built: PackageProject, tmp_path: Path) -> None:
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    notes = built.root / "dist/notes.txt"
    outcome = built.run("build", environment=wrap(tmp_path, built, "imgpkg", "copy", f'echo mine > "{notes}"'))
    assert outcome.code == 8
    assert f"{notes.relative_to(built.root)}: not made by a build" in outcome.err
    assert notes.read_text() == "mine\n"


# Several commands at once

COMMANDS = (
    ("check",),
    ("render",),
    ("values", "annotated"),
    ("rbac",),
    ("doctor", "--install"),
    ("build",),
    ("build",),
)


def test_all_commands_at_once_on_a_cold_build(built: PackageProject) -> None:
    for round_ in range(2):
        for kind in ("validated", "package", "layer", "image", "scratch", "state.json"):
            place = built.root / "build" / kind
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        running = [
            subprocess.Popen(
                built.command(*arguments),
                cwd=built.root,
                env=dict(built.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for arguments in COMMANDS
        ]
        for arguments, process in zip(COMMANDS, running, strict=True):
            _, err = process.communicate(timeout=120)
            # Of two builds one may find the other's lock.
            accepted = process.returncode == 0 or b"another build is running" in err
            assert accepted, (round_, arguments, err.decode())
        assert scraps(built) == []
    assert built.run("build").ok().out.startswith("up to date")


# Recipes


def upgraded(project: PackageProject, place: Path, name: str, old: str, new: str) -> dict[str, str]:
    """Return an environment in which carvelwright is a copy of ours with one change."""
    source = Path(__file__).parents[2] / "src/carvelwright"
    shutil.copytree(source, place / "carvelwright", ignore=shutil.ignore_patterns("__pycache__"))
    path = place / "carvelwright" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return {"PYTHONPATH": str(place)}


RECIPES = {
    "compression": ("oci/layer.py", "_COMPRESSION_LEVEL = 6", "_COMPRESSION_LEVEL = 1"),
    "compiler flag": ("tools/compiler.py", "-s -w -buildid=", "-buildid="),
    "configuration": ("oci/image.py", '"WorkingDir": "/"', '"WorkingDir": "/tmp"'),
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_upgrade_that_makes_a_product_in_another_way_makes_it_again(
    built: PackageProject, tmp_path: Path, name: str
) -> None:
    before = release_of(built)["images"][0]["reference"]
    environment = upgraded(built, tmp_path / "upgrade", *RECIPES[name])
    built.run_process("build", environment=environment).ok()
    assert release_of(built)["images"][0]["reference"] != before
    # And back again: nothing of the other recipe is taken for ours.
    built.run("build").ok()
    assert release_of(built)["images"][0]["reference"] == before


def test_an_upgrade_of_other_code_makes_no_product_again(built: PackageProject, tmp_path: Path) -> None:
    environment = upgraded(built, tmp_path / "upgrade", "cli/build.py", '"""carvelwright build."""', '"""Builds."""')
    before = snapshot(built.root / "build/payload"), snapshot(built.root / "build/image")
    outcome = built.run_process("build", environment=environment).ok()
    assert outcome.out.startswith("built, ")
    assert (snapshot(built.root / "build/payload"), snapshot(built.root / "build/image")) == before
