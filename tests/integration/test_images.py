"""Existing images: found whatever brings them, locked by digest, carried into an air-gapped site."""

from __future__ import annotations

import contextlib
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.project.images import LOCK_FILE
from carvelwright.reference import Reference
from tests.conftest import free_address, registry_at
from tests.helpers import images
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import (
    bundle_reference,
    call,
    images_of,
    package_of,
    published_bundle,
    release_of,
    serve,
    snapshot,
)
from tests.helpers.images import deployment, push_image

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import Outcome, PackageProject

BUILD = "package/build.yaml"
BASE = "bundle/config/base/0.yaml"
GADGET = """apiVersion: example.com/v1
kind: Gadget
metadata: {name: gadget, namespace: default}
spec: {proxy: {ref: IMAGE}}
"""
RULES = """apiVersion: kbld.k14s.io/v1alpha1
kind: Config
searchRules:
  - keyMatcher: {path: [spec, proxy, ref]}
"""


@pytest.fixture
def web(tmp_path: Path, tool_environment: dict[str, str], registry: str) -> PackageProject:
    """A package without any Go that uses one existing image by its tag."""
    project = images.yaml_package(tmp_path / "web", tool_environment, deployment("web", f"{registry}/team/web:1.2"))
    # A Go that nobody has: whoever looks for it fails.
    project.replace(BUILD, "tools: []", "go: 1.20.1\ntools: []")
    return project


def lock_of(project: PackageProject) -> dict[str, dict[str, Any]]:
    """Return the entries of the lock file by name."""
    return {entry["name"]: entry for entry in yamldoc.load(project.root / LOCK_FILE).data["images"]}


def problems_of(project: PackageProject) -> list[tuple[str, str]]:
    """Return severity and message of everything that check reports."""
    return [(p["severity"], p["message"]) for p in json.loads(project.run("check", "--format", "json").out)]


def bundle_lock(project: PackageProject, to: str, crane: Path, scratch: Path) -> list[dict[str, Any]]:
    """Return the ImagesLock of a published package bundle, as it was pushed."""
    # Not by imgpkg, which fills in where the images were found.
    call(crane, "export", published_bundle(project, to), scratch / "bundle.tar")
    with tarfile.open(scratch / "bundle.tar") as tar:
        tar.extract(".imgpkg/images.yml", scratch / "bundle", filter="data")
    entries: list[dict[str, Any]] = yamldoc.load(scratch / "bundle/.imgpkg/images.yml").data.get("images", [])
    return entries


def refused(outcome: Outcome, code: int, *told: str) -> None:
    assert outcome.code == code, outcome
    assert [text for text in told if text not in outcome.err] == [], outcome.err


# The lock


def test_an_image_that_is_not_locked_is_refused_and_no_registry_is_asked(web: PackageProject, registry: str) -> None:
    name = f"{registry}/team/web:1.2"
    told = f"base/0.yaml:11: image '{name}' is not locked", f"hint: run `carvelwright images update {name}`"
    refused(web.run("check"), 3, *told)
    refused(web.run("build"), 3, *told)
    assert not (web.root / LOCK_FILE).exists()
    refused(web.run("images", "update"), 6, f"registry {registry} has no image {name}", "hint: correct the name")
    assert not (web.root / LOCK_FILE).exists()


def test_a_build_takes_what_is_locked_until_the_lock_is_moved(
    web: PackageProject, registry: str, tmp_path: Path, crane: Path, kbld: Path
) -> None:
    name = f"{registry}/team/web:1.2"
    first = push_image(crane, tmp_path, name, text="first")
    assert f"added: {registry}/team/web@{first}" in web.run("images", "update").ok().out
    assert lock_of(web) == {
        name: {
            "name": name,
            "image": f"{registry}/team/web@{first}",
            "tag": "1.2",
            "platforms": ["linux/amd64", "linux/arm64"],
        }
    }
    web.run("build", "--to", f"{registry}/out").ok()
    made = snapshot(web.root / "dist")
    # The same as kbld's own, which has asked the registry.
    manifests = web.run("render").ok().out.encode()
    call(kbld, "-f", "-", "--imgpkg-lock-output", tmp_path / "kbld.yml", stdin=manifests)
    assert bundle_lock(web, f"{registry}/out", crane, tmp_path) == yamldoc.load(tmp_path / "kbld.yml").data["images"]

    second = push_image(crane, tmp_path, name, text="second")
    web.run("clean").ok()
    web.run("build", "--to", f"{registry}/out").ok()
    same = {name for name in made if name not in ("release.json", "SHA256SUMS")}
    assert {name: content for name, content in snapshot(web.root / "dist").items() if name in same} == {
        name: made[name] for name in same
    }
    assert release_of(web)["existingImages"][0]["reference"].endswith(first)
    assert "go" not in release_of(web)["tools"]

    outcome = web.run("images", "update", "--format", "json").ok()
    (change,) = json.loads(outcome.out)
    assert (change["name"], change["old"]["image"][-71:], change["new"]["image"][-71:]) == (name, first, second)
    assert "unchanged" in web.run("images", "update").ok().out


def test_update_of_one_image_leaves_the_others(web: PackageProject, registry: str, tmp_path: Path, crane: Path) -> None:
    names = [f"{registry}/team/{part}" for part in ("web:1.2", "side:1")]
    (web.root / "bundle/config/base/1.yaml").write_text(deployment("side", names[1]))
    for name in names:
        push_image(crane, tmp_path, name)
    web.run("images", "update").ok()
    before = lock_of(web)
    for name in names:
        push_image(crane, tmp_path, name, text="new")
    assert web.run("images", "update", names[1]).ok().out.startswith(f"{names[1]}  {before[names[1]]['image']} -> ")
    assert lock_of(web)[names[0]] == before[names[0]]
    assert lock_of(web)[names[1]] != before[names[1]]
    refused(web.run("images", "update", f"{registry}/team/sid:1"), 2, "did you mean", names[1])

    (web.root / "bundle/config/base/1.yaml").unlink()
    assert problems_of(web) == [("warning", f"no manifest uses the locked image '{names[1]}'")]
    assert "dropped" in web.run("images", "update").ok().out
    assert list(lock_of(web)) == [names[0]]
    assert web.run("check").ok().out == "ok: no problems found\n"


@pytest.mark.parametrize("single", [False, True])
def test_an_image_for_other_platforms_is_named(
    web: PackageProject, registry: str, tmp_path: Path, crane: Path, *, single: bool
) -> None:
    name = f"{registry}/team/web:1.2"
    push_image(crane, tmp_path, name, ["linux/amd64"], single=single)
    told = f"image '{name}' is not there for linux/arm64", "found: it offers linux/amd64"
    refused(web.run("images", "update"), 3, *told)
    assert not (web.root / LOCK_FILE).exists()

    # The author says that it is meant for this one.
    web.replace(BUILD, "images: []", f"images:\n  - image: {name}\n    platforms: [linux/amd64]")
    web.run("images", "update").ok()
    assert web.run("check").ok().out == "ok: no problems found\n"
    web.replace(BUILD, "    platforms: [linux/amd64]", "")
    refused(web.run("check"), 3, *told)


# What is found


def test_an_option_off_by_default_brings_an_image(
    web: PackageProject, registry: str, tmp_path: Path, crane: Path
) -> None:
    exporter = f"{registry}/team/exporter:3"
    for name in (f"{registry}/team/web:1.2", exporter):
        push_image(crane, tmp_path, name)
    web.run("images", "update").ok()
    images.behind_option(web, deployment("exporter", exporter), renders=False)
    outcome = web.run("check").ok()
    assert "ok: no errors, see the warnings" in outcome.out
    assert f"base/exporter.yaml:14: image '{exporter}' is in no rendering" in outcome.err
    assert "hint: add a values file that turns the option on to package/renders/" in outcome.err

    images.behind_option(web, deployment("exporter", exporter), renders=True)
    refused(web.run("check"), 3, f"image '{exporter}' is not locked")
    assert "NOT LOCKED, used with package/renders/exporter.yaml" in web.run("images", "list").ok().out
    web.run("images", "update").ok()
    assert web.run("check").ok().out == "ok: no problems found\n"
    assert exporter in lock_of(web)

    (web.root / "package/renders/exporter.yaml").write_text("exporter: 5\n")
    refused(web.run("check"), 3, "package/renders/exporter.yaml: ", "ytt refused", "exporter")


def test_a_fault_behind_an_option_is_found(web: PackageProject, registry: str, tmp_path: Path, crane: Path) -> None:
    push_image(crane, tmp_path, f"{registry}/team/web:1.2")
    web.run("images", "update").ok()
    wrong = deployment("exporter", f"{registry}/team/web:1.2").replace("name: exporter\n", "name: Exporter\n")
    images.behind_option(web, wrong, renders=True)
    refused(web.run("check"), 3, "exporter.yaml:13: Deployment exporter: not a name for a container")


def test_a_text_that_looks_like_an_image_is_a_warning(
    web: PackageProject, registry: str, tmp_path: Path, crane: Path
) -> None:
    push_image(crane, tmp_path, f"{registry}/team/web:1.2")
    web.run("images", "update").ok()
    (web.root / "bundle/config/base/1.yaml").write_text(GADGET.replace("IMAGE", "r.example.com/team/proxy:2"))
    outcome = web.run("check").ok()
    assert "base/1.yaml:4: Gadget gadget: 'r.example.com/team/proxy:2' looks like an image" in outcome.err
    outcome = web.run("build").ok()
    assert "warning: bundle/config/base/1.yaml:4: Gadget gadget: 'r.example.com/team/proxy:2'" in outcome.err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("overrides: [{image: a, newImage: b}]", "a kbld Config has overrides: in the cluster they come before"),
        ("sources: [{image: a, path: b}]", "a kbld Config has sources"),
        ("searchRules: [{}]", "kbld refused the manifests"),
    ],
)
def test_a_kbld_config_that_would_mislead_the_cluster_is_refused(web: PackageProject, config: str, told: str) -> None:
    (web.root / "bundle/config/kbld.yaml").write_text(f"apiVersion: kbld.k14s.io/v1alpha1\nkind: Config\n{config}\n")
    refused(web.run("check"), 3, told)


def test_an_image_that_is_none_is_refused(web: PackageProject) -> None:
    (web.root / BASE).write_text(deployment("web", "Team/Web"))
    refused(web.run("check"), 3, "base/0.yaml:11: not an image: 'Team/Web'", "hint: correct the image")
    refused(web.run("images", "update"), 3, "not an image: 'Team/Web'")


def test_an_image_by_digest_needs_no_lock(web: PackageProject, registry: str, tmp_path: Path, crane: Path) -> None:
    digest = push_image(crane, tmp_path, f"{registry}/team/web:1.2")
    (web.root / BASE).write_text(deployment("web", f"{registry}/team/web@{digest}"))
    assert problems_of(web) == [
        ("warning", f"image '{registry}/team/web@{digest}' is not in {LOCK_FILE}: its platforms are not known")
    ]
    web.run("build").ok()
    assert [image["reference"] for image in release_of(web)["existingImages"]] == [f"{registry}/team/web@{digest}"]
    with serve(web):
        # The server of a cluster takes the image from there, as it does the bundle.
        repository = Reference.parse(release_of(web)["repository"]).repository
        call(crane, "validate", "--remote", f"{repository}@{digest}")

    digest = push_image(crane, tmp_path, f"{registry}/team/web:1.2", ["linux/amd64"])
    (web.root / BASE).write_text(deployment("web", f"{registry}/team/web@{digest}"))
    refused(web.run("build"), 3, "is not there for linux/arm64")


def test_an_image_of_the_project_may_be_there_for_an_option_only(built: PackageProject, imgpkg: Path) -> None:
    build = (built.root / BUILD).read_text()
    (built.root / BUILD).write_text(
        build + build[build.index("  - name: hello") :].replace("name: hello", "name: extra")
    )
    images.behind_option(built, deployment("extra", "extra"), renders=False)
    with (built.root / "values-schema.yaml").open("a") as file:
        file.write('#@schema/title "Exporter"\n#@schema/desc "Also run the exporter."\nexporter: false\n')
    assert problems_of(built) == [("warning", "no manifest uses image 'extra'")]
    images.behind_option(built, deployment("extra", "extra"), renders=True)
    assert built.run("check").ok().out == "ok: no problems found\n"
    built.run("build").ok()
    digests = [Reference.parse(image["reference"]).digest for image in release_of(built)["images"]]
    with tarfile.open(built.root / "dist" / release_of(built)["archive"]) as tar:
        manifest = tar.extractfile("manifest.json").read()  # type: ignore[union-attr]
    assert len(digests) == 2
    assert all(str(digest).encode() in manifest for digest in digests)


# The whole way


def test_all_images_arrive_in_an_air_gapped_site(
    tmp_path: Path,
    tool_environment: dict[str, str],
    toolset: Toolchain,
    imgpkg: Path,
    crane: Path,
    ytt: Path,
    kbld: Path,
) -> None:
    """From a private source: by tag, behind an option, in a custom resource, declared only."""
    with contextlib.ExitStack() as running, registry_at(toolset, free_address(), tmp_path / "target") as target:
        source = running.enter_context(registry_at(toolset, free_address(), tmp_path / "source"))
        host, credentials = running.enter_context(images.private(source, tmp_path))
        names = {part: f"{host}/team/{part}:1" for part in ("web", "exporter", "proxy", "tool")}
        digests = {part: push_image(crane, tmp_path, f"{source}/team/{part}:1") for part in names}
        project = images.yaml_package(
            tmp_path / "web",
            tool_environment,
            deployment("web", names["web"]),
            GADGET.replace("IMAGE", names["proxy"]),
            RULES,
        )
        images.behind_option(project, deployment("exporter", names["exporter"]), renders=True)
        project.replace(BUILD, "images: []", f"images:\n  - image: {names['tool']}")
        refused(project.run("images", "update"), 6, "401 Unauthorized", f"docker login {host}")
        project.run("images", "update", environment=credentials).ok()
        assert {name.rpartition("/")[2] for name in lock_of(project)} == {f"{part}:1" for part in names}
        project.run("build", "--to", f"{target}/packages", environment=credentials).ok()
        # Without a change nobody asks the source again.
        running.close()
        assert "up to date" in project.run("build", "--to", f"{target}/packages").ok().out

    with registry_at(toolset, free_address(), tmp_path / "site") as site:
        place, lock = f"{site}/mirror/packages", tmp_path / "copied.yml"
        archive = project.root / "dist" / release_of(project)["archive"]
        call(imgpkg, "copy", "--tar", archive, "--to-repo", place, "--lock-output", lock, "--tty=false")
        bundle = Reference.parse(bundle_reference(package_of(project))).digest
        call(imgpkg, "pull", "-b", f"{place}@{bundle}", "-o", tmp_path / "pulled", "--tty=false")
        locked = yamldoc.load(tmp_path / "pulled/.imgpkg/images.yml").data["images"]
        assert {entry["annotations"]["kbld.carvel.dev/id"]: entry["image"] for entry in locked} == {
            names[part]: f"{place}@{digest}" for part, digest in digests.items()
        }
        for digest in digests.values():
            call(crane, "validate", "--remote", f"{place}@{digest}")
        values = project.root / "package/renders/exporter.yaml"
        manifests = call(ytt, "-f", tmp_path / "pulled/config", "--data-values-file", values)
        resolved = call(kbld, "-f", "-", "-f", tmp_path / "pulled/.imgpkg/images.yml", stdin=manifests)
        documents = yamldoc.load_all_text(resolved.decode(), tmp_path)
        assert images_of(documents) == {f"{place}@{digests[part]}" for part in ("web", "exporter")}
        (gadget,) = [document for document in documents if document["kind"] == "Gadget"]
        assert gadget["spec"]["proxy"]["ref"] == f"{place}@{digests['proxy']}"


def test_a_package_without_images(tmp_path: Path, tool_environment: dict[str, str], crane: Path, registry: str) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {a: b}\n"
    project = images.yaml_package(tmp_path / "plain", tool_environment, config)
    project.replace(BUILD, "images: []\n", "")
    assert project.run("check").ok().out == "ok: no problems found\n"
    assert project.run("images", "list").ok().out == ""
    project.run("images", "update").ok()
    assert not (project.root / LOCK_FILE).exists()
    project.run("build", "--to", f"{registry}/out").ok()
    assert bundle_lock(project, f"{registry}/out", crane, tmp_path) == []
    with serve(project):
        project.run("check").ok()
    assert project.run("clean").ok().out == "removed build/ and dist/\n"
