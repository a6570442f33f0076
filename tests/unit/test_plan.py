"""A plan is data: worked out without tools, from project, options and SOURCE_DATE_EPOCH."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.plan import BuildOptions, make_plan
from carvelwright.platform import Platform
from carvelwright.project.config import Package, load_package
from carvelwright.reference import Repository

if TYPE_CHECKING:
    from pathlib import Path

ARM64, AMD64 = Platform("linux", "arm64"), Platform("linux", "amd64")


@pytest.fixture
def project(repository_root: Path) -> Package:
    return load_package(repository_root / "examples/hello-package")


def test_the_whole_plan_as_data(project: Package) -> None:
    plan = make_plan([project], BuildOptions(to=Repository.parse("r.example.com/team"), platforms=(ARM64,)), {})
    where = str(project.workspace.registry)
    assert plan.document() == {
        "registry": where,
        "to": "r.example.com/team",
        "packages": [
            {
                "package": "hello.packages.example.com.1.0.0+build.1",
                "releasedAt": "2026-11-01T00:00:00Z",
                "created": "2026-11-01T00:00:00Z",
                "platforms": ["linux/arm64"],
                "images": {"hello": f"{where}/hello:1.0.0_build.1"},
                "existingImages": {},
                "bundle": f"{where}/hello.packages.example.com:1.0.0_build.1",
                "archive": "dist/hello.packages.example.com-1.0.0+build.1.tar",
                "defaultValues": "dist/hello-data-values.yaml",
            }
        ],
        "repository": [f"{where}/package-repository:hello.packages.example.com.1.0.0_build.1"],
        "archive": "dist/hello.packages.example.com-1.0.0+build.1.tar",
        "steps": [step.document() for step in plan.steps()],
    }
    assert plan.document()["steps"][:2] == [
        {"name": "check", "does": "apply the rules to hello"},
        {"name": "compile hello for linux/arm64", "does": "go build in payload"},
    ]
    assert [step.name for step in plan.steps()[-4:]] == [
        "read published repository",
        "publish hello.packages.example.com",
        "record versions",
        "tag versions",
    ]


def test_what_is_built_does_not_depend_on_where_it_is_published(project: Package) -> None:
    plan = make_plan([project], BuildOptions(), {})
    assert plan.target == project.workspace.registry
    assert plan.packages[0].platforms == (AMD64, ARM64)
    target = Repository.parse("r.example.com/team")
    published = make_plan([project], BuildOptions(to=target), {})
    assert dataclasses.replace(published, to=None) == plan
    assert plan.steps() == published.steps()[:-4]
    assert plan.document()["to"] is None


def test_a_target_whose_names_get_too_long_is_refused(project: Package) -> None:
    target = Repository.parse("r.example.com/" + "a" * 230)
    with pytest.raises(CarvelwrightError, match="characters \\(expected 255 or fewer\\)") as caught:
        make_plan([project], BuildOptions(to=target), {})
    assert (caught.value.exit_code, caught.value.hint) == (ExitCode.USAGE, "shorten --to")


def test_a_platform_given_twice_counts_once_and_an_unknown_one_is_refused(project: Package) -> None:
    assert make_plan([project], BuildOptions(platforms=(ARM64, ARM64)), {}).packages[0].platforms == (ARM64,)
    with pytest.raises(CarvelwrightError, match="platform linux/riscv64 is not one of the project's") as caught:
        make_plan([project], BuildOptions(platforms=(Platform("linux", "riscv64"),)), {})
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.details == "expected: linux/amd64, linux/arm64"


def test_an_unknown_release_is_refused(project: Package) -> None:
    with pytest.raises(CarvelwrightError, match=r"no release 9\.9\.9"):
        make_plan([project], BuildOptions(release="9.9.9"), {})


@pytest.mark.parametrize(
    ("epoch", "created"),
    [
        ("", "2026-11-01T00:00:00Z"),
        ("0", "1970-01-01T00:00:00Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("253402300799", "9999-12-31T23:59:59Z"),
    ],
)
def test_source_date_epoch_sets_the_date_of_images(project: Package, epoch: str, created: str) -> None:
    plan = make_plan([project], BuildOptions(), {"SOURCE_DATE_EPOCH": epoch})
    assert plan.packages[0].created == created
    assert plan.packages[0].release.released_at == "2026-11-01T00:00:00Z"


@pytest.mark.parametrize("epoch", [" 1", "-1", "1e9", "1.0", "٣", "253402300800", "9" * 30, "1_0"])
def test_what_is_no_number_of_seconds_is_refused(project: Package, epoch: str) -> None:
    with pytest.raises(CarvelwrightError, match="SOURCE_DATE_EPOCH is not a number of seconds") as caught:
        make_plan([project], BuildOptions(), {"SOURCE_DATE_EPOCH": epoch})
    assert caught.value.details == f"found: {epoch!r}"


def test_a_long_name_gives_a_tag_that_a_registry_takes_and_that_is_its_own(project: Package) -> None:
    names = [f"{'a' * 60}.{'b' * 60}.{end}.example.com" for end in ("one", "two")]
    plans = [make_plan([dataclasses.replace(project, ref_name=name)], BuildOptions(), {}) for name in names]
    tags = [str(plan.repository[0].tag) for plan in plans]
    assert [len(tag) for tag in tags] == [128, 128]
    assert len(set(tags)) == len(tags)


def test_packages_of_a_workspace_have_directories_of_their_own_and_one_repository(project: Package) -> None:
    shared = dataclasses.replace(project.workspace, members=(project.root, project.root / "other"))
    one, other = (dataclasses.replace(project, workspace=shared, ref_name=f"{n}.example.com") for n in ("one", "other"))
    plan = make_plan([one, other], BuildOptions(), {})
    assert [each.archive_name for each in plan.packages] == [
        "one/one.example.com-1.0.0+build.1.tar",
        "other/other.example.com-1.0.0+build.1.tar",
    ]
    assert plan.packages[0].default_values_name == "one/one-data-values.yaml"
    assert plan.archive_name == "package-repository.tar"
    assert [str(reference.tag) for reference in plan.repository] == [
        "one.example.com.1.0.0_build.1",
        "other.example.com.1.0.0_build.1",
    ]
    # One of them alone lies where it does together with the others.
    alone = make_plan([one], BuildOptions(), {})
    assert (alone.packages[0].archive_name, alone.archive_name) == (plan.packages[0].archive_name, plan.archive_name)
    with pytest.raises(
        CarvelwrightError, match=r"--release 1 names a release of one package, and 2 are built"
    ) as caught:
        make_plan([one, other], BuildOptions(release="1"), {})
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint == "name the package: carvelwright build one --release 1"
