"""What every part of a build needs, in one place, so that no step takes six parameters."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import recipe, yamldoc
from carvelwright.errors import CarvelwrightError
from carvelwright.project import config, paths
from carvelwright.store import Store, content_key
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.project.config import Package
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Search, Toolchain


@dataclass(frozen=True, slots=True)
class Session:
    """What every part of a build needs: the project, where tools are looked for, whom to tell."""

    project: Package
    search: Search
    reporter: Reporter

    def find_go(self) -> Tool:
        """Find the pinned go, only when something has to be compiled."""
        return toolchain.find_go(self.search)

    def tools(self) -> Toolchain:
        """Build the pinned tools that are not there yet, then find and check all."""
        toolchain.install(self.search, self.reporter)
        return toolchain.find(self.search)


@contextlib.contextmanager
def at_work(root: Path, environment: Mapping[str, str], reporter: Reporter) -> Iterator[Session]:
    """Open a session for a command: while the block runs, `clean` removes nothing of what it uses."""
    paths.require_project(root)
    with Store(root).in_use():
        yield open_session(root, environment, reporter)


def open_session(root: Path, environment: Mapping[str, str], reporter: Reporter) -> Session:
    """Read and check the project; its files are validated once for each content."""
    paths.require_project(root)
    store = Store(root)
    key = content_key(paths.digests(root, ("package",)), recipe.of_everything())
    validated = (store.build / "validated" / f"{key}.json").is_file()
    project = config.load_package(root, validate=not validated)
    store.remember("validated", key, lambda: True)
    return Session(project, toolchain.Search(root, project.tools, project.go, environment), reporter)


def lone_search(root: Path, environment: Mapping[str, str]) -> Search:
    """Return where to look for tools for work on one file, when the project may be wrong elsewhere, or is none.

    The pins are those of build.yaml as far as it can be read, or else carvelwright's own.
    """
    modules, go = None, config.DEFAULT_GO
    with contextlib.suppress(CarvelwrightError, AttributeError, TypeError):
        build = yamldoc.load(root / config.BUILD_FILE).data
        modules, go = tuple(build["tools"]) if "tools" in build else None, str(build.get("go", go))
    return toolchain.Search(root, modules, go, environment)
