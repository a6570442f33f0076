"""imgpkg: pushes, pulls and copies bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.resources import BundleLock
from carvelwright.tools import lockfile, registryerror

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.reference import Reference, Repository
    from carvelwright.tools.tool import Tool

_QUIET = ("--tty=false", "--color=false")


def push_bundle(tool: Tool, directory: Path, target: Reference, lock: Path, *, step: str, timeout: float) -> BundleLock:
    """Push a directory (with .imgpkg/images.yml) as a bundle under a tag; `lock` takes the BundleLock."""
    argv = tool.argv("push", "-b", str(target), "-f", directory, "--lock-output", lock, *_QUIET)
    with registryerror.reporting(target.repository):
        process.run(argv, step=step, env=tool.environment, timeout=timeout)
    return lockfile.read(BundleLock.parse, lock, "imgpkg", step=step)


def pull_bundle(tool: Tool, source: Reference, directory: Path, *, step: str, timeout: float) -> bool:
    """Pull a bundle's files into a new directory; False where the registry does not have it."""
    argv = tool.argv("pull", "-b", str(source), "-o", directory, *_QUIET)
    with registryerror.reporting(source.repository):
        try:
            process.run(argv, step=step, env=tool.environment, timeout=timeout)
        except process.ToolFailedError as error:
            if registryerror.is_absent(error):
                return False
            raise
    return True


def copy_to_tar(tool: Tool, source: Reference, archive: Path, *, step: str, timeout: float) -> None:
    """Copy a bundle, the bundles within and all their images into one tar file."""
    argv = tool.argv("copy", "-b", str(source), "--to-tar", archive, *_QUIET)
    with registryerror.reporting(source.repository):
        process.run(argv, step=step, env=tool.environment, timeout=timeout)


def copy_from_tar(
    tool: Tool, archive: Path, target: Repository, lock: Path, *, step: str, timeout: float
) -> BundleLock:
    """Copy everything of an archive into a repository; returns where the outer bundle now lies."""
    argv = tool.argv("copy", "--tar", archive, "--to-repo", str(target), "--lock-output", lock, *_QUIET)
    with registryerror.reporting(target):
        process.run(argv, step=step, env=tool.environment, timeout=timeout)
    return lockfile.read(BundleLock.parse, lock, "imgpkg", step=step)
