"""VEX: what `scan` finds of a built image is kept in dist/, attested by `publish`, carried, and shown by `verify`."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.supply import keys
from carvelwright.supply.attestation import Predicate
from tests.conftest import free_address, registry_at
from tests.helpers.attested import attested, kinds, of_kind
from tests.helpers.builds import call, content_of, release_of, scraps, snapshot
from tests.helpers.keys import key as key  # noqa: PLC0414 - a fixture
from tests.helpers.scanning import govulncheck as govulncheck  # noqa: PLC0414 - a fixture
from tests.helpers.scanning import scanned as scanned  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject
    from tests.helpers.scanning import Scanned

NAME, TAG = "hello.packages.example.com", "1.0.0_build.1"
FILE = "vex/hello.openvex.json"
CALLED = {"affected": 1, "not_affected": 1}


def kept(project: PackageProject) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((project.root / "dist" / FILE).read_bytes())
    return document


def image_digest(project: PackageProject) -> str:
    (image,) = release_of(project)["images"]
    return str(image["reference"].rpartition("@")[2])


def test_what_scan_finds_of_a_built_image_becomes_part_of_dist(scanned: Scanned) -> None:
    project = scanned.project
    assert "not stated in dist/: it does not hold what these sources give; build, then scan again" in (
        project.run("scan", "-q").out
    )
    project.run("build").ok()
    before = snapshot(project.root / "dist")
    assert FILE not in before
    outcome = project.run("scan", "-q")
    # Also where something is reached: that is what it states.
    assert outcome.code == 11
    assert f"  stated in dist/{FILE}\n" in outcome.out
    after = snapshot(project.root / "dist")
    assert {name for name in after if before.get(name) != after[name]} == {FILE, "release.json", "SHA256SUMS"}
    assert {each["products"][0]["@id"] for each in kept(project)["statements"]} == {
        f"pkg:oci/hello@{image_digest(project)}"
    }
    assert [each["status"] for each in kept(project)["statements"]] == ["affected", "not_affected"]
    assert FILE in [file["name"] for file in release_of(project)["files"]]
    # dist/ is still what was built, and nothing is left beside it.
    assert "up to date: nothing was rebuilt" in project.run("build").ok().out
    project.run("scan", "-q")
    assert snapshot(project.root / "dist") == after
    assert scraps(project) == []
    assert (
        json.loads(project.run("scan", "--format", "json").out.partition('\n{\n  "error"')[0])["images"][0]["vex"]
        == FILE
    )


def test_a_document_about_what_is_built_no_more_goes(scanned: Scanned) -> None:
    project = scanned.project
    project.run("build").ok()
    project.run("scan", "-q")
    project.replace("payload/main.go", "lib.Parse()", "lib.Parse(); println(1)")
    project.run("scan", "-q")
    # What was found now is not of the image in dist/.
    assert kept(project)["statements"]
    project.run("build").ok()
    assert not (project.root / "dist" / FILE).exists()
    project.run("scan", "-q")
    assert {each["products"][0]["@id"] for each in kept(project)["statements"]} == {
        f"pkg:oci/hello@{image_digest(project)}"
    }


@pytest.fixture
def built(scanned: Scanned) -> Scanned:
    """A project in git, built and scanned."""
    project = scanned.project
    (project.root / ".gitignore").write_text("/build/\n/dist/\n*.tar\n")
    project.run("build").ok()
    project.run("scan", "-q")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        call("git", "-C", project.root, "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com", *arguments)
    return scanned


def vex_of(crane: Path, reference: str) -> dict[str, Any]:
    document: dict[str, Any] = of_kind(crane, reference, Predicate.VEX).statement.predicate
    return document


def test_publish_attests_it_and_publishing_again_changes_nothing(
    built: Scanned, registry: str, crane: Path, key: Path
) -> None:
    project, image = built.project, f"{registry}/p/hello:{TAG}"
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert vex_of(crane, image) == kept(project)
    found = of_kind(crane, image, Predicate.VEX)
    assert found.is_of(keys.read_public(key.with_suffix(".pub")))
    assert {name: str(digest) for name, digest in found.statement.subjects.items()} == {"hello": image_digest(project)}
    # The bundle has no Go code of its own.
    assert Predicate.VEX not in kinds(crane, f"{registry}/p/{NAME}:{TAG}")
    before = content_of(crane, registry)
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert content_of(crane, registry) == before


def test_what_a_newer_database_knows_takes_its_place(built: Scanned, registry: str, crane: Path, key: Path) -> None:
    project, image = built.project, f"{registry}/p/hello:{TAG}"
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    first, count = vex_of(crane, image), len(attested(crane, image))
    shutil.copytree(project.root / "dist", project.root.parent / "first")
    built.require(dt.datetime.now(dt.UTC))
    project.run("build").ok()
    project.run("scan", "-q")
    assert kept(project)["timestamp"] > first["timestamp"]
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert vex_of(crane, image) == kept(project)
    assert len(attested(crane, image)) == count
    # A publisher who knows less does not take that back.
    before = content_of(crane, registry)
    shutil.rmtree(project.root / "dist")
    shutil.copytree(project.root.parent / "first", project.root / "dist")
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert content_of(crane, registry) == before


def test_verify_shows_it_in_a_registry_an_archive_and_a_site(
    built: Scanned, registry: str, toolset: Toolchain, key: Path, tmp_path: Path
) -> None:
    project, public = built.project, str(key.with_suffix(".pub"))
    project.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    project.run("archive", f"{registry}/p", NAME, "--output", "a.tar").ok()
    digest, stamp = image_digest(project), kept(project)["timestamp"]

    def shown(subject: str) -> tuple[str, dict[str, Any]]:
        lines = project.run("verify", subject, NAME, "--key", public).out.splitlines()
        document = json.loads(project.run("verify", subject, NAME, "--key", public, "--format", "json").out)
        (known,) = document["vulnerabilities"]
        return next(line for line in lines if "known on" in line), known

    for subject, place in ((f"{registry}/p", f"{registry}/p/{NAME}@"), ("a.tar", "")):
        line, known = shown(subject)
        about = f"{NAME} 1.0.0+build.1"
        assert line == f"{about}: image {place}{digest}: known on {stamp}: 1 affected, 1 not affected"
        assert known == {"about": about, "image": f"{place}{digest}", "timestamp": stamp, "statuses": CALLED}
    with registry_at(toolset, free_address(), tmp_path / "site") as site:
        project.run("relocate", "a.tar", f"{site}/x").ok()
        assert shown(f"{site}/x")[1]["statuses"] == CALLED
