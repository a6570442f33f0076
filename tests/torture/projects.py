"""Real packages, built once: of each version of each package several contents."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conftest import PackageProject, free_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DOMAIN = "packages.example.com"
MEMBERS = tuple(f"{name}.{DOMAIN}" for name in ("alpha", "beta", "gamma"))
_CONTENTS = "abcdefgh"
_FETCHED = re.compile(rb"(?m)^(\s+image: )(\S+)@(sha256:[0-9a-f]{64})$")

Key = tuple[str, str]


@dataclass(frozen=True)
class Build:
    """What one build made: a workspace with dist/, and of each refName the Package, without its address.

    `content` tells builds of one version apart.
    """

    root: Path
    version: str
    content: str
    packages: Mapping[str, bytes]

    def key(self, ref_name: str) -> Key:
        return ref_name, self.version

    def copy(self, target: Path) -> None:
        """Make a project of its own, as another CI job has it."""
        shutil.copytree(self.root, target)


@dataclass(frozen=True)
class Pool:
    """All builds, and one more of a package that is published last and has only one content."""

    builds: tuple[Build, ...]
    last: Build

    def contents(self, key: Key) -> dict[bytes, str]:
        """Return the names of a version's contents by the content."""
        every = (*self.builds, self.last)
        return {build.packages[key[0]]: build.content for build in every if build.key(key[0]) == key}


def without_address(package: bytes) -> tuple[bytes, str]:
    """Return a Package file without the repository that it fetches from, and the reference that it fetches."""
    (found,) = _FETCHED.finditer(package)
    return _FETCHED.sub(rb"\g<1>\g<3>", package), f"{found[2].decode()}@{found[3].decode()}"


def prepare(directory: Path, environment: Mapping[str, str], versions: int, contents: int) -> Pool:
    """Build everything with the real command line."""
    workspace = _start(directory / "workspace", MEMBERS, environment)
    builds = [
        _build(workspace, directory / f"{number}{content}", MEMBERS, f"0.{number}.0+build.1", content)
        for number in range(1, versions + 1)
        for content in _CONTENTS[:contents]
    ]
    last = f"last.{DOMAIN}"
    alone = _start(directory / "alone", (last,), environment)
    return Pool(tuple(builds), _build(alone, directory / "last", (last,), "1.0.0+build.1", "only"))


def _start(root: Path, ref_names: tuple[str, ...], environment: Mapping[str, str]) -> PackageProject:
    root.mkdir(parents=True)
    members = "".join(f"  - packages/{name.partition('.')[0]}\n" for name in ref_names)
    (root / "carvelwright.yaml").write_text(f"registry: {free_address()}/packages\nmembers:\n{members}")
    project = PackageProject(root, environment)
    for name in ref_names:
        project.run("new", "--kind", "yaml", name, "--quiet").ok()
    return project


def _build(project: PackageProject, target: Path, ref_names: tuple[str, ...], version: str, content: str) -> Build:
    for ref_name in ref_names:
        member = project.root / "packages" / ref_name.partition(".")[0]
        for old in (member / "package/releases").iterdir():
            old.unlink()
        upstream, _, revision = version.partition("+")
        (member / f"package/releases/{version}.yaml").write_text(
            f"upstream: {upstream}\nrevision: {revision}\n"
            f"releasedAt: 2026-01-01T00:00:00Z\nreleaseNotes: Release {version}.\n"
        )
        manifest = member / "bundle/config/base/config-map.yaml"
        text = manifest.read_text().partition("# Content")[0]
        manifest.write_text(f"{text}# Content {content} of {version}.\n")
    project.run("build", "--quiet").ok()
    shutil.copytree(project.root, target, ignore=shutil.ignore_patterns("build"))
    packages = {
        name: without_address((target / f"dist/packages/{name}/{version}.yml").read_bytes())[0] for name in ref_names
    }
    return Build(target, version, content, packages)
