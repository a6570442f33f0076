"""What a finished dist/ must show, whatever built it: run by `make verify` after `make`.

Everything is taken from the air-gap archive, relocated into an empty registry, as an air-gapped site has it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from carvelwright.client import Client, default_values_file
from carvelwright.reference import Reference, Repository
from carvelwright.tools import imgpkg as imgpkg_adapter
from tests.conftest import ROOT, free_address, registry_at
from tests.helpers.package import applied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain

DIST = ROOT / "dist"
PLATFORMS = ("linux/amd64", "linux/arm64")
BINARIES = {
    "whereabouts": ["-version"],
    "ip-control-loop": ["-version"],
    "ip-reconciler": ["-version"],
    "node-slice-controller": ["-version"],
    "whereabouts-installer": ["version"],
}


@dataclass(frozen=True)
class Site:
    """An air-gapped site: its registry, and where the package repository lies in it."""

    tools: Toolchain
    repository: Reference
    directory: Path

    @property
    def images(self) -> Repository:
        return self.repository.repository

    def pull(self, reference: str, name: str) -> Path:
        target = self.directory / name
        run(self.tools.imgpkg.path, "pull", "-b", reference, "-o", target)
        return target


def run(*argv: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run([str(part) for part in argv], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr.decode()}"
    return done.stdout


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    assert (DIST / "release.json").is_file(), "nothing was built: run `make` first"
    document: dict[str, Any] = json.loads((DIST / "release.json").read_bytes())
    return {**document, **document["packages"][0]}


@pytest.fixture(scope="module")
def site(release: dict[str, Any], toolset: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with registry_at(toolset, free_address(), directory / "registry") as address:
        target = Repository(address, "air/gapped")
        archive, lock = DIST / release["archive"], directory / "lock.yml"
        lock_file = imgpkg_adapter.copy_from_tar(
            toolset.imgpkg, archive, target, lock, step="test", timeout=300, note=print
        )
        yield Site(toolset, lock_file.image, directory)


@pytest.fixture(scope="module")
def package(site: Site, release: dict[str, Any]) -> dict[str, Any]:
    repository = site.pull(str(site.repository), "repository")
    path = repository / "packages" / release["refName"] / f"{release['version']}.yml"
    document: dict[str, Any] = YAML(typ="safe").load(path)
    return document


@pytest.fixture(scope="module")
def manifests(site: Site, package: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests as the server makes them from what lies in the site's registry."""
    (fetch,) = package["spec"]["template"]["spec"]["fetch"]
    digest = fetch["imgpkgBundle"]["image"].rpartition("@")[2]
    bundle = site.pull(f"{site.images}@{digest}", "bundle")
    rendered = run(site.tools.ytt.path, "-f", bundle / "config")
    resolved = run(site.tools.kbld.path, "-f", "-", "-f", bundle / ".imgpkg/images.yml", stdin=rendered)
    return applied(resolved)


def images_in(node: Any) -> set[str]:
    if isinstance(node, list):
        return {image for item in node for image in images_in(item)}
    if isinstance(node, dict):
        own = {node["image"]} if isinstance(node.get("image"), str) else set()
        return own | {image for value in node.values() for image in images_in(value)}
    return set()


def test_sums_hold() -> None:
    run("sh", "-c", f"cd {DIST} && sha256sum --check --strict --quiet SHA256SUMS")


def test_dist_holds_what_is_promised(release: dict[str, Any]) -> None:
    found = {path.relative_to(DIST).as_posix() for path in DIST.rglob("*") if path.is_file()}
    ref_name, version = release["refName"], release["version"]
    assert found == {
        f"packages/{ref_name}/metadata.yml",
        f"packages/{ref_name}/{version}.yml",
        "package-repository.yml",
        "whereabouts-data-values.yaml",
        "whereabouts-data-values.annotated.yaml",
        "values.schema.json",
        f"{ref_name}-{version}.tar",
        "release.json",
        "SHA256SUMS",
    }


def test_default_values_are_what_every_client_writes(package: dict[str, Any]) -> None:
    schema = package["spec"]["valuesSchema"]["openAPIv3"]
    written = (DIST / "whereabouts-data-values.yaml").read_text()
    assert {default_values_file(schema, client) for client in Client} == {written}


def test_every_image_is_a_digest_that_the_site_has(site: Site, manifests: list[dict[str, Any]]) -> None:
    images = images_in(manifests)
    assert images
    for image in images:
        assert image.startswith(f"{site.images}@sha256:"), image
        index = json.loads(run(site.tools.crane.path, "manifest", image))
        assert {f"{m['platform']['os']}/{m['platform']['architecture']}" for m in index["manifests"]} == set(PLATFORMS)


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_manifests_are_valid_kubernetes(version: str, manifests: list[dict[str, Any]]) -> None:
    assert {manifest["kind"] for manifest in manifests} >= {"DaemonSet", "Deployment", "CustomResourceDefinition"}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.fixture(scope="module", params=PLATFORMS)
def binaries(
    request: pytest.FixtureRequest,
    site: Site,
    manifests: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """The platform and the directory with the files of its image."""
    (image,) = images_in(manifests)
    directory = tmp_path_factory.mktemp("image")
    archive = directory / "image.tar"
    archive.write_bytes(run(site.tools.crane.path, "export", "--platform", request.param, image, "-"))
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
    return request.param, directory / "usr/local/bin"


def emulator(platform: str, called: str) -> list[str]:
    """The command in front of a foreign binary."""
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[platform]
    if os.uname().machine == machine:
        return []
    name = f"qemu-{machine}-static"
    assert shutil.which(name), f"{name} is needed to run {platform} binaries: apt-get install qemu-user-static"
    return [name, "-0", called]


def test_image_holds_the_binaries_and_nothing_else(binaries: tuple[str, Path]) -> None:
    _, directory = binaries
    files = [path for path in directory.parents[2].rglob("*") if path.is_file() and path.name != "image.tar"]
    assert {path.relative_to(directory).as_posix() for path in files} == set(BINARIES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o755}
    links = {path.name: str(path.readlink()) for path in files if path.is_symlink()}
    assert links == dict.fromkeys(("ip-control-loop", "ip-reconciler", "node-slice-controller"), "whereabouts")


@pytest.mark.parametrize("name", BINARIES)
def test_binary_runs_and_tells_its_version(name: str, binaries: tuple[str, Path], release: dict[str, Any]) -> None:
    platform, directory = binaries
    # The programs act as what they are called, also under an emulator.
    argv = [*emulator(platform, name), str(directory / name), *BINARIES[name]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    if name == "whereabouts-installer":
        assert release["version"] in said
    else:
        assert f"{name} v{release['upstream']} {platform}" in said
