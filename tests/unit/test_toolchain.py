"""Finding tools: the project's own builds first, then PATH, of the right version."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode
from carvelwright.tools import go, toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from pathlib import Path

GO_MOD = """module x

go 1.25

tool carvel.dev/ytt/cmd/ytt

require carvel.dev/ytt v0.55.2

require (
	github.com/google/go-containerregistry v0.22.1 // indirect
	example.com/other v1.0.0-pre
)
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    (tmp_path / "tools/carvel").mkdir(parents=True)
    (tmp_path / "tools/carvel/go.mod").write_text(GO_MOD)
    (tmp_path / "tools/carvel/go.sum").write_text("sums")
    return Search(tmp_path, ("tools/carvel",), "1.27.3", {"PATH": str(tmp_path / "bin")})


def test_only_a_tool_line_pins_a_tool(search: Search) -> None:
    assert search.pins() == {"ytt": ("tools/carvel", "0.55.2")}


OTHER_LINES = {
    "exclude": "exclude carvel.dev/ytt v0.1.0\n",
    "a block of exclude": "exclude (\n\tcarvel.dev/ytt v0.1.0\n)\n",
    "a block of retract": "retract (\n\t[v0.1.0, v0.2.0]\n)\n",
    "replace of another version": "replace carvel.dev/ytt v0.1.0 => carvel.dev/ytt v0.2.0\n",
    "a comment": "// carvel.dev/ytt v0.1.0\n// tool github.com/google/go-containerregistry/cmd/crane\n",
}


@pytest.mark.parametrize("lines", OTHER_LINES.values(), ids=OTHER_LINES)
def test_only_require_says_the_version_of_a_tool(search: Search, lines: str) -> None:
    (search.root / "tools/carvel/go.mod").write_text(GO_MOD + lines)
    assert search.pins() == {"ytt": ("tools/carvel", "0.55.2")}


@pytest.mark.parametrize("new", ["../ytt", "example.com/fork v0.55.2", "carvel.dev/ytt v0.56.0"])
@pytest.mark.parametrize("old", ["carvel.dev/ytt", "carvel.dev/ytt v0.55.2"])
def test_a_pinned_tool_that_is_replaced_is_refused(search: Search, old: str, new: str) -> None:
    (search.root / "tools/carvel/go.mod").write_text(f"{GO_MOD}replace (\n\t{old} => {new}\n)\n")
    with pytest.raises(ConfigError) as caught:
        search.pins()
    (problem,) = caught.value.problems
    assert problem.message == "ytt is replaced by other code"
    assert str(problem.location) == f"{search.root}/tools/carvel/go.mod:14"
    assert problem.found == f"carvel.dev/ytt => {new}"


def test_a_tool_without_a_version_is_refused(search: Search) -> None:
    (search.root / "tools/carvel/go.mod").write_text(GO_MOD.replace("require carvel.dev/ytt v0.55.2", ""))
    with pytest.raises(ConfigError) as caught:
        search.pins()
    assert caught.value.problems[0].message == "ytt has a tool line and no version"


def test_another_pin_or_go_is_another_place(search: Search) -> None:
    places = {
        search.directory("tools/carvel"),
        Search(search.root, search.modules, "1.27.4", {}).directory("tools/carvel"),
    }
    (search.root / "tools/carvel/go.sum").write_text("other sums")
    places.add(search.directory("tools/carvel"))
    assert len(places) == 3


def findings(search: Search) -> dict[str, str]:
    return {
        f.name: f.problem or f"{f.tool.version} {f.tool.path}" if f.tool else str(f.problem)
        for f in toolchain.look(search)
    }


def test_the_projects_own_build_comes_first(search: Search) -> None:
    own = search.directory("tools/carvel") / "ytt"
    for path in (own, search.root / "bin/ytt"):
        script(path, "echo ytt version 0.55.2")
    assert findings(search)["ytt"] == f"0.55.2 {own}"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("ytt", "echo 0.55.2", "0.55.2 {path}"),
        ("ytt", "echo 0.55.3", "{path} is 0.55.3"),
        ("kbld", "echo kbld version 0.42.0", "0.42.0 {path}"),
        ("kbld", "echo kbld version 0.100.0", "0.100.0 {path}"),
        ("kbld", "echo kbld version 0.9.9", "{path} is 0.9.9"),
        ("crane", "echo develop", "{path} is of no version it would tell"),
        ("crane", "exit 3", "{path} is of no version it would tell"),
    ],
)
def test_versions_on_path(search: Search, name: str, text: str, wanted: str) -> None:
    path = search.root / "bin" / name
    script(path, text)
    assert findings(search)[name] == wanted.format(path=path)


def test_all_that_is_missing_is_named(search: Search) -> None:
    with pytest.raises(CarvelwrightError, match="missing or wrong: ytt, imgpkg, kbld, crane") as caught:
        toolchain.find(search)
    assert caught.value.exit_code is ExitCode.TOOL_MISSING
    assert caught.value.details
    assert "ytt: not built for this project and not on PATH (expected: 0.55.2)" in caught.value.details
    assert "imgpkg: not built for this project and not on PATH (expected: 0.43.0 or newer)" in caught.value.details


def test_go_of_another_version_is_refused(search: Search) -> None:
    with pytest.raises(CarvelwrightError, match="missing or wrong: go") as caught:
        toolchain.find_go(Search(search.root, (), "1.0.0", dict(os.environ)))
    assert caught.value.hint
    assert "make setup" in caught.value.hint


def test_nothing_of_the_users_environment_changes_what_is_compiled() -> None:
    base = {
        "GOFLAGS": "-race",
        "GOAMD64": "v3",
        "GOOS": "plan9",
        "GOPROXY": "p",
        "HOME": "h",
        "GOROOT": "x",
        "CGO_ENABLED": "1",
    }
    environment = go.environment(base)
    assert (environment["GOPROXY"], environment["HOME"], environment["CGO_ENABLED"]) == ("p", "h", "0")
    assert not {"GOAMD64", "GOOS", "GOROOT"} & set(environment)
    assert "-race" not in environment["GOFLAGS"]
    assert environment["GOTOOLCHAIN"] == "local"
