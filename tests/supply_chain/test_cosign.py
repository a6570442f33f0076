"""cosign verifies what carvelwright signs: where it is published, after `imgpkg copy`, and after relocation."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import binaries
from tests.helpers import registries
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import call
from tests.helpers.keys import PASSPHRASE, write_pair
from tests.helpers.scanning import govulncheck as govulncheck  # noqa: PLC0414 - a fixture
from tests.helpers.scanning import scanned as scanned  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject
    from tests.helpers.registries import Kind
    from tests.helpers.scanning import Scanned

NAME = "hello.packages.example.com"
_COMMON = ("--insecure-ignore-tlog=true", "--allow-http-registry", "--private-infrastructure")


@dataclass(frozen=True)
class Cosign:
    """The real cosign, which knows one public key."""

    path: Path
    key: Path
    home: Path

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        settings = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", **(environment or {})}
        argv = [str(self.path), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, env=settings, check=False)

    def verify(self, reference: str) -> Any:
        """Verify a reference's signature; returns the payloads."""
        done = self.run("verify", "--key", str(self.key), *_COMMON, "--output", "json", reference)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def verify_attestation(self, kind: str, reference: str) -> Any:
        """Verify an attestation of a kind; returns its statement."""
        done = self.run("verify-attestation", "--key", str(self.key), *_COMMON, "--type", kind, reference)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return json.loads(base64.b64decode(json.loads(line)["payload"]))

    def refuses(self, reference: str) -> str:
        """Return why a reference is not verified."""
        done = self.run("verify", "--key", str(self.key), *_COMMON, reference)
        assert done.returncode != 0
        return done.stderr


@pytest.fixture(scope="session")
def cosign_program() -> Path:
    return binaries.ensure_set(binaries.COSIGN) / "cosign"


@pytest.fixture
def cosign(cosign_program: Path, tmp_path: Path) -> Cosign:
    (tmp_path / "home").mkdir()
    return Cosign(cosign_program, write_pair(tmp_path, passphrase=PASSPHRASE).with_suffix(".pub"), tmp_path / "home")


@pytest.fixture(params=["crane", "docker-registry"])
def registry(request: pytest.FixtureRequest, toolset: Toolchain, tmp_path: Path) -> Iterator[str]:
    kind: Kind = request.param
    with registries.serve(kind, toolset, tmp_path) as address:
        yield address


@pytest.fixture
def published(built: PackageProject, registry: str, cosign: Cosign) -> dict[str, Any]:
    """What a signed publication printed, of sources in git."""
    (built.root / ".gitignore").write_text("/build/\n/dist/\n*.tar\n")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        git = ["git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com", *arguments]
        subprocess.run(git, cwd=built.root, check=True)
    environment = {"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": PASSPHRASE}
    key = str(cosign.key.with_suffix(".key"))
    outcome = built.run("publish", f"{registry}/p", "--sign-key", key, "--format", "json", environment=environment)
    return dict(json.loads(outcome.ok().out))


KINDS = {
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "cyclonedx": "https://cyclonedx.org/bom",
    "spdxjson": "https://spdx.dev/Document",
}


def verify_attestations(cosign: Cosign, reference: str) -> None:
    digest = reference.rpartition("@sha256:")[2]
    for kind, uri in KINDS.items():
        statement = cosign.verify_attestation(kind, reference)
        assert statement["predicateType"] == uri
        assert digest in [subject["digest"]["sha256"] for subject in statement["subject"]]


def _digests(published: dict[str, Any]) -> tuple[str, str]:
    (package,) = published["packages"]
    return package["bundle"].rpartition("@")[2], package["images"][0].rpartition("@")[2]


def test_cosign_verifies_what_is_published(
    built: PackageProject, registry: str, cosign: Cosign, published: dict[str, Any], tmp_path: Path
) -> None:
    assert len(published["signed"]) == 4
    for reference in published["signed"]:
        (payload,) = cosign.verify(reference)
        assert payload["critical"]["image"]["docker-manifest-digest"] == reference.rpartition("@")[2]
        assert payload["critical"]["identity"]["docker-reference"] == reference.rpartition("@")[0]
    for tag in ("hello:1.0.0_build.1", f"{NAME}:1.0.0_build.1", "package-repository:latest"):
        assert len(cosign.verify(f"{registry}/p/{tag}")) == 1
    bundle, image = _digests(published)
    for reference in (f"{registry}/p/{NAME}@{bundle}", f"{registry}/p/{NAME}@{image}", f"{registry}/p/hello@{image}"):
        verify_attestations(cosign, reference)
    (tmp_path / "other").mkdir()
    other = Cosign(cosign.path, write_pair(tmp_path / "other").with_suffix(".pub"), cosign.home)
    assert "no matching signatures" in other.refuses(f"{registry}/p/hello:1.0.0_build.1")
    wrong = other.run("verify-attestation", "--key", str(other.key), *_COMMON, f"{registry}/p/hello@{image}")
    assert wrong.returncode != 0


def test_cosign_verifies_what_imgpkg_copied(
    registry: str, cosign: Cosign, published: dict[str, Any], imgpkg: Path, tmp_path: Path
) -> None:
    source, site = f"{registry}/p/package-repository:latest", f"{registry}/site"
    flags = ("--cosign-signatures", "--tty=false")
    call(imgpkg, "copy", "-b", source, "--to-repo", f"{site}/direct", *flags)
    call(imgpkg, "copy", "-b", source, "--to-tar", tmp_path / "a.tar", *flags)
    call(imgpkg, "copy", "--tar", tmp_path / "a.tar", "--to-repo", f"{site}/tar", *flags)
    revision = published["repository"].rpartition("@")[2]
    for place in ("direct", "tar"):
        for digest in (*_digests(published), revision):
            assert len(cosign.verify(f"{site}/{place}@{digest}")) == 1


def test_cosign_verifies_what_was_relocated(
    built: PackageProject, registry: str, cosign: Cosign, published: dict[str, Any]
) -> None:
    site = f"{registry}/site/package-repository"
    for wanted in (NAME, "--all"):
        built.run("archive", f"{registry}/p", wanted, "--output", "a.tar").ok()
        built.run("relocate", "a.tar", f"{registry}/site").ok()
        for digest in _digests(published):
            assert len(cosign.verify(f"{site}@{digest}")) == 1
            verify_attestations(cosign, f"{site}@{digest}")
    # The site's own revision is not of this key.
    assert "no signatures found" in cosign.refuses(f"{site}:latest")


def test_cosign_verifies_vex(scanned: Scanned, registry: str, cosign: Cosign) -> None:
    project = scanned.project
    project.run("build").ok()
    assert project.run("scan", "-q").code == 11
    key, environment = str(cosign.key.with_suffix(".key")), {"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": PASSPHRASE}
    project.run("publish", f"{registry}/p", "--sign-key", key, environment=environment).ok()
    statement = cosign.verify_attestation("openvex", f"{registry}/p/hello:1.0.0_build.1")
    assert statement["predicateType"] == "https://openvex.dev/ns"
    assert statement["predicate"] == json.loads((project.root / "dist/vex/hello.openvex.json").read_bytes())


def test_cosign_and_carvelwright_sign_beside_each_other(
    built: PackageProject, registry: str, cosign: Cosign, published: dict[str, Any], tmp_path: Path
) -> None:
    reference = f"{registry}/p/{NAME}@{_digests(published)[0]}"
    (tmp_path / "other").mkdir()
    password = {"COSIGN_PASSWORD": "other"}
    pair = write_pair(tmp_path / "other", "other")
    # cosign takes our key file, and keeps our signature beside its own.
    imported = cosign.run(
        "import-key-pair", "--key", str(pair), "-o", str(tmp_path / "other/cosign"), environment=password
    )
    assert imported.returncode == 0, imported.stderr
    flags = ("--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--allow-http-registry")
    key = str(tmp_path / "other/cosign.key")
    signed = cosign.run("sign", "--yes", "--key", key, *flags, reference, environment=password)
    assert signed.returncode == 0, signed.stderr
    other = Cosign(cosign.path, pair.with_suffix(".pub"), cosign.home)
    for each in (cosign, other):
        assert len(each.verify(reference)) == 1
    own = {"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": PASSPHRASE}
    again = built.run("sign", reference, "--sign-key", str(cosign.key.with_suffix(".key")), environment=own).ok()
    assert again.out == f"{reference}  signed already\n"
    # Beside what cosign wrote, one more of ours.
    (tmp_path / "third").mkdir()
    third = write_pair(tmp_path / "third", "third")
    built.run("sign", reference, "--sign-key", str(third)).ok()
    for public in (cosign.key, pair.with_suffix(".pub"), third.with_suffix(".pub")):
        assert len(Cosign(cosign.path, public, cosign.home).verify(reference)) == 1
    # By way of carvelwright, cosign signs with that key as well.
    path = {"PATH": f"{cosign.path.parent}{os.pathsep}{built.environment['PATH']}", "HOME": str(cosign.home)}
    image = f"{registry}/p/hello@{_digests(published)[1]}"
    handed = ("sign", image, "--signer", "cosign", "--cosign-key", key)
    assert built.run(*handed, environment={**path, **password}).ok().out == f"{image}  signed\n"
    for each in (cosign, other):
        assert len(each.verify(image)) == 1
    wrong = built.run(*handed, environment={**path, "COSIGN_PASSWORD": "wrong"})
    assert wrong.code == 6
    assert "decrypt" in wrong.err
    assert "hint: see cosign's output above: correct the key, its password in COSIGN_PASSWORD" in wrong.err
    # A key in cosign's own format is named as such.
    refused = built.run("sign", reference, "--sign-key", key)
    assert refused.code == 2
    assert "is a key in cosign's own format, which only cosign reads" in refused.err
