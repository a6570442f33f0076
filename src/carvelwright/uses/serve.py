"""Serves a finished dist/ from the embedded registry."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.plan import LATEST
from carvelwright.process import in_parallel
from carvelwright.project import paths
from carvelwright.record import ReleaseRecord
from carvelwright.reference import Reference, Repository
from carvelwright.session import open_sessions
from carvelwright.steps import dist
from carvelwright.store import Store
from carvelwright.tools import crane, imgpkg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.report import Reporter
    from carvelwright.tools.toolchain import Toolchain

_STEP = "load the archive"
_SECONDS = 900.0


@contextlib.contextmanager
def serve(root: Path, address: str | None, environment: Mapping[str, str], reporter: Reporter) -> Iterator[Reference]:
    """Serve while the block runs; yields the package repository's reference by digest.

    Everything is filled from the air-gap archive, under the paths and tags it was built with.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    _require_release(store)
    with store.in_use(), contextlib.ExitStack() as running:
        with store.scratch("serve") as scratch:
            release = _take(store, scratch / "archive.tar")
            (session, *_) = open_sessions(root, environment, reporter)
            tools = session.tools()
            host = address or session.project.workspace.registry.registry
            running.enter_context(crane.serve(tools.crane, host, store.build / "registry", step="serve"))
            with reporter.step(_STEP):
                yielded = _load(release, host, scratch / "archive.tar", scratch / "lock.yml", tools, reporter)
        yield yielded


def _take(store: Store, archive: Path) -> ReleaseRecord:
    """Return the release and put its archive at a place of our own: a build may replace dist/ at any time."""
    while True:
        seen = dist.look(store.dist)
        try:
            release = _release(store)
            archive.unlink(missing_ok=True)
            _link(store.dist / release.archive, archive)
        except (CarvelwrightError, OSError):
            if dist.look(store.dist) == seen:
                raise
        else:
            if dist.look(store.dist) == seen:
                return release


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        # Another file system, or a file of another user's.
        files.copy_file(source, target)


def _load(
    release: ReleaseRecord, host: str, archive: Path, lock: Path, tools: Toolchain, reporter: Reporter
) -> Reference:
    """Copy the archive in, then give each image the path and tag it was built with."""
    tagged, note = [_moved(reference, host) for reference in release.repository], reporter.note
    repository = tagged[0]
    imgpkg.copy_from_tar(tools.imgpkg, archive, repository.repository, lock, step=_STEP, timeout=_SECONDS, note=note)
    others = [
        _moved(reference, host)
        for package in release.packages
        for reference in (package.bundle, *(image.reference for image in package.images))
    ]

    def put(reference: Reference) -> None:
        source = Reference(repository.repository, digest=reference.digest)
        target = Reference(reference.repository, reference.tag)
        crane.copy(tools.crane, source, target, step=_STEP, timeout=_SECONDS, note=note)

    in_parallel(*[lambda reference=reference: put(reference) for reference in [*others, *tagged]])
    crane.put_tag(tools.crane, repository, LATEST, step=_STEP, timeout=_SECONDS, note=note)
    return Reference(repository.repository, digest=repository.digest)


def _moved(reference: Reference, host: str) -> Reference:
    return Reference(Repository(host, reference.repository.path), reference.tag, reference.digest)


def _require_release(store: Store) -> None:
    if not (store.dist / dist.RELEASE_FILE).is_file():
        raise _nothing_to_serve(store)


def _release(store: Store) -> ReleaseRecord:
    path = store.dist / dist.RELEASE_FILE
    try:
        release = ReleaseRecord.parse(files.read_bytes(path))
    except CarvelwrightError:
        raise _nothing_to_serve(store) from None
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


def _nothing_to_serve(store: Store) -> CarvelwrightError:
    return FilesystemError(
        f"nothing to serve: no {store.dist / dist.RELEASE_FILE}",
        hint="run `carvelwright build` first",
    )
