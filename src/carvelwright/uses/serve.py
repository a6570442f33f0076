"""Serves a finished dist/ from the embedded registry."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carvelwright.catalog.tags import LATEST
from carvelwright.process import in_parallel
from carvelwright.project import paths
from carvelwright.reference import Reference, Repository
from carvelwright.session import open_sessions
from carvelwright.store import Store
from carvelwright.tools import crane, imgpkg
from carvelwright.uses import finished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.record import ReleaseRecord
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
    with store.in_use(), contextlib.ExitStack() as running:
        with store.scratch("serve") as scratch:
            release = finished.take(store, scratch / "dist", "serve")
            (session, *_) = open_sessions(root, environment, reporter)
            tools = session.tools()
            host = address or session.project.workspace.registry.registry
            running.enter_context(crane.serve(tools.crane, host, store.build / "registry", step="serve"))
            with reporter.step(_STEP):
                yielded = _load(release, host, scratch, tools, reporter)
        yield yielded


def _load(release: ReleaseRecord, host: str, scratch: Path, tools: Toolchain, reporter: Reporter) -> Reference:
    """Copy the archive in, then give each image the path and tag it was built with."""
    tagged, note = [_moved(reference, host) for reference in release.repository], reporter.note
    repository, archive, lock = tagged[0], scratch / "dist" / release.archive, scratch / "lock.yml"
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
