"""Real registries on loopback: crane's, Debian's docker-registry 2.8 and distribution 3."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import pytest

from carvelwright import yamldoc
from carvelwright.carvel.locks import ImagesLock
from carvelwright.tools import crane
from carvelwright.tools.retries import Policy
from tests.cluster import binaries
from tests.conftest import free_address, registry_at
from tests.helpers.builds import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain

Kind = Literal["crane", "docker-registry", "distribution"]
_SECONDS = 20.0


@contextlib.contextmanager
def serve(kind: Kind, toolset: Toolchain, scratch: Path) -> Iterator[str]:
    """Serve an empty registry; yields HOST:PORT. Skips the test where docker-registry is not installed."""
    address, storage = free_address(), scratch / kind
    if kind == "crane":
        with registry_at(toolset, address, storage):
            yield address
        return
    storage.mkdir(parents=True)
    argv = _docker_registry(address, storage) if kind == "docker-registry" else _distribution(address, storage)
    with (scratch / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _SECONDS
            while not crane.answers(address, timeout=1):
                assert process.poll() is None, (scratch / f"{kind}.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield address
        finally:
            process.terminate()
            process.wait()


def _docker_registry(address: str, storage: Path) -> list[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs Debian's docker-registry: apt-get install docker-registry")
    config = storage.parent / "docker-registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {storage}}}\n"
        f"http: {{addr: '{address}', secret: test}}\n"
    )
    return [program, "serve", str(config)]


def _distribution(address: str, storage: Path) -> list[str]:
    (tools,) = (tools for tools in binaries.TOOL_SETS if tools.name == "registry")
    return [str(binaries.ensure_set(tools) / "registry"), address, str(storage)]


@pytest.fixture(params=get_args(Kind))
def any_registry(request: pytest.FixtureRequest, toolset: Toolchain, tmp_path: Path) -> Iterator[str]:
    """Each of the real registries in turn: HOST:PORT."""
    with serve(request.param, toolset, tmp_path) as address:
        yield address


def impatient(toolset: Toolchain, attempts: int = 4) -> Toolchain:
    """Return the tools with a policy of repetition that waits for milliseconds."""
    policy = Policy(attempts=attempts, first_wait=0.01, longest_wait=0.05, after_push=3.0)
    return replace(
        toolset,
        crane=replace(toolset.crane, retries=policy),
        imgpkg=replace(toolset.imgpkg, retries=policy),
    )


def with_environment(toolset: Toolchain, **variables: str) -> Toolchain:
    """Return the tools with more in their environment."""
    return replace(
        toolset,
        crane=replace(toolset.crane, environment={**toolset.crane.environment, **variables}),
        imgpkg=replace(toolset.imgpkg, environment={**toolset.imgpkg.environment, **variables}),
    )


def bundle_directory(scratch: Path, content: str = "content") -> Path:
    """Write a bundle's content."""
    directory = scratch / "bundle"
    (directory / ".imgpkg").mkdir(parents=True, exist_ok=True)
    (directory / ".imgpkg/images.yml").write_text(yamldoc.dump(ImagesLock(()).document()))
    (directory / "file").write_text(content)
    return directory


def push_bundle(toolset: Toolchain, repository: str, scratch: Path, tag: str = "a") -> str:
    """Push a small bundle straight to a registry; returns its digest."""
    call(toolset.imgpkg.path, "push", "-b", f"{repository}:{tag}", "-f", bundle_directory(scratch), "--tty=false")
    return call(toolset.crane.path, "digest", f"{repository}:{tag}").decode().strip()


def put_tags(address: str, path: str, tags: Sequence[str], manifest: bytes) -> None:
    """Give a manifest that is there many tags, without a process for each."""

    def put(some: Sequence[str]) -> None:
        connection = http.client.HTTPConnection(address, timeout=30)
        with contextlib.closing(connection):
            for tag in some:
                kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
                connection.request("PUT", f"/v2/{path}/manifests/{tag}", body=manifest, headers=kind)
                response = connection.getresponse()
                assert response.status == http.client.CREATED, response.read()
                response.read()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, [tags[number::16] for number in range(16)]))
