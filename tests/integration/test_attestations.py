"""Attestations of what is published: what they say, that they stay, and that they reach a site without a network."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.digest import Digest
from carvelwright.supply import keys
from carvelwright.supply.attestation import Predicate, tag_of
from tests.conftest import free_address, registry_at
from tests.helpers.attested import attested, kinds, of_kind
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import call, content_of, release_of
from tests.helpers.keys import key as key  # noqa: PLC0414 - a fixture
from tests.helpers.keys import write_pair

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

NAME, TAG = "hello.packages.example.com", "1.0.0_build.1"
ALL = {Predicate.PROVENANCE, Predicate.CYCLONEDX, Predicate.SPDX}


def git(project: PackageProject, *arguments: str) -> str:
    settings = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    argv = ["git", *settings, *arguments]
    return subprocess.run(argv, cwd=project.root, env=kept, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(built: PackageProject) -> PackageProject:
    """A built project, all of it in a commit."""
    (built.root / ".gitignore").write_text("/build/\n/dist/\n*.tar\n")
    git(built, "init", "--quiet")
    git(built, "add", ".")
    git(built, "commit", "--quiet", "-m", "all")
    git(built, "remote", "add", "origin", "https://user:secret-token@git.example.com/team/hello.git")
    return built


def provenance(crane: Path, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = of_kind(crane, reference, Predicate.PROVENANCE).statement.predicate["buildDefinition"]
    return found


def test_bundle_and_image_are_attested_with_what_the_build_wrote(
    committed: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    to, public = f"{registry}/p", keys.read_public(key.with_suffix(".pub"))
    committed.run("publish", to, "--sign-key", str(key)).ok()
    bundle, image = f"{to}/{NAME}:{TAG}", f"{to}/hello:{TAG}"
    for reference, name in ((bundle, NAME), (image, "hello")):
        digest = Digest.parse(call(crane, "digest", reference).decode().strip())
        for kind, ending in ((Predicate.CYCLONEDX, "cdx"), (Predicate.SPDX, "spdx")):
            found = of_kind(crane, reference, kind)
            assert found.is_of(public)
            assert found.statement.subjects == {name: digest}
            assert found.statement.predicate == json.loads(
                (committed.root / f"dist/sbom/{name}.{ending}.json").read_bytes()
            )
        subjects = of_kind(crane, reference, Predicate.PROVENANCE).statement.subjects
        assert list(subjects) == [NAME, "hello", f"Package {NAME}.1.0.0+build.1"]
        assert subjects[name] == digest
    # Where the bundle's images lie, and where people find them.
    whole = call(crane, "digest", image).decode().strip()
    assert call(crane, "digest", f"{to}/hello:{tag_of(Digest.parse(whole))}") == call(
        crane, "digest", f"{to}/{NAME}:{tag_of(Digest.parse(whole))}"
    )
    build = provenance(crane, image)
    head = git(committed, "rev-parse", "HEAD")
    assert build["externalParameters"] == {
        "address": release_of(committed)["registry"],
        "package": NAME,
        "release": "1.0.0+build.1",
        "platforms": ["linux/amd64", "linux/arm64"],
        "source": {"digest": {"gitCommit": head}, "uri": "git+https://git.example.com/team/hello.git"},
    }
    assert build["internalParameters"]["tools"]["go"] == "1.27.3"
    assert "annotations" not in build["resolvedDependencies"][0]


def test_what_is_attested_once_stays_and_what_is_lost_comes_back_the_same(
    committed: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    before = content_of(crane, registry)
    for name in [name for name in before if name.endswith(".att")]:
        call(crane, "delete", name)
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert content_of(crane, registry) == before
    # From another commit, whose build is the same.
    git(committed, "commit", "--quiet", "--allow-empty", "-m", "more")
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert content_of(crane, registry) == before
    # Another key attests beside it.
    committed.run("publish", f"{registry}/p", "--sign-key", str(write_pair(key.parent, "other"))).ok()
    assert len(attested(crane, f"{registry}/p/hello:{TAG}")) == 2 * len(ALL)


def test_a_tree_with_changes_is_said_to_be_dirty(
    committed: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    (committed.root / "new-file").write_text("x")
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert provenance(crane, f"{registry}/p/hello:{TAG}")["resolvedDependencies"][0]["annotations"] == {"dirty": True}


def test_without_git_there_is_no_provenance_and_the_rest_is_attested(
    built: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    outcome = built.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert "no provenance is attested: the sources are in no commit of git" in outcome.err
    assert kinds(crane, f"{registry}/p/hello:{TAG}") == ALL - {Predicate.PROVENANCE}


def test_sources_that_changed_since_the_build_are_not_called_its_provenance(
    committed: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    committed.replace("bundle/config/base/deployment.yaml", "  replicas: 1", "  replicas: 2")
    git(committed, "commit", "--quiet", "-a", "-m", "two replicas")
    outcome = committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert "the sources are not those that dist/ was built from; build, then publish again" in outcome.err
    assert kinds(crane, f"{registry}/p/hello:{TAG}") == ALL - {Predicate.PROVENANCE}
    shutil.rmtree(committed.root / "build")
    outcome = committed.run("publish", f"{registry}/q", "--sign-key", str(key)).ok()
    assert "the sources are not those that dist/ was built from" in outcome.err


def test_without_a_key_nothing_is_attested(committed: PackageProject, registry: str, crane: Path) -> None:
    committed.run("publish", f"{registry}/p").ok()
    assert not [name for name in content_of(crane, registry) if name.endswith((".att", ".sig"))]


@pytest.mark.parametrize("wanted", [NAME, "--all"])
def test_a_site_without_a_network_gets_what_is_attested(
    wanted: str, committed: PackageProject, registry: str, toolset: Toolchain, key: Path, tmp_path: Path
) -> None:
    crane = toolset.crane.path
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    committed.run("archive", f"{registry}/p", wanted, "--output", "a.tar").ok()
    with registry_at(toolset, free_address(), tmp_path / "site") as site:
        committed.run("relocate", "a.tar", f"{site}/x").ok()
        digests = [call(crane, "digest", f"{registry}/p/{name}:{TAG}").decode().strip() for name in (NAME, "hello")]
        for digest in digests:
            there = f"{site}/x/package-repository@{digest}"
            assert kinds(crane, there) == ALL
            assert all(each.is_of(keys.read_public(key.with_suffix(".pub"))) for each in attested(crane, there))
        assert json.loads(committed.run("repository", "verify", f"{site}/x", "--format", "json").ok().out) == {
            "versions": 1,
            "images": 2,
            "findings": [],
        }
        before = content_of(crane, site)
        committed.run("relocate", "a.tar", f"{site}/x").ok()
        assert content_of(crane, site) == before
        # From there to the next site.
        committed.run("archive", f"{site}/x", wanted, "--output", "b.tar").ok()
        committed.run("relocate", "b.tar", f"{site}/y").ok()
        for digest in digests:
            assert kinds(crane, f"{site}/y/package-repository@{digest}") == ALL


def test_an_archive_whose_attachments_are_tampered_with_is_refused(
    committed: PackageProject, registry: str, toolset: Toolchain, key: Path, tmp_path: Path
) -> None:
    committed.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    committed.run("archive", f"{registry}/p", NAME, "--output", "a.tar").ok()
    wanted = call(
        toolset.crane.path, "digest", f"{registry}/p/hello:{tag_of(_digest(toolset, f'{registry}/p/hello:{TAG}'))}"
    )
    layers = json.loads(call(toolset.crane.path, "manifest", f"{registry}/p/hello@{wanted.decode().strip()}"))["layers"]
    names = {f"sha256-{layer['digest'].removeprefix('sha256:')}.tar.gz" for layer in layers}
    with tarfile.open(committed.root / "a.tar") as source, tarfile.open(committed.root / "b.tar", "w") as target:
        for member in source:
            content = source.extractfile(member)
            data = content.read() if content else b""
            if member.name in names:
                data = data.replace(b'"sig":"', b'"sig":"A')[: len(data)]
            target.addfile(member, io.BytesIO(data))
    with registry_at(toolset, free_address(), tmp_path / "site") as site:
        outcome = committed.run("relocate", "b.tar", f"{site}/x")
        assert outcome.code == 3
        assert "b.tar is incomplete or corrupt" in outcome.err
        assert content_of(toolset.crane.path, site) == {}


def _digest(toolset: Toolchain, reference: str) -> Digest:
    return Digest.parse(call(toolset.crane.path, "digest", reference).decode().strip())
