"""What every part of a build needs, in one place, so that no step takes six parameters."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from carvelwright import recipe, yamldoc
from carvelwright.errors import CarvelwrightError, UsageError, did_you_mean
from carvelwright.project import config, paths
from carvelwright.project import workspace as workspaces
from carvelwright.store import Store, content_key
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.project.config import Package
    from carvelwright.project.workspace import Workspace
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Search, Toolchain


@dataclass(frozen=True, slots=True)
class Session:
    """What every part of a build needs: the package, where tools are looked for, whom to tell."""

    project: Package
    search: Search
    reporter: Reporter

    @property
    def store(self) -> Store:
        """The store, which all packages of a workspace share."""
        return Store(self.project.workspace.root)

    def find_go(self) -> Tool:
        """Find the pinned go, only when something has to be compiled."""
        return toolchain.find_go(self.search)

    def find_helm(self) -> Tool:
        """Find helm, built first where it is missing, only for a package whose template runs it."""
        return toolchain.find_helm(self.search, self.reporter)

    def find_vendir(self) -> Tool:
        """Find vendir, built first where it is missing, only to vendor what a vendir.yml names."""
        return toolchain.find_vendir(self.search, self.reporter)

    def find_classifier(self) -> Tool:
        """Find identify_license, built first where it is missing, only to recognise licenses of Go modules."""
        return toolchain.find_classifier(self.search, self.reporter)

    def find_govulncheck(self) -> Tool:
        """Find govulncheck, built first where it is missing, only to look for known vulnerabilities."""
        return toolchain.find_govulncheck(self.search, self.reporter)

    def tools(self) -> Toolchain:
        """Build the pinned tools that are not there yet, then find and check all."""
        toolchain.install(self.search, self.reporter)
        return toolchain.find(self.search)


@contextlib.contextmanager
def at_work(
    root: Path, environment: Mapping[str, str], reporter: Reporter, name: str | None = None
) -> Iterator[Session]:
    """Open a session for a command: while the block runs, `clean` removes nothing of what it uses."""
    paths.require_project(root)
    with Store(paths.workspace_root(root)).in_use():
        yield open_session(root, environment, reporter, name)


def open_sessions(
    root: Path, environment: Mapping[str, str], reporter: Reporter, names: Sequence[str] = ()
) -> tuple[Session, ...]:
    """Open the packages of the workspace, or the package, that a directory holds; with `names` only those.

    A name is the first segment of a refName, or the whole. The files are read and checked; those that passed their
    JSON Schema once are not validated again. Raises as config.load_packages, and CarvelwrightError for an unknown name.
    """
    packages = _load(root)
    search = search_of(packages[0].workspace, environment)
    return tuple(Session(package, search, reporter) for package in select(packages, names))


def open_session(root: Path, environment: Mapping[str, str], reporter: Reporter, name: str | None = None) -> Session:
    """Open one package: the named one, or the only one, or the one in the workspace's own directory."""
    sessions = open_sessions(root, environment, reporter, [name] if name else ())
    if len(sessions) == 1:
        return sessions[0]
    for session in sessions:
        if session.project.root.resolve() == root.resolve():
            return session
    raise UsageError(
        f"{root} holds several packages",
        details=f"found: {', '.join(session.project.short_name for session in sessions)}",
        hint="name one of them with --package NAME, or change to its directory",
    )


def search_of(workspace: Workspace, environment: Mapping[str, str]) -> Search:
    """Say where the tools of a workspace are looked for."""
    return toolchain.Search(workspace.root, workspace.tools, workspace.go, environment)


def lone_search(root: Path, environment: Mapping[str, str]) -> Search:
    """Return where to look for tools for work on one file, when the project may be wrong elsewhere, or is none.

    The pins are those of carvelwright.yaml or build.yaml as far as it can be read, or else carvelwright's own.
    """
    modules, go, top = None, workspaces.DEFAULT_GO, paths.find_root(root)
    shared = top / paths.WORKSPACE_FILE if top else root / config.BUILD_FILE
    with contextlib.suppress(CarvelwrightError, AttributeError, TypeError):
        data = yamldoc.load(shared).data
        modules, go = tuple(data["tools"]) if "tools" in data else None, str(data.get("go", go))
    return toolchain.Search(top or root, modules, go, environment)


def _load(root: Path) -> tuple[Package, ...]:
    paths.require_project(root)
    top = paths.find_root(root)
    store = Store(top or root)
    members = paths.members(top) if top else [root]
    names = ["package"] if top is None else [paths.WORKSPACE_FILE, *(f"{member}/package" for member in members)]
    there = [name for name in names if ((top or root) / name).exists()]
    key = content_key(paths.digests(top or root, there), recipe.of_everything())
    packages = config.load_packages(root, validate=not store.holds("validated", key))
    if len(packages) == len(members):
        store.remember("validated", key, lambda: True)
    return packages


class _HasNames(Protocol):
    """What is known by a refName, and by its first segment."""

    @property
    def ref_name(self) -> str: ...

    @property
    def short_name(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasNames)


def select(packages: Sequence[Package], names: Sequence[str]) -> list[Package]:
    """Return the packages of these names, in their order in the workspace; all of them where none is named."""
    hint = f"use one of these, or add the package's directory to `members` in {paths.WORKSPACE_FILE}"
    return named(packages, names, where=str(packages[0].workspace.root), hint=lambda _: hint)


def named(packages: Sequence[_Named], names: Sequence[str], *, where: str, hint: Callable[[str], str]) -> list[_Named]:
    """Return what is of the packages of these names, in its order; all of it where none is named.

    A name is the first segment of a refName, or the whole. UsageError, with the hint for it, for an unknown one.
    """
    short = [package.short_name for package in packages]
    known = {name: package for package in packages for name in (package.short_name, package.ref_name)}
    for name in names:
        if name not in known:
            raise UsageError(
                f"no package {name} in {where}{did_you_mean(name, short)}",
                details=f"found: {', '.join(short)}",
                hint=hint(name),
            )
    wanted = {known[name].ref_name for name in names}
    return [package for package in packages if not names or package.ref_name in wanted]
