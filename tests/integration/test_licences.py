"""Licenses of what is linked into an image: in the image, in a table, and refused where nobody allowed them."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.digest import Digest
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import package_of, release_of
from tests.helpers.sboms import documents_in
from tests.helpers.terms import classifier as classifier  # noqa: PLC0414 - a fixture
from tests.helpers.terms import linked_project
from tests.helpers.terms import terms as terms  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.tools.tool import Tool
    from tests.conftest import Outcome, PackageProject

PLACE = "usr/share/licenses/hello"
BUILD = "package/build.yaml"
# Of the tar in which a layer is, and not of what is in it.
HELD_BACK = "all rights reserved, ask us\n"


@pytest.fixture
def linked(
    tmp_path: Path, tool_environment: dict[str, str], classifier: Tool, terms: Mapping[str, str]
) -> PackageProject:
    """A program that uses two modules: one under MIT, one under two licenses and with a notice."""
    several = {"LICENSE": terms["Apache-2.0"], "third_party/LICENSE": terms["MIT"], "NOTICE": "Made by many.\n"}
    modules = {"mit": {"LICENSE.md": terms["MIT"]}, "several": several}
    return linked_project(tmp_path, tool_environment, classifier, modules)


def layers_of(project: PackageProject) -> list[list[Digest]]:
    """Return the layers of the built image, for each platform."""
    (image,) = release_of(project)["images"]
    return [
        [Digest.parse(layer["digest"]) for layer in blob(project, Digest.parse(platform["digest"]))["layers"]]
        for platform in image["platforms"]
    ]


def blob(project: PackageProject, digest: Digest) -> Any:
    return json.loads(blob_path(project, digest).read_bytes())


def blob_path(project: PackageProject, digest: Digest) -> Path:
    return next((project.root / "build/image").rglob(digest.hex))


def files_of(project: PackageProject, layer: Digest) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(blob_path(project, layer).read_bytes()), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]


def allow(project: PackageProject, *lines: str) -> None:
    project.replace(BUILD, "images:", "licenses:\n" + "".join(f"  {line}\n" for line in lines) + "images:")


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 3, (outcome.out, outcome.err)
    for each in words:
        assert each in outcome.err


def test_each_platform_carries_the_same_layer_with_every_text_once(
    linked: PackageProject, terms: Mapping[str, str]
) -> None:
    linked.run("build").ok()
    first, second = layers_of(linked)
    assert first[-1] == second[-1]
    files = files_of(linked, first[-1])
    index = json.loads(files.pop(f"{PLACE}/index.json"))
    named = {each["module"]: each for each in index["modules"]}
    assert {name: each["licenses"] for name, each in named.items()} == {
        "hello": "Apache-2.0",
        "stdlib": "BSD-3-Clause",
        "example.org/mit": "MIT",
        "example.org/several": "Apache-2.0 AND MIT",
    }
    texts = {(name, text["name"]): text["file"] for name, each in named.items() for text in each["texts"]}
    assert {f"{PLACE}/{file}" for file in texts.values()} == set(files)
    content = {key: files[f"{PLACE}/{file}"].decode() for key, file in texts.items()}
    assert content["example.org/several", "NOTICE"] == "Made by many.\n"
    assert content["example.org/mit", "LICENSE.md"] == terms["MIT"]
    # One text of two modules is one file.
    assert texts["example.org/mit", "LICENSE.md"] == texts["example.org/several", "third_party/LICENSE"]
    assert any("The Go Authors" in text for (name, _), text in content.items() if name == "stdlib")


def test_licenses_are_those_of_the_program_that_build_tags_select(linked: PackageProject) -> None:
    text = (linked.root / "payload/main.go").read_text()
    fewer = text.replace('\t"example.org/several"\n', "").replace("\tprintln(several.Name)\n", "")
    (linked.root / "payload/main.go").write_text(f"//go:build !special\n\n{fewer}")
    (linked.root / "payload/special.go").write_text(f"//go:build special\n\n{text}")

    def modules() -> set[str]:
        linked.run("build").ok()
        files = files_of(linked, layers_of(linked)[0][-1])
        return {each["module"] for each in json.loads(files[f"{PLACE}/index.json"])["modules"]}

    assert modules() == {"hello", "stdlib", "example.org/mit"}
    linked.replace(BUILD, "directory: payload\n", "directory: payload\n        tags: [special]\n")
    assert modules() == {"hello", "stdlib", "example.org/mit", "example.org/several"}


def test_the_layer_stays_while_the_modules_do(linked: PackageProject) -> None:
    linked.run("build").ok()
    before = layers_of(linked)
    linked.replace("payload/main.go", "println(version)", 'println("version", version)')
    linked.run("build").ok()
    after = layers_of(linked)
    assert [layers[-1] for layers in after] == [layers[-1] for layers in before]
    assert [layers[0] for layers in after] != [layers[0] for layers in before]


def test_the_project_s_own_text_is_carried(linked: PackageProject) -> None:
    (linked.root / "LICENSE").write_text("Ours.\n")
    (linked.root.parent / "LICENSE").write_text("Somebody else's.\n")
    linked.run("build").ok()
    files = files_of(linked, layers_of(linked)[0][-1])
    (own,) = [each for each in json.loads(files[f"{PLACE}/index.json"])["modules"] if each["module"] == "hello"]
    assert [files[f"{PLACE}/{text['file']}"] for text in own["texts"]] == [b"Ours.\n"]
    (linked.root / "payload/LICENSE").write_text("The program's.\n")
    linked.run("build").ok()
    files = files_of(linked, layers_of(linked)[0][-1])
    assert b"The program's.\n" in files.values()
    assert b"Ours.\n" not in files.values()


def test_the_table_and_the_sbom_have_the_licenses(linked: PackageProject) -> None:
    (image,) = json.loads(linked.run("licenses", "--format", "json").ok().out)
    listed = {each["module"]: each["licenses"] for each in image["modules"]}
    rows = [line.split(None, 1) for line in linked.run("licenses").ok().out.splitlines()[1:]]
    assert {module.partition("@")[0]: expression for module, expression in rows} == listed
    linked.run("build").ok()
    document = documents_in(linked.root / "dist/sbom")["hello.cdx.json"]
    libraries = [each for each in document["components"] if each["type"] == "library"]
    assert {each["name"]: each["licenses"][0]["expression"] for each in libraries} == {
        name: expression for name, expression in listed.items() if name != "hello"
    }


def test_a_license_that_is_not_allowed_is_refused_with_the_line_of_the_module(
    linked: PackageProject,
) -> None:
    allow(linked, "allow: [Apache-2.0, BSD-3-Clause]")
    for command in ("check", "build"):
        refused(
            linked.run(command),
            "payload/go.mod:3: the license of example.org/mit@v1.0.0 is not allowed",
            "found: MIT",
            "expected: Apache-2.0, BSD-3-Clause",
            "payload/go.mod:4: the license of example.org/several@v1.0.0 is not allowed",
            "hint: do without the module, or add the license to `licenses: allow:` in package/build.yaml",
        )
    assert not (linked.root / "dist").exists()
    linked.replace(BUILD, "allow: [", "allow: [MIT, ")
    assert linked.run("check").ok().out == "ok: no problems found\n"


def test_our_own_license_has_to_be_allowed_too(linked: PackageProject) -> None:
    allow(
        linked, "allow: [MIT, BSD-3-Clause]", "overrides:", "- {module: example.org/several, licenses: MIT, reason: r}"
    )
    refused(linked.run("check"), "build.yaml: the license of hello is not allowed", "found: Apache-2.0")


def test_a_module_without_a_license_needs_a_word_from_a_person(
    tmp_path: Path, tool_environment: dict[str, str], classifier: Tool, terms: Mapping[str, str]
) -> None:
    modules = {"bare": {}, "held": {"LICENSE": HELD_BACK, "LICENSE.other": terms["MIT"]}}
    project = linked_project(tmp_path, tool_environment, classifier, modules)
    refused(
        project.run("check"),
        "payload/go.mod:3: no license of example.org/bare@v1.0.0 is recognized",
        "found: no license text",
        "payload/go.mod:4: no license of example.org/held@v1.0.0 is recognized",
        "found: LICENSE: no known license",
        "hint: read it, then add the module to `licenses: overrides:` in package/build.yaml, with the reason",
    )
    assert "NOT RECOGNIZED" in project.run("licenses").ok().out
    refused(project.run("build"), "no license of example.org/bare@v1.0.0 is recognized")
    allow(
        project,
        "overrides:",
        "- {module: example.org/bare, licenses: LicenseRef-Acme, reason: 'contract 4711'}",
        "- {module: example.org/held, version: v1.0.0, licenses: MIT OR LicenseRef-Acme, reason: 'asked them'}",
    )
    project.run("build").ok()
    assert re.search(r"LicenseRef-Acme +\(contract 4711\)", project.run("licenses").ok().out)
    documents_in(project.root / "dist/sbom")
    assert package_of(project)["kind"] == "Package"
    project.replace(BUILD, "version: v1.0.0", "version: v2.0.0")
    refused(project.run("check"), "no license of example.org/held@v1.0.0 is recognized")


def test_a_module_that_a_directory_replaces_comes_under_the_project_s_texts(
    linked: PackageProject, terms: Mapping[str, str]
) -> None:
    local = linked.root / "local"
    local.mkdir()
    (local / "go.mod").write_text("module example.org/mit\n\ngo 1.25\n")
    (local / "mit.go").write_text('package mit\n\nconst Name = "mine"\n')
    with (linked.root / "payload/go.mod").open("a") as file:
        file.write("replace example.org/mit => ../local\n")
    refused(linked.run("check"), "payload/go.mod:5: no license of example.org/mit@v1.0.0 is recognized")
    (linked.root / "LICENSE").write_text(terms["MIT"])
    linked.run("build").ok()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["allow: []"], "licenses.allow"),
        (["allow: [MIT, MIT]"], "licenses.allow"),
        (["allow: [Mit-License]"], "not in SPDX's list of licenses: Mit-License"),
        (["allow: [MIT OR ISC]"], "not one license"),
        (["allow: MIT"], "licenses.allow"),
        (["deny: [MIT]"], "deny"),
        (["overrides:", "- {module: a, licenses: MIT}"], "reason"),
        (["overrides:", "- {module: a, licenses: Nonsense-1, reason: r}"], "Nonsense-1"),
        (["overrides:", "- {module: 'a b', licenses: MIT, reason: r}"], "overrides"),
        (["overrides:", "- {module: a, version: '1', licenses: MIT, reason: r}"], "version"),
    ],
)
def test_a_policy_that_is_none_is_refused_with_its_place(built: PackageProject, lines: list[str], told: str) -> None:
    allow(built, *lines)
    refused(built.run("check"), f"{BUILD}:", told)


def test_modules_that_cannot_be_fetched_are_a_warning_of_check(linked: PackageProject, tmp_path: Path) -> None:
    away = {"GOPROXY": "off", "GOMODCACHE": str(tmp_path / "empty")}
    outcome = linked.run("check", environment=away).ok()
    assert (
        "warning: payload/go.mod: the licenses of image hello were not checked: Go cannot list its modules"
        in outcome.err
    )
    assert linked.run("licenses", environment=away).code == 5


def test_a_classifier_that_is_not_there_is_named(linked: PackageProject, tool_environment: dict[str, str]) -> None:
    outcome = linked.run("check", environment={"PATH": tool_environment["PATH"]})
    assert outcome.code == 4
    assert "identify_license: not on PATH" in outcome.err
