"""carvelwright doctor: what it lists, what --install builds, what it says about the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.tools import Proxy

if TYPE_CHECKING:
    from tests.conftest import PackageProject


@pytest.fixture
def pinning(hello: PackageProject, tmp_path: Path) -> PackageProject:
    """A project that pins a ytt which no PATH has."""
    proxy = Proxy(tmp_path)
    proxy.pin(hello.root / "tools/ytt", "carvel.dev/ytt/cmd/ytt")
    hello.replace("package/build.yaml", "tools: []", "tools: [tools/ytt]")
    return replace(hello, environment={**proxy.environment, "PATH": hello.environment["PATH"]})


def test_doctor_alone_builds_nothing(pinning: PackageProject) -> None:
    outcome = pinning.run("doctor")
    assert outcome.code == 4
    assert "missing or wrong: ytt\n" in outcome.err
    assert "(expected: 1.2.3)\n" in outcome.err
    assert "hint: run `carvelwright doctor --install`" in outcome.err
    assert not (pinning.root / "build").exists()


def test_doctor_install_builds_what_is_missing(pinning: PackageProject) -> None:
    outcome = pinning.run("doctor", "--install").ok()
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("ytt ")]
    assert line.split()[1:3] == ["ok", "1.2.3"]
    assert pinning.run("doctor").ok().out == outcome.out


def test_the_hint_can_be_followed_to_the_letter(pinning: PackageProject, tmp_path: Path) -> None:
    # As in a clone, whose environment is on no PATH, and for a project in another directory.
    program = Path(sys.executable).parent / "carvelwright"
    (tmp_path / "desk").mkdir()
    kept = [part for part in pinning.environment["PATH"].split(os.pathsep) if Path(part) != program.parent]

    def run(command: str) -> subprocess.CompletedProcess[str]:
        environment = {**pinning.environment, "PATH": os.pathsep.join(kept)}
        return subprocess.run(
            ["sh", "-c", command], cwd=tmp_path / "desk", env=environment, capture_output=True, text=True, check=False
        )

    missing = run(f"{program} -C ../hello doctor")
    assert missing.returncode == 4
    (command,) = re.findall("`([^`]+)`", missing.stderr.partition("hint: ")[2])
    done = run(command)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert run(f"{program} -C ../hello doctor").returncode == 0
