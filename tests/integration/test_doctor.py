"""carvelwright doctor: what it lists, what --install builds, what it says about the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.helpers.tools import Proxy

if TYPE_CHECKING:
    from pathlib import Path

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
