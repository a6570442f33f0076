"""Reads a finished dist/, for the commands that go on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.record import ReleaseRecord
from carvelwright.steps import dist

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.store import Store


def take(store: Store, target: Path, what: str) -> ReleaseRecord:
    """Put a finished dist/ at a place of our own, and return its record: a build may replace dist/ at any time.

    FilesystemError where there is none (`what` says for what it is needed), or it is not what a build made.
    """
    while True:
        seen = dist.look(store.dist)
        try:
            release = read(store, what)
            files.remove_tree(target)
            for file in release.files:
                files.link_file(store.dist / file.name, target / file.name)
        except (CarvelwrightError, OSError):
            if dist.look(store.dist) == seen:
                raise
        else:
            if dist.look(store.dist) == seen:
                return release


def read(store: Store, what: str) -> ReleaseRecord:
    """Return the record of a finished dist/; FilesystemError as `take`."""
    path = store.dist / dist.RELEASE_FILE
    try:
        release = ReleaseRecord.parse(files.read_bytes(path))
    except CarvelwrightError:
        raise FilesystemError(f"nothing to {what}: no {path}", hint="run `carvelwright build` first") from None
    except ValueError as error:
        raise FilesystemError(
            f"{path} was not written by a build: {error}",
            path=path,
            hint=f"remove {store.dist}, then run `carvelwright build`",
        ) from None
    if not dist.is_whole(store.dist):
        raise FilesystemError(
            f"{store.dist} differs from what was built: a file is missing, changed or added",
            path=store.dist,
            hint="remove what was changed or added (`sha256sum -c SHA256SUMS` there names it), then run "
            "`carvelwright build`",
        )
    return release
