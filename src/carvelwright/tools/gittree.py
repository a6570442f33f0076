"""git: writes out a revision of the repository that a project is in. Nothing of the user's is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import InputError, ToolFailedError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SECONDS = 120.0
_STEP = "read the git revision"


def commit_of(directory: Path, revision: str, environment: Mapping[str, str]) -> str:
    """Return the commit that a revision names in the repository of a directory; InputError where there is none."""
    found = _run(directory, ["rev-parse", "--show-prefix"], environment)
    if found is None:
        raise InputError(
            f"{directory} is in no git repository",
            hint="work in a clone of the project, or compare with something other than git:REVISION",
        )
    # Nothing that begins with a hyphen is an option behind --end-of-options.
    commit = _run(
        directory, ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], environment
    )
    if not commit:
        raise InputError(
            f"git knows no revision {revision!r} here",
            hint="check the name; in CI, fetch it first: git fetch origin BRANCH, or clone with the whole history",
        )
    return commit


def export(directory: Path, commit: str, target: Path, environment: Mapping[str, str]) -> bool:
    """Write what a commit has in a directory of a working tree to `target`; False where it has no such directory."""
    prefix = _run(directory, ["rev-parse", "--show-prefix"], environment) or ""
    tree = _run(directory, ["rev-parse", "--verify", "--quiet", f"{commit}:{prefix.rstrip('/')}"], environment)
    if not tree:
        return False
    # An index of its own: what a checkout would write, without a change to the user's index and files.
    apart = {**environment, "GIT_INDEX_FILE": str(target.parent / f"{target.name}.index")}
    top = _run(directory, ["rev-parse", "--show-toplevel"], environment) or str(directory)
    _require(directory, ["-C", top, "read-tree", tree], apart)
    _require(directory, ["-C", top, "checkout-index", "--all", "--quiet", f"--prefix={target.resolve()}/"], apart)
    return True


def _run(directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    try:
        return _require(directory, arguments, environment)
    except ToolFailedError as error:
        if error.code is None or error.code < 0:
            raise
        return None


def _require(directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        output = process.run(
            ["git", *arguments], step=_STEP, timeout=_SECONDS, env=environment, cwd=directory.resolve()
        )
    except ToolMissingError as error:
        error.hint = "install git, or compare with something other than git:REVISION"
        raise
    return output.stdout.decode(errors="surrogateescape").removesuffix("\n")
