"""imgpkg: pushes, pulls and copies bundles."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.carvel.locks import BundleLock
from carvelwright.digest import Digest
from carvelwright.errors import RegistryError
from carvelwright.tools import lockfile, registry
from carvelwright.tools.registry import Exchange
from carvelwright.tools.tool import list_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.reference import Reference, Repository
    from carvelwright.tools.tool import Tool

_QUIET = ("--tty=false", "--color=false")
_OWN_TAG = re.compile(r"sha256-([0-9a-f]{64})\.imgpkg")
_COPIED_TAG = re.compile(r"sha256-[0-9a-f]{64}(?:\.image-locations)?\.imgpkg")
# Of copies of the same by several publishers at once, where tags are immutable: each is refused one tag at a time.
_RACES = 5
_SLOWLY = ("--concurrency", "1")


@contextlib.contextmanager
def _with_temporary_files_in(tool: Tool, directory: Path) -> Iterator[Tool]:
    """Let imgpkg keep its temporary files in a directory of ours, unless the user has named one for all programs.

    It leaves them behind where it is killed; what is ours is removed, at the latest by the next run.
    """
    if tool.environment.get("TMPDIR"):
        yield tool
        return
    with files.temporary_directory(directory, ".imgpkg.") as temporary:
        yield replace(tool, environment={**tool.environment, "TMPDIR": str(temporary.absolute())})


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
        with _with_temporary_files_in(tool, lock.parent) as own:
            registry.run(own, arguments, Exchange(target.repository, "push to", step, timeout, note))
    except RegistryError as error:
        # imgpkg asks before it writes the bundle and its tag, but not before it writes, last, a tag of its own.
        written = _OWN_TAG.fullmatch(registry.refused_tag(error) or "")
        if written is None:
            raise
        return BundleLock(target.repository.at(Digest(written[1])), target.tag)
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
    exchange = Exchange(source.repository, "pull from", step, timeout, note)
    with _with_temporary_files_in(tool, archive.parent) as own:
        registry.run(own, arguments, exchange, slowly=_SLOWLY)


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
    # imgpkg reads back what it has written.
    exchange = Exchange(target, "push to", step, timeout, note, expected=True)
    with _with_temporary_files_in(tool, lock.parent) as own:
        for left in reversed(range(_RACES)):
            try:
                registry.run(own, arguments, exchange, slowly=_SLOWLY)
                break
            except RegistryError as error:
                # Another publisher has written the same just before: imgpkg, asked again, finds it there.
                if not left or not _COPIED_TAG.fullmatch(registry.refused_tag(error) or ""):
                    raise
    return lockfile.read(BundleLock.parse, lock, "imgpkg", step=step)
