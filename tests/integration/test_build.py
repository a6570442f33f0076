"""A build of a small, real package: what it makes, what the server makes of that, what a second run redoes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import jsonschema
import pytest

from carvelwright import BuildOptions, Repository, build, open_workspace, yamldoc
from carvelwright.client import Client, default_values_file
from carvelwright.plan import make_plan
from carvelwright.reference import Reference
from tests.conftest import free_address, registry_at
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import (
    bundle_reference,
    call,
    content_of,
    copy_built,
    images_of,
    package_of,
    published_bundle,
    pulled_repository,
    record_of,
    release_of,
    scraps,
    server_render,
    snapshot,
)

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

NAME = "hello.packages.example.com"
VERSION = "1.0.0+build.1"
ARCHIVE = f"{NAME}-{VERSION}.tar"
STEP = re.compile(r"  (?P<name>\S.*?) +(?P<state>done|reused|failed) +\d+\.\d\d s(  .*)?")


def steps(err: str) -> dict[str, str]:
    """Return the state of each step by name, as the progress lines tell it."""
    return {match["name"]: match["state"] for match in map(STEP.fullmatch, err.splitlines()) if match}


def unchanged(project: PackageProject) -> bool:
    outcome = project.run("build").ok()
    return outcome.out.startswith("up to date: nothing was rebuilt") and steps(outcome.err) == {}


# What dist/ holds


def test_dist_holds_what_it_should_and_nothing_else(built: PackageProject) -> None:
    assert set(snapshot(built.root / "dist")) == {
        f"packages/{NAME}/metadata.yml",
        f"packages/{NAME}/{VERSION}.yml",
        "package-repository.yml",
        "hello-data-values.yaml",
        "hello-data-values.annotated.yaml",
        "values.schema.json",
        *(f"sbom/{stem}.{form}.json" for stem in ("hello", NAME) for form in ("cdx", "spdx")),
        ARCHIVE,
        "release.json",
        "SHA256SUMS",
    }
    assert scraps(built) == []


def test_a_package_whose_template_does_not_say_it_lists_its_parts(built: PackageProject) -> None:
    said = "includedSoftware:\n  - displayName: Hello\n    version: {{ upstream }}\n"
    built.replace("package/package.yaml.j2", said, "")
    assert built.run("check").ok().out == "ok: no problems found\n"
    built.run("build").ok()
    assert package_of(built)["spec"]["includedSoftware"] == [
        {"displayName": "Hello", "version": "1.0.0"},
        {"displayName": "Go", "version": "1.27.3", "description": "Compiler and standard library of every binary"},
    ]


def test_the_package_says_what_the_project_says(built: PackageProject) -> None:
    package = package_of(built)
    template = package["spec"].pop("template")
    openapi = package["spec"].pop("valuesSchema")["openAPIv3"]
    assert package == {
        "apiVersion": "data.packaging.carvel.dev/v1alpha1",
        "kind": "Package",
        "metadata": {"name": f"{NAME}.{VERSION}"},
        "spec": {
            "refName": NAME,
            "version": VERSION,
            "releasedAt": "2026-11-01T00:00:00Z",
            "releaseNotes": "The first release.",
            "licenses": ["Apache-2.0"],
            "capacityRequirementsDescription": "Next to nothing.",
            "includedSoftware": [{"displayName": "Hello", "version": "1.0.0"}],
            "kubernetesVersionSelection": {"constraints": ">=1.27.0"},
        },
    }
    assert template["spec"]["template"] == [
        {"ytt": {"paths": ["config/"]}},
        {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}},
    ]
    assert template["spec"]["deploy"] == [{"kapp": {}}]
    assert (
        f"{Reference.parse(bundle_reference(package | {'spec': {'template': template}})).digest}"
        in release_of(built)["bundle"]
    )
    assert {name: child["default"] for name, child in openapi["properties"].items()} == {
        "greeting": "hello",
        "replicas": 1,
        "name": "world",
    }


def test_metadata_and_repository(built: PackageProject) -> None:
    metadata = yamldoc.load(built.root / f"dist/packages/{NAME}/metadata.yml").data
    assert (metadata["kind"], metadata["metadata"]["name"]) == ("PackageMetadata", NAME)
    assert metadata["spec"] == yamldoc.load(built.root / "package/metadata.yaml").data
    repository = yamldoc.load(built.root / "dist/package-repository.yml").data
    assert (repository["apiVersion"], repository["kind"]) == ("packaging.carvel.dev/v1alpha1", "PackageRepository")
    image = Reference.parse(repository["spec"]["fetch"]["imgpkgBundle"]["image"])
    assert image.tag is None
    assert image.digest == Reference.parse(release_of(built)["repository"]).digest


def test_sums_verify(built: PackageProject) -> None:
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=built.root / "dist", capture_output=True, check=True
    )
    listed = {line.rpartition(":")[0] for line in done.stdout.decode().splitlines()}
    assert listed == set(snapshot(built.root / "dist")) - {"SHA256SUMS"}


def test_release_record_agrees_with_what_lies_there(built: PackageProject) -> None:
    release = release_of(built)
    assert (release["refName"], release["version"]) == (NAME, VERSION)
    assert release["releasedAt"] == "2026-11-01T00:00:00Z"
    assert set(release["tools"]) == {"go", "ytt", "imgpkg", "kbld", "crane", "zlib"}
    assert {file["name"]: file["size"] for file in release["files"]} == {
        name: len(content)
        for name, content in snapshot(built.root / "dist").items()
        if name not in ("release.json", "SHA256SUMS")
    }
    (image,) = release["images"]
    assert [entry["platform"] for entry in image["platforms"]] == ["linux/amd64", "linux/arm64"]
    run = json.loads((built.root / "build/last-run.json").read_bytes())
    assert {"archive", "push bundle", "assemble image hello"} <= {step["name"] for step in run["steps"]}
    assert all(0 <= step["seconds"] <= run["seconds"] for step in run["steps"])


def test_default_values_are_the_clients_bytes(built: PackageProject) -> None:
    openapi = package_of(built)["spec"]["valuesSchema"]["openAPIv3"]
    content = (built.root / "dist/hello-data-values.yaml").read_bytes()
    assert content == default_values_file(openapi, Client.KCTRL_0_46).encode()
    assert content == b"# greeting: hello\n# name: world\n# replicas: 1\n"
    assert built.run("values", "defaults").ok().out.encode() == content


def test_annotated_and_uncommented_values_render_the_same_as_none(built: PackageProject, tmp_path: Path) -> None:
    plain = built.run("render").ok().out
    defaults = (built.root / "dist/hello-data-values.yaml").read_text()
    (tmp_path / "uncommented.yaml").write_text("".join(line[2:] for line in defaults.splitlines(keepends=True)))
    for path in (built.root / "dist/hello-data-values.annotated.yaml", tmp_path / "uncommented.yaml"):
        assert built.run("render", "-f", str(path)).ok().out == plain
    (tmp_path / "other.yaml").write_text("name: moon\n")
    assert (
        built.run("render", "-f", str(tmp_path / "other.yaml")).ok().out == plain.replace("- world", "- moon") != plain
    )


VALUES = [
    ({}, True),
    ({"greeting": "hello", "replicas": 1, "name": "world"}, True),
    ({"replicas": 5}, True),
    ({"replicas": 6}, False),
    ({"replicas": 0}, False),
    ({"replicas": "1"}, False),
    ({"greeting": ""}, False),
    ({"greeting": None}, False),
    ({"name": "World"}, False),
    ({"name": 1}, False),
    ({"unknown": 1}, False),
    ([], False),
]


def test_json_schema_and_ytt_agree(built: PackageProject, tmp_path: Path, ytt: Path) -> None:
    schema = json.loads((built.root / "dist/values.schema.json").read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for values, accepted in VALUES:
        assert validator.is_valid(values) == accepted, values
        (tmp_path / "values.yaml").write_text(json.dumps(values))
        argv = [
            str(ytt),
            "-f",
            "values-schema.yaml",
            "-f",
            "bundle/config",
            "--data-values-file",
            str(tmp_path / "values.yaml"),
        ]
        done = subprocess.run(argv, cwd=built.root, capture_output=True, check=False)
        assert (done.returncode == 0) == accepted, (values, done.stderr)


def test_refused_values_are_told_with_their_key(built: PackageProject, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 6\n")
    outcome = built.run("render", "-f", str(tmp_path / "values.yaml"))
    assert (outcome.code, outcome.out) == (3, "")
    assert "replicas" in outcome.err
    assert "must be: a value <= 5" in " ".join(outcome.err.split())


# What the server makes of it


def test_the_bundle_renders_as_on_the_server_with_images_of_that_registry(
    hello: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, ytt: Path, kbld: Path, crane: Path
) -> None:
    hello.run("build", "--to", f"{registry}/some/where").ok()
    bundle = published_bundle(hello, f"{registry}/some/where")
    held = pulled_repository(imgpkg, f"{registry}/some/where/package-repository:latest", tmp_path / "repository")
    (published,) = yamldoc.load_all_text(held[f"packages/{NAME}/{VERSION}.yml"].decode(), tmp_path)
    assert bundle_reference(published) == bundle
    manifests = server_render(bundle, tmp_path / "pulled", imgpkg=imgpkg, ytt=ytt, kbld=kbld)
    images = images_of(manifests)
    assert len(images) == 1
    for image in images:
        reference = Reference.parse(image)
        assert reference.repository.registry == registry
        assert reference.digest
        assert call(crane, "digest", image).decode().strip() == str(reference.digest)
        index = json.loads(call(crane, "manifest", image))
        assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
        for entry in index["manifests"]:
            call(crane, "validate", "--remote", f"{reference.repository}@{entry['digest']}")
    assert set(content_of(crane, registry)) >= {
        f"{registry}/some/where/package-repository:latest",
        f"{registry}/some/where/{NAME}:1.0.0_build.1",
        f"{registry}/some/where/hello:1.0.0_build.1",
    }


def test_the_images_binary_says_its_version(built: PackageProject, tmp_path: Path) -> None:
    (image,) = (built.root / "build/image").iterdir()
    layers, others = [], set()
    for path in (image / "blobs/sha256").iterdir():
        if path.read_bytes()[:2] == b"\x1f\x8b":
            with tarfile.open(path) as tar:
                if tar.getnames() != ["usr", "usr/local", "usr/local/bin", "usr/local/bin/hello"]:
                    others |= {"/".join(name.split("/")[:4]) for name in tar.getnames() if name.count("/") > 2}
                    continue
                layers.append(tar.extractfile("usr/local/bin/hello").read())  # type: ignore[union-attr]
    machine = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
    (native,) = [content for content in layers if int.from_bytes(content[18:20], "little") == machine]
    (tmp_path / "native").write_bytes(native)
    (tmp_path / "native").chmod(0o755)
    assert call(tmp_path / "native") == f"hello {VERSION}\n".encode()
    assert len(layers) == 2
    assert others == {"usr/share/licenses/hello"}


def test_the_archive_stands_alone_in_another_registry(
    built: PackageProject, toolset: Toolchain, tmp_path: Path, imgpkg: Path, ytt: Path, kbld: Path, crane: Path
) -> None:
    # The embedded registry, where everything was pushed, ended with the build.
    address = free_address()
    with registry_at(toolset, address, tmp_path / "second"):
        target, lock = f"{address}/site/packages", tmp_path / "lock.yml"
        call(
            imgpkg,
            "copy",
            "--tar",
            built.root / "dist" / ARCHIVE,
            "--to-repo",
            target,
            "--lock-output",
            lock,
            "--tty=false",
        )
        outer = yamldoc.load(lock).data["bundle"]["image"]
        assert outer.rpartition("@")[2] == release_of(built)["repository"].rpartition("@")[2]
        call(imgpkg, "pull", "-b", outer, "-o", tmp_path / "repository", "--tty=false")
        package = yamldoc.load(tmp_path / f"repository/packages/{NAME}/{VERSION}.yml").data
        assert package == package_of(built)
        # imgpkg rewrites the ImagesLock to where the images lie now; the server follows it for the bundle.
        moved = yamldoc.load(tmp_path / "repository/.imgpkg/images.yml").data["images"]
        (bundle,) = [entry["image"] for entry in moved]
        assert bundle.startswith(f"{target}@")
        assert bundle.rpartition("@")[2] == bundle_reference(package).rpartition("@")[2]
        images = images_of(server_render(bundle, tmp_path / "pulled", imgpkg=imgpkg, ytt=ytt, kbld=kbld))
        assert len(images) == 1
        for image in images:
            assert image.startswith(f"{target}@sha256:")
            call(crane, "validate", "--remote", image)


# What is redone


def test_a_second_run_rebuilds_nothing_and_says_so(built: PackageProject) -> None:
    before = snapshot(built.root / "dist")
    assert unchanged(built)
    assert snapshot(built.root / "dist") == before


def test_time_stamps_do_not_count(built: PackageProject) -> None:
    for path in built.root.rglob("*"):
        os.utime(path)
    assert unchanged(built)


def test_a_copy_of_the_tree_reuses_everything(built: PackageProject, tmp_path: Path) -> None:
    assert unchanged(copy_built(built, tmp_path / "elsewhere/a copy"))


def test_changed_manifests_reuse_payload_and_image(built: PackageProject) -> None:
    before = release_of(built)
    built.replace("bundle/config/overlays/deployment.yaml", "- #@ data.values.name", "- #@ data.values.name.title()")
    done = steps(built.run("build").ok().err)
    assert {name: state for name, state in done.items() if name.startswith(("compile", "assemble"))} == {
        "compile hello for linux/amd64": "reused",
        "compile hello for linux/arm64": "reused",
        "assemble image hello": "reused",
    }
    after = release_of(built)
    assert after["images"] == before["images"]
    assert after["bundle"] != before["bundle"]
    assert after["repository"] != before["repository"]
    built.replace("bundle/config/overlays/deployment.yaml", ".title()", "")
    built.run("build").ok()
    assert {name: release_of(built)[name] for name in ("bundle", "repository")} == {
        name: before[name] for name in ("bundle", "repository")
    }


def test_a_changed_payload_is_compiled_again(built: PackageProject) -> None:
    before = release_of(built)
    built.replace("payload/main.go", '", "', '"; "')
    done = steps(built.run("build").ok().err)
    assert (done["compile hello for linux/amd64"], done["assemble image hello"]) == ("done", "done")
    assert release_of(built)["images"] != before["images"]


def test_what_the_payload_does_not_read_does_not_count(built: PackageProject) -> None:
    (built.root / "payload/main_test.go").write_text("package main\n")
    assert unchanged(built)


def test_a_changed_release_note_reaches_the_package_but_not_the_image(built: PackageProject) -> None:
    before = release_of(built)
    built.replace(f"package/releases/{VERSION}.yaml", "The first release.", "The very first release.")
    done = steps(built.run("build").ok().err)
    assert done["assemble image hello"] == "reused"
    assert package_of(built)["spec"]["releaseNotes"] == "The very first release."
    after = release_of(built)
    assert (after["images"], after["bundle"]) == (before["images"], before["bundle"])


def test_what_is_missing_from_dist_is_made_again(built: PackageProject) -> None:
    dist = built.root / "dist"
    before = snapshot(dist)
    (dist / ARCHIVE).unlink()
    assert built.run("build").ok().out.startswith("built, ")
    after = snapshot(dist)
    assert set(after) == set(before)
    kept = set(before) - {"release.json", "SHA256SUMS"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_damaged_state_file_only_costs_time(built: PackageProject) -> None:
    (built.root / "build/state.json").write_bytes(b"[]")
    assert built.run("build").ok().out.startswith("built, ")
    assert unchanged(built)


def test_a_damaged_layer_is_told(built: PackageProject) -> None:
    for path in (built.root / "build/layer").glob("*/*"):
        if path.suffix != ".json":
            path.write_bytes(b"damaged")
    built.replace("package/build.yaml", "title: hello", "title: Hello")
    before = snapshot(built.root / "dist")
    outcome = built.run("build")
    assert outcome.code == 8
    assert "differs from what was built" in outcome.err
    assert "hint: remove " in outcome.err
    assert snapshot(built.root / "dist") == before


@pytest.mark.parametrize("content", ["{}", "[]", '{"archive": "../x", "repository": 5}'])
def test_a_release_record_of_another_shape_is_built_again_and_not_served(built: PackageProject, content: str) -> None:
    dist = built.root / "dist"
    old = hashlib.sha256((dist / "release.json").read_bytes()).hexdigest()
    (dist / "release.json").write_text(content)
    sums = (dist / "SHA256SUMS").read_text()
    (dist / "SHA256SUMS").write_text(sums.replace(old, hashlib.sha256(content.encode()).hexdigest()))
    outcome = built.run("serve")
    assert outcome.code == 8
    assert "release.json was not written by a build: " in outcome.err
    assert built.run("build").ok().out.startswith("built, ")
    assert unchanged(built)


def test_a_named_pipe_among_the_inputs_is_told(built: PackageProject) -> None:
    (built.root / "values-schema.yaml").unlink()
    os.mkfifo(built.root / "values-schema.yaml")
    outcome = built.run("build", timeout=60)
    assert outcome.code == 3
    assert "values-schema.yaml: a special file" in outcome.err


def test_a_damaged_image_is_told(built: PackageProject) -> None:
    (image,) = (built.root / "build/image").iterdir()
    (image / "index.json").write_text("[]")
    (built.root / "build/state.json").unlink()
    outcome = built.run("build")
    assert outcome.code == 8
    assert f"{image.relative_to(built.root)} differs from what was built" in outcome.err
    shutil.rmtree(image)
    built.run("build").ok()


# Options


def test_platform_builds_a_part(built: PackageProject) -> None:
    built.run("build", "--platform", "linux/arm64").ok()
    (image,) = release_of(built)["images"]
    assert [entry["platform"] for entry in image["platforms"]] == ["linux/arm64"]
    assert built.run("build", "--platform", "linux/arm64").ok().out.startswith("up to date")


def test_release_names_the_version(built: PackageProject) -> None:
    old = (built.root / f"package/releases/{VERSION}.yaml").read_text()
    (built.root / "package/releases/1.0.0+build.2.yaml").write_text(old.replace("build.1", "build.2"))
    built.run("build", "--release", VERSION).ok()
    assert release_of(built)["version"] == VERSION
    built.run("build").ok()
    assert release_of(built)["version"] == "1.0.0+build.2"
    assert (built.root / f"dist/packages/{NAME}/1.0.0+build.2.yml").is_file()


def test_json_result(built: PackageProject) -> None:
    result = json.loads(built.run("build", "--format", "json").ok().out)
    assert result == {**record_of(built), "unchanged": True, "published": None}


def test_dry_run_prints_the_plan_and_does_nothing(hello: PackageProject) -> None:
    before = snapshot(hello.root)
    text = hello.run("build", "--dry-run", "--to", "r.example.com/a", "--platform", "linux/amd64").ok()
    assert text.err == ""
    assert text.out.startswith(f"{NAME}.{VERSION} for linux/amd64, created 2026-11-01T")
    assert text.out.splitlines()[1] == "publish to r.example.com/a"
    plan = json.loads(hello.run("build", "--dry-run", "--format", "json").ok().out)
    assert [each["package"] for each in plan["packages"]] == [f"{NAME}.{VERSION}"]
    assert (plan["registry"], plan["to"]) == (release_registry(hello), None)
    assert plan["archive"] == f"dist/{ARCHIVE}"
    assert snapshot(hello.root) == before


def test_dry_run_names_the_steps_that_run(hello: PackageProject, registry: str) -> None:
    options = BuildOptions(to=Repository.parse(f"{registry}/p"))
    workspace = open_workspace(hello.root, hello.environment)
    planned = [step.name for step in make_plan(workspace.packages(), options, {}).steps()]
    build(workspace, options)
    ran = [record.name for record in workspace.reporter.records if not record.name.startswith("build tools ")]
    assert sorted(ran) == sorted(planned)
    # One after the other but for what waits for nothing: content and bundle are pushed side by side.
    assert ran[0] == planned[0] == "check"
    assert ran[-5:] == planned[-5:]


def test_dry_run_needs_no_tools(hello: PackageProject, tmp_path: Path) -> None:
    hello.run("build", "--dry-run", environment={"PATH": str(tmp_path)}).ok()


def release_registry(project: PackageProject) -> str:
    registry: str = yamldoc.load(project.root / "package/build.yaml").data["registry"]
    return registry


def test_a_published_build_is_recognised_and_one_that_vanished_is_pushed_again(
    built: PackageProject, toolset: Toolchain, tmp_path: Path, crane: Path
) -> None:
    address = free_address()
    with registry_at(toolset, address, tmp_path / "one"):
        built.run("build", "--to", f"{address}/p").ok()
        held = content_of(crane, address)
        again = built.run("build", "--to", f"{address}/p").ok().out
        assert again.startswith("up to date")
        assert "already there: nothing was changed" in again
        assert content_of(crane, address) == held
    with registry_at(toolset, address, tmp_path / "two"):
        again = built.run("build", "--to", f"{address}/p").ok().out
        assert again.startswith("up to date")
        assert f"published to {address}/p/package-repository" in again
        assert content_of(crane, address) == held


def test_asks_nothing_and_reads_no_input(built: PackageProject) -> None:
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    done = subprocess.run(
        built.command("build"),
        cwd=built.root,
        env=built.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert b"?" not in done.stderr


def test_progress_is_plain_lines_where_there_is_no_terminal(built: PackageProject) -> None:
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    outcome = built.run("build").ok()
    assert "\x1b" not in outcome.err + outcome.out
    assert "\r" not in outcome.err
    assert all(STEP.fullmatch(line) for line in outcome.err.splitlines())
    assert set(steps(outcome.err).values()) == {"done", "reused"}


def test_another_directory_is_named_by_project(built: PackageProject, tmp_path: Path) -> None:
    outcome = subprocess.run(
        built.command("--project", str(built.root), "build"),
        cwd=tmp_path,
        env=built.environment,
        capture_output=True,
        check=True,
    )
    assert outcome.stdout.startswith(b"up to date")
    assert list(tmp_path.iterdir()) == [built.root]
