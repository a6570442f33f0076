"""clean removes what builds made, and names everything else with the reason that it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode
from carvelwright.steps import dist
from carvelwright.store import Store
from carvelwright.uses import clean
from tests.helpers.builds import record_of_files, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

KEY, LONG = "0" * 24, "f" * 16
MADE = (
    f"build/crds/{KEY}/a.yaml",
    f"build/image/{KEY}/index.json",
    f"build/layer/{KEY}/layer",
    f"build/payload/{KEY}/hello",
    f"build/package/{KEY}.json",
    f"build/validated/{KEY}.json",
    f"build/tools/ytt-v1-{LONG}/ytt",
    f"build/tools/ytt-v1-{LONG}.lock",
    "build/registry/blobs/x",
    f"build/seals/image/{KEY}/x",
    "build/registry.log",
    "build/state.json",
    "build/last-run.json",
    "build/.lock",
    "build/image/.half.new.x/file",
)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content")


def make(root: Path) -> None:
    """Leave what a build leaves."""
    write(root, *MADE, "dist/packages/x/1.yml", "dist/archive.tar")
    (root / "build/scratch").mkdir()
    dist.write_release(record_of_files(root / "dist"), root / "dist")


def test_all_that_was_made_goes_and_nothing_of_the_project(hello: PackageProject) -> None:
    sources = snapshot(hello.root)
    make(hello.root)
    assert clean.clean(hello.root) == []
    assert snapshot(hello.root) == sources
    assert not (hello.root / "build").exists()
    assert not (hello.root / "dist").exists()
    assert clean.clean(hello.root) == []


@pytest.mark.parametrize(
    "name",
    [
        f"image/{KEY}x",
        f"image/{KEY[1:]}",
        f"image/{KEY[1:]}G",
        f"package/{KEY}",
        f"package/{KEY}.json.old",
        f"validated/{KEY}.yaml",
        f"tools/-{LONG}",
        f"tools/ytt-{LONG}.other",
        f"unknown/{KEY}",
        f"registry.txt/{KEY}",
        "notes.txt",
        "state.json.old",
    ],
)
def test_what_does_not_have_a_name_that_builds_use_stays_and_is_named(hello: PackageProject, name: str) -> None:
    make(hello.root)
    write(hello.root, f"build/{name}")
    build = hello.root / "build"
    kept = name if name.startswith(("image", "package", "validated", "tools")) else name.split("/", maxsplit=1)[0]
    assert clean.clean(hello.root) == [f"{build / kept}: not made by carvelwright"]
    assert list(snapshot(build)) == [name]


def test_a_link_in_the_place_of_a_kind_is_not_followed(hello: PackageProject, tmp_path: Path) -> None:
    make(hello.root)
    write(tmp_path, f"elsewhere/{KEY}/file")
    (hello.root / "build/crds").rename(tmp_path / "former")
    (hello.root / "build/crds").symlink_to(tmp_path / "elsewhere")
    assert clean.clean(hello.root) == [f"{hello.root}/build/crds: not made by carvelwright"]
    assert (tmp_path / f"elsewhere/{KEY}/file").is_file()


def test_an_empty_scratch_goes_where_something_else_stays(hello: PackageProject) -> None:
    make(hello.root)
    write(hello.root, "build/image/notes.txt")
    clean.clean(hello.root)
    assert list(snapshot(hello.root / "build")) == ["image/notes.txt"]
    assert not (hello.root / "build/scratch").exists()


def test_files_of_dist_that_were_added_or_changed_stay_with_their_directories(hello: PackageProject) -> None:
    make(hello.root)
    place = hello.root / "dist"
    write(hello.root, "dist/packages/x/notes.txt", "dist/archive.tar")
    (place / "archive.tar").write_text("changed")
    (place / "link").symlink_to("packages")
    assert clean.clean(hello.root) == [
        f"{place}/archive.tar: changed since the build made it",
        f"{place}/link: not made by a build",
        f"{place}/packages/x/notes.txt: not made by a build",
    ]
    assert sorted(snapshot(place)) == ["archive.tar", "packages/x/notes.txt"]
    assert (place / "link").is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_a_dist_that_is_no_directory_stays(hello: PackageProject, tmp_path: Path, kind: str) -> None:
    place = hello.root / "dist"
    write(tmp_path, "elsewhere/file")
    if kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "none"))
    assert clean.clean(hello.root) == [f"{place}: not made by a build"]
    assert place.is_symlink() or place.read_text() == "mine"
    assert (tmp_path / "elsewhere/file").is_file()


def test_a_running_build_and_a_directory_without_a_project_are_left_alone(
    hello: PackageProject, tmp_path: Path
) -> None:
    make(hello.root)
    before = snapshot(hello.root)
    with (
        Store(hello.root).locked(),
        pytest.raises(CarvelwrightError, match="another build is running") as caught,
    ):
        clean.clean(hello.root)
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert snapshot(hello.root) == before
    write(tmp_path, "none/dist/file", "none/build/state.json")
    with pytest.raises((ConfigError, CarvelwrightError)) as missing:
        clean.clean(tmp_path / "none")
    assert missing.value.exit_code is ExitCode.CONFIG
    assert len(snapshot(tmp_path / "none")) == 2
