"""What a finished dist/ must show, whatever built it: run by `make verify` after `make`.

Everything is taken from the air-gap archive, relocated into an empty registry, as an air-gapped site has it.
"""

from __future__ import annotations

import io
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
WHEREABOUTS, MULTUS = "whereabouts.tanzu.vmware.com", "multus-cni.tanzu.vmware.com"
# Of each package the programs of its image, with the arguments that make them tell their version.
BINARIES = {
    WHEREABOUTS: {
        "whereabouts": ["-version"],
        "ip-control-loop": ["-version"],
        "ip-reconciler": ["-version"],
        "node-slice-controller": ["-version"],
        "whereabouts-installer": ["version"],
    },
    MULTUS: {"multus": ["-version"], "multus-installer": ["version"]},
}
CONTROLLERS = "whereabouts-controllers"
LINKS = {WHEREABOUTS: dict.fromkeys(("ip-control-loop", "ip-reconciler", "node-slice-controller"), CONTROLLERS)}
INSTALLERS = {WHEREABOUTS: "whereabouts-installer", MULTUS: "multus-installer"}
KINDS = {
    WHEREABOUTS: {"DaemonSet", "Deployment", "CustomResourceDefinition"},
    MULTUS: {"DaemonSet", "CustomResourceDefinition"},
}
# The machine that the header of an ELF file names.
MACHINES = {"linux/amd64": 62, "linux/arm64": 183}


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
    return document


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
def repository(site: Site) -> Path:
    """What the package repository holds, as the server pulls it."""
    return site.pull(str(site.repository), "repository")


@pytest.fixture(scope="module", params=BINARIES)
def built(request: pytest.FixtureRequest, release: dict[str, Any]) -> dict[str, Any]:
    """What release.json says of one package after the other."""
    found = {package["refName"]: package for package in release["packages"]}
    package: dict[str, Any] = found[request.param]
    return package


@pytest.fixture(scope="module")
def package(repository: Path, built: dict[str, Any]) -> dict[str, Any]:
    path = repository / "packages" / built["refName"] / f"{built['version']}.yml"
    document: dict[str, Any] = YAML(typ="safe").load(path)
    return document


@pytest.fixture(scope="module")
def manifests(site: Site, package: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests as the server makes them from what lies in the site's registry."""
    (fetch,) = package["spec"]["template"]["spec"]["fetch"]
    digest = fetch["imgpkgBundle"]["image"].rpartition("@")[2]
    bundle = site.pull(f"{site.images}@{digest}", package["spec"]["refName"])
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


def test_dist_and_the_repository_hold_what_is_promised(release: dict[str, Any], repository: Path) -> None:
    # What `scan` adds is no part of a build.
    files = [path for path in DIST.rglob("*") if path.is_file() and path.parent.name != "vex"]
    found = {path.relative_to(DIST).as_posix() for path in files}
    packages = {(package["refName"], package["version"]) for package in release["packages"]}
    assert {ref_name for ref_name, _ in packages} == BINARIES.keys()
    documents = {f"{name}/{file}" for name, version in packages for file in ("metadata.yml", f"{version}.yml")}
    held = {path.relative_to(repository / "packages").as_posix() for path in (repository / "packages").rglob("*.yml")}
    assert held == documents
    own = {
        f"{name.partition('.')[0]}/{file}"
        for name, version in packages
        for file in (
            f"{name.partition('.')[0]}-data-values.yaml",
            f"{name.partition('.')[0]}-data-values.annotated.yaml",
            "values.schema.json",
            f"{name}-{version}.tar",
            *(f"sbom/{of}.{form}.json" for of in (name, name.partition(".")[0]) for form in ("cdx", "spdx")),
        )
    }
    shared = {"package-repository.yml", "package-repository.tar", "release.json", "SHA256SUMS"}
    assert found == {f"packages/{file}" for file in documents} | own | shared


def test_default_values_are_what_every_client_writes(package: dict[str, Any]) -> None:
    schema = package["spec"]["valuesSchema"]["openAPIv3"]
    name = package["spec"]["refName"].partition(".")[0]
    written = (DIST / name / f"{name}-data-values.yaml").read_text()
    assert {default_values_file(schema, client) for client in Client} == {written}


def test_every_image_is_a_digest_that_the_site_has(site: Site, manifests: list[dict[str, Any]]) -> None:
    images = images_in(manifests)
    assert images
    for image in images:
        assert image.startswith(f"{site.images}@sha256:"), image
        index = json.loads(run(site.tools.crane.path, "manifest", image))
        assert {f"{m['platform']['os']}/{m['platform']['architecture']}" for m in index["manifests"]} == set(PLATFORMS)


def test_licenses_make_an_image_no_more_than_0_3_mb_larger(
    site: Site, manifests: list[dict[str, Any]], package: dict[str, Any]
) -> None:
    """What a node pulls, and what it unpacks. `-s` prints the figures of docs/explanation/supply-chain.md."""
    crane = site.tools.crane.path
    (image,) = images_in(manifests)
    for entry in json.loads(run(crane, "manifest", image))["manifests"]:
        place = image.partition("@")[0]
        layers = json.loads(run(crane, "manifest", f"{place}@{entry['digest']}"))["layers"]
        found = []
        for layer in layers:
            with tarfile.open(fileobj=io.BytesIO(run(crane, "blob", f"{place}@{layer['digest']}"))) as tar:
                sizes = {member.name.lstrip("/"): member.size for member in tar}
            if any(name.startswith("usr/share/licenses/") for name in sizes):
                found.append((layer["size"], sum(sizes.values())))
        ((packed, unpacked),) = found
        figures = f"{packed} bytes, unpacked {unpacked}"
        print(f"{package['spec']['refName']} {entry['platform']['architecture']}: {figures}")  # noqa: T201 - to be read
        assert unpacked < 300_000


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
def test_manifests_are_valid_kubernetes(version: str, manifests: list[dict[str, Any]], package: dict[str, Any]) -> None:
    assert {manifest["kind"] for manifest in manifests} >= KINDS[package["spec"]["refName"]]
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


def test_image_holds_the_binaries_and_nothing_else(binaries: tuple[str, Path], built: dict[str, Any]) -> None:
    platform, directory = binaries
    root = directory.parents[2]
    texts = root / "usr/share/licenses" / built["refName"].partition(".")[0]
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "image.tar"]
    held = [path for path in files if path.is_relative_to(texts)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o644}
    assert {path.suffix for path in held} == {".json", ".txt"}
    files = [path for path in files if path not in held]
    targets = set(LINKS.get(built["refName"], {}).values())
    assert {path.relative_to(directory).as_posix() for path in files} == {*BINARIES[built["refName"]], *targets}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o755}
    links = {path.name: str(path.readlink()) for path in files if path.is_symlink()}
    assert links == LINKS.get(built["refName"], {})
    for path in files:
        with path.open("rb") as stream:
            header = stream.read(20)
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == MACHINES[platform], path
        # No interpreter: FROM scratch there is no dynamic linker.
        assert b"/lib64/ld-" not in path.read_bytes()[:4096]


def test_the_controllers_say_what_to_call_them(binaries: tuple[str, Path], built: dict[str, Any]) -> None:
    platform, directory = binaries
    for target in set(LINKS.get(built["refName"], {}).values()):
        argv = [*emulator(platform, target), str(directory / target)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        names = ", ".join(sorted(LINKS[built["refName"]]))
        expected = f"{target}: no such program: expected to be called as one of {names}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_image_says_what_it_is(site: Site, manifests: list[dict[str, Any]], built: dict[str, Any]) -> None:
    (image,) = images_in(manifests)
    title = built["refName"].partition(".")[0]
    for platform in PLATFORMS:
        config = json.loads(run(site.tools.crane.path, "config", "--platform", platform, image))
        labels = config["config"]["Labels"]
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert labels["org.opencontainers.image.title"] == title
        assert labels["org.opencontainers.image.version"] == built["version"]
        assert f"{config['os']}/{config['architecture']}" == platform
        assert config["config"]["Entrypoint"] == [f"/usr/local/bin/{INSTALLERS[built['refName']]}"]


def test_binaries_run_and_tell_their_version(binaries: tuple[str, Path], built: dict[str, Any]) -> None:
    platform, directory = binaries
    for name, arguments in BINARIES[built["refName"]].items():
        # The programs act as what they are called, also under an emulator.
        argv = [*emulator(platform, name), str(directory / name), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        if name == INSTALLERS[built["refName"]]:
            assert built["version"] in said
        elif name == "multus":
            assert f"version:v{built['upstream']}(clean,released)" in said
        else:
            assert f"{name} v{built['upstream']} {platform}" in said
