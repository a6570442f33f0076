"""What `ci` writes: a script that does the same on any machine, and files of the services that only call it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.uses import ci
from tests.conftest import ROOT, PackageProject, free_address
from tests.helpers.builds import call, content_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REF_NAME = "greeter.packages.example.com"
FILES = {"github": ".github/workflows/package.yml", "gitlab": ".gitlab-ci.yml"}


@pytest.fixture
def greeter(tmp_path: Path, tool_environment: Mapping[str, str]) -> PackageProject:
    """A new package in a git repository of its own, with CI for both services."""
    desk = PackageProject(tmp_path, tool_environment)
    desk.run("new", "greeter", "--registry", f"{free_address()}/packages").ok()
    project = PackageProject(tmp_path / "greeter", tool_environment)
    for service in FILES:
        project.run("ci", service).ok()
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project)
    return project


def git(project: PackageProject, *arguments: str) -> None:
    call("git", "-C", project.root, "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments)


def commit(project: PackageProject) -> None:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=x")


def run_ci(project: PackageProject, summary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a service does."""
    environment = {**project.environment, "SUMMARY": str(summary)}
    script = str(project.root / ci.SCRIPT)
    return subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("service", FILES)
def test_the_files_only_call_the_script(greeter: PackageProject, service: str) -> None:
    text = (greeter.root / FILES[service]).read_text()
    document = yamldoc.load(greeter.root / FILES[service]).data
    assert document
    for event, branch in (("pull-request", '"origin/'), ("release", '"$REGISTRY"')):
        assert f"{ci.SCRIPT} {event} {branch}" in text
    # Nothing else of carvelwright than its installation.
    assert [line for line in text.splitlines() if "carvelwright " in line and "#" not in line] == []
    assert greeter.run("ci", service).ok().out.splitlines() == [f"unchanged {ci.SCRIPT}", f"unchanged {FILES[service]}"]


@pytest.mark.parametrize("place", [ci.SCRIPT, FILES["github"]])
def test_other_content_is_named_and_kept(greeter: PackageProject, place: str) -> None:
    (greeter.root / place).write_text("mine\n")
    for name in {ci.SCRIPT, FILES["github"]} - {place}:
        (greeter.root / name).unlink()
    before = snapshot(greeter.root)
    outcome = greeter.run("ci", "github")
    assert outcome.code == 8
    assert f"{place} exists already, with other content" in outcome.err
    assert snapshot(greeter.root) == before


def test_no_project_no_ci(tmp_path: Path, tool_environment: Mapping[str, str]) -> None:
    desk = PackageProject(tmp_path, tool_environment)
    assert desk.run("ci", "github").code == 3
    assert desk.run("ci", "jenkins").code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_pull_request_is_checked_built_and_compared(greeter: PackageProject, tmp_path: Path) -> None:
    git(greeter, "checkout", "--quiet", "-b", "change")
    schema = greeter.root / "values-schema.yaml"
    schema.write_text(schema.read_text() + '#@schema/desc "Another option."\nanother_option: 1\n')
    commit(greeter)
    done = run_ci(greeter, tmp_path / "summary.md", "pull-request", "main")
    assert done.returncode == 0, done.stderr
    summary = (tmp_path / "summary.md").read_text()
    assert f"## {REF_NAME}" in summary
    assert "another_option" in summary
    assert "compatible" in summary
    assert (greeter.root / "dist/release.json").is_file()
    # What check refuses ends it.
    greeter.replace("package/build.yaml", "refName: greeter", "refName: Greeter")
    assert run_ci(greeter, tmp_path / "summary.md", "pull-request", "main").returncode == 3


def test_a_release_is_published_once(greeter: PackageProject, registry: str, tmp_path: Path, crane: Path) -> None:
    summary = tmp_path / "summary.md"
    done = run_ci(greeter, summary, "release", f"{registry}/team")
    assert done.returncode == 0, done.stderr
    held = content_of(crane, registry)
    bundle = next(digest for name, digest in held.items() if f"/{REF_NAME}:0.1.0" in name)
    # There was nothing to compare with, and the summary names what is published.
    assert "Nothing to compare with" in summary.read_text()
    assert bundle in summary.read_text()
    summary.unlink()
    assert run_ci(greeter, summary, "release", f"{registry}/team").returncode == 0
    assert content_of(crane, registry) == held
    assert "already there: nothing was changed" in summary.read_text()
    assert "Nothing to compare with" not in summary.read_text()


def test_nonsense_is_told_how_to_call_it(greeter: PackageProject, tmp_path: Path) -> None:
    for arguments in ((), ("release",), ("pull-request", "a", "b"), ("deploy", "x")):
        done = run_ci(greeter, tmp_path / "summary.md", *arguments)
        assert done.returncode == 2
        assert "usage: " in done.stderr
    assert run_ci(greeter, tmp_path / "summary.md", "release", "nonsense").returncode == 2


@pytest.mark.parametrize("service", FILES)
def test_this_repository_uses_what_it_writes(service: str, tmp_path: Path) -> None:
    (tmp_path / "carvelwright.yaml").touch()
    install = 'make setup && echo "$PWD/.venv/bin" >> "${GITHUB_PATH:-/dev/null}" && export PATH="$PWD/.venv/bin:$PATH"'
    ci.write(tmp_path, ci.Service(service), install)
    for name in (ci.SCRIPT, FILES[service]):
        assert (ROOT / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (ROOT / name).stat().st_mode & 0o111 == (tmp_path / name).stat().st_mode & 0o111
