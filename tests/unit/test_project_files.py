"""Values that have the right form and are wrong all the same, and files that nothing reads."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode
from carvelwright.platform import LINUX_ARCHITECTURES
from carvelwright.project import validation
from carvelwright.project.config import load_package
from carvelwright.project.formats import FORMATS
from carvelwright.report import StreamReporter
from carvelwright.session import open_session
from carvelwright.steps import package

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

BUILD, RELEASE = "package/build.yaml", "package/releases/1.0.0+build.1.yaml"
METADATA, TEMPLATE = "package/metadata.yaml", "package/package.yaml.j2"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'

WRONG = {
    "day": ["2026-02-29", "2026-13-01", "0000-01-01"],
    "image": ["Nginx", "", "a b"],
    "linux-platform": ["windows/amd64", "linux/foo", "darwin/arm64", "linux/x86", "js/wasm"],
    "loopback-registry": ["127.0.0.1:99999/a", "localhost:65536/a"],
    "spdx-expression": ["Apache 2.0", "Foo", "MIT AND", "(MIT", "MIT/Apache-2.0", "", "MIT WITH Foo", "LicenseRef-"],
    "spdx-license": ["MIT OR ISC", "MIT AND ISC", "(MIT)", "Foo", "", "MIT WITH Foo"],
    "svg-base64": ["abc", "not base64!", base64.b64encode(b"PNG").decode(), ""],
    "utc-moment": ["2026-13-45T00:00:00Z", "2026-02-29T00:00:00Z", "2026-12-31T24:00:00Z", "1969-12-31T23:59:59Z"],
    "bundle-path": ["", "..", "a/../../b"],
    "bundle-path-or-stdin": ["", "-/../.."],
    "constraints-as-read": ["1.x.x", "1.0.0 | 2.0.0"],
    "kapp-delete-option": ["--yes=true", "wait=true"],
    "kapp-deploy-option": ["--wait-timeout", "--wait timeout=5m", "--app=a"],
    "kapp-inspect-option": ["--wait=true"],
    "namespace": ["A", "a.b", ""],
    "namespace-mapping": ["a", "a=", "=a", "a=b=c"],
    "version-constraints": [
        ">>=1.27.0",
        "=<1.26.0",
        "1.26.0 ||| 1.27.0",
        "",
        "1.27",
        ">=v1.27.0",
        "|| 1.0.0",
    ],
}
RIGHT = {
    "day": ["2028-02-29", "2026-11-26"],
    "image": ["nginx", "quay.io/team/app:1"],
    "linux-platform": ["linux/amd64", "linux/arm64", "linux/riscv64", "linux/386"],
    "loopback-registry": ["127.0.0.1:5055/packages", "localhost:65535/a"],
    "spdx-expression": [
        *("Apache-2.0", "MIT OR Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0+"),
        *("LicenseRef-Example-EULA", "(MIT AND LicenseRef-a) OR BSD-3-Clause", "DocumentRef-x:LicenseRef-y"),
    ],
    "spdx-license": ["MIT", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Acme"],
    "svg-base64": [base64.b64encode(SVG).decode()],
    "utc-moment": ["1970-01-01T00:00:00Z", "2028-02-29T23:59:59Z"],
    "bundle-path": ["config/", "/config", "a/../b", "."],
    "bundle-path-or-stdin": ["-", "config/"],
    "constraints-as-read": [">=1.27.0", "1.x"],
    "kapp-delete-option": ["--wait=false"],
    "kapp-deploy-option": ["--wait-timeout=5m", "--labels=a=b"],
    "kapp-inspect-option": ["--tree=true"],
    "namespace": ["kube-system"],
    "namespace-mapping": ["a=b"],
    "version-constraints": [">=1.27.0"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_wrong_values_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        FORMATS[name](text)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in RIGHT.items() for text in texts])
def test_right_values_are_taken(name: str, text: str) -> None:
    FORMATS[name](text)


def test_every_format_is_tried() -> None:
    assert set(WRONG) == set(RIGHT) == set(FORMATS)


def test_the_platforms_are_those_of_the_pinned_go() -> None:
    listed = subprocess.check_output([Path(sys.prefix) / "bin/go", "tool", "dist", "list"], text=True).split()
    assert sorted(f"linux/{name}" for name in LINUX_ARCHITECTURES) == sorted(
        p for p in listed if p.startswith("linux/")
    )


def problems(project: PackageProject) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_package(project.root)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("file", "old", "new", "message", "place"),
    [
        (
            BUILD,
            "linux/amd64",
            "windows/amd64",
            "wrong value of platforms[0]: Go does not build Linux binaries for it",
            ":4:13",
        ),
        (
            BUILD,
            "licenses: Apache-2.0",
            "licenses: Apache 2",
            "wrong value of images[0].licenses: not in SPDX's",
            ":11:15",
        ),
        (RELEASE, "2026-11-01", "2026-13-45", "wrong value of releasedAt: month must be in 1..12", ":3:13"),
        (RELEASE, "00:00:00Z", "24:00:00Z", "wrong value of releasedAt: hour must be in 0..23", ":3:13"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(
    hello: PackageProject, file: str, old: str, new: str, message: str, place: str
) -> None:
    hello.replace(file, old, new)
    (problem,) = problems(hello)
    assert problem.message.startswith(message)
    assert str(problem.location).endswith(f"{file}{place}")
    assert problem.expected or file == RELEASE


def test_a_port_that_is_none_is_named(hello: PackageProject) -> None:
    text = (hello.root / BUILD).read_text()
    line = next(line for line in text.splitlines() if line.startswith("registry:"))
    hello.replace(BUILD, line, "registry: 127.0.0.1:99999/packages")
    (problem,) = problems(hello)
    assert problem.message == "wrong value of registry: 99999 is not a port"
    assert problem.expected == "1 to 65535"


def test_constraints_of_the_template_are_checked(hello: PackageProject) -> None:
    hello.replace(TEMPLATE, "[Apache-2.0]", "[Apache-2.0, 1]")
    hello.replace(TEMPLATE, ">=1.27.0", ">>=1.27.0")
    project = load_package(hello.root)
    with pytest.raises(ConfigError) as caught:
        package.static_part(project, project.release(None))
    assert [(p.message.partition(":")[0], p.location and p.location.line) for p in caught.value.problems] == [
        ("wrong value of licenses[1]", 1),
        ("wrong value of kubernetesVersionSelection.constraints", 7),
    ]


def said(text: str, schema: str, about: Callable[[yamldoc.Document, str], list[Problem]]) -> list[str]:
    return [
        f"{p.location.line if p.location else 0}: {p.message}" for p in about(yamldoc.parse(text, Path("f")), schema)
    ]


EVERYTHING = """\
licenses: [MIT]
capacityRequirementsDescription: small
includedSoftware: [{displayName: a, version: "1", description: b}]
kubernetesVersionSelection: {constraints: ">= 1.26.0"}
kappControllerVersionSelection: {constraints: 0.x}
"""
# What PackageMetadata and Packages of public repositories say, and what the server makes of it.
ODD = [
    ("metadata", "{displayName: x, shortDescription: y}", []),
    (
        "metadata",
        "{}",
        [
            "1: missing key 'displayName': lists of packages show an empty column",
            "1: missing key 'shortDescription': lists of packages show an empty column",
        ],
    ),
    (
        "metadata",
        f"displayName: x\nshortDescription: {'y' * 201}\nlongDescription: ''\niconSVGBase64: aGk=\nproviderName:\n",
        [
            "2: shortDescription: lists of packages show it in one line",
            "3: longDescription: clients show nothing",
            "4: iconSVGBase64: the decoded text has no <svg> element: clients cannot show it",
        ],
    ),
    (
        "metadata",
        "{displayName: x, shortDescription: y,\n maintainers: [{name: a, email: b}, {}],\n categories: [a, a],\n u: z}",
        [
            "2: unknown key 'email' in maintainers[0]: the server drops it",
            "2: missing key 'name' in maintainers[1]: clients show an empty entry",
            "3: categories: clients show it twice",
            "4: unknown key 'u': the server drops it",
        ],
    ),
    ("package", EVERYTHING, []),
    ("package", EVERYTHING.replace("small", "").replace('"1"', "null"), []),
    (
        "package",
        "licenses: [Foo]\nincludedSoftware: [{displayName: a, x: b}]\nkubernetesVersionSelection: {constraints: 1.x.x}",
        [
            "1: licenses[0]: not in SPDX's list of licenses: Foo: license scanners do not know it",
            "2: unknown key 'x' in includedSoftware[0]: the server drops it",
            "2: missing key 'version' in includedSoftware[0]: clients show it as empty",
            "3: kubernetesVersionSelection.constraints: the server reads 1.x.x as >=1.0.0 <1.1.0: is it meant so?",
        ],
    ),
    (
        "package",
        "{}",
        [
            "1: missing key 'licenses': clients show no license",
            "1: missing key 'kubernetesVersionSelection': the server installs the package on any Kubernetes",
        ],
    ),
]


@pytest.mark.parametrize(("schema", "text", "told"), ODD)
def test_what_the_server_takes_is_taken_with_a_reasoned_warning(schema: str, text: str, told: list[str]) -> None:
    assert said(text, schema, validation.problems) == []
    assert sorted(said(text, schema, validation.warnings)) == sorted(told)


REFUSED = [
    ("metadata", "displayName: 1", "1: wrong value of displayName"),
    ("metadata", "categories: a", "1: wrong value of categories"),
    ("metadata", "maintainers: [a]", "1: wrong value of maintainers[0]"),
    ("package", "licenses: MIT", "1: wrong value of licenses"),
    ("package", "includedSoftware: [{version: 1.0}]", "1: wrong value of includedSoftware[0].version"),
    ("package", "kubernetesVersionSelection: {}", "1: missing key 'constraints' in kubernetesVersionSelection"),
    ("package", "kubernetesVersionSelecton: {}", "1: unknown key 'kubernetesVersionSelecton'"),
]


@pytest.mark.parametrize(("schema", "text", "told"), REFUSED)
def test_what_the_server_refuses_is_refused(schema: str, text: str, told: str) -> None:
    assert said(text, schema, validation.problems) == [told]


# Files that nothing reads

UNREAD = [
    "1.0.0+build.2.yml",
    "1.0.0+build.2.YAML",
    ".1.0.0+build.2.yaml",
    "sub/1.0.0+build.2.yaml",
    "notes.txt",
]


@pytest.mark.parametrize("name", UNREAD)
def test_a_file_among_the_releases_that_nothing_reads_is_named(hello: PackageProject, name: str) -> None:
    path = hello.root / "package/releases" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((hello.root / RELEASE).read_bytes())
    (problem,) = problems(hello)
    assert problem.message == "unknown file, which nothing reads"
    assert str(problem.location) == str(hello.root / "package/releases" / name.partition("/")[0])
    assert problem.expected == "VERSION.yaml files"


@pytest.mark.parametrize("name", ["build.yml", "metadata.yaml.old", "package.yaml", "release"])
def test_a_file_of_package_that_nothing_reads_is_named(hello: PackageProject, name: str) -> None:
    (hello.root / "package" / name).write_text("")
    (problem,) = problems(hello)
    assert str(problem.location) == str(hello.root / "package" / name)


def test_notes_for_people_and_git_are_welcome(hello: PackageProject) -> None:
    for name in ("README.md", "README", ".gitattributes", "releases/README.md", "releases/.gitkeep"):
        (hello.root / "package" / name).write_text("")
    load_package(hello.root)


# Directories instead of files, and the reverse


@pytest.mark.parametrize("name", [METADATA, TEMPLATE, "values-schema.yaml"])
def test_a_directory_instead_of_a_file_is_named(hello: PackageProject, name: str) -> None:
    (hello.root / name).unlink()
    (hello.root / name).mkdir()
    (problem,) = problems(hello)
    assert (problem.message, str(problem.location)) == ("a directory", str(hello.root / name))
    assert problem.expected
    assert problem.expected.endswith("a file")


@pytest.mark.parametrize("name", ["bundle/config", "package/releases"])
def test_a_file_instead_of_a_directory_is_named(hello: PackageProject, name: str) -> None:
    (hello.root / name).rename(hello.root / "away")
    (hello.root / name).write_text("")
    found = problems(hello)
    assert [str(problem.location) for problem in found] == [str(hello.root / name)]


def test_a_special_file_is_not_read(hello: PackageProject) -> None:
    os.mkfifo(hello.root / "package/releases/1.0.0+build.2.yaml")
    (problem,) = problems(hello)
    assert problem.location
    assert problem.location.file.name == "1.0.0+build.2.yaml"


def test_a_special_file_is_no_matter_of_the_tools(hello: PackageProject) -> None:
    os.mkfifo(hello.root / "package/releases/pipe")
    with pytest.raises(CarvelwrightError) as caught:
        open_session(hello.root, hello.environment, StreamReporter(io.StringIO()))
    assert caught.value.exit_code is ExitCode.CONFIG
    assert "package/releases/pipe" in caught.value.message
    assert "imgpkg" not in f"{caught.value.message} {caught.value.hint}"


def test_everything_that_is_missing_is_named_at_once(hello: PackageProject) -> None:
    for name in (METADATA, TEMPLATE, "values-schema.yaml"):
        (hello.root / name).unlink()
    assert sorted(Path(str(problem.location)).name for problem in problems(hello)) == [
        "metadata.yaml",
        "package.yaml.j2",
        "values-schema.yaml",
    ]


def test_a_file_that_cannot_be_read_is_a_fault_of_the_file_system(hello: PackageProject) -> None:
    # Root may read everything; nobody can read address 0 of a process.
    (hello.root / METADATA).unlink()
    (hello.root / METADATA).symlink_to("/proc/self/mem")
    with pytest.raises(CarvelwrightError, match="cannot read") as caught:
        load_package(hello.root)
    assert caught.value.exit_code is ExitCode.FILESYSTEM


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_sources_that_no_compiler_can_read_are_told_by_every_command(hello: PackageProject, kind: str) -> None:
    path = hello.root / "payload/more.go"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        load_package(hello.root)
    (problem,) = caught.value.problems
    assert problem.location
    assert problem.location.file == path
    assert problem.message == "a special file, or a link that leads nowhere"
