"""Known vulnerabilities of a program that calls one: reported, accepted, and refused where the data is old."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of
from tests.helpers.images import deployment, push_image, yaml_package
from tests.helpers.scanning import govulncheck as govulncheck  # noqa: PLC0414 - a fixture
from tests.helpers.scanning import scanned as scanned  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject
    from tests.helpers.scanning import Scanned

FILE = "package/vulnerabilities.yaml"
OLD = "GO-2026-9001"


def accept(project: PackageProject, *lines: str) -> None:
    (project.root / FILE).write_text("accepted:\n" + "".join(f"  {line}\n" for line in lines))


def test_a_call_of_vulnerable_code_is_found_with_its_trace_and_its_mend(scanned: Scanned) -> None:
    outcome = scanned.project.run("scan", "-q")
    assert outcome.code == 11
    found = "GO-2026-9001 (CVE-2026-99001)  example.org/lib@v1.0.0, mended in v1.1.0: called"
    assert f"{found}\n    Endless loop\n" in outcome.out
    assert "    example.com/hello.main > example.org/lib.Parse\n" in outcome.out
    assert "GO-2026-9002  example.org/lib@v1.0.0, no version mends it: imported, not called" in outcome.out
    assert f"database: golang.org/x/vulndb {scanned.version}, 0 days old" in outcome.out
    assert "error: 1 known vulnerability is reached and not accepted" in outcome.err
    assert "hint: update the modules: go get example.org/lib@v1.1.0; or record what you decide in" in outcome.err


def test_what_was_accepted_is_reported_with_reason_and_date(scanned: Scanned) -> None:
    project = scanned.project
    accept(project, f"- {{id: {OLD}, module: example.org/lib, reason: only our own input, date: 2026-11-26}}")
    outcome = project.run("scan", "-q").ok()
    assert "    accepted on 2026-11-26: only our own input\n" in outcome.out
    accept(project, "- {id: CVE-2026-99001, reason: for now, date: 2026-01-01, until: 2026-01-31}")
    assert project.run("scan", "-q").code == 11
    (image,) = json.loads(project.run("scan", "--format", "json").out.partition('\n{\n  "error"')[0])["images"]
    assert [(each["id"], each["reach"], each["open"]) for each in image["findings"]] == [
        (OLD, "called", True),
        ("GO-2026-9002", "imported", False),
    ]


def test_the_vex_document_names_the_image_that_was_built(scanned: Scanned) -> None:
    project = scanned.project
    accept(
        project,
        f"- {{id: {OLD}, reason: only our own input, date: 2026-11-26, "
        "justification: vulnerable_code_cannot_be_controlled_by_adversary}",
    )

    def products() -> set[str]:
        document = json.loads(project.run("scan", "-q", "--format", "openvex").ok().out)
        assert [each["status"] for each in document["statements"]] == ["not_affected", "not_affected"]
        return {product["@id"] for each in document["statements"] for product in each["products"]}

    assert products() == {"pkg:oci/hello?tag=1.0.0_build.1"}
    project.run("build").ok()
    (image,) = release_of(project)["images"]
    assert products() == {f"pkg:oci/hello@{image['reference'].partition('@')[2]}"}


def test_a_database_that_is_too_old_ends_the_scan(scanned: Scanned) -> None:
    scanned.require(dt.datetime.now(dt.UTC) - dt.timedelta(days=100))
    outcome = scanned.project.run("scan")
    assert outcome.code == 11
    assert "error: the vulnerability database is 100 days old" in outcome.err
    assert "expected: 90 days or less" in outcome.err
    assert scanned.project.run("scan", "--max-age", "100").code == 11
    assert "is reached and not accepted" in scanned.project.run("scan", "--max-age", "100").err


def test_a_database_that_does_not_say_its_age_is_refused(scanned: Scanned) -> None:
    path = scanned.project.root / "database/go.mod"
    path.write_text(path.read_text().replace(scanned.version, "v1.0.0"))
    outcome = scanned.project.run("scan")
    assert outcome.code == 3
    assert "database/go.mod:4: golang.org/x/vulndb v1.0.0 does not say how old it is" in outcome.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "vulnerabilities.yaml"),
        ("accepted: 1\n", "accepted"),
        ("accepted:\n  - {id: GO-2026-1}\n", "reason"),
        ("accepted:\n  - {id: nonsense, reason: r, date: 2026-11-26}\n", "id"),
        ("accepted:\n  - {id: GO-1, reason: r, date: 2026-02-30}\n", "date"),
        ("accepted:\n  - {id: GO-1, reason: r, date: yesterday}\n", "date"),
        ("accepted:\n  - {id: GO-1, reason: r, date: 2026-11-26, justification: because}\n", "justification"),
        ("accepted:\n  - {id: GO-1, reason: r, date: 2026-11-26, reasons: x}\n", "reasons"),
        ("accepted: [\n", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_scanned(built: PackageProject, text: str, told: str) -> None:
    (built.root / FILE).write_text(text)
    outcome = built.run("scan")
    assert outcome.code == 3
    assert told in outcome.err
    assert FILE in outcome.err
    assert "scan hello" not in outcome.err


def test_a_package_of_existing_images_says_that_nothing_is_scanned(
    tmp_path: Path, tool_environment: dict[str, str], registry: str, crane: Path
) -> None:
    push_image(crane, tmp_path, f"{registry}/team/web:1.2")
    project = yaml_package(tmp_path / "web", tool_environment, deployment("web", f"{registry}/team/web:1.2"))
    project.run("images", "update").ok()
    assert project.run("scan").ok().out.splitlines() == [
        f"{registry}/team/web:1.2, an existing image of hello.packages.example.com: not scanned",
        "no image is built from Go: nothing to scan",
    ]
    assert project.run("scan", "--format", "openvex").code == 3
    listed = project.run("licenses").ok().out
    where = f"{registry}/team/web:1.2, an existing image of hello.packages.example.com"
    assert listed == f"{where}: its licenses are not known\n"


def test_sources_that_do_not_compile_are_told_in_go_s_words(scanned: Scanned) -> None:
    scanned.project.replace("payload/main.go", "lib.Parse", "lib.Nonsense")
    outcome = scanned.project.run("scan")
    assert outcome.code == 5
    assert "Nonsense" in outcome.err


def test_scan_follows_the_calls_of_the_program_that_build_tags_select(scanned: Scanned) -> None:
    project = scanned.project
    project.replace("payload/main.go", "lib.Parse(); println(version)", "run()")
    for name, tag, called in (("with.go", "special", "Other"), ("without.go", "!special", "Parse")):
        code = f'//go:build {tag}\n\npackage main\n\nimport "example.org/lib"\n\nfunc run() {{ lib.{called}() }}\n'
        (project.root / "payload" / name).write_text(code)
    project.replace("payload/main.go", 'import "example.org/lib"\n', "")

    def reached() -> list[str]:
        (image,) = json.loads(project.run("scan", "--format", "json").out.partition('\n{\n  "error"')[0])["images"]
        return [each["id"] for each in image["findings"] if each["reach"] == "called"]

    assert reached() == [OLD]
    project.replace("package/build.yaml", "directory: payload\n", "directory: payload\n        tags: [special]\n")
    assert reached() == ["GO-2026-9002"]


def test_every_platform_is_scanned(scanned: Scanned) -> None:
    project = scanned.project
    project.replace("package/build.yaml", "platforms: [linux/amd64]", "platforms: [linux/amd64, linux/arm64]")
    code = 'package main\n\nimport "example.org/lib"\n\nfunc init() { lib.Other() }\n'
    (project.root / "payload/main_arm64.go").write_text(code)
    outcome = project.run("scan", "-q")
    assert outcome.code == 11
    assert "hello of hello.packages.example.com 1.0.0+build.1, linux/amd64, linux/arm64\n" in outcome.out
    assert "example.org/lib@v1.0.0, mended in v1.1.0: called\n" in outcome.out
    assert "GO-2026-9002  example.org/lib@v1.0.0, no version mends it: called on linux/arm64\n" in outcome.out
    (image,) = json.loads(project.run("scan", "--format", "json").out.partition('\n{\n  "error"')[0])["images"]
    assert image["platforms"] == ["linux/amd64", "linux/arm64"]
    assert {each["id"]: each["platforms"] for each in image["findings"]} == {
        OLD: ["linux/amd64", "linux/arm64"],
        "GO-2026-9002": ["linux/arm64"],
    }
