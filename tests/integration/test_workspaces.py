"""Several packages in one workspace: one store, one lock, one repository; built all together or by name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from tests.conftest import free_address
from tests.helpers.builds import call, record_of, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

HELLO, SETTINGS = "hello.packages.example.com", "settings.packages.example.com"
MEMBER = "packages/settings"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\ndata: {mode: quiet}\n"
SCHEMA = '#@data/values-schema\n---\n#@schema/title "Mode"\n#@schema/desc "How much is said."\nmode: quiet\n'


@pytest.fixture
def workspace(hello: PackageProject) -> PackageProject:
    """The second example package as the root of a workspace, with a member that has no image."""
    member = hello.root / MEMBER
    shutil.copytree(hello.root / "package", member / "package")
    (member / "bundle/config").mkdir(parents=True)
    (member / "bundle/config/settings.yaml").write_text(CONFIG_MAP)
    (member / "values-schema.yaml").write_text(SCHEMA)
    (member / "package/build.yaml").write_text(f"refName: {SETTINGS}\nplatforms: [linux/amd64]\n")
    text = (hello.root / "package/build.yaml").read_text().splitlines(keepends=True)
    shared = [line for line in text if line.startswith(("registry:", "go:", "tools:"))]
    (hello.root / "package/build.yaml").write_text("".join(line for line in text if line not in shared))
    (hello.root / "carvelwright.yaml").write_text("".join([*shared, f"members: [., {MEMBER}]\n"]))
    return hello


def listed(project: PackageProject) -> list[str]:
    return sorted(snapshot(project.root / "dist"))


def test_all_packages_are_built_into_one_repository(
    workspace: PackageProject, registry: str, toolset: Toolchain, tmp_path: Path
) -> None:
    workspace.run("check").ok()
    outcome = workspace.run("build", "--to", f"{registry}/p").ok()
    assert f"tanzu package available list {HELLO}" in outcome.out
    assert f"tanzu package available list {SETTINGS}" in outcome.out
    assert listed(workspace) == [
        "SHA256SUMS",
        "hello/hello-data-values.annotated.yaml",
        "hello/hello-data-values.yaml",
        f"hello/{HELLO}-1.0.0+build.1.tar",
        "hello/sbom/hello.cdx.json",
        f"hello/sbom/{HELLO}.cdx.json",
        f"hello/sbom/{HELLO}.spdx.json",
        "hello/sbom/hello.spdx.json",
        "hello/values.schema.json",
        "package-repository.tar",
        "package-repository.yml",
        f"packages/{HELLO}/1.0.0+build.1.yml",
        f"packages/{HELLO}/metadata.yml",
        f"packages/{SETTINGS}/1.0.0+build.1.yml",
        f"packages/{SETTINGS}/metadata.yml",
        "release.json",
        f"settings/sbom/{SETTINGS}.cdx.json",
        f"settings/sbom/{SETTINGS}.spdx.json",
        "settings/settings-data-values.annotated.yaml",
        "settings/settings-data-values.yaml",
        f"settings/{SETTINGS}-1.0.0+build.1.tar",
        "settings/values.schema.json",
    ]
    record = record_of(workspace)
    assert [package["refName"] for package in record["packages"]] == [HELLO, SETTINGS]
    # Both have version 1.0.0+build.1; neither takes the other's tag.
    tags = {reference.partition("@")[0].rpartition(":")[2] for reference in record["repository"]}
    assert tags == {f"{HELLO}.1.0.0_build.1", f"{SETTINGS}.1.0.0_build.1"}
    held = call(toolset.crane.path, "ls", f"{registry}/p/package-repository").decode().split()
    assert len([tag for tag in held if tag.startswith("r.")]) == 2
    lock = yamldoc.load(pulled(toolset, f"{registry}/p/package-repository:latest", tmp_path) / ".imgpkg/images.yml")
    assert [entry["image"] for entry in lock.data["images"]] == sorted(
        f"{registry}/p/{package['refName']}@{package['bundle'].rpartition('@')[2]}" for package in record["packages"]
    )
    again = workspace.run("build", "--to", f"{registry}/p").ok()
    assert again.out.startswith("up to date: nothing was rebuilt")


def pulled(toolset: Toolchain, reference: str, directory: Path) -> Path:
    call(toolset.imgpkg.path, "pull", "-b", reference, "-o", directory / "pulled", "--tty=false")
    return directory / "pulled"


def test_one_package_is_built_by_name_or_in_its_directory_and_joins_the_other(
    workspace: PackageProject, registry: str, toolset: Toolchain, tmp_path: Path
) -> None:
    to = f"{registry}/p"
    workspace.run("build", "settings", "--to", to).ok()
    (first,) = record_of(workspace)["packages"]
    assert first["refName"] == SETTINGS
    assert not (workspace.root / "build/payload").exists()
    # The same, from the member's own directory: nothing is put there.
    workspace.run("-C", MEMBER, "build", "--to", to).ok()
    assert record_of(workspace)["packages"] == [first]
    assert sorted(path.name for path in (workspace.root / MEMBER).iterdir()) == [
        "bundle",
        "package",
        "values-schema.yaml",
    ]
    workspace.run("build", HELLO, "--to", to).ok()
    assert [package["refName"] for package in record_of(workspace)["packages"]] == [HELLO]
    files = ("1.0.0+build.1.yml", "metadata.yml")
    assert [name for name in listed(workspace) if name.startswith("packages/")] == [
        f"packages/{HELLO}/{file}" for file in files
    ]
    published = snapshot(pulled(toolset, f"{to}/package-repository:latest", tmp_path) / "packages")
    assert set(published) == {f"{ref_name}/{file}" for ref_name in (HELLO, SETTINGS) for file in files}


def test_packages_of_a_workspace_are_published_by_name(workspace: PackageProject, registry: str) -> None:
    to = f"{registry}/p"
    workspace.run("build").ok()
    for names, listed_there, added in (
        (["settings"], [SETTINGS], [SETTINGS]),
        ([HELLO], [HELLO], [HELLO]),
        ([], [HELLO, SETTINGS], []),
    ):
        packages = json.loads(workspace.run("publish", to, *names, "--format", "json").ok().out)["packages"]
        assert [package["refName"] for package in packages] == listed_there
        assert [package["refName"] for package in packages if package["added"]] == added


def test_commands_about_one_package_take_it_by_name_or_by_directory(workspace: PackageProject) -> None:
    assert "kind: Deployment" in workspace.run("render").ok().out
    for arguments in (["render", "--package", "settings"], ["-C", MEMBER, "render"]):
        assert workspace.run(*arguments).ok().out == CONFIG_MAP.replace("data: {mode: quiet}", "data:\n  mode: quiet")
    assert "mode: quiet" in workspace.run("values", "defaults", "--package", SETTINGS).ok().out
    unknown = workspace.run("build", "setting")
    assert unknown.code == 2
    assert "no package setting in" in unknown.err
    assert "did you mean settings?" in unknown.err
    assert "members" in unknown.err
    many = workspace.run("build", "--release", "1.0.0+build.1")
    assert many.code == 2
    assert "carvelwright build hello --release" in many.err


SHARED = """\
images:
  - name: settings
    title: settings
    description: Says hello, too
    licenses: Apache-2.0
    entrypoint: [/usr/local/bin/settings]
    modules:
      - directory: ../../payload
        tags: [quiet]
        binaries: {settings: .}
"""
QUIET = "//go:build quiet\n\npackage main\n\nfunc init() { version = %s }\n"


def test_a_go_module_of_another_package_is_compiled_and_followed(workspace: PackageProject) -> None:
    build = workspace.root / MEMBER / "package/build.yaml"
    build.write_text(build.read_text() + SHARED)
    workspace.replace(f"{MEMBER}/bundle/config/settings.yaml", "{mode: quiet}", "{image: settings}")
    source = workspace.root / "payload/quiet.go"

    def said() -> list[str]:
        workspace.run("build").ok()
        programs = sorted(
            (workspace.root / "build/payload").glob("*/bin/settings"), key=lambda path: path.stat().st_mtime_ns
        )
        native = [path for path in programs if path.read_bytes()[18:20] == b"\x3e\x00"]
        return [call(path).decode() for path in native[-1:]]

    for text in ('"first"', '"second"'):
        source.write_text(QUIET % text)
        assert said() == [f"hello {json.loads(text)}\n"]
    again = workspace.run("build").ok()
    assert again.out.startswith("up to date: nothing was rebuilt")
    # Without the tag, the other package does not know that file.
    workspace.replace(f"{MEMBER}/package/build.yaml", "        tags: [quiet]\n", "")
    assert said() == ["hello unknown\n"]
    workspace.run("check").ok()
    workspace.replace(f"{MEMBER}/package/build.yaml", "../../payload", "../../../payload")
    refused = workspace.run("build")
    assert refused.code == 3
    assert "this Go module is outside of the workspace" in refused.err
    assert f"expected: a directory below {workspace.root.resolve()}\n" in refused.err


def test_without_a_package_of_its_own_a_workspace_asks_which_one(workspace: PackageProject) -> None:
    shutil.copytree(workspace.root / MEMBER, workspace.root / "packages/other")
    other = "other.packages.example.com"
    (workspace.root / "packages/other/package/build.yaml").write_text(f"refName: {other}\nplatforms: [linux/amd64]\n")
    workspace.replace("carvelwright.yaml", "[., ", "[packages/other, ")
    outcome = workspace.run("render")
    assert outcome.code == 2
    assert "holds several packages" in outcome.err
    assert "other, settings" in outcome.err
    assert "--package NAME" in outcome.err


def test_the_archive_of_each_package_is_relocated_alone(
    workspace: PackageProject, registry: str, toolset: Toolchain
) -> None:
    workspace.run("build").ok()
    packages = record_of(workspace)["packages"]
    archives = {package["refName"]: workspace.root / "dist" / package["archive"] for package in packages}
    before = {name: path.read_bytes() for name, path in archives.items()}
    workspace.run("relocate", str(archives[SETTINGS]), f"{registry}/site").ok()

    def listed_there() -> dict[str, str]:
        found = json.loads(workspace.run("repository", "list", f"{registry}/site", "--format", "json").ok().out)
        return {version["refName"]: version["bundle"].rpartition("@")[2] for version in found["versions"]}

    digests = {package["refName"]: package["bundle"].rpartition("@")[2] for package in packages}
    assert listed_there() == {SETTINGS: digests[SETTINGS]}
    workspace.run("relocate", str(archives[HELLO]), f"{registry}/site").ok()
    assert listed_there() == digests
    assert workspace.run("repository", "verify", f"{registry}/site").code == 0
    # Equal input gives equal archives.
    shutil.rmtree(workspace.root / "dist")
    workspace.run("build").ok()
    assert {name: path.read_bytes() for name, path in archives.items()} == before


def test_what_is_built_is_served_and_cleaned(workspace: PackageProject) -> None:
    workspace.run("build").ok()
    address = yamldoc.load(workspace.root / "carvelwright.yaml").data["registry"]
    assert {package["archive"] for package in record_of(workspace)["packages"]} == {
        f"{name.partition('.')[0]}/{name}-1.0.0+build.1.tar" for name in (HELLO, SETTINGS)
    }
    assert record_of(workspace)["registry"] == address
    outcome = workspace.run("-C", MEMBER, "clean").ok()
    assert outcome.out == "removed build/ and dist/\n"
    assert not (workspace.root / "build").exists()
    assert not (workspace.root / "dist").exists()


FAULTS = {
    "no member": ("carvelwright.yaml", MEMBER, "packages/none", 3, ["carvelwright.yaml:4:14", "no package there"]),
    "twice": ("carvelwright.yaml", f"., {MEMBER}", f"., {MEMBER}, ./{MEMBER}", 3, ["this package is listed before"]),
    "outside": ("carvelwright.yaml", MEMBER, "../other", 3, ["wrong value of members[1]"]),
    "unknown key": ("carvelwright.yaml", "members", "packages: 1\nmembers", 3, ["unknown key 'packages'"]),
    "shared key": (f"{MEMBER}/package/build.yaml", "refName", "go: 1.27.3\nrefName", 3, ["'go' belongs to", "move it"]),
    "same name": (f"{MEMBER}/package/build.yaml", SETTINGS, "hello.other.example.com", 3, ["has this name, too"]),
    "reserved": (f"{MEMBER}/package/build.yaml", SETTINGS, "packages.other.example.com", 3, ["reserved", "dist/"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_workspace_are_told_with_their_place(workspace: PackageProject, fault: str) -> None:
    file, old, new, code, words = FAULTS[fault]
    workspace.replace(file, old, new)
    for arguments in (["check"], ["build"]):
        outcome = workspace.run(*arguments)
        assert outcome.code == code
        for word in words:
            assert word in outcome.err
    assert not (workspace.root / "dist").exists()


def test_problems_of_all_members_come_at_once(workspace: PackageProject) -> None:
    workspace.replace("package/metadata.yaml", "categories: [demo]", "categories: demo")
    workspace.replace(f"{MEMBER}/package/metadata.yaml", "categories: [demo]", "categories: demo")
    outcome = workspace.run("check")
    assert outcome.code == 3
    for place in ("package/metadata.yaml", f"{MEMBER}/package/metadata.yaml"):
        assert any(line.strip().startswith(place) or f" {place}:" in line for line in outcome.err.splitlines()), place


def test_two_images_of_one_name_are_refused(workspace: PackageProject) -> None:
    images = yamldoc.load(workspace.root / "package/build.yaml").data["images"]
    (workspace.root / MEMBER / "package/build.yaml").write_text(
        yamldoc.dump({"refName": SETTINGS, "platforms": ["linux/amd64"], "images": images})
    )
    shutil.copytree(workspace.root / "payload", workspace.root / MEMBER / "payload")
    outcome = workspace.run("check")
    assert outcome.code == 3
    assert "has an image of this name: one overwrites the other" in outcome.err


def test_a_package_that_no_workspace_lists_is_one_of_its_own(workspace: PackageProject) -> None:
    workspace.replace("carvelwright.yaml", f", {MEMBER}", "")
    outcome = workspace.run("-C", MEMBER, "check")
    assert outcome.code == 3
    assert "missing key 'registry'" in outcome.err
    build = workspace.root / MEMBER / "package/build.yaml"
    build.write_text(f"{build.read_text()}registry: {free_address()}/p\ntools: []\n")
    workspace.run("-C", MEMBER, "check").ok()
    plan = json.loads(workspace.run("-C", MEMBER, "build", "--dry-run", "--format", "json").ok().out)
    assert plan["archive"] == f"dist/{SETTINGS}-1.0.0+build.1.tar"
