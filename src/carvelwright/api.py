"""The library's functions, as `carvelwright` exports them: open a workspace, check it, build it, publish it, signed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.project import paths
from carvelwright.report import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.errors import Problem
    from carvelwright.plan import BuildOptions
    from carvelwright.project.config import Package
    from carvelwright.report import Reporter
    from carvelwright.supply.keys import PrivateKey
    from carvelwright.uses.commit import Published
    from carvelwright.uses.incremental import BuildResult
    from carvelwright.uses.publish import PublishOptions


@dataclass(frozen=True, slots=True)
class OpenWorkspace:
    """A workspace, or a package by itself: where it is, the environment of the tools, who is told of the progress."""

    root: Path
    environment: Mapping[str, str] = field(repr=False)
    reporter: Reporter = field(repr=False)

    def packages(self) -> tuple[Package, ...]:
        """Read the packages as the files are now. Raises ConfigError with every problem of every file."""
        from carvelwright.project import config  # noqa: PLC0415 - a build without changes reads no project

        return config.load_packages(self.root)


def open_workspace(root: Path | str, environment: Mapping[str, str], reporter: Reporter | None = None) -> OpenWorkspace:
    """Open the workspace, or the package, that a directory holds. Raises InputError where it holds none.

    `environment` is what the tools run with, as a rule `os.environ`: they are looked for in its PATH, keep their caches
    below its HOME, and read docker's credentials, proxies and SOURCE_DATE_EPOCH from it. It is copied. Without a
    reporter nothing is shown; a StreamReporter writes a line for each step.
    """
    directory = Path(root)
    paths.require_project(directory)
    return OpenWorkspace(directory, process.with_home(environment), reporter or Recorder())


def check(workspace: OpenWorkspace, packages: Sequence[str] = ()) -> list[Problem]:
    """Return every problem of the packages, or of the named ones, warnings included.

    Without an error among them the packages can be built. A name is the first segment of a refName, or the whole.
    Raises UsageError for an unknown name, ToolMissingError and ToolError where the tools cannot be built or run.
    """
    from carvelwright.uses import check as checking  # noqa: PLC0415 - a build needs none of it

    return checking.check(workspace.root, workspace.environment, workspace.reporter, packages)


def build(
    workspace: OpenWorkspace, options: BuildOptions | None = None, packages: Sequence[str] = (), *, wait: bool = False
) -> BuildResult:
    """Build the packages, or the named ones, into dist/, redoing only what changed.

    No other registry is read than the embedded one, which runs while the build does, and those of the images that the
    packages name. With `to` in the options, what was built is then published there, as `publish` does. Where another
    build is running in the workspace, `wait` for its end; otherwise that is a FilesystemError. Raises ConfigError with
    the problems that `check` finds, RegistryError, ReleasedError, and the other classes of CarvelwrightError.
    """
    from carvelwright.plan import BuildOptions  # noqa: PLC0415 - `check` needs none of it
    from carvelwright.uses import incremental  # noqa: PLC0415

    return incremental.build(
        workspace.root,
        options or BuildOptions(),
        workspace.environment,
        workspace.reporter,
        names=packages,
        wait=wait,
    )


def read_sign_key(path: Path | str, passphrase: str | None = None) -> PrivateKey:
    """Read a private key, with which PublishOptions sign: PEM, for ECDSA on P-256, encrypted or not.

    Raises UsageError where the file is no such key, or the passphrase is missing or wrong, and FilesystemError.
    """
    from carvelwright.supply import keys  # noqa: PLC0415 - the others need none of it

    return keys.read_private(Path(path), passphrase.encode() if passphrase else None)


def publish(
    workspace: OpenWorkspace, options: PublishOptions, packages: Sequence[str] = (), *, dry_run: bool = False
) -> Published:
    """Publish what dist/ holds, or the named packages of it, digest for digest; with `dry_run` push nothing.

    A version that is published already stays as it is. Once this returns, the versions are in the highest revision of
    the package repository for good, however many others publish at the same time; the tag `latest` may lag behind it
    after one of them was killed. An interrupted call leaves nothing half visible, and the next one completes it.
    Raises ReleasedError where a version is published with other content, or was withdrawn, FilesystemError where dist/
    is not what a build made, UsageError for a package that is not in it, and RegistryError.
    """
    from carvelwright.uses import publish as publishing  # noqa: PLC0415 - the others need none of it

    return publishing.publish(
        workspace.root, options, workspace.environment, workspace.reporter, names=packages, dry_run=dry_run
    )
