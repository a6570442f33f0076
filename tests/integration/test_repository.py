"""The package repository: it grows, never changes what was released, and can be served."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.reference import Reference
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import (
    bundle_reference,
    call,
    content_of,
    package_of,
    published_bundle,
    release_of,
    revisions_of,
    scraps,
    serve,
    snapshot,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import PackageProject

NAME = "hello.packages.example.com"
FIRST, SECOND = "1.0.0+build.1", "1.0.0+build.2"


def add_release(project: PackageProject, version: str = SECOND) -> None:
    old = (project.root / f"package/releases/{FIRST}.yaml").read_text()
    revision = version.partition("+")[2]
    text = old.replace("build.1", revision).replace("The first release.", "Another release.")
    (project.root / f"package/releases/{version}.yaml").write_text(text)


def pull(imgpkg: Path, reference: str, target: Path) -> dict[str, bytes]:
    call(imgpkg, "pull", "-b", reference, "-o", target, "--tty=false")
    return snapshot(target / "packages")


def test_a_second_release_joins_the_first(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    repository = f"{to}/package-repository"
    built.run("build", "--to", to).ok()
    first = pull(imgpkg, f"{repository}:latest", tmp_path / "first")
    (old,) = revisions_of(crane, repository)
    first_bundle = published_bundle(built, to)
    add_release(built)
    built.run("build", "--to", to).ok()
    both = pull(imgpkg, f"{repository}:latest", tmp_path / "both")
    assert set(both) == {f"{NAME}/metadata.yml", f"{NAME}/{FIRST}.yml", f"{NAME}/{SECOND}.yml"}
    assert both[f"{NAME}/{FIRST}.yml"] == first[f"{NAME}/{FIRST}.yml"]
    # What was built alone is in dist/, whatever the registry holds.
    assert set(snapshot(built.root / "dist/packages")) == {f"{NAME}/metadata.yml", f"{NAME}/{SECOND}.yml"}
    # The old revision still gives the old repository, and is below the new one.
    assert pull(imgpkg, f"{repository}:{old}", tmp_path / "old") == first
    (same, new) = revisions_of(crane, repository)
    assert same == old
    assert call(crane, "digest", f"{repository}:{new}") == call(crane, "digest", f"{repository}:latest")
    # A copy of the repository holds both bundles.
    locked = yamldoc.load(tmp_path / "both/.imgpkg/images.yml").data["images"]
    assert {entry["image"] for entry in locked} == {first_bundle, published_bundle(built, to)}
    call(imgpkg, "copy", "-b", f"{repository}:{new}", "--to-tar", tmp_path / "all.tar", "--tty=false")
    assert first_bundle.rpartition("@")[2].encode() in (tmp_path / "all.tar").read_bytes()


def test_a_release_is_never_changed(built: PackageProject, registry: str, crane: Path) -> None:
    to = f"{registry}/p"
    built.run("build", "--to", to).ok()
    dist, held = snapshot(built.root / "dist"), content_of(crane, registry)
    built.replace(f"package/releases/{FIRST}.yaml", "The first release.", "Rewritten history.")
    built.replace("bundle/config/base/deployment.yaml", "app: hello", "app: hullo")
    outcome = built.run("build", "--to", to)
    assert outcome.code == 7
    assert f"error: {NAME} {FIRST} is already released with different content" in outcome.err
    assert "releaseNotes" in outcome.err
    assert "template" in outcome.err
    assert held[f"{to}/{NAME}:1.0.0_build.1"] in outcome.err
    assert f"package/releases/{FIRST}.yaml" in outcome.err.rpartition("hint: ")[2]
    assert content_of(crane, registry) == held
    # What was built is there to be looked at, or to be published elsewhere.
    assert snapshot(built.root / "dist") != dist
    built.run("publish", f"{registry}/elsewhere").ok()
    assert scraps(built) == []


def test_a_changed_payload_of_a_released_version_is_refused_too(
    built: PackageProject, registry: str, crane: Path
) -> None:
    to = f"{registry}/p"
    built.run("build", "--to", to).ok()
    held = content_of(crane, registry)
    built.replace("payload/main.go", '", "', '"; "')
    assert built.run("build", "--to", to).code == 7
    assert content_of(crane, registry) == held


def test_the_same_content_is_accepted_again(built: PackageProject, registry: str, crane: Path) -> None:
    to = f"{registry}/p"
    built.run("build", "--to", to).ok()
    dist, held = snapshot(built.root / "dist"), content_of(crane, registry)
    (built.root / "build/state.json").unlink()
    outcome = built.run("build", "--to", to).ok()
    assert outcome.out.startswith("built, ")
    assert content_of(crane, registry) == held
    after = snapshot(built.root / "dist")
    for name in set(dist) - {"release.json", "SHA256SUMS"}:
        assert after[name] == dist[name], name


def test_an_older_release_can_be_built_after_a_newer(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path
) -> None:
    add_release(built)
    to = f"{registry}/p"
    built.run("build", "--to", to).ok()
    built.run("build", "--to", to, "--release", FIRST).ok()
    assert {f"{NAME}/{FIRST}.yml", f"{NAME}/{SECOND}.yml"} < set(
        pull(imgpkg, f"{to}/package-repository:latest", tmp_path / "latest")
    )


def push_foreign(imgpkg: Path, repository: str, directory: Path, files: dict[str, bytes]) -> None:
    """Publish a package repository that others made."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    call(imgpkg, "push", "-b", f"{repository}:latest", "-f", directory, "--tty=false")


def test_packages_of_others_are_carried_on(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    (tmp_path / "image/config").mkdir(parents=True)
    (tmp_path / "image/config/x.yml").write_text("a: 1\n")
    call(imgpkg, "push", "-i", f"{registry}/theirs:v1", "-f", tmp_path / "image", "--tty=false")
    image = f"{registry}/theirs@{call(crane, 'digest', f'{registry}/theirs:v1').decode().strip()}"
    lock = {
        "apiVersion": "imgpkg.carvel.dev/v1alpha1",
        "kind": "ImagesLock",
        "images": [{"image": image, "annotations": {"kbld.carvel.dev/id": "theirs:v1", "their.own": "note"}}],
    }
    foreign = {
        "packages/theirs/1.0.0.yaml": b"kind: Package\nmetadata: {name: theirs.1.0.0}\n"
        b"spec: {refName: theirs, template: {spec: {fetch: [{inline: {paths: {}}}]}}}\n",
        "packages/empty.yml": b"",
        "packages/deep/er/latin.yml": b"a: \xe9\n",
        "README.md": b"theirs\n",
    }
    push_foreign(
        imgpkg,
        f"{to}/package-repository",
        tmp_path / "r",
        {".imgpkg/images.yml": yamldoc.dump(lock).encode(), **foreign},
    )
    built.run("build", "--to", to).ok()
    call(imgpkg, "pull", "-b", f"{to}/package-repository:latest", "-o", tmp_path / "after", "--tty=false")
    after = snapshot(tmp_path / "after")
    own = {f"packages/{NAME}/metadata.yml", f"packages/{NAME}/{FIRST}.yml", ".imgpkg/images.yml", "carvelwright.json"}
    assert {name: content for name, content in after.items() if name not in own} == foreign
    locked = yamldoc.load(tmp_path / "after/.imgpkg/images.yml").data["images"]
    assert lock["images"][0] in locked
    assert {entry["image"] for entry in locked} == {image, published_bundle(built, to)}


def test_what_cannot_be_carried_is_refused_before_any_push(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    lock = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
    theirs = {f"packages/{NAME}/{FIRST}.yml": b"kind: ConfigMap\nmetadata: {name: a}\n", ".imgpkg/images.yml": lock}
    push_foreign(imgpkg, f"{to}/package-repository", tmp_path / "r", theirs)
    held, dist = content_of(crane, registry), snapshot(built.root / "dist")
    outcome = built.run("publish", to)
    assert outcome.code == 7
    assert f"packages/{NAME}/{FIRST}.yml holds something other than Package {NAME}.{FIRST}" in outcome.err
    assert content_of(crane, registry) == held
    assert snapshot(built.root / "dist") == dist
    assert scraps(built) == []


def push_layer(crane: Path, repository: str, place: Path, *names: str) -> None:
    """Publish what imgpkg itself would not push: a layer of any names."""
    with tarfile.open(place, "w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    call(crane, "append", "-f", place, "-t", f"{repository}:latest")


def test_a_published_repository_that_unpacks_elsewhere_touches_nothing(
    built: PackageProject, registry: str, tmp_path: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    before = {path.name for path in tmp_path.iterdir()}
    up = "../" * 40 + str(precious).removeprefix("/")
    for name in (f"{up}/evil", f"{up}/.wh.file", f"{up}/file", up.replace("/", "\\") + "\\evil"):
        push_layer(crane, f"{to}/package-repository", tmp_path / "layer.tgz", ".imgpkg/images.yml", name)
        outcome = built.run("publish", to)
        assert outcome.code == 6, outcome
        assert "error: the published package repository cannot be extended: " in outcome.err
        assert f"{name!a}" in outcome.err
        assert "hint: repair the published package repository, or publish to another REGISTRY/PATH" in outcome.err
        (tmp_path / "layer.tgz").unlink()
        assert {k: v for k, v in snapshot(tmp_path).items() if k.startswith("precious")} == {"precious/file": b"mine"}
        assert scraps(built) == []
    push_layer(crane, f"{to}/package-repository", tmp_path / "layer.tgz", "packages/a.yml")
    outcome = built.run("publish", to)
    assert outcome.code == 6
    assert "it is no bundle: it has no .imgpkg/images.yml" in outcome.err
    (tmp_path / "layer.tgz").unlink()
    assert {path.name for path in tmp_path.iterdir()} == before


# serve


@pytest.fixture
def serving(built: PackageProject) -> Iterator[subprocess.Popen[str]]:
    """`carvelwright serve`, up and ready."""
    with serve(built) as server:
        yield server


def children_of(pid: int) -> list[int]:
    """Return the processes whose parent a process is."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, not paths
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:  # noqa: PTH123
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_gives_what_dist_names_and_ends_when_told(
    built: PackageProject,
    serving: subprocess.Popen[str],
    tmp_path: Path,
    imgpkg: Path,
    crane: Path,
    number: signal.Signals,
) -> None:
    resource = yamldoc.load(built.root / "dist/package-repository.yml").data
    reference = resource["spec"]["fetch"]["imgpkgBundle"]["image"]
    assert set(pull(imgpkg, reference, tmp_path / "repository")) == {f"{NAME}/metadata.yml", f"{NAME}/{FIRST}.yml"}
    release = release_of(built)
    for text in (bundle_reference(package_of(built)), release["bundle"], release["images"][0]["reference"]):
        call(crane, "validate", "--remote", text)
    address = Reference.parse(reference).repository.registry
    assert set(content_of(crane, address)) >= {f"{address}/packages/package-repository:latest"}
    children = children_of(serving.pid)
    assert children
    serving.send_signal(number)
    started = time.monotonic()
    out, err = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert "Traceback" not in err
    assert "error" not in err + out
    assert not set(children) & set(children_of(1))
    assert time.monotonic() - started < 20
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        pass


def test_a_port_in_use_is_told(built: PackageProject) -> None:
    before = snapshot(built.root / "dist")
    address = str(release_of(built)["registry"]).partition("/")[0]
    host, _, port = address.rpartition(":")
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    with socket.create_server((host, int(port))):
        for command in ("serve", "build"):
            outcome = built.run(command)
            if command == "serve":
                assert outcome.code == 6
            assert outcome.code == 6
            assert f"cannot listen on {address}: Address already in use" in outcome.err
            assert re.search(r"hint: stop the program that listens there .*--to REGISTRY/PATH", outcome.err)
    assert snapshot(built.root / "dist") == before


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:0", "127.0.0.1:99999", ":5000x", "-x:5000"])
def test_serve_refuses_what_is_no_address(built: PackageProject, address: str) -> None:
    outcome = built.run("serve", "--address", address)
    assert outcome.code == 2
    assert address in outcome.err


def test_an_address_of_another_machine_is_no_busy_port(built: PackageProject) -> None:
    outcome = built.run("serve", "--address", "registry.invalid:5055")
    assert outcome.code == 6
    assert "hint: use an address of this machine" in outcome.err


def test_serve_needs_a_whole_dist(built: PackageProject) -> None:
    next((built.root / "dist").glob("*.tar")).unlink()
    outcome = built.run("serve")
    assert outcome.code == 8
    assert "hint: remove what was changed or added" in outcome.err
    assert "then run `carvelwright build`" in outcome.err
    (built.root / "dist/release.json").write_text(json.dumps({}))
    assert built.run("serve").code == 8
    (built.root / "dist/release.json").unlink()
    outcome = built.run("serve")
    assert outcome.code == 8
    assert "nothing to serve" in outcome.err
