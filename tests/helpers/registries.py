"""Real registries on loopback: crane's, Debian's docker-registry 2.8 and distribution 3."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Literal, get_args

import pytest

from carvelwright.tools import crane
from tests.cluster import binaries
from tests.conftest import free_address, registry_at

if TYPE_CHECKING:
    from collections.abc import Iterator
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
