"""The adapters with the real tools: what hostile input and odd arguments do to them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import process, yamldoc
from carvelwright.carvel.locks import ImagesLock
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, RegistryError
from carvelwright.oci.layout import ImageLayout
from carvelwright.project import config
from carvelwright.project.workspace import DEFAULT_GO
from carvelwright.reference import Reference
from carvelwright.tools import crane, go, imgpkg, toolchain, ytt
from carvelwright.tools.toolchain import Search
from tests.conftest import ROOT, free_address, registry_at
from tests.helpers.proxy import Fault, Proxy
from tests.helpers.registries import impatient, push_bundle
from tests.integration.test_faults import answer, error_body, reset, server

if TYPE_CHECKING:
    from carvelwright.tools.crane import PulledBundle
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

Handle = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def go_tool() -> Tool:
    return toolchain.find_go(Search(ROOT, None, DEFAULT_GO, dict(os.environ)))


ENDLESS = """
#@ def spin():
#@   for i in range(1000000000):
#@     x = i
#@   end
#@ end
a: #@ spin()
"""


def test_a_template_that_does_not_end_is_stopped_and_told(toolset: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").write_text(ENDLESS)
    with pytest.raises(CarvelwrightError) as caught:
        ytt.render(toolset.ytt, tmp_path, step="render", timeout=1)
    assert caught.value.message == "step render: ytt did not end within 1 s and was stopped"
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.hint
    assert "loop" in caught.value.hint


# What a registry answers to `GET /v2/p/x/manifests/latest`; `/v2/` itself answers well.
MISSING = [
    answer("404 Not Found", error_body("MANIFEST_UNKNOWN")),
    answer("404 Not Found", error_body("NAME_UNKNOWN")),
    answer("404 Not Found", error_body("NOT_FOUND")),
    answer("404 Not Found"),
]
OTHER = {
    "page": (answer("404 Not Found", "<html>404 Not Found: MANIFEST_UNKNOWN</html>"), "run the same command again"),
    "denied": (answer("403 Forbidden", error_body("DENIED")), "use credentials that may pull from 127.0.0.1:"),
    "page 403": (answer("403 Forbidden", "<html>401 UNAUTHORIZED</html>"), "use credentials that may pull from 127."),
    "limit": (answer("429 Too Many Requests", error_body("TOOMANYREQUESTS")), "wait, then run"),
    "other": (answer("418 I'm a teapot", "404 Not Found MANIFEST_UNKNOWN"), "run the same command again"),
}


def only_manifests(handle: Handle) -> Handle:
    """Answer as a registry does, but for manifests."""

    def select(connection: socket.socket) -> None:
        if connection.recv(65536, socket.MSG_PEEK).startswith(b"GET /v2/ "):
            answer("200 OK")(connection)
        else:
            handle(connection)

    return select


def pull(toolset: Toolchain, address: str, notes: list[str], timeout: float = 60) -> PulledBundle | None:
    source = Reference.parse(f"{address}/p/x:latest")
    tool = impatient(toolset, 2).crane
    return crane.pull_verified_bundle(tool, source, 1 << 20, step="read", timeout=timeout, note=notes.append)


@pytest.mark.parametrize("handle", MISSING, ids=["manifest", "name", "harbor", "nothing said"])
def test_a_manifest_that_is_not_there_is_known_by_the_registrys_code(toolset: Toolchain, handle: Handle) -> None:
    with server(only_manifests(handle)) as address:
        assert pull(toolset, address, []) is None


@pytest.mark.parametrize("name", OTHER)
def test_an_answer_is_told_by_its_code_not_by_words_in_a_page(toolset: Toolchain, name: str) -> None:
    handle, hint = OTHER[name]
    with server(only_manifests(handle)) as address, pytest.raises(RegistryError) as caught:
        pull(toolset, address, [])
    assert caught.value.exit_code is ExitCode.REGISTRY
    assert (caught.value.registry, caught.value.reference) == (address, f"{address}/p/x")
    assert caught.value.message == f"step read: crane failed with exit code 1 at registry {address}"
    assert caught.value.hint
    assert hint in caught.value.hint


def test_a_push_that_is_denied_says_push(toolset: Toolchain, registry: str, tmp_path: Path) -> None:
    digest = push_bundle(toolset, f"{registry}/p/x", tmp_path)
    with Proxy(registry, [Fault("403", method="PUT", times=None)]) as proxy:
        target = Reference.parse(f"{proxy.address}/p/x@{digest}")
        with pytest.raises(CarvelwrightError) as caught:
            crane.put_tag(toolset.crane, target, "x", step="tag", timeout=60, note=print)
        assert len(proxy.hits()) == 1
    assert caught.value.hint == f"use credentials that may push to {proxy.address}/p/x, or another repository"


def test_who_waits_for_a_silent_registry_is_told_after_seconds(toolset: Toolchain) -> None:
    notes: list[str] = []
    with server(None) as address, pytest.raises(CarvelwrightError) as caught:
        pull(toolset, address, notes, timeout=6)
    (note,) = notes
    assert note.startswith(f"step read: registry {address} has not responded yet, retrying failed requests (")
    assert "(5 s of 6 s)" in note
    assert caught.value.hint == "check that the registry responds, or allow more time with --registry-timeout SECONDS"


def test_who_waits_for_a_registry_that_resets_is_told_why(toolset: Toolchain) -> None:
    notes: list[str] = []
    with server(reset) as address:
        source = Reference.parse(f"{address}/p/x:latest")
        with pytest.raises(CarvelwrightError):
            crane.digest(impatient(toolset, 1).crane, source, step="look", timeout=60, note=notes.append)
    assert len(notes) == 1
    assert "connection reset by peer" in notes[0]


def test_two_embedded_registries_of_a_project_do_not_share_a_log(toolset: Toolchain, tmp_path: Path) -> None:
    storage = tmp_path / "registry"
    with registry_at(toolset, free_address(), storage), registry_at(toolset, free_address(), storage):
        assert len(list(tmp_path.glob("registry-*.log"))) == 2


def test_a_file_of_this_machine_is_not_blamed_on_the_registry(
    toolset: Toolchain, tmp_path: Path, registry: str
) -> None:
    source = Reference.parse(f"{registry}/p/x:latest")
    tool = replace(toolset.imgpkg, environment={**toolset.imgpkg.environment, "TMPDIR": str(tmp_path / "none")})
    with pytest.raises(CarvelwrightError) as caught:
        imgpkg.copy_to_tar(tool, source, tmp_path / "archive.tar", step="read", timeout=60, note=print)
    assert caught.value.message == (
        f"step read: TMPDIR is {tmp_path}/none: no file can be created there: No such file or directory"
    )
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    archive, target = tmp_path / "none/archive.tar", source.repository
    with pytest.raises(CarvelwrightError) as caught:
        imgpkg.copy_from_tar(toolset.imgpkg, archive, target, tmp_path / "lock", step="copy", timeout=60, note=print)
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert registry not in caught.value.message


ODD = ["-x", "a=b", "a,b", 'a"b', "a b", "-", "--help"]


@pytest.mark.parametrize("name", ODD)
def test_tools_take_paths_of_any_name(
    hello: PackageProject, toolset: Toolchain, monkeypatch: pytest.MonkeyPatch, registry: str, name: str
) -> None:
    monkeypatch.chdir(hello.root)
    odd = Path(name)
    (odd / "content").mkdir(parents=True)
    (odd / "content/template.yaml").write_text('#@ load("@ytt:data", "data")\na: #@ data.values.a\n')
    schema = odd / "content/schema.yaml"
    schema.write_text("#@data/values-schema\n---\na: 1\n")
    (odd / "-").write_text("a: 2\n")
    assert ytt.render(toolset.ytt, odd / "content", [odd / "-"], step="render") == b"a: 2\n"
    assert ytt.values_schema(toolset.ytt, odd / "content", schema, step="schema")["type"] == "object"
    target = Reference.parse(f"{registry}/p/x:latest")
    (odd / "content/.imgpkg").mkdir()
    (odd / "content/.imgpkg/images.yml").write_text(yamldoc.dump(ImagesLock(()).document()))
    pushed = imgpkg.push_bundle(
        toolset.imgpkg, odd / "content", target, odd / "lock", step="push", timeout=60, note=print
    )
    assert pushed.image.repository == target.repository
    pulled = crane.pull_verified_bundle(toolset.crane, target, 1 << 20, step="pull", timeout=60, note=print)
    assert pulled is not None
    assert pulled.digest == pushed.image.digest
    assert "schema.yaml" in pulled.files
    imgpkg.copy_to_tar(toolset.imgpkg, target, odd / "archive.tar", step="copy", timeout=60, note=print)
    assert (odd / "archive.tar").is_file()
    layout = ImageLayout(odd / "none", Digest.of_bytes(b""))
    with pytest.raises(CarvelwrightError, match="crane failed with exit code 1") as caught:
        crane.push_layout(toolset.crane, layout, target, step="push", timeout=60, note=print)
    assert "no such file or directory" in str(caught.value.details)


def test_a_values_file_called_minus_is_a_file(
    toolset: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("a: 2\n")
    Path("config").mkdir()
    Path("config/schema.yaml").write_text("#@data/values-schema\n---\na: 1\n")
    Path("config/template.yaml").write_text('#@ load("@ytt:data", "data")\na: #@ data.values.a\n')
    assert ytt.render(toolset.ytt, Path("config"), [Path("-")], step="render") == b"a: 2\n"


def test_a_values_file_that_ytt_cannot_name_is_refused(toolset: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "a=b.yaml").write_text("a: 1\n")
    with pytest.raises(CarvelwrightError, match="ytt does not accept a path with `=`"):
        ytt.render(toolset.ytt, tmp_path, [tmp_path / "a=b.yaml"], step="render")


PROGRAM = 'package main\n\nvar Text = "none"\n\nfunc main() { print(Text) }\n'


@pytest.mark.parametrize("text", ["a b", "it's", 'say "hi"', "-X=main.Text=other", "a\tb\nc", "", "$HOME\\"])
def test_a_linker_variable_may_hold_any_text(go_tool: Tool, tmp_path: Path, text: str) -> None:
    (tmp_path / "go.mod").write_text("module example.com/m\n")
    (tmp_path / "main.go").write_text(PROGRAM)
    compilation = go.Compilation(tmp_path, {"program": "."}, {"main.Text": text, "main.other": "x"})
    go.build(go_tool, compilation, tmp_path / "out", step="compile")
    assert process.run([str(tmp_path / "out/program")], step="s", timeout=60).stderr == text


@pytest.mark.parametrize(("tags", "said"), [((), "none"), (("loud",), "loud"), (("loud", "other"), "loud")])
def test_build_tags_choose_what_is_compiled(go_tool: Tool, tmp_path: Path, tags: tuple[str, ...], said: str) -> None:
    (tmp_path / "go.mod").write_text("module example.com/m\n")
    (tmp_path / "main.go").write_text(PROGRAM)
    (tmp_path / "loud.go").write_text('//go:build loud\n\npackage main\n\nfunc init() { Text = "loud" }\n')
    compilation = go.Compilation(tmp_path, {"program": "."}, {}, tags=tags)
    go.build(go_tool, compilation, tmp_path / "out", step="compile", progress=lambda *_: None)
    assert process.run([str(tmp_path / "out/program")], step="s", timeout=60).stderr == said


def test_a_package_is_never_an_option(go_tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.com/m\n")
    (tmp_path / "main.go").write_text(PROGRAM)
    compilation = go.Compilation(tmp_path, {"program": "-toolexec=touch ran"}, {})
    for progress in (None, print):
        with pytest.raises(CarvelwrightError, match="go failed with exit code 1") as caught:
            go.build(go_tool, compilation, tmp_path / "out", step="compile", progress=progress)
        assert "leading dash" in str(caught.value.details)
    with pytest.raises(CarvelwrightError, match="go failed with exit code 1"):
        go.module_directory(go_tool, tmp_path, "-x", step="stage CRDs")
    with pytest.raises(CarvelwrightError, match="both kinds of quotes"):
        go.build(go_tool, go.Compilation(tmp_path, {"p": "."}, {"main.Text": "'\""}), tmp_path, step="compile")
    assert not (tmp_path / "ran").exists()


WRONG = {
    "hello: .": ["hello: -toolexec=id", "hello: example.com/m@latest", "hello: ''"],
    'main.version: "{version}"': ["-X: v", "main.a=b: v", "'main a': v", 'main.version: "\'\\""', 'main.v: "\\0"'],
}


@pytest.mark.parametrize(("good", "wrong"), [(good, wrong) for good in WRONG for wrong in WRONG[good]])
def test_build_yaml_refuses_what_go_would_misread(hello: PackageProject, good: str, wrong: str) -> None:
    hello.replace("package/build.yaml", good, wrong)
    with pytest.raises(ConfigError) as caught:
        config.load_package(hello.root)
    (problem,) = caught.value.problems
    assert problem.location
    assert problem.location.line
    assert problem.expected


GROWING = """
#@ def grow():
#@   text = "a"
#@   for i in range(40):
#@     text = text + text
#@   end
#@   return text
#@ end
a: #@ grow()
"""


def test_a_template_that_takes_all_memory_is_stopped_and_told(
    toolset: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MEMORY", 1 << 30)
    (tmp_path / "growing.yaml").write_text(GROWING)
    with pytest.raises(CarvelwrightError) as caught:
        ytt.render(toolset.ytt, tmp_path, step="render")
    assert (
        caught.value.message == "step render: ytt needed more memory than there is or than it may use and was stopped"
    )
    assert caught.value.exit_code is ExitCode.CONFIG
    assert "goroutine" not in str(caught.value.details)
    assert "endless loop or one with too much output" in str(caught.value.hint)
