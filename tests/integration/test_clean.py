"""carvelwright clean removes what carvelwright made and nothing else; build --wait waits for another's lock."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from carvelwright.store import Store
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import snapshot

if TYPE_CHECKING:
    from tests.conftest import PackageProject


def test_all_that_was_made_goes_and_the_project_stays(built: PackageProject) -> None:
    sources = {
        name: content for name, content in snapshot(built.root).items() if not name.startswith(("build/", "dist/"))
    }
    outcome = built.run("clean").ok()
    assert outcome.out == "removed build/ and dist/\n"
    assert snapshot(built.root) == sources
    assert {path.name for path in built.root.iterdir()} & {"build", "dist"} == set()
    assert built.run("clean", "-q").ok().out == ""
    assert not (built.root / "build").exists()


FOREIGN = (
    "build/notes.txt",
    "build/payload/notes.txt",
    "build/mine/image/file",
    "build/tools/notes.txt",
    "dist/notes.txt",
    "dist/packages/hello.packages.example.com/notes.txt",
)


def test_files_of_the_user_stay_and_are_named(built: PackageProject) -> None:
    for name in FOREIGN:
        (built.root / name).parent.mkdir(parents=True, exist_ok=True)
        (built.root / name).write_text("mine")
    changed = built.root / "dist/values.schema.json"
    changed.write_text("mine, too")
    (built.root / "dist/link").symlink_to("../package")
    outcome = built.run("clean").ok()
    left = [name for name in snapshot(built.root) if name.startswith(("build/", "dist/"))]
    assert sorted(left) == sorted([*FOREIGN, "dist/values.schema.json"])
    assert (built.root / "package/metadata.yaml").is_file()
    for name in (*FOREIGN, "dist/values.schema.json", "dist/link"):
        place = "build/mine" if name.startswith("build/mine") else name
        assert f"kept {place}: " in outcome.out


@pytest.mark.parametrize("name", ["build", "dist"])
def test_a_link_is_not_followed(built: PackageProject, name: str) -> None:
    target = built.root / "elsewhere"
    (built.root / name).rename(target)
    (built.root / name).symlink_to(target)
    before = snapshot(target)
    outcome = built.run("clean")
    assert f"{name}" in outcome.out + outcome.err
    assert snapshot(target) == before
    assert (built.root / name).is_symlink()


def test_a_directory_without_a_project_is_left_alone(built: PackageProject) -> None:
    (built.root / "package/build.yaml").unlink()
    before = snapshot(built.root)
    assert built.run("clean").code == 3
    assert snapshot(built.root) == before


def test_the_lock_holds_clean_back_and_build_waits_for_it(built: PackageProject) -> None:
    with Store(built.root).locked():
        before = snapshot(built.root)
        for command in ("clean", "build"):
            outcome = built.run(command)
            assert (outcome.code, "another build is running" in outcome.err) == (8, True)
            assert "carvelwright build --wait" in outcome.err
        assert snapshot(built.root) == before
        waiting = subprocess.Popen(
            built.command("build", "--wait"), cwd=built.root, env=built.environment, stdout=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)
    out, _ = waiting.communicate(timeout=120)
    assert (waiting.returncode, out.startswith(b"up to date")) == (0, True)


def test_clean_takes_nothing_from_a_command_that_runs(built: PackageProject) -> None:
    server = subprocess.Popen(
        built.command("serve"), cwd=built.root, env=built.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        assert server.stdout.readline().startswith("package repository: ")
        before = snapshot(built.root)
        outcome = built.run("clean")
        assert outcome.code == 8, outcome
        assert outcome.err.startswith("error: another carvelwright command is running in ")
        assert "hint: stop `carvelwright serve` with Ctrl-C" in outcome.err
        assert snapshot(built.root) == before
        # Others may use the project at the same time.
        assert built.run("check").ok().out.startswith("ok")
        assert "cannot listen on" in built.run("serve").err
        assert built.run("build").ok().out.startswith("up to date")
    finally:
        server.terminate()
        server.communicate()
    assert built.run("clean").ok().out == "removed build/ and dist/\n"


def test_a_command_that_begins_while_a_project_is_cleaned_waits(built: PackageProject) -> None:
    store = Store(built.root)
    with store.locked(), store.unused():
        waiting = subprocess.Popen(
            built.command("render"), cwd=built.root, env=built.environment, stdout=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)
        assert built.run("clean").code == 8
    out, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0
    assert b"kind: Deployment" in out


def test_who_waits_gets_the_lock_of_a_build_directory_that_was_removed(built: PackageProject) -> None:
    store = Store(built.root)
    with store.locked():
        waiting = subprocess.Popen(
            built.command("build", "--wait", "-q"), cwd=built.root, env=built.environment, stderr=subprocess.PIPE
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)
        store.remove_lock()
    _, err = waiting.communicate(timeout=120)
    assert (waiting.returncode, err) == (0, b"")
    assert (built.root / "build/.lock").is_file()
