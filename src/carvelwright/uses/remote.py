"""Opens a package repository in a registry, for commands that need no project."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, process
from carvelwright import session as sessions
from carvelwright.steps import published
from carvelwright.store import Store
from carvelwright.tools import toolchain
from carvelwright.uses import signing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.catalog.places import Places
    from carvelwright.report import Reporter
    from carvelwright.steps.attached import Attaching
    from carvelwright.steps.published import Remote
    from carvelwright.supply.keys import PrivateKey
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.uses.signing import Signer


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command is run in: the directory (a project there gives its tools), the environment, whom to tell."""

    root: Path
    environment: Mapping[str, str]
    reporter: Reporter


@dataclass(frozen=True, slots=True)
class Opened:
    """A package repository, the tools, and a scratch directory that is gone in the end.

    `signer` signs what is published there; None without a key.
    """

    remote: Remote
    tools: Toolchain
    scratch: Path
    reporter: Reporter
    signer: Signer | None = None

    @property
    def attaching(self) -> Attaching:
        """How signatures and other attachments are read and written there."""
        return signing.attaching(self.remote, self.remote.step)


@contextlib.contextmanager
def opened(
    around: Surroundings, places: Places, timeout: float, step: str, sign_key: PrivateKey | None = None
) -> Iterator[Opened]:
    """Open a package repository; `timeout` is in seconds for each exchange, `step` names what is done there.

    With a key its revisions are signed.
    """
    with at_work(around, step) as (tools, scratch):
        yield open_at(tools, scratch, around, places, timeout, step, sign_key)


@contextlib.contextmanager
def at_work(around: Surroundings, step: str) -> Iterator[tuple[Toolchain, Path]]:
    """Yield the tools, built first where they are missing, and a scratch directory that is gone in the end."""
    search = sessions.lone_search(around.root, around.environment)
    toolchain.install(search, around.reporter)
    tools = toolchain.find(search)
    process.require_temporary_directory(around.environment, None, step)
    parent = Path(around.environment.get("TMPDIR") or "/tmp").absolute()  # noqa: S108 - ours is made there
    with files.temporary_directory(parent, "carvelwright.") as scratch:
        yield tools, scratch


def open_at(
    tools: Toolchain,
    scratch: Path,
    around: Surroundings,
    places: Places,
    timeout: float,
    step: str,
    sign_key: PrivateKey | None = None,
) -> Opened:
    """Open a package repository with tools and a scratch directory that are at hand, as `opened` does."""
    remote = published.Remote(tools.crane, places.packages, Store(scratch), timeout, around.reporter, step)
    return Opened(remote, tools, scratch, around.reporter, signing.signer_for(sign_key, remote))
