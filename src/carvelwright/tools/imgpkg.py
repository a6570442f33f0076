"""imgpkg: pushes, pulls and copies bundles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carvelwright.carvel.locks import BundleLock
from carvelwright.digest import Digest
from carvelwright.errors import RegistryError
from carvelwright.tools import lockfile, registry
from carvelwright.tools.registry import Exchange
from carvelwright.tools.tool import list_item

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carvelwright.reference import Reference, Repository
    from carvelwright.tools.tool import Tool

_QUIET = ("--tty=false", "--color=false")
_OWN_TAG = re.compile(r"sha256-([0-9a-f]{64})\.imgpkg")
_SLOWLY = ("--concurrency", "1")


def push_bundle(
    tool: Tool,
    directory: Path,
    target: Reference,
    lock: Path,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
) -> BundleLock:
    """Push a directory (with .imgpkg/images.yml) as a bundle under a tag; `lock` takes the BundleLock.

    What is there already is not pushed again, also where tags are immutable; then `lock` is not written.
    """
    arguments = ["push", "-b", str(target), "-f", list_item(directory), "--lock-output", str(lock), *_QUIET]
    try:
        registry.run(tool, arguments, Exchange(target.repository, "push to", step, timeout, note))
    except RegistryError as error:
        # imgpkg asks before it writes the bundle and its tag, but not before it writes, last, a tag of its own.
        own = _OWN_TAG.fullmatch(registry.refused_tag(error) or "")
        if own is None:
            raise
        return BundleLock(target.repository.at(Digest(own[1])), target.tag)
    return lockfile.read(BundleLock.parse, lock, "imgpkg", step=step)


def copy_to_tar(
    tool: Tool,
    source: Reference,
    archive: Path,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
    signatures: bool = False,
) -> None:
    """Copy a bundle, the bundles within and all their images into one tar file, on demand with their signatures."""
    arguments = ["copy", "-b", str(source), "--to-tar", str(archive), *_QUIET]
    arguments += ["--cosign-signatures"] if signatures else []
    registry.run(tool, arguments, Exchange(source.repository, "pull from", step, timeout, note), slowly=_SLOWLY)


def copy_from_tar(
    tool: Tool,
    archive: Path,
    target: Repository,
    lock: Path,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
) -> BundleLock:
    """Copy everything of an archive into a repository; returns where the outer bundle now lies."""
    arguments = ["copy", "--tar", str(archive), "--to-repo", str(target), "--lock-output", str(lock), *_QUIET]
    registry.run(tool, arguments, Exchange(target, "push to", step, timeout, note), slowly=_SLOWLY)
    return lockfile.read(BundleLock.parse, lock, "imgpkg", step=step)
