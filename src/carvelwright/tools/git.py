"""git: what a repository's history holds of one directory. It runs plumbing alone, and fetches and writes nothing."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import ToolError, ToolFailedError, ToolMissingError
from carvelwright.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STEP = "read git's history"
_ANSWER_SECONDS = 30.0
# Commits that changed one directory; what is older is as in a shallow clone.
_COMMITS = 5000
_SHA1_DIGITS = 40
# How git is found and trusted, and the moment a commit would have. All else that begins with GIT_ is dropped: a hook's
# GIT_DIR names the repository of the hook.
_SETTINGS = ("GIT_CONFIG", "GIT_COMMITTER_DATE", "GIT_EXEC_PATH", "GIT_CEILING_DIR", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
# No question, no lock, no words of another language, and no network where a partial clone lacks an object.
_QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that is checked out: `seconds` since 1970 of its committer date."""

    name: str
    seconds: int


# File names of a directory, and the names of their contents.
Tree = dict[str, str]


def is_in_repository(directory: Path) -> bool:
    """Tell whether a directory seems to be in a git repository; git is not started for it."""
    here = directory.resolve()
    return any((place / ".git").exists() for place in (here, *here.parents))


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository that holds a directory; names of files are relative to that directory.

    Every method raises ToolFailedError where git refuses, as for a repository of another owner, or is too slow.
    """

    tool: Tool
    directory: Path

    def head(self) -> Commit | None:
        """Return the commit that is checked out; None where there is none yet."""
        (found,) = self._objects(["HEAD"])
        if found is None:
            self._require_unborn()
            return None
        name, content = found
        header = content.partition(b"\n\n")[0].splitlines()
        stamp = next(line.rsplit(b" ", 2)[1] for line in header if line.startswith(b"committer "))
        return Commit(name, int(stamp))

    def is_ignored(self) -> bool:
        """Tell whether a rule of .gitignore leaves the directory out."""
        return self._tells("check-ignore", "--quiet", ".")

    def is_shallow(self) -> bool:
        """Tell whether the clone lacks the older part of its history."""
        return self._run("rev-parse", "--is-shallow-repository").strip() == b"true"

    def commits(self, head: Commit, path: str) -> list[str]:
        """Return the commits that changed a directory, newest first: on the main line, merges for what they merge."""
        listed = self._run("rev-list", "--first-parent", f"--max-count={_COMMITS}", head.name, "--", path)
        return listed.decode().split()

    def tags(self) -> dict[str, str]:
        """Return the tags, and the name of the object that each stands for."""
        listed = self._run("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/tags")
        lines = [line.partition(" ") for line in listed.decode(errors="backslashreplace").splitlines()]
        return {tag: name for name, _, tag in lines}

    def trees(self, revisions: Sequence[str], path: str) -> list[Tree | None]:
        """Return what a directory held at each revision; None where it was not there."""
        found = self._objects([f"{revision}:./{path}" for revision in revisions])
        return [None if each is None else _tree(each[1], len(each[0]) // 2) for each in found]

    def blob(self, name: str) -> bytes | None:
        """Return a content by its name; None where this clone lacks it."""
        try:
            (found,) = self._objects([name])
        except ToolFailedError as error:
            # In a partial clone, git would fetch it, and ends where it may not.
            if error.exceeded:
                raise
            return None
        return None if found is None else found[1]

    def holds(self, head: Commit, revision: str) -> bool:
        """Tell whether a revision is a part of the history of a commit."""
        return self._tells("merge-base", "--is-ancestor", revision, head.name)

    def is_clean(self) -> bool:
        """Tell whether the directory holds what the commit that is checked out has there, and nothing else."""
        return not self._run("status", "--porcelain", "--untracked-files=normal", "--", ".").strip()

    def origin(self) -> str | None:
        """Return the address of the remote repository called origin; None where there is none."""
        try:
            return self._run("config", "--get", "remote.origin.url").decode(errors="replace").strip() or None
        except ToolFailedError as error:
            if error.code == 1:
                return None
            raise

    def now(self) -> int:
        """Return the date that a commit made now would have, in seconds since 1970."""
        nobody = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
        return int(self._run(*nobody, "var", "GIT_COMMITTER_IDENT").split()[-2])

    def _require_unborn(self) -> None:
        if self._tells("rev-parse", "--quiet", "--verify", "HEAD"):
            raise ToolError(
                "the commit that is checked out is not in the repository", hint="run `git fsck`", step=_STEP
            )

    def _tells(self, *arguments: str) -> bool:
        """Return the answer that git gives by its exit code."""
        try:
            self._run(*arguments)
        except ToolFailedError as error:
            if error.code == 1:
                return False
            raise
        return True

    def _objects(self, names: Sequence[str]) -> list[tuple[str, bytes] | None]:
        """Return name and content of each object; None for what is not there."""
        if not names:
            return []
        text = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        output = memoryview(self._run("cat-file", "--batch", stdin=text))
        found: list[tuple[str, bytes] | None] = []
        at = 0
        for _ in names:
            end = bytes(output[at : at + 4096]).find(b"\n") + at
            name, *kind = bytes(output[at:end]).decode(errors="replace").rsplit(" ", 2)
            at = end + 1
            # `NAME missing` or `NAME ambiguous`, and NAME may hold spaces.
            if len(kind) < 2 or not kind[1].isdigit():  # noqa: PLR2004 - type and size
                found.append(None)
                continue
            size = int(kind[1])
            found.append((name, bytes(output[at : at + size])))
            at += size + 1
        return found

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        argv = self.tool.argv(*arguments)
        environment = self.tool.environment
        return process.run(
            argv, step=_STEP, env=environment, cwd=self.directory, stdin=stdin, timeout=_ANSWER_SECONDS
        ).stdout


def open_repository(directory: Path, environment: Mapping[str, str]) -> Repository:
    """Return the repository of a directory; ToolMissingError where git is not on PATH."""
    path = shutil.which("git", path=environment.get("PATH"))
    if path is None:
        raise ToolMissingError("git is not on PATH", tools=["git"], hint="install git", step=_STEP)
    kept = {name: text for name, text in environment.items() if not name.startswith("GIT_") or _is_setting(name)}
    return Repository(Tool(Path(path), "", {**kept, **_QUIET}), directory)


def content_name(content: bytes, like: str) -> str:
    """Return git's name of a content, by the hash that another name is of."""
    algorithm = hashlib.sha1 if len(like) == _SHA1_DIGITS else hashlib.sha256
    return algorithm(b"blob %d\x00" % len(content) + content).hexdigest()


def _is_setting(name: str) -> bool:
    return name.startswith(_SETTINGS)


def _tree(content: bytes, size: int) -> Tree:
    """Read a tree as git stores it: mode, name and the bytes of the object's name, for each entry."""
    found: Tree = {}
    at = 0
    while at < len(content):
        end = content.find(b"\0", at)
        if end < 0:
            raise ToolError("git's tree ends within an entry", hint="run `git fsck`", step=_STEP)
        _, _, name = content[at:end].partition(b" ")
        at = end + 1 + size
        found[name.decode(errors="surrogateescape")] = content[end + 1 : at].hex()
    return found
