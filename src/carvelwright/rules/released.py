"""Rules about releases that need git's history: what is out stays, a new release is above its line, and not ahead."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import recipe, yamldoc
from carvelwright.carvel.version import PackageVersion
from carvelwright.errors import ConfigError, Location, Problem, Severity, ToolError, ToolFailedError, ToolMissingError
from carvelwright.files import read_bytes
from carvelwright.process import in_parallel
from carvelwright.project.paths import RELEASES_DIRECTORY
from carvelwright.store import content_key
from carvelwright.tools import git

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.project.config import Package, Release
    from carvelwright.session import Session
    from carvelwright.tools.git import Commit, Repository, Tree
    from carvelwright.tools.toolchain import Toolchain

_NO_REPOSITORY = "not a git repository"
_DUBIOUS = "dubious ownership"
# VERSION, vVERSION, and either after a name: multus-cni/v4.2.0+build.1. As in image tags, _ may stand for +.
_TAG = re.compile(r"(?:(?P<of>.*)[/@_-])?v?(?P<version>\d+\.\d+\.\d+(?:[-+_][0-9A-Za-z.+_-]*)?)")


def release_history(session: Session, _tools: Toolchain | None = None) -> list[Problem]:
    """Compare the releases with git's history: find those that are out and changed, and new ones that cannot be right.

    Without a git repository there is nothing to compare. Where git does not answer, that is a warning.
    """
    project = session.project
    if not git.is_in_repository(project.root):
        return []
    try:
        repository = git.open_repository(project.root, session.search.environment)
        history = _read(repository, session)
        if not history.committed and repository.is_ignored():
            # A copy in the build directory of others, for example: this history is not the package's.
            return []
        return [*_changes(repository, history, project), *_new_releases(repository, history, project)]
    except (ToolError, ToolMissingError) as error:
        return [] if _NO_REPOSITORY in (error.details or "") else [_unanswered(error, project)]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The release before one that is not out yet: its version, and the git revision that has the package as it was."""

    version: PackageVersion
    revision: str


def predecessor(session: Session, release: Release) -> Predecessor | None:
    """Return the highest release below another one that was there before; None where that one is out, or git is silent.

    Where a tag names it, it is as in the tag; otherwise as before the commit that added the other one.
    """
    project, name = session.project, release.file.name
    if not git.is_in_repository(project.root):
        return None
    try:
        history = _read(git.open_repository(project.root, session.search.environment), session)
    except (ToolError, ToolMissingError):
        # The rule about the releases says so.
        return None
    if history.head is None or name in history.out:
        return None
    earlier = history.before.get(name, {}) if name in history.committed else history.committed
    versions = [version for each in earlier if (version := _version(each)) and version < release.version]
    if not versions:
        return None
    former = max(versions)
    out = history.out.get(f"{former}.yaml")
    if out is not None and out.by_tag:
        return Predecessor(former, out.revision)
    added = history.added.get(name)
    return Predecessor(former, f"{added}^" if added else history.head.name)


@dataclass(frozen=True, slots=True)
class _Out:
    """The file of a release that is out: its content, by git's name, at a revision, and why it counts as out."""

    content: str
    revision: str
    because: str
    by_tag: bool


@dataclass(frozen=True, slots=True)
class _History:
    """What git knows of the release files: those in the commit that is checked out, what preceded each, what is out.

    `added` has the commit that added each.
    """

    head: Commit | None
    shallow: bool
    committed: Tree
    before: Mapping[str, Tree]
    out: Mapping[str, _Out]
    added: Mapping[str, str]


def _read(repository: Repository, session: Session) -> _History:
    head, shallow, tags = in_parallel(repository.head, repository.is_shallow, repository.tags)
    if head is None:
        return _History(None, shallow=False, committed={}, before={}, out={}, added={})
    # A long history takes a second to read, and is the same as long as commit and tags are.
    key = content_key(head.name, shallow, tags, str(session.project.root.resolve()), recipe.of_everything())
    kept = session.store.remember("history", key, lambda: _read_all(repository, session.project, head, tags))
    out = {name: _Out(**each) for name, each in kept["out"].items()}
    return _History(head, shallow, kept["committed"], kept["before"], out, kept["added"])


def _read_all(repository: Repository, project: Package, head: Commit, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the releases that are committed, what was there before each, and those that are out, as plain data."""
    commits = repository.commits(head, RELEASES_DIRECTORY)
    named = {tag: name for tag in tags if (name := _file_of(tag, project))}
    revisions = [head.name, *commits, *(tags[tag] for tag in named)]
    trees = [tree or {} for tree in repository.trees(revisions, RELEASES_DIRECTORY)]
    committed, of_commits, of_tags = trees[0], trees[1 : len(commits) + 1], trees[len(commits) + 1 :]
    added = _additions(of_commits, committed)
    out = _superseded(commits, of_commits, added)
    for (tag, name), tree in zip(named.items(), of_tags, strict=True):
        if name in tree:
            out[name] = _Out(tree[name], f"refs/tags/{tag}", f"tag {tag}", by_tag=True)
    before = {name: of_commits[index + 1] if index + 1 < len(commits) else {} for name, index in added.items()}
    return {
        "committed": committed,
        "before": before,
        "out": {name: asdict(each) for name, each in out.items()},
        "added": {name: commits[index] for name, index in added.items()},
    }


def _file_of(tag: str, project: Package) -> str | None:
    """Return the release file that a tag names."""
    version = version_of_tag(tag, project.short_name, alone=len(project.workspace.members) == 1)
    return f"{version}.yaml" if version else None


def version_of_tag(tag: str, short_name: str, *, alone: bool) -> str | None:
    """Return the version of a package that a tag names; None where it names none.

    It is the version alone, or with a name in front, which has to be the package's unless that is `alone` in its
    workspace.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    ours = alone or not match["of"] or short_name in re.split(r"[/@_.]", match["of"])
    return match["version"].replace("_", "+", 1) if ours else None


def _additions(trees: Sequence[Tree], committed: Tree) -> dict[str, int]:
    """Return, for each committed release file, the number of the commit that added it, the last one if it was twice."""
    found: dict[str, int] = {}
    for index, tree in enumerate(trees):
        older = trees[index + 1] if index + 1 < len(trees) else {}
        for name in tree.keys() - older.keys():
            if name in committed:
                found.setdefault(name, index)
    return found


def _superseded(commits: Sequence[str], trees: Sequence[Tree], added: Mapping[str, int]) -> dict[str, _Out]:
    """Return the release files that were there when a higher release of their line came."""
    found: dict[str, _Out] = {}
    # From the newest to the oldest: what was first stays.
    for successor, index in sorted(added.items(), key=lambda item: item[1]):
        for name, content in trees[index].items():
            if _is_above(successor, name):
                because = f"commit {commits[index][:12]}, which added {successor}"
                found[name] = _Out(content, commits[index], because, by_tag=False)
    return found


def _version(name: str) -> PackageVersion | None:
    try:
        return PackageVersion.parse(name.removesuffix(".yaml")) if name.endswith(".yaml") else None
    except ValueError:
        return None


def _is_above(name: str, other: str) -> bool:
    """Tell whether a release is above another of the same line, which is MAJOR.MINOR of the upstream version."""
    higher, lower = _version(name), _version(other)
    return higher is not None and lower is not None and higher.core[:2] == lower.core[:2] and higher > lower


def _changes(repository: Repository, history: _History, project: Package) -> Iterator[Problem]:
    """Find releases that are out and whose file is not what it was."""
    present = {release.file.name: release for release in project.releases}
    for name, out in sorted(history.out.items()):
        if name not in present:
            # The tag of another line, such as a maintained older one, says nothing of this one.
            if history.head and (not out.by_tag or repository.holds(history.head, out.revision)):
                yield _removed(project, name, out)
            continue
        content = read_bytes(present[name].file)
        if git.content_name(content, out.content) != out.content:
            yield from _difference(repository.blob(out.content), present[name], project, out)
    if history.shallow and any(
        _is_above(other, name) and not (name in history.out and history.out[name].by_tag)
        for name in present
        for other in present
    ):
        yield _shallow(project)


def _difference(former: bytes | None, release: Release, project: Package, out: _Out) -> Iterator[Problem]:
    """Find the keys whose values are not those of the release; comments and line ends are no part of it."""
    if former is None:
        yield _not_here(release, project, out)
        return
    try:
        old = yamldoc.parse(former.decode(errors="replace"), release.file).data
    except ConfigError:
        old = None
    new = yamldoc.load(release.file)
    before: dict[str, Any] = old if isinstance(old, dict) else {}
    for key in dict.fromkeys([*before, *new.data]):
        if before.get(key) != new.data.get(key):
            yield new.problem(
                [key],
                f"{key} of a release that is out was changed",
                found=_shown(new.data.get(key)),
                expected=f"{_shown(before.get(key))}, as in {out.because}",
                hint=f"restore the file: {_restoring(project, release.file.name, out)}; release the change as a new "
                "revision",
            )


def _not_here(release: Release, project: Package, out: _Out) -> Problem:
    return Problem(
        "a release that is out differs from history, at least in comments; this clone lacks the former content",
        Location(release.file),
        expected=f"the file as in {out.because}",
        hint=f"fetch it and compare: {_restoring(project, release.file.name, out)}",
        severity=Severity.WARNING,
    )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - a line


def _removed(project: Package, name: str, out: _Out) -> Problem:
    return Problem(
        "the file of a release that is out was removed",
        Location(project.root / RELEASES_DIRECTORY / name),
        expected=f"the file, as in {out.because}",
        hint=f"restore it: {_restoring(project, name, out)}",
    )


def _restoring(project: Package, name: str, out: _Out) -> str:
    file = shlex.quote(f"{RELEASES_DIRECTORY}/{name}")
    where = "" if str(project.root) == "." else f"-C {shlex.quote(str(project.root))} "
    return f"git {where}checkout {out.revision} -- {file}"


def _new_releases(repository: Repository, history: _History, project: Package) -> Iterator[Problem]:
    """Find what is wrong with releases that are not out yet."""
    present = {release.file.name for release in project.releases}
    for release in project.releases:
        name = release.file.name
        if name in history.out:
            continue
        earlier = history.before.get(name, {}) if name in history.committed else history.committed
        higher = [other for other in earlier if other in present and _is_above(other, name)]
        if higher:
            yield _not_growing(release, max(PackageVersion.parse(other.removesuffix(".yaml")) for other in higher))
        content = read_bytes(release.file)
        committed = history.committed.get(name)
        if history.head and committed and git.content_name(content, committed) == committed:
            limit, whose = history.head.seconds, f"the date of the commit that is checked out, {history.head.name[:12]}"
        else:
            limit, whose = repository.now(), "the date that a commit would have now"
        if release.epoch > limit:
            yield _too_late(release, limit, whose)


def _not_growing(release: Release, higher: PackageVersion) -> Problem:
    return Problem(
        f"{release.version} is new and sorts below {higher} of the same line, which was there before",
        Location(release.file),
        expected="a version above all of its line (MAJOR.MINOR)",
        hint="choose a higher revision or upstream version; kapp-controller would not offer this one as an update",
    )


def _too_late(release: Release, limit: int, whose: str) -> Problem:
    moment = dt.datetime.fromtimestamp(limit, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return yamldoc.load(release.file).problem(
        ["releasedAt"],
        "the release's date is in the future of its commit",
        found=release.released_at,
        expected=f"{moment} or earlier: {whose}",
        hint="set releasedAt to the day of the release or before, not to a planned one",
    )


def _shallow(project: Package) -> Problem:
    return Problem(
        "this clone is shallow: releases are compared with what it holds of the history, and with its tags",
        Location(project.root / RELEASES_DIRECTORY),
        hint="fetch the whole history: git fetch --unshallow --tags",
        severity=Severity.WARNING,
    )


def _unanswered(error: ToolError | ToolMissingError, project: Package) -> Problem:
    hint = error.hint or "run `git log` there to see what is wrong"
    lines = error.stderr.strip().splitlines() if isinstance(error, ToolFailedError) else []
    words = next((line for line in lines if line.startswith("fatal: ")), "".join(lines[:1])) or error.message
    if _DUBIOUS in words:
        hint = f"trust it: git config --global --add safe.directory {shlex.quote(str(project.root.resolve()))}"
    return Problem(
        "the releases are not compared with git's history",
        Location(project.root / RELEASES_DIRECTORY),
        found=words,
        expected="a git that reads the repository",
        hint=hint,
        severity=Severity.WARNING,
    )
