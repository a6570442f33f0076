"""What is out stays as it is: `check` and `build` refuse a release file that git's history has otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.git import make_repository

if TYPE_CHECKING:
    from tests.conftest import PackageProject

FILE = "package/releases/1.0.0+build.1.yaml"


def test_check_and_build_refuse_a_changed_release_and_build_nothing(hello: PackageProject) -> None:
    repository = make_repository(hello.root)
    repository.commit()
    hello.run("build").ok()
    made = (hello.root / "dist/SHA256SUMS").read_bytes()
    hello.replace(FILE, "The first", "The very first")
    hello.run("build").ok()
    hello.run("build", "-q").ok()
    # What was checked once without a problem is out from now on, with other words.
    repository.run("tag", "1.0.0+build.1")
    hello.replace("bundle/config/base/deployment.yaml", "namespace: default", "namespace: a.b")
    refused = hello.run("build")
    assert refused.code == 3
    assert f"{FILE}:4:15: releaseNotes of a release that is out was changed" in refused.err
    assert "not a namespace" in refused.err
    assert (hello.root / "dist/SHA256SUMS").read_bytes() != made
    again = hello.run("check")
    assert (again.code, again.err.count("releaseNotes of a release")) == (3, 1)
    hello.replace("bundle/config/base/deployment.yaml", "namespace: a.b", "namespace: default")
    hello.replace(FILE, "The very first", "The first")
    assert hello.run("check").ok().out == "ok: no problems found\n"
