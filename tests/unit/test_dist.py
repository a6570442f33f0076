"""What lies in dist/: its sums, what is a build's own, and what no build may replace."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.plan import BuildOptions, BuildPlan, WorkspacePlan, make_plan
from carvelwright.project.config import load_package
from carvelwright.reference import Reference
from carvelwright.steps import dist
from carvelwright.values import ValuesSchema
from tests.helpers.builds import record_of_files

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = {"archive.tar": b"tar", "two  spaces": b"", "packages/x/1.yml": b"one", "packages/x/metadata.yml": b"two"}


def fill(directory: Path) -> Path:
    """Make a dist/ as a build does."""
    for name, content in CONTENT.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    dist.write_release(record_of_files(directory), directory)
    return directory


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return fill(tmp_path / "dist")


@pytest.fixture
def plan(repository_root: Path) -> BuildPlan:
    return plan_of(repository_root).packages[0]


def plan_of(repository_root: Path) -> WorkspacePlan:
    return make_plan([load_package(repository_root / "examples/hello-package")], BuildOptions(), {})


def refusal(directory: Path) -> list[str]:
    """Return the lines that name what is in the way, relative to dist/."""
    with pytest.raises(CarvelwrightError) as caught:
        dist.require_own(directory)
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.message == f"the build would overwrite files that it did not make: {directory}"
    assert "delete them" in (caught.value.hint or "")
    return [line.replace(f"{directory}/", "") for line in (caught.value.details or "").splitlines()]


def test_every_file_is_listed_with_size_and_digest(made: Path) -> None:
    listed = {file.name: (file.size, file.digest.hex) for file in dist.list_files(made)}
    assert listed == {name: (len(text), hashlib.sha256(text).hexdigest()) for name, text in CONTENT.items()}


def test_sha256sum_accepts_the_sums_and_they_cover_every_file(made: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=made, capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert lines == [f"{name}: OK" for name in sorted([*CONTENT, "release.json"])]


def test_release_json_is_readable_by_people_and_machines(made: Path) -> None:
    text = (made / "release.json").read_text()
    assert json.loads(text) == record_of_files(made).document()
    assert text.startswith('{\n  "schemaVersion": 2,\n')
    assert text.endswith("}\n")


def damage_nothing(made: Path) -> None:
    del made


def change_a_file(made: Path) -> None:
    (made / "archive.tar").write_bytes(b"rat")


def change_the_release(made: Path) -> None:
    (made / "release.json").write_text("{}")


def remove_a_file(made: Path) -> None:
    (made / "archive.tar").unlink()


def remove_the_release(made: Path) -> None:
    (made / "release.json").unlink()


def remove_the_sums(made: Path) -> None:
    (made / "SHA256SUMS").unlink()


def add_a_file(made: Path) -> None:
    (made / "notes.txt").touch()


def add_a_link(made: Path) -> None:
    (made / "link").symlink_to("archive.tar")


def spoil_the_sums(made: Path) -> None:
    (made / "SHA256SUMS").write_bytes(b"\xff")


@pytest.mark.parametrize(
    ("act", "whole"),
    [
        (damage_nothing, True),
        (change_a_file, False),
        (change_the_release, False),
        (remove_a_file, False),
        (remove_the_release, False),
        (remove_the_sums, False),
        (add_a_file, False),
        (add_a_link, False),
        (spoil_the_sums, False),
    ],
)
def test_a_dist_that_was_touched_is_not_whole(made: Path, act: Any, whole: bool) -> None:
    act(made)
    assert dist.is_whole(made) is whole


def test_a_build_may_replace_its_own_dist_and_what_is_left_of_it(made: Path, tmp_path: Path) -> None:
    dist.require_own(made)
    dist.require_own(tmp_path / "none")
    # Deleted files are no loss; the empty directory of one is still known.
    (made / "packages/x/1.yml").unlink()
    (made / "packages/x/metadata.yml").unlink()
    dist.require_own(made)


def test_everything_that_is_not_the_builds_own_is_named(made: Path) -> None:
    (made / "notes.txt").write_text("mine")
    (made / "archive.tar").write_bytes(b"mine")
    (made / "packages/x/1.yml").unlink()
    (made / "packages/x/1.yml").symlink_to("metadata.yml")
    (made / "empty").mkdir()
    (made / "full").mkdir()
    (made / "full/file").touch()
    (made / "directory").symlink_to(made / "packages")
    os.mkfifo(made / "release.fifo")
    with (made / "SHA256SUMS").open("a") as sums:
        sums.write("\n")
    assert refusal(made) == [
        "SHA256SUMS: changed since the build made it",
        "archive.tar: changed since the build made it",
        "directory: not made by a build",
        "empty: not made by a build",
        "full/file: not made by a build",
        "notes.txt: not made by a build",
        "packages/x/1.yml: not made by a build",
        "release.fifo: not made by a build",
    ]


def test_a_fifo_of_a_products_name_is_not_read(made: Path) -> None:
    (made / "archive.tar").unlink()
    os.mkfifo(made / "archive.tar")
    assert refusal(made) == ["archive.tar: not made by a build"]


def test_without_sums_nothing_is_the_builds_own(made: Path) -> None:
    (made / "SHA256SUMS").unlink()
    names = [*CONTENT, "release.json"]
    assert refusal(made) == [f"{name}: not made by a build" for name in sorted(names)]


def test_a_dist_that_is_a_link_or_a_file_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(made)
    assert refusal(tmp_path / "link") == [f"{tmp_path}/link is a symbolic link"]
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    assert refusal(tmp_path / "dangling") == [f"{tmp_path}/dangling is a symbolic link"]
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file") == [f"{tmp_path}/file is not a directory"]


def test_whoever_touches_dist_while_a_build_runs_is_seen(made: Path) -> None:
    before = dist.look(made)
    assert dist.look(made) == before
    moments = made.joinpath("archive.tar").stat()
    for change in (
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.rename(made / "other"),
    ):
        change(made / "archive.tar")
        assert dist.look(made) != before
        (made / "other").exists() and (made / "other").rename(made / "archive.tar")
        (made / "archive.tar").write_bytes(CONTENT["archive.tar"])
        os.utime(made / "archive.tar", ns=(moments.st_atime_ns, moments.st_mtime_ns))
        os.utime(made, ns=(moments.st_atime_ns, moments.st_mtime_ns))
        assert dist.look(made) == before
    # The same content, size and time under the same name, but another file.
    (made / "new").write_bytes(CONTENT["archive.tar"])
    os.utime(made / "new", ns=(moments.st_atime_ns, moments.st_mtime_ns))
    (made / "new").rename(made / "archive.tar")
    assert dist.look(made) != before


def test_the_repository_is_copied_with_a_resource_that_points_at_it(repository_root: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    (packages / "x/deep").mkdir(parents=True)
    (packages / "x/deep/1.yml").write_bytes(b"one")
    (packages / "x/2.yml").write_bytes(b"two")
    where = Reference.parse("r.example.com/p/package-repository@sha256:" + "1" * 64)
    dist.write_repository(plan_of(repository_root), where, packages, tmp_path / "dist")
    found = sorted(path for path in (tmp_path / "dist").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "dist").as_posix() for path in found] == [
        "package-repository.yml",
        "packages/x/2.yml",
        "packages/x/deep/1.yml",
    ]
    assert (tmp_path / "dist/packages/x/deep/1.yml").read_bytes() == b"one"
    resource = yamldoc.load(tmp_path / "dist/package-repository.yml").data
    assert resource["metadata"] == {"name": "hello-repository"}
    assert resource["spec"] == {"fetch": {"imgpkgBundle": {"image": str(where)}}}


def test_the_values_files_carry_the_release_and_its_defaults(plan: BuildPlan, tmp_path: Path) -> None:
    labels = {"type": "object", "default": {}}
    openapi = {"type": "object", "properties": {"labels": labels, "replicas": {"type": "integer", "default": 2}}}
    dist.write_values(plan, ValuesSchema(openapi, {}, [{"labels": {}, "replicas": 2}]), tmp_path)
    title = "Data values of hello.packages.example.com 1.0.0+build.1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "hello-data-values.annotated.yaml",
        "hello-data-values.yaml",
        "values.schema.json",
    ]
    assert (tmp_path / "hello-data-values.yaml").read_text() == "# labels:\n# replicas: 2\n"
    annotated = (tmp_path / "hello-data-values.annotated.yaml").read_text()
    assert title in annotated
    assert yamldoc.parse(annotated, tmp_path).data == {"labels": {}, "replicas": 2}
    schema = json.loads((tmp_path / "values.schema.json").read_text())
    assert schema["title"] == title
    assert schema["properties"]["replicas"]["default"] == 2


def test_the_release_file_counts_among_the_sums(made: Path) -> None:
    line = f"{Digest.of_file(made / 'release.json').hex}  release.json"
    assert line in (made / "SHA256SUMS").read_text().splitlines()
