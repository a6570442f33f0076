"""The judge of SBOMs: cyclonedx-gomod, which reads the same binaries and shares no code with us."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cluster import binaries

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def judge() -> Path:
    return binaries.ensure_set(binaries.CYCLONEDX_GOMOD) / "cyclonedx-gomod"


def test_it_finds_the_same_modules_in_each_binary_of_this_package(judge: Path, repository_root: Path) -> None:
    subprocess.run([sys.executable, "-m", "carvelwright", "build", "-q"], cwd=repository_root, check=True)
    (path,) = (repository_root / "dist").rglob("sbom/whereabouts.cdx.json")
    document = json.loads(path.read_bytes())
    named = {each["bom-ref"]: each for each in document["components"]}
    uses = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    files = repository_root.glob("build/payload/*/bin/*")
    built = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in files}
    described = [each for each in document["components"] if each["type"] == "application"]
    assert len(described) == 4
    for binary in described:
        argv = [str(judge), "bin", "-json", "-std", "-noserial", str(built[binary["hashes"][0]["content"]])]
        found = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        theirs = {_as_ours(each["name"], each["version"]) for each in found["components"]}
        assert {(named[ref]["name"], named[ref]["version"]) for ref in uses[binary["bom-ref"]]} == theirs


def _as_ours(name: str, version: str) -> tuple[str, str]:
    """Return a module with the standard library's name and version as Go's vulnerability database has them."""
    return ("stdlib", version.removeprefix("go")) if name == "std" else (name, version)
