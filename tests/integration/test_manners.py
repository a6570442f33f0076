"""What a user may expect of any command line: options anywhere, variables, suggestions, completion, errors as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import __version__
from tests.conftest import PackageProject

if TYPE_CHECKING:
    from pathlib import Path

DRY = ("build", "--dry-run")


def elsewhere(project: PackageProject, tmp_path: Path) -> PackageProject:
    """Return the project seen from a directory that holds none."""
    (tmp_path / "empty").mkdir()
    return PackageProject(tmp_path / "empty", project.environment)


# Common options


@pytest.mark.parametrize("option", ["-C", "--project"])
@pytest.mark.parametrize("before", [True, False])
def test_the_project_is_named_before_or_after_the_command(
    hello: PackageProject, tmp_path: Path, option: str, before: bool
) -> None:
    named = [option, str(hello.root)]
    outcome = elsewhere(hello, tmp_path).run(*([*named, *DRY] if before else [*DRY, *named])).ok()
    assert outcome.out.startswith("hello.packages.example.com.1.0.0+build.1 for ")


def test_the_nearer_project_counts(hello: PackageProject, tmp_path: Path) -> None:
    empty, variable = elsewhere(hello, tmp_path), {"CARVELWRIGHT_PROJECT": str(hello.root)}
    empty.run(*DRY, environment=variable).ok()
    assert hello.run("-C", ".", *DRY, environment={"CARVELWRIGHT_PROJECT": str(empty.root)}).ok().out
    assert empty.run("-C", str(hello.root), *DRY, "-C", ".").code == 3


@pytest.mark.parametrize("arguments", [["-V"], ["--version"], ["build", "-V"], ["values", "defaults", "--version"]])
def test_the_version(hello: PackageProject, arguments: list[str]) -> None:
    assert hello.run(*arguments).ok().out == f"carvelwright {__version__}\n"


def test_debug_after_the_command_and_as_a_variable(hello: PackageProject) -> None:
    (hello.root / "package/build.yaml").unlink()
    for arguments, variables in ((["check", "--debug"], {}), (["check"], {"CARVELWRIGHT_DEBUG": "1"})):
        done = subprocess.run(
            hello.command(*arguments),
            cwd=hello.root,
            env={**hello.environment, **variables},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (3, True)


def test_quiet_reports_errors_alone_and_verbose_the_steps(hello: PackageProject) -> None:
    quiet = hello.run("check", "-q").ok()
    assert (quiet.out, quiet.err) == ("", "")
    assert hello.run("render").ok().err == ""
    built = hello.run("-q", "build").ok()
    assert (built.out, built.err) == ("", "")
    assert (hello.root / "dist/release.json").is_file()
    verbose = hello.run("build", "-v").ok()
    assert "  ytt 0." in verbose.out.partition("tools:")[2]
    document = json.loads(hello.run("build", "--quiet", "--format", "json").ok().out)
    assert document["unchanged"] is True
    (hello.root / "package/metadata.yaml").unlink()
    assert "error: " in hello.run("check", "-q").err


# Environment variables


def test_variables_set_options_and_the_command_line_comes_first(hello: PackageProject) -> None:
    variables = {
        "CARVELWRIGHT_TO": "r.example.com/team",
        "CARVELWRIGHT_PLATFORM": "linux/arm64 linux/amd64",
        "CARVELWRIGHT_DRY_RUN": "1",
        "CARVELWRIGHT_FORMAT": "json",
        "CARVELWRIGHT_RELEASE": "1.0.0+build.1",
    }
    plan = json.loads(hello.run("build", environment=variables).ok().out)
    assert plan["to"] == "r.example.com/team"
    assert plan["packages"][0]["platforms"] == ["linux/arm64", "linux/amd64"]
    nearer = hello.run("build", "--to", "other.example.com/x", environment=variables).ok()
    assert json.loads(nearer.out)["to"] == "other.example.com/x"
    # Empty is not set.
    empty = hello.run(*DRY, "--format=json", environment=dict.fromkeys(variables, "")).ok()
    assert json.loads(empty.out)["to"] is None


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("CARVELWRIGHT_TO", "no registry", "not a repository: 'no registry'"),
        ("CARVELWRIGHT_PLATFORM", "linux", "linux"),
        ("CARVELWRIGHT_REGISTRY_TIMEOUT", "nan", "not a number of seconds: 'nan'"),
        ("CARVELWRIGHT_DRY_RUN", "maybe", "'maybe' is not a valid boolean"),
        ("CARVELWRIGHT_VERBOSE", "maybe", "'maybe' is not a valid boolean"),
        ("CARVELWRIGHT_FORMAT", "xml", "'xml' is not one of 'text', 'json'"),
    ],
)
def test_a_bad_variable_is_named(hello: PackageProject, variable: str, value: str, told: str) -> None:
    outcome = hello.run("build", environment={variable: value})
    assert (outcome.code, outcome.out) == (2, "")
    assert f"Invalid value for the environment variable {variable}: " in outcome.err
    assert told in outcome.err


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "0.5", "x", ""])
def test_a_bad_option_is_named_as_it_was_written(hello: PackageProject, value: str) -> None:
    outcome = hello.run(*DRY, f"--registry-timeout={value}")
    assert outcome.code == 2
    assert f"Invalid value for '--registry-timeout': not a number of seconds: {value!r}" in outcome.err


# Suggestions


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["biuld"], "Did you mean 'build'?"),
        (["values", "defalts"], "Did you mean 'defaults'?"),
        (["build", "--relaese", "1"], "Did you mean '--release'?"),
        (["chek"], "Did you mean 'check'?"),
        (["build", "--projet", "x"], "Did you mean '--project'?"),
        (["render", "--release", "1.0.0+exampel.1"], "did you mean 1.0.0+build.1?"),
        (["build", "--release", "1.0.0+build.2"], "did you mean 1.0.0+build.1?"),
        (["build", "--platform", "linux/amd46"], "did you mean linux/amd64?"),
        (["build", "--format", "jsn"], "'json'"),
    ],
)
def test_a_mistyped_word_is_answered_with_what_was_meant(
    hello: PackageProject, arguments: list[str], suggestion: str
) -> None:
    outcome = hello.run(*arguments)
    assert outcome.code in (2, 3)
    assert suggestion in outcome.err


# Completion


def completions(project: PackageProject, *words: str) -> list[str]:
    """Return what bash would offer for the last word."""
    variables = {
        "_CARVELWRIGHT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["carvelwright", *words]),
        "COMP_CWORD": str(len(words)),
    }
    outcome = project.run(environment=variables)
    assert (outcome.code, outcome.err) == (0, "")
    return [line.partition(",")[2] for line in outcome.out.splitlines() if line]


def test_completion_of_commands_options_and_values(hello: PackageProject, tmp_path: Path) -> None:
    first = hello.root / "package/releases/1.0.0+build.1.yaml"
    first.with_name("1.0.0+build.2.yaml").write_text(first.read_text())
    assert completions(hello, "b") == ["build", "bump"]
    assert completions(hello, "values", "") == ["annotated", "defaults", "jsonschema", "markdown", "table"]
    assert completions(hello, "build", "--rel") == ["--release"]
    assert completions(hello, "build", "--release", "") == ["1.0.0+build.1", "1.0.0+build.2"]
    assert completions(hello, "render", "--release", "1.0.0+build.2") == ["1.0.0+build.2"]
    assert completions(hello, "build", "--platform", "linux/ar") == ["linux/arm64"]
    empty = elsewhere(hello, tmp_path)
    for named in (["-C", str(hello.root), "build"], ["build", "-C", str(hello.root)]):
        assert completions(empty, *named, "--platform", "") == ["linux/amd64", "linux/arm64"]


def test_completion_is_silent_where_there_is_nothing_to_offer(hello: PackageProject, tmp_path: Path) -> None:
    empty = elsewhere(hello, tmp_path)
    for words in (["build", "--platform", ""], ["build", "--release", ""], ["build", "--to", ""]):
        assert completions(empty, *words) == []
    for broken in ("platforms: {", "platforms: 1", "[]", "platforms: [1, linux/amd64]"):
        (hello.root / "package/build.yaml").write_text(broken)
        assert completions(hello, "build", "--platform", "x") == []


@pytest.mark.parametrize("asked", ["tcsh_source", "bash_complete", "bash"])
def test_a_completion_that_cannot_be_is_no_fault_in_carvelwright(hello: PackageProject, asked: str) -> None:
    outcome = hello.run(environment={"_CARVELWRIGHT_COMPLETE": asked, "COMP_WORDS": "carvelwright", "COMP_CWORD": "x"})
    assert (outcome.code, outcome.err) == (2, "")


def test_a_shell_gets_its_script(hello: PackageProject) -> None:
    outcome = hello.run(environment={"_CARVELWRIGHT_COMPLETE": "zsh_source"}).ok()
    assert outcome.out.startswith("#compdef carvelwright")


# Errors as JSON


def error_of(project: PackageProject, *arguments: str, **variables: str) -> dict[str, Any]:
    outcome = project.run(*arguments, environment=variables)
    error: dict[str, Any] = json.loads(outcome.out)["error"]
    assert error["exitCode"] == outcome.code
    assert error["message"] in outcome.err
    return error


def test_errors_are_one_document_where_json_is_asked_for(hello: PackageProject) -> None:
    assert error_of(hello, "build", "--format", "json", "--platform", "linux/s390x")["exitCode"] == 2
    assert error_of(hello, "build", "--bogus", "--format=json")["message"].startswith("No such option '--bogus'")
    assert error_of(hello, "build", "--release", "9.9.9", CARVELWRIGHT_FORMAT="json")["exitCode"] == 3
    hello.replace("package/build.yaml", "platforms:", "plattforms:")
    for command in (["build"], ["doctor"], ["values", "table"]):
        error = error_of(hello, *command, "--format", "json")
        assert error["exitCode"] == 3
        (unknown, *_) = [problem for problem in error["problems"] if "plattforms" in problem["message"]]
        assert (unknown["file"], unknown["line"]) == ("package/build.yaml", 4)


def test_check_and_doctor_print_their_result_with_the_error(hello: PackageProject, tmp_path: Path) -> None:
    listed = hello.run("doctor", "--format", "json").ok()
    assert [(tool["name"], tool["ok"]) for tool in json.loads(listed.out)["tools"]] == [
        (name, True) for name in ("go", "ytt", "imgpkg", "kbld", "crane")
    ]
    missing = hello.run("doctor", "--format", "json", environment={"PATH": str(tmp_path / "none")})
    document = json.loads(missing.out)
    assert [tool["problem"] for tool in document["tools"]] == [None, *["not on PATH"] * 4]
    assert document["error"]["exitCode"] == missing.code == 4
    assert document["error"]["hint"]
    (hello.root / "package/metadata.yaml").write_text("displayName: 1\n")
    checked = hello.run("check", "--format", "json")
    assert checked.code == 3
    assert {problem["file"] for problem in json.loads(checked.out)} == {"package/metadata.yaml"}


# Start-up

SLOW = ["rich", "jinja2", "jsonschema", "ruamel.yaml", "difflib", "asyncio", "zipfile", "concurrent.futures"]
# What makes things is imported only where there is something to make.
SLOW += ["carvelwright.uses.build", "carvelwright.rules", "carvelwright.project.config", "carvelwright.tools.toolchain"]


# What rules of the project need beside those of its manifests.
OF_PROJECT = ["jsonschema", "license_expression", "jinja2", "carvelwright.rules.values_schema"]


@pytest.mark.parametrize("arguments", [["--version"], ["build"]])
def test_nothing_slow_is_imported_where_there_is_nothing_to_do(hello: PackageProject, arguments: list[str]) -> None:
    hello.run("build").ok()
    assert imported(hello, arguments, SLOW) == []


def test_with_other_manifests_the_rest_is_not_checked_again(hello: PackageProject) -> None:
    hello.run("build").ok()
    hello.replace("bundle/config/base/deployment.yaml", "  replicas: 1", "  replicas: 1\n  minReadySeconds: 1")
    assert imported(hello, ["build", "-q"], OF_PROJECT) == []
    # Both are checked where both have changed, and what gave a warning gives it again.
    hello.replace("bundle/config/base/deployment.yaml", "image: hello", "image: helo")
    hello.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hello\nunknown: 1")
    broken = hello.run("build")
    assert broken.code == 3
    assert "images update helo" in broken.err
    for seconds in (2, 3):
        text = (hello.root / "bundle/config/base/deployment.yaml").read_text()
        text = text.replace("image: helo", "image: hello").replace(f"Seconds: {seconds - 1}", f"Seconds: {seconds}")
        (hello.root / "bundle/config/base/deployment.yaml").write_text(text)
        assert "unknown key 'unknown'" in hello.run("build").ok().err
    hello.replace("package/build.yaml", "entrypoint: [", "entrypoint: [/nothing, ")
    assert "the entrypoint of image hello" in hello.run("build").err


def imported(project: PackageProject, arguments: list[str], names: list[str]) -> object:
    """Run a command that has to succeed in a process of its own; returns which of these modules it imported."""
    program = (
        "import sys\nfrom carvelwright.cli.main import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print([name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def test_a_relative_home_is_that_of_the_directory_where_the_command_runs(hello: PackageProject) -> None:
    hello.run("check", environment={"HOME": "relative"}).ok()
    assert [path.parent for path in hello.root.rglob("relative")] in ([], [hello.root])


@pytest.mark.parametrize("home", [None, ""])
def test_without_a_home_that_of_the_systems_list_of_users_counts(hello: PackageProject, home: str | None) -> None:
    environment = {
        name: value for name, value in hello.environment.items() if name not in ("HOME", "GOCACHE", "GOPATH")
    }
    environment |= {} if home is None else {"HOME": home}
    replace(hello, environment=environment).run("check").ok()


def test_a_directory_that_was_removed_meanwhile_is_no_hindrance(hello: PackageProject, tmp_path: Path) -> None:
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    for arguments in (["check"], ["build"], ["render"], ["clean"]):
        gone = tmp_path / "gone"
        gone.mkdir()
        argv = ["sh", "-c", script, "sh", str(gone), *hello.command("-C", str(hello.root), *arguments)]
        done = subprocess.run(argv, env=dict(hello.environment), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
