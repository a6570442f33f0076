"""What every test may ask for: the real tools, a real registry, a small real project, the command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from carvelwright.project.workspace import load_workspace
from carvelwright.session import search_of
from carvelwright.tools import crane as crane_adapter
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Toolchain
from tests.helpers.command_line import run_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.tools.toolchain import Toolchain

ROOT = Path(__file__).parent.parent


# No test gates on time: an example may take what a busy machine needs.
hypothesis.settings.register_profile("carvelwright", deadline=None)
hypothesis.settings.load_profile("carvelwright")


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C and nohup a hangup, and so would every program that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def repository_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def toolset() -> Toolchain:
    """The pinned tools; `make tools` builds them."""
    return toolchain.find(search_of(load_workspace(ROOT), dict(os.environ)))


@pytest.fixture(scope="session")
def ytt(toolset: Toolchain) -> Path:
    return toolset.ytt.path


@pytest.fixture(scope="session")
def imgpkg(toolset: Toolchain) -> Path:
    return toolset.imgpkg.path


@pytest.fixture(scope="session")
def kbld(toolset: Toolchain) -> Path:
    return toolset.kbld.path


@pytest.fixture(scope="session")
def crane(toolset: Toolchain) -> Path:
    return toolset.crane.path


@pytest.fixture(scope="session")
def tool_environment(toolset: Toolchain) -> dict[str, str]:
    """An environment whose PATH holds the pinned tools, for projects that pin none of their own."""
    directories = dict.fromkeys(str(getattr(toolset, name).path.parent) for name in ("ytt", "imgpkg", "kbld", "crane"))
    kept = {name: value for name, value in os.environ.items() if name not in ("SOURCE_DATE_EPOCH", "DOCKER_CONFIG")}
    # The pinned Go first, as make has it: a run of pytest by itself must not meet the machine's own.
    return {**kept, "PATH": os.pathsep.join([*directories, str(Path(sys.executable).parent), os.environ["PATH"]])}


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def registry_at(toolset: Toolchain, address: str, storage: Path) -> Iterator[str]:
    with crane_adapter.serve(toolset.crane, address, storage, step="test registry"):
        yield address


@pytest.fixture
def registry(toolset: Toolchain, tmp_path: Path) -> Iterator[str]:
    """A real registry on loopback: HOST:PORT."""
    with registry_at(toolset, free_address(), tmp_path / "registry-storage") as address:
        yield address


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str

    def ok(self) -> Outcome:
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass(frozen=True)
class PackageProject:
    """A package project of a test's own, and the real command line run on it."""

    root: Path
    environment: Mapping[str, str] = field(repr=False)

    def command(self, *arguments: str) -> list[str]:
        """Return what starts the command line as a process."""
        return [sys.executable, "-m", "carvelwright", *arguments]

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 300) -> Outcome:
        """Run a command; where the process itself is tested, `command` is for subprocess."""
        written = run_here(arguments, self.root, {**self.environment, **(environment or {})}, timeout)
        return self._outcome(*written)

    def run_process(self, *arguments: str, environment: Mapping[str, str], umask: int = -1) -> Outcome:
        """Run a command as a process: what an interpreter reads as it starts has an effect."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env={**self.environment, **environment},
            umask=umask,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return self._outcome(done.returncode, done.stdout, done.stderr)

    @staticmethod
    def _outcome(code: int, out: bytes, err: bytes) -> Outcome:
        outcome = Outcome(code, out.decode(), err.decode())
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file of the project; the old text must be there."""
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new))


def copy_hello(target: Path, environment: Mapping[str, str]) -> PackageProject:
    """Copy the second example package, with an address of its own for the embedded registry and the tools of PATH."""
    shutil.copytree(ROOT / "examples/hello-package", target, ignore=shutil.ignore_patterns("build", "dist"))
    project = PackageProject(target, environment)
    project.replace("package/build.yaml", "127.0.0.1:5056", free_address())
    project.replace("package/build.yaml", "images:", "go: 1.27.3\ntools: []\nimages:")
    return project


@pytest.fixture
def hello(tmp_path: Path, tool_environment: dict[str, str]) -> PackageProject:
    """The second example package, in a directory of its own."""
    return copy_hello(tmp_path / "hello", tool_environment)
