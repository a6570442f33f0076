"""`carvelwright verify --rebuild`: a published version built again from its git tag, and what differs then."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of, scraps, snapshot
from tests.helpers.keys import key as key  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Outcome, PackageProject

NAME, VERSION = "hello.packages.example.com", "1.0.0+build.1"
ABOUT = f"{NAME} {VERSION}"


@dataclass(frozen=True)
class Clone:
    """A project in git, and where it was published."""

    project: PackageProject
    target: str
    key: Path

    def git(self, *arguments: str) -> str:
        settings = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
        kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        argv = ["git", *settings, *arguments]
        root = self.project.root
        return subprocess.run(argv, cwd=root, env=kept, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "all")

    def publish(self) -> None:
        self.project.run("build").ok()
        self.project.run("publish", self.target, "--sign-key", str(self.key)).ok()

    def rebuild(self, *arguments: str) -> Outcome:
        public = str(self.key.with_suffix(".pub"))
        return self.project.run("verify", self.target, "--rebuild", VERSION, "--key", public, *arguments)


@pytest.fixture
def clone(built: PackageProject, registry: str, key: Path) -> Clone:
    """A project of which everything is committed and nothing published."""
    made = Clone(built, f"{registry}/p", key)
    (built.root / ".gitignore").write_text("/build/\n/dist/\n*.tar\n")
    made.git("init", "--quiet")
    made.commit()
    return made


def test_equal_digests_are_reported_and_the_clone_is_left_alone(clone: Clone) -> None:
    clone.publish()
    clone.git("tag", VERSION)
    # What the working tree holds now does not count.
    clone.project.replace("payload/main.go", "package main", "package nonsense")
    clone.commit()
    before = snapshot(clone.project.root)
    outcome = clone.rebuild().ok()
    commit, bundle = clone.git("rev-parse", VERSION), release_of(clone.project)["bundle"].rpartition("@")[2]
    line, last = outcome.out.splitlines()
    assert line == f"{ABOUT}: rebuilt from tag {VERSION}, commit {commit[:12]}: the same bundle {bundle}"
    assert last.endswith("nothing wrong")
    document = json.loads(clone.rebuild("--format", "json").ok().out)
    assert document["rebuilt"] == [{"about": ABOUT, "tag": VERSION, "commit": commit, "bundle": bundle}]
    assert snapshot(clone.project.root) == before
    assert scraps(clone.project) == [name for name in scraps(clone.project) if name.startswith(".git")]


def test_a_build_with_another_date_is_rebuilt_with_that_date(clone: Clone) -> None:
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    clone.project.run("build", environment=epoch).ok()
    clone.project.run("publish", clone.target, "--sign-key", str(clone.key), environment=epoch).ok()
    clone.git("tag", f"v{VERSION}")
    assert f"rebuilt from tag v{VERSION}" in clone.rebuild().ok().out


def test_a_missing_tag_is_found(clone: Clone) -> None:
    clone.publish()
    clone.git("tag", "2.0.0")
    outcome = clone.rebuild("-q")
    assert outcome.code == 12
    (line,) = outcome.out.splitlines()
    assert line.startswith(f"{ABOUT}: no git tag names it, so it cannot be rebuilt: tag the commit")
    assert line.endswith("or fetch the tags: git fetch --tags")


def test_a_tree_that_cannot_be_built_is_found(clone: Clone) -> None:
    clone.publish()
    clone.project.replace("payload/main.go", "func main() {", "func main() { nonsense()")
    clone.commit()
    clone.git("tag", VERSION)
    outcome = clone.rebuild("-q")
    assert outcome.code == 12
    (line,) = outcome.out.splitlines()
    assert line.startswith(f"{ABOUT}: the tree of tag {VERSION} cannot be built: ")
    assert "undefined: nonsense" in line


def test_what_differs_is_named(clone: Clone) -> None:
    # Published from a tree that nobody committed.
    clone.project.replace("payload/main.go", "hello", "goodbye")
    clone.publish()
    published = release_of(clone.project)
    clone.git("checkout", "--quiet", ".")
    clone.git("commit", "--quiet", "--allow-empty", "-m", "more")
    clone.git("tag", VERSION)
    outcome = clone.rebuild("-q")
    assert outcome.code == 12
    lines = outcome.out.splitlines()
    clone.project.run("build").ok()
    again = release_of(clone.project)
    digests = [
        (each["images"][0]["reference"].rpartition("@")[2], each["bundle"].rpartition("@")[2])
        for each in (again, published)
    ]
    start = f"{ABOUT}: rebuilt from tag {VERSION}, "
    built, tagged = clone.git("rev-parse", "HEAD^"), clone.git("rev-parse", "HEAD")
    commits = f"it was built from commit {built}, and the tag names {tagged}"
    assert lines == [
        f"{start}image hello is {digests[0][0]}, and {digests[1][0]} is published",
        f"{start}the bundle is {digests[0][1]}, and {digests[1][1]} is published: .imgpkg/images.yml differ",
        f"{ABOUT}: what the provenance says was different: {commits}; files differed from the commit",
    ]


def test_without_provenance_the_bundle_is_compared(clone: Clone) -> None:
    clone.project.run("publish", clone.target).ok()
    clone.project.replace("bundle/config/base/deployment.yaml", "replicas: 1", "replicas: 2")
    clone.commit()
    clone.git("tag", f"hello/{VERSION.replace('+', '_')}")
    outcome = clone.project.run("verify", clone.target, NAME, "--rebuild", VERSION, "-q")
    assert outcome.code == 12
    (line,) = [line for line in outcome.out.splitlines() if "rebuilt" in line]
    assert line.endswith("is published: config/base/deployment.yaml differ")


def test_nonsense_is_refused(clone: Clone, built: PackageProject, tmp_path: Path) -> None:
    clone.publish()
    for arguments, code, message in [
        (("--rebuild", "9.0.0"), 2, "9.0.0 is not in the repository"),
        (("other.example.com", "--rebuild", VERSION), 2, "no package other.example.com in the repository"),
        (("--rebuild", VERSION, "--project", str(tmp_path)), 3, "is not a package project"),
    ]:
        outcome = built.run("verify", clone.target, *arguments)
        assert (outcome.code, message in outcome.err) == (code, True), outcome
    outcome = built.run("verify", f"{clone.target}/hello:x", "--rebuild", VERSION)
    assert outcome.code == 2
    (built.root / ".git").rename(tmp_path / "git")
    outcome = clone.rebuild()
    assert outcome.code == 3
    assert "nothing to rebuild from:" in outcome.err
