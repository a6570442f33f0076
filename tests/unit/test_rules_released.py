"""Releases against git's history: what is out stays, a new release is above its line and not ahead of its commit."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import Severity
from carvelwright.report import StreamReporter
from carvelwright.rules import released
from carvelwright.session import open_session
from tests.helpers.git import GitRepository, make_repository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

RELEASES = "package/releases"
FIRST = "1.0.0+build.1"
CHANGED = "releaseNotes of a release that is out was changed"
REMOVED = "the file of a release that is out was removed"
FUTURE = "the release's date is in the future of its commit"


@pytest.fixture
def repository(hello: PackageProject) -> GitRepository:
    """The example package, committed; its one release is not out."""
    made = make_repository(hello.root)
    made.commit()
    return made


def add(root: Path, version: str, *, at: str = "2027-05-01T00:00:00Z", notes: str = "Notes.") -> Path:
    upstream, _, revision = version.partition("+")
    lines = [f"upstream: {upstream}", f"revision: {revision}", f"releasedAt: {at}", f"releaseNotes: {notes}"]
    path = root / RELEASES / f"{version}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def change(root: Path, version: str = FIRST) -> None:
    path = root / RELEASES / f"{version}.yaml"
    path.write_text(path.read_text().partition("releaseNotes:")[0] + "releaseNotes: Other words.\n")


def problems(project: PackageProject, environment: Mapping[str, str] | None = None) -> list[Problem]:
    now = {"GIT_COMMITTER_DATE": "2027-06-02T00:00:00Z", **(environment or {})}
    session = open_session(project.root, {**project.environment, **now}, StreamReporter(io.StringIO()))
    return released.release_history(session)


def messages(project: PackageProject, environment: Mapping[str, str] | None = None) -> list[str]:
    return [problem.message for problem in problems(project, environment)]


def test_a_release_that_is_not_out_may_be_edited(hello: PackageProject, repository: GitRepository) -> None:
    change(hello.root)
    assert messages(hello) == []
    repository.commit()
    assert messages(hello) == []


def test_a_release_that_is_not_out_may_be_withdrawn(hello: PackageProject, repository: GitRepository) -> None:
    path = add(hello.root, "1.0.0+build.2")
    repository.commit()
    path.unlink()
    change(hello.root)
    repository.commit()
    assert messages(hello) == []


@pytest.mark.parametrize("tag", [FIRST, f"v{FIRST}", f"hello-{FIRST}", f"releases/v{FIRST}", "1.0.0_build.1"])
@pytest.mark.parametrize("committed", [False, True])
def test_a_tagged_release_that_was_changed_is_named_by_key_and_line(
    hello: PackageProject, repository: GitRepository, tag: str, *, committed: bool
) -> None:
    repository.run("tag", tag)
    assert problems(hello) == []
    change(hello.root)
    if committed:
        repository.commit()
    (problem,) = problems(hello)
    assert problem.message == CHANGED
    assert str(problem.location) == f"{hello.root}/{RELEASES}/{FIRST}.yaml:4:15"
    assert problem.found == '"Other words."'
    assert problem.expected is not None
    assert problem.expected.endswith(f", as in tag {tag}")
    assert problem.hint is not None
    assert f"checkout refs/tags/{tag} -- {RELEASES}/{FIRST}.yaml" in problem.hint


@pytest.mark.parametrize("tag", ["nightly", "1.0.0+build.10", "2026.11", "x1.0.0+build.1", "1.0.0"])
def test_a_tag_that_does_not_name_the_version_leaves_it_open(
    hello: PackageProject, repository: GitRepository, tag: str
) -> None:
    repository.run("tag", tag)
    change(hello.root)
    assert messages(hello) == []


def test_the_command_of_the_hint_restores_the_release(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("tag", "-a", "-m", "out", FIRST)
    (hello.root / RELEASES / f"{FIRST}.yaml").unlink()
    add(hello.root, "1.0.0+build.2")
    (problem,) = problems(hello)
    assert problem.message == REMOVED
    assert problem.hint is not None
    repository.run(*problem.hint.removeprefix("restore it: git ").split())
    assert messages(hello) == []


def test_comments_and_line_ends_are_no_change(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("tag", FIRST)
    path = hello.root / RELEASES / f"{FIRST}.yaml"
    path.write_bytes(b"# SPDX-License-Identifier: Apache-2.0\r\n" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert messages(hello) == []


@pytest.mark.parametrize("successor", ["1.0.0+build.2", "1.0.1+build.1"])
def test_a_release_with_a_successor_is_out_without_any_tag(
    hello: PackageProject, repository: GitRepository, successor: str
) -> None:
    add(hello.root, successor)
    repository.commit()
    assert messages(hello) == []
    change(hello.root, successor)
    assert messages(hello) == []
    change(hello.root)
    repository.commit()
    assert messages(hello) == [CHANGED]
    (hello.root / RELEASES / f"{FIRST}.yaml").unlink()
    repository.commit()
    assert messages(hello) == [REMOVED]


def test_a_change_beside_a_new_revision_is_found_by_the_next_commit_alone(
    hello: PackageProject, repository: GitRepository
) -> None:
    # Nothing says before that commit that the first one is out.
    add(hello.root, "1.0.0+build.2")
    change(hello.root)
    commit = repository.commit()
    assert messages(hello) == []
    add(hello.root, FIRST, notes="Again.")
    (problem, *_) = problems(hello)
    assert problem.expected is not None
    assert problem.expected.endswith(f"as in commit {commit[:12]}, which added 1.0.0+build.2.yaml")


def test_a_release_of_another_line_makes_none_out(hello: PackageProject, repository: GitRepository) -> None:
    add(hello.root, "1.1.0+build.1")
    repository.commit()
    change(hello.root)
    assert messages(hello) == []


def test_a_tag_decides_where_history_says_otherwise(hello: PackageProject, repository: GitRepository) -> None:
    add(hello.root, "1.0.0+build.2")
    repository.commit()
    change(hello.root)
    repository.commit()
    assert messages(hello) == [CHANGED]
    repository.run("tag", FIRST)
    assert messages(hello) == []


def test_a_maintained_older_line_is_no_removal_here(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("checkout", "-qb", "release-0.9")
    add(hello.root, "0.9.1+build.1")
    repository.commit()
    repository.run("tag", "0.9.1+build.1")
    repository.run("checkout", "-q", "main")
    assert messages(hello) == []
    repository.run("merge", "-q", "--no-ff", "-m", "merge", "release-0.9")
    assert messages(hello) == []
    (hello.root / RELEASES / "0.9.1+build.1.yaml").unlink()
    assert messages(hello) == [REMOVED]


def test_a_branch_that_adds_a_successor_is_out_as_it_was_merged(
    hello: PackageProject, repository: GitRepository
) -> None:
    repository.run("checkout", "-qb", "next")
    add(hello.root, "1.0.0+build.2")
    repository.commit()
    repository.run("checkout", "-q", "main")
    change(hello.root)
    repository.commit()
    repository.run("merge", "-q", "--no-ff", "-m", "merge", "next")
    assert messages(hello) == []
    add(hello.root, FIRST, notes="Again.")
    assert CHANGED in messages(hello)


def test_a_rebase_gives_the_same_answer(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("checkout", "-qb", "next")
    add(hello.root, "1.0.0+build.2")
    repository.commit()
    repository.run("checkout", "-q", "main")
    change(hello.root)
    repository.commit()
    repository.run("checkout", "-q", "next")
    repository.run("rebase", "-q", "main")
    assert messages(hello) == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_new_release_below_its_line_is_refused(
    hello: PackageProject, repository: GitRepository, *, committed: bool
) -> None:
    path = add(hello.root, "1.0.0+build.0")
    if committed:
        repository.commit()
    (problem,) = problems(hello)
    words = "1.0.0+build.0 is new and sorts below 1.0.0+build.1 of the same line, which was there before"
    assert (problem.message, str(problem.location)) == (words, str(path))


def test_the_highest_of_the_line_is_named(hello: PackageProject, repository: GitRepository) -> None:
    for number in (9, 10):
        add(hello.root, f"1.0.0+build.{number}")
    repository.commit()
    add(hello.root, "1.0.0+build.5")
    assert [text for text in messages(hello) if "sorts below 1.0.0+build.10 of" in text] != []


@pytest.mark.parametrize("version", ["1.0.0+build.2", "1.0.1+build.1", "0.9.9+build.1", "1.1.0+build.1"])
def test_a_release_above_its_line_is_fine(hello: PackageProject, repository: GitRepository, version: str) -> None:
    add(hello.root, version)
    assert messages(hello) == []
    repository.commit()
    assert messages(hello) == []


def test_a_release_dated_after_its_commit_is_refused_at_its_line(
    hello: PackageProject, repository: GitRepository
) -> None:
    path = add(hello.root, "1.0.0+build.2", at="2027-06-02T00:00:01Z")
    (problem,) = problems(hello)
    assert (problem.message, str(problem.location)) == (FUTURE, f"{path}:3:13")
    assert problem.expected == "2027-06-02T00:00:00Z or earlier: the date that a commit would have now"
    commit = repository.commit(at="2027-06-02T00:00:00Z")
    (problem,) = problems(hello, {"GIT_COMMITTER_DATE": "2028-01-01T00:00:00Z"})
    assert problem.found == "2027-06-02T00:00:01Z"
    expected = f"2027-06-02T00:00:00Z or earlier: the date of the commit that is checked out, {commit[:12]}"
    assert problem.expected == expected


def test_a_release_dated_at_its_commit_is_fine(hello: PackageProject, repository: GitRepository) -> None:
    add(hello.root, "1.0.0+build.2", at="2027-06-02T00:00:00Z")
    assert messages(hello) == []
    repository.commit(at="2027-06-02T00:00:00Z")
    assert messages(hello) == []


def test_the_date_of_what_is_out_is_not_judged_any_more(hello: PackageProject, repository: GitRepository) -> None:
    add(hello.root, "1.0.0+build.2", at="2027-07-01T00:00:00Z")
    repository.commit()
    assert messages(hello) == [FUTURE]
    repository.run("tag", "1.0.0+build.2")
    assert messages(hello) == []


def test_without_a_repository_nothing_is_compared(hello: PackageProject) -> None:
    add(hello.root, "1.0.0+build.2", at="2099-01-01T00:00:00Z")
    assert messages(hello) == []
    # What only looks like one is none.
    (hello.root / ".git").mkdir()
    assert messages(hello) == []


def test_a_repository_without_commits_has_only_the_clock(hello: PackageProject) -> None:
    make_repository(hello.root)
    assert messages(hello) == []
    add(hello.root, "1.0.0+build.2", at="2099-01-01T00:00:00Z")
    assert messages(hello) == [FUTURE]


def test_a_package_in_a_directory_of_the_repository(hello: PackageProject, tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    (tmp_path / RELEASES).mkdir(parents=True)
    add(tmp_path, "3.0.0+other.1")
    add(hello.root, "1.0.0+build.2")
    repository.commit()
    assert messages(hello) == []
    change(hello.root)
    assert messages(hello) == [CHANGED]


def test_an_untracked_package_in_a_repository_of_others(hello: PackageProject, tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    (tmp_path / ".gitignore").write_text("hello\n")
    repository.commit()
    repository.run("tag", FIRST)
    change(hello.root)
    add(hello.root, "1.0.0+build.2", at="2031-01-01T00:00:00Z")
    assert messages(hello) == []
    # One that is new and not ignored has only the clock.
    (tmp_path / ".gitignore").unlink()
    assert messages(hello) == [FUTURE]


def shallow_clone(hello: PackageProject, tmp_path: Path) -> GitRepository:
    """Put a clone of depth 1 in the place of the project."""
    GitRepository(hello.root).commit("what is not cloned")
    origin = hello.root.rename(tmp_path / "origin")
    GitRepository(tmp_path).run("clone", "-q", "--depth=1", f"file://{origin}", str(hello.root))
    return GitRepository(hello.root)


def test_a_shallow_clone_compares_with_what_it_has_and_says_so(
    hello: PackageProject, repository: GitRepository, tmp_path: Path
) -> None:
    add(hello.root, "1.0.0+build.2")
    repository.commit()
    clone = shallow_clone(hello, tmp_path)
    (warning,) = problems(hello)
    assert warning.severity is Severity.WARNING
    assert warning.message.startswith("this clone is shallow")
    change(hello.root)
    assert messages(hello) == [CHANGED, warning.message]
    clone.run("checkout", "-q", ".")
    clone.run("fetch", "-q", "--unshallow", "--tags")
    assert messages(hello) == []


@pytest.mark.parametrize("version", ["1.0.0+build.2", "2.0.0+build.1"])
def test_a_shallow_clone_that_lacks_nothing_is_not_told(
    hello: PackageProject, repository: GitRepository, tmp_path: Path, version: str
) -> None:
    add(hello.root, version)
    repository.commit()
    repository.run("tag", FIRST)
    clone = shallow_clone(hello, tmp_path)
    clone.run("fetch", "-q", "--depth=1", "--tags")
    assert messages(hello) == []
    change(hello.root)
    assert messages(hello) == [CHANGED]


def partial_clone(hello: PackageProject, tmp_path: Path, what: str) -> None:
    """Put a clone that lacks objects in the place of the project, and move away where they could be fetched from."""
    GitRepository(hello.root).run("config", "uploadpack.allowFilter", "true")
    origin = hello.root.rename(tmp_path / "origin")
    GitRepository(tmp_path).run("clone", "-q", f"--filter={what}", f"file://{origin}", str(hello.root))
    origin.rename(tmp_path / "gone")


def test_a_clone_without_the_former_content_is_a_warning(
    hello: PackageProject, repository: GitRepository, tmp_path: Path
) -> None:
    repository.run("tag", FIRST)
    change(hello.root)
    repository.commit()
    partial_clone(hello, tmp_path, "blob:none")
    (problem,) = problems(hello)
    assert problem.severity is Severity.WARNING
    assert problem.message.endswith("this clone lacks the former content")


def test_a_clone_without_the_former_trees_fetches_nothing_and_is_a_warning(
    hello: PackageProject, repository: GitRepository, tmp_path: Path
) -> None:
    repository.run("tag", FIRST)
    change(hello.root)
    repository.commit()
    partial_clone(hello, tmp_path, "tree:0")
    (problem,) = problems(hello)
    assert problem.severity is Severity.WARNING
    assert problem.message == "the releases are not compared with git's history"


def test_a_repository_of_sha256_names(hello: PackageProject) -> None:
    repository = GitRepository(hello.root)
    repository.run("init", "-q", "--object-format=sha256")
    repository.commit()
    repository.run("tag", FIRST)
    assert messages(hello) == []
    change(hello.root)
    assert messages(hello) == [CHANGED]


def test_the_repository_of_a_hook_is_not_asked(
    hello: PackageProject, repository: GitRepository, tmp_path: Path
) -> None:
    repository.run("tag", FIRST)
    change(hello.root)
    other = tmp_path / "other"
    other.mkdir()
    make_repository(other).commit()
    hook = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": "nowhere", "GIT_WORK_TREE": str(other)}
    assert messages(hello, hook) == [CHANGED]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_repository_that_git_does_not_trust_is_a_warning(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("tag", FIRST)
    change(hello.root)
    # As where a job's container runs as another user than the one who cloned.
    for path in (hello.root, hello.root / ".git"):
        os.chown(path, 12345, 12345)
    (problem,) = problems(hello, {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull})
    assert problem.severity is Severity.WARNING
    assert "dubious ownership" in (problem.found or "")
    assert problem.hint == f"trust it: git config --global --add safe.directory {hello.root}"
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(hello.root)}
    assert messages(hello, trusted) == [CHANGED]


def test_a_missing_git_is_a_warning(hello: PackageProject, repository: GitRepository, tmp_path: Path) -> None:
    repository.run("tag", FIRST)
    change(hello.root)
    (problem,) = problems(hello, {"PATH": str(tmp_path)})
    assert (problem.severity, problem.found, problem.hint) == (Severity.WARNING, "git is not on PATH", "install git")


def test_a_broken_repository_is_a_warning(hello: PackageProject, repository: GitRepository) -> None:
    repository.run("tag", FIRST)
    shutil.rmtree(hello.root / ".git/objects")
    (hello.root / ".git/objects").mkdir()
    (problem,) = problems(hello)
    assert problem.severity is Severity.WARNING


def test_the_history_is_read_again_after_a_commit_a_tag_and_their_removal(
    hello: PackageProject, repository: GitRepository
) -> None:
    assert messages(hello) == []
    repository.run("tag", FIRST)
    change(hello.root)
    assert messages(hello) == [CHANGED]
    repository.run("tag", "-d", FIRST)
    assert messages(hello) == []


def test_a_tag_with_another_packages_name_is_that_packages(hello: PackageProject, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(hello.root, other)
    build = other / "package/build.yaml"
    build.write_text(build.read_text().replace("refName: hello.", "refName: other."))
    registry = next(line for line in build.read_text().splitlines() if line.startswith("registry:"))
    for each in (hello.root, other):
        text = (each / "package/build.yaml").read_text()
        lines = [line for line in text.splitlines() if not line.startswith(("registry:", "go:", "tools:"))]
        (each / "package/build.yaml").write_text("\n".join(lines) + "\n")
    (tmp_path / "carvelwright.yaml").write_text(f"{registry}\ntools: []\nmembers: [hello, other]\n")
    repository = make_repository(tmp_path)
    repository.commit()
    repository.run("tag", f"other/{FIRST}")
    change(hello.root)
    assert messages(hello) == []
    repository.run("checkout", "-q", ".")
    repository.run("tag", f"hello/{FIRST}")
    change(hello.root)
    assert messages(hello) == [CHANGED]
