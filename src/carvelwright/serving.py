"""Serves a finished dist/ from the embedded registry."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from carvelwright import pipeline
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.plan import LATEST
from carvelwright.process import in_parallel
from carvelwright.reference import Reference, Repository
from carvelwright.steps import dist
from carvelwright.tools import crane, imgpkg
from carvelwright.workspace import Workspace

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
    workspace = Workspace(root)
    release = _release(workspace)
    session = pipeline.open_session(root, environment, reporter)
    tools = session.tools()
    host = address or session.project.registry.registry
    storage = workspace.build / "registry"
    with crane.serve(tools.crane, host, storage, step="serve"):
        with reporter.step(_STEP), workspace.scratch("serve") as scratch:
            archive = workspace.dist / release["archive"]
            yielded = _load(release, host, archive, scratch / "lock.yml", tools)
        yield yielded


def _load(release: Mapping[str, Any], host: str, archive: Path, lock: Path, tools: Toolchain) -> Reference:
    """Copy the archive in, then give each image the path and tag it was built with."""
    repository = _moved(release["repository"], host)
    imgpkg.copy_from_tar(tools.imgpkg, archive, repository.repository, lock, step=_STEP, timeout=_SECONDS)
    others = [_moved(text, host) for text in [release["bundle"], *(image["reference"] for image in release["images"])]]

    def put(reference: Reference) -> None:
        source = Reference(repository.repository, digest=reference.digest)
        crane.copy(tools.crane, source, Reference(reference.repository, reference.tag), step=_STEP, timeout=_SECONDS)

    in_parallel(*[lambda reference=reference: put(reference) for reference in [*others, repository]])
    crane.tag(tools.crane, repository, LATEST, step=_STEP, timeout=_SECONDS)
    return Reference(repository.repository, digest=repository.digest)


def _moved(text: str, host: str) -> Reference:
    reference = Reference.parse(text)
    return Reference(Repository(host, reference.repository.path), reference.tag, reference.digest)


def _release(workspace: Workspace) -> Mapping[str, Any]:
    path = workspace.dist / dist.RELEASE_FILE
    try:
        release: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise CarvelwrightError(
            f"nothing to serve: no {path}", exit_code=ExitCode.FILESYSTEM, hint="run `carvelwright build` first"
        ) from None
    if not dist.is_whole(workspace.dist):
        raise CarvelwrightError(
            f"{workspace.dist} is not what was built: a file is missing, changed or added",
            exit_code=ExitCode.FILESYSTEM,
            hint="run `carvelwright build`, which makes it again; `sha256sum -c SHA256SUMS` there names the files",
        )
    return release
