"""Bills of materials that a build writes: of the image that it made, for all that is in it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import call, release_of
from tests.helpers.images import deployment, push_image, yaml_package
from tests.helpers.sboms import documents_in, purls_of_cyclonedx, purls_of_spdx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

NAME = "hello.packages.example.com"


def modules_of(binary: Path) -> set[str]:
    """Return what Go says of a binary, as package URLs; the judge that wrote none of the documents."""
    go = [f"{sys.prefix}/bin/go", "version", "-m", "-json", str(binary)]
    found = json.loads(subprocess.run(go, check=True, capture_output=True).stdout)
    return {f"pkg:golang/{each['Path']}@{each['Version']}" for each in found.get("Deps", ())}


def test_a_build_describes_each_image_and_the_package(built: PackageProject) -> None:
    found = documents_in(built.root / "dist/sbom")
    assert set(found) == {f"{stem}.{form}.json" for stem in ("hello", NAME) for form in ("cdx", "spdx")}
    release = release_of(built)
    (image,) = release["images"]
    digest = image["reference"].partition("@")[2]
    one, package = found["hello.cdx.json"], found[f"{NAME}.cdx.json"]
    assert one["metadata"]["component"]["purl"] == f"pkg:oci/hello@{digest}"
    assert f"pkg:oci/hello@{digest}" in purls_of_cyclonedx(package)
    assert f"pkg:oci/{NAME}@{release['bundle'].partition('@')[2]}" in purls_of_cyclonedx(package)
    for stem in ("hello", NAME):
        assert purls_of_cyclonedx(found[f"{stem}.cdx.json"]) == purls_of_spdx(found[f"{stem}.spdx.json"])
    assert {f"sbom/{name}" for name in found} <= {file["name"] for file in release["files"]}


def test_the_binaries_of_the_document_are_those_of_the_image(built: PackageProject) -> None:
    document = documents_in(built.root / "dist/sbom")["hello.cdx.json"]
    binaries = sorted((built.root / "build/payload").rglob("bin/hello"))
    applications = [each for each in document["components"] if each["type"] == "application"]
    made = {
        subprocess.run(["sha256sum", path], check=True, capture_output=True).stdout[:64].decode() for path in binaries
    }
    assert {each["hashes"][0]["content"] for each in applications} == made
    libraries = {each["purl"] for each in document["components"] if each["type"] == "library"}
    expected = {purl for path in binaries for purl in modules_of(path)}
    assert libraries == {*expected, "pkg:golang/stdlib@1.27.3"}


def test_a_changed_manifest_leaves_the_document_of_the_image_as_it_is(built: PackageProject) -> None:
    before = {path.name: path.read_bytes() for path in (built.root / "dist/sbom").iterdir()}
    built.replace("bundle/config/base/deployment.yaml", "apiVersion:", "#! another\napiVersion:")
    built.run("build").ok()
    after = {path.name: path.read_bytes() for path in (built.root / "dist/sbom").iterdir()}
    same = {name for name, data in after.items() if data == before[name]}
    assert same == {"hello.cdx.json", "hello.spdx.json"}


def test_what_an_existing_image_has_about_its_content_is_named(
    tmp_path: Path, tool_environment: dict[str, str], registry: str, crane: Path
) -> None:
    """Carried by the archive, too: whoever relocates it finds the attestation beside the image."""
    names = [f"{registry}/team/{name}:1.2" for name in ("web", "plain")]
    digest = push_image(crane, tmp_path, names[0], stated="https://spdx.dev/Document")
    push_image(crane, tmp_path, names[1])
    manifests = [deployment(f"d{number}", name) for number, name in enumerate(names)]
    project = yaml_package(tmp_path / "web", tool_environment, *manifests)
    project.run("images", "update").ok()
    project.run("build").ok()
    found = documents_in(project.root / "dist/sbom")
    assert set(found) == {f"{NAME}.cdx.json", f"{NAME}.spdx.json"}
    notes = {
        each["name"]: each["value"]
        for component in found[f"{NAME}.cdx.json"]["components"]
        for each in component.get("properties", ())
        if component["name"] == names[0] and component["hashes"][0]["content"] == digest.removeprefix("sha256:")
    }
    assert notes["carvelwright:platforms"] == "linux/amd64, linux/arm64"
    index = json.loads(call(crane, "manifest", names[0]))
    about, attestation = index["manifests"][0]["digest"], index["manifests"][-1]["digest"]
    stated = f"https://spdx.dev/Document of {about} in {attestation}"
    assert notes["carvelwright:content"] == f"not looked into; {stated}"
    with tarfile.open(project.root / "dist" / release_of(project)["archive"]) as tar:
        assert attestation in tar.extractfile("manifest.json").read().decode()  # type: ignore[union-attr]
    plain = [each for each in found[f"{NAME}.spdx.json"]["packages"] if each["name"] == names[1]]
    assert "not looked into; nothing in the image's index describes its content" in plain[0]["comment"]
