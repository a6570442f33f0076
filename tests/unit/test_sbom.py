"""Bills of materials: what binaries say of themselves, in two formats that their validators take."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from carvelwright.digest import Digest
from carvelwright.platform import Platform
from carvelwright.supply import carried, inventory, sbom
from carvelwright.supply.modules import BuildInfo, Module
from tests.helpers.sboms import purls_of_cyclonedx, purls_of_spdx, read_cyclonedx, read_spdx

CREATED = "2026-11-26T00:00:00Z"
YAML = Module("sigs.k8s.io/yaml", "v1.6.0", "h1:G8fkbMSAFqgEFgh4b1wmtzDnioxFCUgTZhlbj5P9QYs=")
OLD = Module("github.com/blang/semver", "v3.5.1+incompatible", "h1:cQNTCjp13qL8KC3Nbxr/y2Bqb63oX6wdnnjpJbkM4JQ=")


def document(**changes: object) -> dict[str, object]:
    return {
        "GoVersion": "go1.27.3",
        "Path": "example.com/app/cmd/app",
        "Main": {"Path": "example.com/app", "Version": "(devel)"},
        "Deps": [{"Path": YAML.path, "Version": YAML.version, "Sum": YAML.sum}],
        **changes,
    }


def info(*modules: Module) -> BuildInfo:
    return BuildInfo("1.27.3", "example.com/app/cmd/app", "example.com/app", modules)


def image(*infos: BuildInfo, licences: dict[Module, str] | None = None) -> sbom.Inventory:
    platforms = [Platform("linux", architecture) for architecture in ("amd64", "arm64")]
    binaries = [
        inventory.Binary(f"/usr/local/bin/app{number}", platform, Digest(f"{number}" * 64), each)
        for number, each in enumerate(infos)
        for platform in platforms
    ]
    what = inventory.Described("app", "1.0.0+build.1", "An app", "Apache-2.0")
    return inventory.of_image(
        what, Digest("a" * 64), binaries, licences or {}, created=CREATED, tools={"go": "1.27.3", "carvelwright": "1"}
    )


def package(one: sbom.Inventory) -> sbom.Inventory:
    existing = [
        inventory.Existing("nginx:1.27", "1.27", Digest("c" * 64), ("linux/amd64", "linux/arm/v7"), ()),
        inventory.Existing("ghcr.io/a/b@sha256:" + "d" * 64, None, Digest("d" * 64), ("linux/amd64",), ("x",)),
    ]
    crds = [inventory.Files(Module("example.com/crds", "v1.2.3"), ("a.yaml", "b.yaml"))]
    what = inventory.Described("app.example.com", "1.0.0+build.1", "A package", None)
    return inventory.of_package(what, Digest("b" * 64), [one], existing, crds, created=CREATED, tools={"ytt": "1"})


def test_build_information_is_read() -> None:
    found = BuildInfo.parse(json.dumps(document()))
    assert found == info(YAML)
    assert found.standard_library == Module("stdlib", "1.27.3")
    assert BuildInfo.parse(json.dumps(document(GoVersion="go1.27.3 X:boringcrypto"))).go == "1.27.3"
    without = {key: value for key, value in document().items() if key != "Deps"}
    assert BuildInfo.parse(json.dumps(without)).modules == ()


def test_a_replaced_module_is_what_replaces_it() -> None:
    fork = {"Path": "example.com/fork", "Version": "v2.0.0", "Sum": "h1:x"}
    named = {"Path": YAML.path, "Version": YAML.version}
    found = BuildInfo.parse(json.dumps(document(Deps=[{**named, "Replace": fork}])))
    assert found.modules == (Module("example.com/fork", "v2.0.0", "h1:x"),)
    # A directory's path is of the machine that built.
    for version in ({}, {"Version": "(devel)"}):
        directory = {**named, "Replace": {"Path": "../local/yaml", **version}}
        assert BuildInfo.parse(json.dumps(document(Deps=[directory]))).modules == (Module(YAML.path, YAML.version),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '"go1.27"',
        json.dumps(document(Main="example.com/app")),
        json.dumps(document(Main={})),
        json.dumps(document(GoVersion="")),
        json.dumps(document(GoVersion=127)),
        json.dumps(document(Deps=[1])),
        json.dumps(document(Deps=[{"Path": "", "Version": "v1.0.0"}])),
        json.dumps(document(Deps=[{"Path": "a", "Version": 1}])),
        json.dumps(document(Deps=7)),
    ],
)
def test_what_is_no_build_information_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        BuildInfo.parse(text)


def test_both_formats_are_valid_and_name_the_same_parts() -> None:
    one = image(info(YAML, OLD), info(YAML), licences={YAML: "MIT AND Apache-2.0"})
    for each in (one, package(one), image()):
        first, second = read_cyclonedx(sbom.cyclonedx(each)), read_spdx(sbom.spdx(each))
        assert purls_of_cyclonedx(first) == purls_of_spdx(second)
        assert len(first.get("components", ())) + 1 == len(second["packages"])
    assert "pkg:golang/sigs.k8s.io/yaml@v1.6.0" in purls_of_cyclonedx(read_cyclonedx(sbom.cyclonedx(one)))


def test_each_binary_names_its_own_modules() -> None:
    found = read_cyclonedx(sbom.cyclonedx(image(info(YAML, OLD), info(YAML))))
    uses = {each["ref"]: each.get("dependsOn", []) for each in found["dependencies"]}
    go, old, yaml = (
        "pkg:golang/stdlib@1.27.3",
        "pkg:golang/github.com/blang/semver@v3.5.1%2Bincompatible",
        "pkg:golang/sigs.k8s.io/yaml@v1.6.0",
    )
    assert set(uses["binary:linux/amd64/usr/local/bin/app0"]) == {go, old, yaml}
    assert set(uses["binary:linux/arm64/usr/local/bin/app1"]) == {go, yaml}
    assert len(uses[f"pkg:oci/app@sha256:{'a' * 64}"]) == 4


def test_what_neither_format_has_a_field_for_is_kept() -> None:
    found = read_cyclonedx(sbom.cyclonedx(image(info(YAML))))
    (yaml,) = [each for each in found["components"] if each["name"] == YAML.path]
    assert yaml["properties"] == [{"name": "carvelwright:goSum", "value": YAML.sum}]
    assert f"goSum: {YAML.sum}" in sbom.spdx(image(info(YAML))).decode()


def test_a_package_links_to_the_documents_of_its_images_and_says_what_nobody_looked_into() -> None:
    one = image(info(YAML))
    found = {each["name"]: each for each in read_cyclonedx(sbom.cyclonedx(package(one)))["components"]}
    (link,) = found["app"]["externalReferences"]
    own = read_cyclonedx(sbom.cyclonedx(one))
    assert link == {"type": "bom", "url": f"{own['serialNumber'].replace('urn:uuid:', 'urn:cdx:')}/1"}
    notes = {each["name"]: each["value"] for each in found["nginx:1.27"]["properties"]}
    assert notes["carvelwright:content"] == "not looked into; nothing in the image's index describes its content"
    assert found["nginx:1.27"]["purl"] == f"pkg:oci/nginx@sha256:{'c' * 64}"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'{"manifests": 1}',
        b'{"manifests": [1]}',
        b'{"manifests": [{"annotations": "x"}]}',
        b'{"manifests": [{"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]}',
    ],
)
def test_an_index_of_another_shape_has_no_attestations(document: bytes) -> None:
    image = Digest("a" * 64)
    assert carried.attestations({str(image): document}, image) == ()
    assert carried.attestations({}, image) == ()


def test_equal_parts_give_equal_bytes_and_another_part_another_number() -> None:
    one, same = image(info(YAML, OLD)), image(info(OLD, YAML))
    assert sbom.cyclonedx(one) == sbom.cyclonedx(one)
    assert {each.ref for each in one.parts} == {each.ref for each in same.parts}
    other = replace(one, created="2026-11-27T00:00:00Z")
    serials = {read_cyclonedx(sbom.cyclonedx(each))["serialNumber"] for each in (one, other, image(info(YAML)))}
    spaces = {read_spdx(sbom.spdx(each))["documentNamespace"] for each in (one, other, image(info(YAML)))}
    assert len(serials) == len(spaces) == 3


def test_a_licence_that_spdx_does_not_list_is_declared() -> None:
    found = read_spdx(sbom.spdx(image(info(YAML), licences={YAML: "MIT AND LicenseRef-Acme-1"})))
    assert [each["licenseId"] for each in found["hasExtractedLicensingInfos"]] == ["LicenseRef-Acme-1"]
    read_cyclonedx(sbom.cyclonedx(image(info(YAML), licences={YAML: "MIT AND LicenseRef-Acme-1"})))
