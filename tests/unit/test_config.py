"""The package project, read; what is wrong in it is tried on the command line (integration/test_bad_input.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.carvel.version import PackageVersion
from carvelwright.errors import CarvelwrightError, ConfigError
from carvelwright.plan import BuildOptions, make_plan
from carvelwright.project import validation
from carvelwright.project.config import Release, UpstreamModule, load_package
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from tests.conftest import PackageProject


def test_reads_the_example(repository_root: Path) -> None:
    project = load_package(repository_root / "examples/hello-package")
    assert project.short_name == "hello"
    assert [image.name for image in project.images] == ["hello"]
    (module,) = project.go_images[0].modules
    assert (module.directory, module.binaries, module.links) == ("payload", {"hello": "."}, {})
    assert module.variables == {"main.version": "{version}"}
    assert project.release(None).version == PackageVersion.parse("1.0.0+build.1")


def test_reads_this_repositorys_own_package(repository_root: Path) -> None:
    project = load_package(repository_root)
    assert project.ref_name == "whereabouts.tanzu.vmware.com"
    assert str(project.release("0.9.4+vmware.1-tkg.1").version) == "0.9.4+vmware.1-tkg.1"


def test_releases_are_in_carvels_order_and_the_newest_is_the_default(hello: PackageProject) -> None:
    first = (hello.root / "package/releases/1.0.0+build.1.yaml").read_text()
    for revision in ("build.9-a", "build.10-a", "build.2"):
        (hello.root / f"package/releases/1.0.0+{revision}.yaml").write_text(first.replace("build.1", revision))
    project = load_package(hello.root)
    order = [str(release.version).partition("+build.")[2] for release in project.releases]
    assert order == ["1", "2", "10-a", "9-a"]
    assert project.release(None) == project.releases[-1]
    with pytest.raises(CarvelwrightError) as caught:
        project.release("3.0.0")
    assert caught.value.details
    assert caught.value.details.count("1.0.0+build.") == 4


def test_release_date_and_texts() -> None:
    release = Release(PackageVersion.parse("1.2.3+a"), "1.2.3", "1970-01-02T00:00:01Z", "", Path("f"))
    assert release.epoch == 86401
    assert release.fill("payload/v{upstream}/{version}/{other}") == "payload/v1.2.3/1.2.3+a/{other}"


def test_validation_can_be_left_out_but_not_the_rest(hello: PackageProject) -> None:
    hello.replace("package/metadata.yaml", "displayName: Hello", "displayName: 1")
    with pytest.raises(ConfigError):
        load_package(hello.root)
    assert load_package(hello.root, validate=False).metadata["displayName"] == 1
    (hello.root / "values-schema.yaml").unlink()
    with pytest.raises(ConfigError, match="1 problem"):
        load_package(hello.root, validate=False)


def test_problems_come_in_the_order_of_the_file() -> None:
    text = "extra: 1\nupstream: 1\nrevision: a\nreleasedAt: soon\nreleaseNotes: ''\nmore: 2\n"
    found = validation.problems(yamldoc.parse(text, Path("r.yaml")), "release")
    assert [(problem.location and problem.location.line, problem.message) for problem in found] == [
        (1, "unknown key 'extra'"),
        (2, "wrong value of upstream"),
        (4, "wrong value of releasedAt"),
        (5, "wrong value of releaseNotes"),
        (6, "unknown key 'more'"),
    ]
    assert found[0].expected == "breaking, releaseNotes, releasedAt, revision, upstream"
    assert found[1].found == "1"
    assert found[2].excerpt == "releasedAt: soon"


def test_a_missing_key_says_what_it_is_for() -> None:
    (found,) = validation.problems(
        yamldoc.parse("upstream: a\nrevision: b\nreleaseNotes: c\n", Path("r.yaml")), "release"
    )
    assert found.message == "missing key 'releasedAt'"
    assert found.expected
    assert "UTC date and time" in found.expected


def test_paths_are_written_as_people_write_them() -> None:
    assert validation.dotted(["images", 0, "modules", 1, "name"]) == "images[0].modules[1].name"
    assert validation.dotted([]) == ""


def test_the_module_that_releases_are_compared_with_is_an_input_of_a_build(repository_root: Path) -> None:
    package = load_package(repository_root / "examples/hello-package")
    assert package.go_modules(package.release(None)) == ["payload"]
    compared = replace(package, upstream=UpstreamModule("example.com/lib", "pins/v{upstream}"))
    assert compared.go_modules(package.release(None)) == ["payload", "pins/v1.0.0"]
    plan = make_plan([compared], BuildOptions(), {})
    assert freshness.inputs_of(plan).modules == ("payload", "pins/v1.0.0")
