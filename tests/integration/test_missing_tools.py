"""Tools that are missing, of another version or broken: what is told, and that nothing is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.helpers.refusals import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject


def fake(directory: Path, name: str, text: str) -> str:
    """Put a small script in front of the real tools; returns the PATH for it."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(directory)


def test_missing_tools_are_all_named(hello: PackageProject, tmp_path: Path) -> None:
    told = ["missing or wrong: ytt, imgpkg, kbld, crane", "ytt: not on PATH"]
    told += ["(expected: 0.49.0 or newer)", "hint: put ytt, imgpkg, kbld, crane on PATH"]
    for command in ("build", "check", "render"):
        refused(hello, [command], 4, told, PATH=str(tmp_path / "empty"))


Script = tuple[str, str]
TOLD: list[tuple[Script, str]] = [
    (("kbld", "echo kbld version 0.1.2"), "kbld is 0.1.2 (expected: 0.42.0 or newer)"),
    (("ytt", "echo hello"), "ytt reports no version"),
    (("imgpkg", "exit 1"), "imgpkg reports no version"),
]


@pytest.mark.parametrize(("script", "told"), TOLD)
def test_a_tool_of_another_version_is_named(hello: PackageProject, tmp_path: Path, script: Script, told: str) -> None:
    path = fake(tmp_path / "bin", *script) + os.pathsep + hello.environment["PATH"]
    refused(hello, ["build"], 4, [f"missing or wrong: {script[0]}", f"{tmp_path}/bin/{told}"], PATH=path)


def test_doctor_lists_each_tool(hello: PackageProject, tmp_path: Path) -> None:
    good = hello.run("doctor").ok()
    assert [line.split()[:2] for line in good.out.splitlines()] == [
        [name, "ok"] for name in ("go", "ytt", "imgpkg", "kbld", "crane")
    ]
    path = fake(tmp_path / "bin", "crane", "echo 0.1.0") + os.pathsep + hello.environment["PATH"]
    bad = hello.run("doctor", environment={"PATH": path})
    assert bad.code == 4
    assert "crane   WRONG" in bad.out
    assert "crane is 0.1.0" in bad.out
    assert "missing or wrong: crane" in bad.err


def test_a_tool_that_dies_is_told_with_step_and_words(hello: PackageProject, tmp_path: Path) -> None:
    real = next(part for part in hello.environment["PATH"].split(os.pathsep) if os.access(f"{part}/kbld", os.X_OK))
    script = f'[ "$1" = version ] && exec {real}/kbld version; echo oh no >&2; kill -SEGV $$'
    path = fake(tmp_path / "bin", "kbld", script) + os.pathsep + hello.environment["PATH"]
    refused(hello, ["build"], 5, ["step find images: kbld was ended by SIGSEGV", "oh no", "command: "], PATH=path)
