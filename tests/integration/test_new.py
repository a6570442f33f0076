"""`new` writes a package that passes `check` and `build` as it is, and never writes over anything."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.uses.new import Kind
from tests.conftest import PackageProject, free_address
from tests.helpers.builds import record_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def desk(tmp_path: Path, tool_environment: Mapping[str, str]) -> PackageProject:
    """An empty directory."""
    return PackageProject(tmp_path, tool_environment)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_is_checked_and_built_as_it_is(desk: PackageProject, kind: Kind) -> None:
    outcome = desk.run("new", "my-greeter", "--kind", kind.value, "--registry", f"{free_address()}/packages").ok()
    assert outcome.out.splitlines()[-1] == "next: carvelwright -C my-greeter check"
    assert (desk.root / "my-greeter/.gitignore").read_text() == "/build/\n/dist/\n"
    checked = desk.run("-C", "my-greeter", "check").ok()
    assert (checked.out, checked.err) == ("ok: no problems found\n", "")
    desk.run("-C", "my-greeter", "build").ok()
    project = PackageProject(desk.root / "my-greeter", desk.environment)
    (package,) = record_of(project)["packages"]
    assert package["refName"] == "my-greeter.packages.example.com"
    assert [image["name"] for image in package["images"]] == (["my-greeter"] if kind is Kind.GO else [])
    values = desk.root / "values.yaml"
    values.write_text("namespace: elsewhere\n")
    rendered = yamldoc.load_all_text(project.run("render", "-f", str(values)).ok().out, Path("rendered"))
    assert [document["metadata"] for document in rendered if document] == [
        {"name": "my-greeter", "namespace": "elsewhere"}
    ]
    assert "@" not in "".join(path.read_text() for path in project.root.glob("package/*.yaml"))


def test_a_whole_ref_name_is_taken_as_it_is(desk: PackageProject) -> None:
    desk.run("new", "redis.packages.example.org", "--directory", "a/b/c").ok()
    build = yamldoc.load(desk.root / "a/b/c/package/build.yaml").data
    assert (build["refName"], build["registry"]) == ("redis.packages.example.org", "127.0.0.1:5055/packages")


def test_nothing_is_written_over(desk: PackageProject) -> None:
    (desk.root / "mine").mkdir()
    (desk.root / "mine/file").write_text("mine")
    (desk.root / "file").write_text("mine")
    (desk.root / "link").symlink_to("nowhere")
    before = snapshot(desk.root)
    for name in ("mine", "file", "link"):
        outcome = desk.run("new", name)
        assert outcome.code == 8
        assert f"{name} exists already" in outcome.err
        assert "--directory" in outcome.err
    assert snapshot(desk.root) == before
    (desk.root / "empty").mkdir()
    desk.run("new", "empty").ok()


@pytest.mark.parametrize("name", ["", "Greeter", "a_b", "-a", "a-", "a.b", "a..b.c", "a" * 64, "../x", "ä"])
def test_a_name_that_no_package_can_have_is_refused(desk: PackageProject, name: str) -> None:
    outcome = desk.run("new", "--", name)
    assert outcome.code == 2
    assert "not a package's name" in outcome.err
    assert snapshot(desk.root) == {}


def test_in_a_workspace_it_becomes_a_member(desk: PackageProject) -> None:
    (desk.root / "carvelwright.yaml").write_text(f"registry: {free_address()}/p\ntools: []\nmembers: [packages/one]\n")
    desk.run("new", "one").ok()
    outcome = desk.run("new", "two").ok()
    assert outcome.out.splitlines()[-1].startswith("next: add packages/two to `members` in carvelwright.yaml")
    assert set(yamldoc.load(desk.root / "packages/two/package/build.yaml").data) == {"refName", "platforms"}
    desk.replace("carvelwright.yaml", "packages/one", "packages/one, packages/two")
    desk.run("check").ok()
    plan = json.loads(desk.run("build", "--dry-run", "--format", "json").ok().out)
    assert [package["package"].partition(".")[0] for package in plan["packages"]] == ["one", "two"]


def test_outside_of_the_workspace_it_is_a_package_by_itself(desk: PackageProject) -> None:
    workspace = replace(desk, root=desk.root / "workspace")
    workspace.root.mkdir()
    (workspace.root / "carvelwright.yaml").write_text(f"registry: {free_address()}/p\nmembers: [packages/one]\n")
    outcome = workspace.run("new", "two", "--directory", "../two").ok()
    assert outcome.out.splitlines()[-1].startswith("next: carvelwright -C ")
    workspace.run("-C", "../two", "check").ok()


def test_a_directory_that_cannot_be_written_is_told(desk: PackageProject) -> None:
    (desk.root / "file").write_text("mine")
    outcome = desk.run("new", "x", "--directory", "file/x")
    assert outcome.code == 8
    assert "file" in outcome.err
    shutil.rmtree(desk.root / "x", ignore_errors=True)
