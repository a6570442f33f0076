"""Rules about releases, names and the package template: order, equality, length."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright.carvel.version import PackageVersion
from carvelwright.errors import Location, Problem, Severity
from carvelwright.project.config import Release, load_package
from carvelwright.report import StreamReporter
from carvelwright.rules import project
from carvelwright.session import Session, open_session

if TYPE_CHECKING:
    from tests.conftest import PackageProject

TOOLS = cast("Any", None)
ORDER = (
    "Carvel orders build metadata by its parts between dots, and parts with letters as text: "
    "vmware.10-tkg.1 is below vmware.9-tkg.1"
)


def session(hello: PackageProject, *releases: tuple[str, str], ref_name: str = "a.b") -> Session:
    """Return a session on a package with these releases: version and date; upstream is what precedes the +."""
    made = [
        Release(PackageVersion.parse(version), version.partition("+")[0], date, "", Path(f"{version}.yaml"))
        for version, date in releases
    ]
    ordered = tuple(sorted(made, key=lambda release: release.version))
    package = replace(load_package(hello.root), ref_name=ref_name, releases=ordered)
    return Session(package, TOOLS, cast("Any", None))


def test_a_release_that_sorts_below_an_earlier_one_is_named(hello: PackageProject) -> None:
    opened = session(hello, ("1.0.0+v.9-t.1", "2026-01-01"), ("1.0.0+v.10-t.1", "2026-02-01"))
    words = "1.0.0+v.10-t.1 was released after 1.0.0+v.9-t.1 of the same upstream version, but sorts below it"
    assert project.release_order(opened, TOOLS) == [Problem(words, Location(Path("1.0.0+v.10-t.1.yaml")), hint=ORDER)]


@pytest.mark.parametrize(
    ("version", "fine"),
    [
        ("0.9.4+vmware.2-tkg.1", True),
        ("1.0.0+build.1", True),
        ("1.0.0-rc.1", True),
        ("1.0.0+example.1", False),
        ("1.0.0-x.1", False),
    ],
)
def test_a_version_that_is_no_constraint_is_warned_of(hello: PackageProject, version: str, *, fine: bool) -> None:
    # kapp-controller answers "Could not get version from string" to a PackageInstall of exactly such a version.
    found = project.selectable_versions(session(hello, ("0.1.0+x.1", "2026-01-01"), (version, "2026-02-01")), TOOLS)
    assert [problem.severity for problem in found] == ([] if fine else [Severity.WARNING])
    assert all(f"clients cannot select {version} by itself" in problem.message for problem in found)


@pytest.mark.parametrize(
    "releases",
    [
        [("1.0.0+v.1", "2026-01-01"), ("1.0.0+v.2", "2026-02-01")],
        [("1.0.0+v.1", "2026-01-01"), ("1.0.0+v.2", "2026-01-01")],
        # A fix of an older upstream version may follow the newer one.
        [("1.1.0+v.1", "2026-01-01"), ("1.0.0+v.2", "2026-02-01")],
        [("1.0.0+v.1", "2026-01-01")],
    ],
)
def test_releases_in_their_order_are_fine(hello: PackageProject, releases: list[tuple[str, str]]) -> None:
    opened = session(hello, *releases)
    assert [*project.release_order(opened, TOOLS), *project.equal_releases(opened, TOOLS)] == []


def test_two_spellings_of_one_version_are_named(hello: PackageProject) -> None:
    dates = ("2026-01-01", "2026-01-01", "2026-01-01")
    opened = session(hello, *zip(("1.0.0+v.1", "1.0.0+v.01", "1.0.0+v.2"), dates, strict=True))
    words = "1.0.0+v.1 and 1.0.0+v.01 are the same version to Carvel"
    assert project.equal_releases(opened, TOOLS) == [
        Problem(words, Location(Path("1.0.0+v.1.yaml")), hint="remove leading zeros from the revision")
    ]


def test_the_name_of_a_package_fits_the_server(hello: PackageProject) -> None:
    releases = [("1.0.0+v.1", "2026-01-01"), ("1.0.0+v.10", "2026-02-01")]
    assert project.server_names(session(hello, *releases, ref_name="a" * 242), TOOLS) == []
    opened = session(hello, *releases, ref_name="a" * 243)
    assert project.server_names(opened, TOOLS) == [
        Problem("the Package's name is too long", Location(Path("1.0.0+v.10.yaml")), "254 characters", "253")
    ]


def test_what_is_wrong_in_the_template_is_told(hello: PackageProject) -> None:
    def problems() -> list[Problem]:
        opened = open_session(hello.root, hello.environment, StreamReporter(io.StringIO()))
        return project.package_template(opened, TOOLS)

    assert problems() == []
    hello.replace("package/package.yaml.j2", "licenses:", "licences:")
    assert [problem.message for problem in problems()] == ["unknown key 'licences'"]
