"""`vendor` with the real vendir: what it fetches and records, what builds refuse; a failure changes nothing."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.project.workspace import DEFAULT_GO
from carvelwright.report import Recorder
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search
from tests.cluster.pki import Authority
from tests.conftest import free_address
from tests.helpers.builds import call, scraps, snapshot
from tests.helpers.images import private, push_image
from tests.helpers.proxy import Proxy
from tests.helpers.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

RECORD = "package/vendored.lock.yaml"
VENDORED = "bundle/config/vendored"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}, namespace: default}}\n"
HEAD = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n"


@pytest.fixture(scope="session")
def vendir() -> Path:
    """The pinned vendir, which only packages that vendor build."""
    return toolchain.find_vendir(Search(Path(), None, DEFAULT_GO, dict(os.environ)), Recorder()).path


@pytest.fixture
def plain(hello: PackageProject, vendir: Path) -> PackageProject:
    """A package without images, with vendir on PATH, and upstream's files beside its directory."""
    shutil.rmtree(hello.root / "bundle/config")
    (hello.root / "bundle/config").mkdir()
    (hello.root / "package/build.yaml").write_text(
        f"refName: hello.packages.example.com\nregistry: {free_address()}/p\nplatforms: [linux/amd64]\ntools: []\n"
    )
    upstream = hello.root.parent / "upstream/deploy"
    upstream.mkdir(parents=True)
    (upstream / "one.yaml").write_text(CONFIG_MAP.format("one"))
    path = f"{vendir.parent}{os.pathsep}{hello.environment['PATH']}"
    return replace(hello, environment={**hello.environment, "PATH": path})


def names(project: PackageProject, contents: str, path: str = VENDORED) -> None:
    """Write a vendir.yml that fills one directory."""
    (project.root / "vendir.yml").write_text(f"{HEAD}  - path: {path}\n    contents: [{contents}]\n")


LOCAL = "{path: local, directory: {path: ../upstream/deploy}}"


@pytest.fixture
def local(plain: PackageProject) -> PackageProject:
    """A package that has vendored a directory from beside its own."""
    names(plain, LOCAL)
    plain.run("vendor").ok()
    return plain


def source(project: PackageProject, name: str = "one.yaml") -> Path:
    return project.root.parent / "upstream/deploy" / name


def everything(project: PackageProject) -> dict[str, bytes]:
    """Return the project's files without build/."""
    return {name: data for name, data in snapshot(project.root).items() if not name.startswith("build/")}


def test_vendor_fetches_records_and_lists_what_changed(local: PackageProject) -> None:
    assert (local.root / VENDORED / "local/one.yaml").read_text() == CONFIG_MAP.format("one")
    assert (local.root / RECORD).read_text().startswith("# Made by `carvelwright vendor`.")
    before = everything(local)
    assert local.run("vendor").ok().out == "files: 0 added, 0 removed, 0 changed; versions: 0 changed\n"
    assert everything(local) == before
    source(local, "two.yaml").write_text(CONFIG_MAP.format("two"))
    source(local).unlink()
    (source(local).parent / ".helmignore").write_text("hidden files are vendored, and are no part of a bundle\n")
    done = local.run("vendor").ok()
    assert done.out.splitlines() == [
        f"added    {VENDORED}/local/two.yaml",
        f"removed  {VENDORED}/local/one.yaml",
        "files: 1 added, 1 removed, 0 changed; versions: 0 changed",
    ]
    assert (local.root / VENDORED / "local/.helmignore").is_file()
    assert "helmignore" not in (local.root / RECORD).read_text()
    assert local.run("check").ok().out == "ok: no problems found\n"


def test_a_build_takes_what_is_vendored_and_notices_each_change(local: PackageProject) -> None:
    local.run("build").ok()
    assert "name: one" in local.run("render").ok().out
    vendored = local.root / VENDORED / "local/one.yaml"
    vendored.write_text(CONFIG_MAP.format("changed"))
    outcome = local.run("build")
    assert outcome.code == 3
    assert f"{VENDORED}/local/one.yaml: changed since it was vendored" in outcome.err
    vendored.write_text(CONFIG_MAP.format("one"))
    local.run("build").ok()
    (local.root / "vendir.lock.yml").write_text("")
    assert "vendir.lock.yml: changed since files were vendored" in local.run("build").err


def test_a_change_outside_of_the_bundle_is_noticed_by_a_build_too(plain: PackageProject) -> None:
    names(plain, LOCAL, path="third_party")
    plain.run("vendor").ok()
    (plain.root / "bundle/config/own.yaml").write_text(CONFIG_MAP.format("own"))
    built = plain.run("build").ok()
    assert "warning: vendir.yml: nothing of the package reads third_party" in built.err
    (plain.root / "third_party/local/one.yaml").unlink()
    outcome = plain.run("build")
    assert outcome.code == 3
    assert "third_party/local/one.yaml: missing: it was vendored" in outcome.err


WRONG = {
    "no YAML": ("a: [", ["vendir.yml:", "not YAML"]),
    "another kind": ("kind: Deployment\n", ["vendir.yml:1", "missing key 'directories'", "wrong value of kind"]),
    "nothing": ("", ["not exactly one document"]),
    "two": (f"{HEAD}  - {{path: a, contents: []}}\n---\n{HEAD}", ["not exactly one document"]),
    "a misspelt key": (
        f"{HEAD}  - path: bundle/config/a\n    contents: [{{path: ., inline: {{}}, includePath: []}}]\n",
        ["vendir.yml:5", "unknown key 'includePath' in directories[0].contents[0]"],
    ),
    **{
        f"path {path}": (
            f"{HEAD}  - path: {path}\n    contents: [{{path: ., inline: {{paths: {{a: b}}}}}}]\n",
            ["vendir.yml:4", words],
        )
        for path, words in {
            "../elsewhere": "leads out of the package",
            "/srv/elsewhere": "leads out of the package",
            ".": "holds what is not vendored: package",
            "bundle": "holds what is not vendored: bundle/config",
            "bundle/config": "holds what is not vendored: bundle/config",
            "package/renders": "holds what is not vendored: package",
            "link/below": "leads through a symbolic link: link",
        }.items()
    },
    "contents that lead out": (
        f"{HEAD}  - path: bundle/config/a\n    contents: [{{path: ../../../x, inline: {{paths: {{a: b}}}}}}]\n",
        ["leads out of its directory", "found: ../../../x"],
    ),
    "no kind of contents": (
        f"{HEAD}  - path: bundle/config/a\n    contents: [{{path: x}}]\n",
        ["vendir refused vendir.yml or its lock", "Expected directory contents type to be specified"],
    ),
    "a link in the source": (
        f"{HEAD}  - path: bundle/config/a\n    contents: [{{path: x, directory: {{path: links}}}}]\n",
        ["bundle/config/a/x/link: a symbolic link, which no bundle can hold", "hint: leave it out with excludePaths"],
    ),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_vendir_yml_is_refused_and_changes_nothing(plain: PackageProject, text: str, told: list[str]) -> None:
    (plain.root / "link").symlink_to(plain.root.parent)
    (plain.root / "links").mkdir()
    (plain.root / "links/file").write_text("content")
    (plain.root / "links/link").symlink_to("file")
    (plain.root / "vendir.yml").write_text(text)
    before = everything(plain)
    refused(plain, ["vendor"], 3, told)
    assert {name: data for name, data in everything(plain).items() if not name.startswith("dist/")} == before


def test_without_vendir_yml_there_is_nothing_to_vendor(plain: PackageProject) -> None:
    refused(plain, ["vendor"], 3, ["vendir.yml: missing"])


def test_locked_needs_a_lock_and_refuses_other_content(local: PackageProject) -> None:
    (local.root / VENDORED / "local/one.yaml").write_text("changed here")
    shutil.rmtree(local.root / VENDORED / "local")
    assert local.run("vendor", "--locked").ok().out.startswith(f"added    {VENDORED}/local/one.yaml\n")
    before = everything(local)
    source(local).write_text(CONFIG_MAP.format("moved"))
    refused(local, ["vendor", "--locked"], 3, [f"what was fetched is not what {RECORD} records", "local/one.yaml"])
    (local.root / "vendir.yml").write_text(before["vendir.yml"].decode() + "#\n")
    refused(local, ["vendor", "--locked"], 3, ["vendir.yml: changed since files were vendored"])
    (local.root / "vendir.lock.yml").unlink()
    refused(local, ["vendor", "--locked"], 3, ["vendir.lock.yml: missing"])


def test_locked_records_what_a_lock_without_record_says(local: PackageProject) -> None:
    before = everything(local)
    (local.root / RECORD).unlink()
    local.run("vendor", "--locked").ok()
    assert everything(local) == before


def test_a_branch_of_git_is_locked_by_commit_also_where_it_is_lazy(plain: PackageProject, tmp_path: Path) -> None:
    repository = tmp_path / "repository"

    def commit(name: str) -> str:
        (repository / "map.yaml").write_text(CONFIG_MAP.format(name))
        git = ("git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@example.com")
        call(*git, "add", "--all")
        call(*git, "commit", "--message", name)
        return call(*git, "rev-parse", "HEAD").decode().strip()

    call("git", "init", "--initial-branch", "main", repository)
    first = commit("first")
    names(plain, f"{{path: ., lazy: true, git: {{url: 'file://{repository}', ref: origin/main}}}}")
    assert f"{VENDORED}: git {first}\n" in plain.run("vendor").ok().out
    second = commit("second")
    outcome = plain.run("vendor").ok()
    assert outcome.out.splitlines()[:2] == [
        f"{VENDORED}: git {first} -> git {second}",
        f"changed  {VENDORED}/map.yaml",
    ]


def test_a_failure_of_any_entry_leaves_tree_lock_and_record_as_they_were(local: PackageProject) -> None:
    source(local).write_text(CONFIG_MAP.format("moved"))
    names(local, f"{LOCAL}, {{path: image, image: {{url: '{free_address()}/nothing:v1'}}}}")
    before = everything(local)
    told = ["step vendir sync: vendir could not fetch everything", f"Syncing directory '{VENDORED}'", "'image'"]
    refused(local, ["vendor"], 5, told)
    # Everything could be fetched, and the second directory cannot be put to its place.
    (local.root / "file").write_text("in the way")
    second = "  - path: file/second\n    contents: [{path: ., inline: {paths: {a: b}}}]\n"
    (local.root / "vendir.yml").write_text(f"{HEAD}  - path: {VENDORED}\n    contents: [{LOCAL}]\n{second}")
    refused(local, ["vendor"], 8, ["cannot replace", "Not a directory"])
    after = {name: data for name, data in everything(local).items() if not name.startswith("dist/")}
    assert after == before | {"file": b"in the way", "vendir.yml": after["vendir.yml"]}


class _Silent(http.server.BaseHTTPRequestHandler):
    """Answers nothing, and tells that it was asked."""

    asked = threading.Event()
    done = threading.Event()

    def do_GET(self) -> None:
        self.asked.set()
        self.done.wait()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that never answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        _Silent.done.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def directory_server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in tmp_path/served."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_interrupt_or_a_time_limit_leaves_everything_as_it_was(local: PackageProject, silent: str) -> None:
    source(local).write_text(CONFIG_MAP.format("moved"))
    names(local, f"{LOCAL}, {{path: slow, http: {{url: '{silent}'}}}}")
    before = everything(local)
    process = subprocess.Popen(
        local.command("vendor"), cwd=local.root, env=dict(local.environment), stderr=subprocess.PIPE
    )
    assert _Silent.asked.wait(120)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    outcome = local.run("vendor", "--timeout", "1")
    assert outcome.code == 5
    assert "step vendir sync: vendir did not end within 1 s" in outcome.err
    assert everything(local) == before
    assert scraps(local) == []


def test_a_bundle_of_a_registry_is_locked_by_digest(
    plain: PackageProject, registry: str, toolset: Toolchain, tmp_path: Path
) -> None:
    def push(name: str) -> str:
        content = tmp_path / name
        (content / ".imgpkg").mkdir(parents=True)
        (content / ".imgpkg/images.yml").write_text("apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n")
        (content / "map.yaml").write_text(CONFIG_MAP.format(name))
        call(toolset.imgpkg.path, "push", "-b", f"{registry}/upstream:stable", "-f", content)
        return call(toolset.crane.path, "digest", f"{registry}/upstream:stable").decode().strip()

    first = push("first")
    names(plain, f"{{path: ., imgpkgBundle: {{image: '{registry}/upstream:stable'}}}}")
    assert f"{VENDORED}: imgpkgBundle {registry}/upstream@{first}" in plain.run("vendor").ok().out
    second = push("second")
    shutil.rmtree(plain.root / VENDORED)
    plain.run("vendor", "--locked").ok()
    assert "name: first" in (plain.root / VENDORED / "map.yaml").read_text()
    old, new = (f"imgpkgBundle {registry}/upstream@{digest} (stable)" for digest in (first, second))
    moved = json.loads(plain.run("vendor", "--format", "json").ok().out)
    assert moved == {
        "refs": [{"path": VENDORED, "old": old, "new": new}],
        "files": {"added": [], "removed": [], "changed": [f"{VENDORED}/map.yaml"]},
    }
    assert plain.run("check").ok().out == "ok: no problems found\n"


def test_a_private_registry_is_asked_with_dockers_credentials(
    plain: PackageProject, registry: str, crane: Path, tmp_path: Path
) -> None:
    push_image(crane, tmp_path, f"{registry}/upstream:v1", ("linux/amd64",), text="of upstream", single=True)
    with private(registry, tmp_path) as (address, credentials):
        names(plain, f"{{path: ., image: {{url: '{address}/upstream:v1'}}}}")
        refused(
            plain, ["vendor"], 5, ["vendir could not fetch everything", "401 Unauthorized"], DOCKER_CONFIG="/nowhere"
        )
        plain.run("vendor", environment=credentials).ok()
    assert (plain.root / VENDORED / "content").read_text() == "of upstream"


def test_a_go_module_that_is_vendored_need_not_be_there_yet(hello: PackageProject, vendir: Path) -> None:
    path = f"{vendir.parent}{os.pathsep}{hello.environment['PATH']}"
    project = replace(hello, environment={**hello.environment, "PATH": path})
    (project.root / "payload").rename(project.root / "upstream")
    names(project, "{path: ., directory: {path: upstream}}", path="payload")
    refused(project, ["check"], 3, [f"{RECORD}: missing: nothing says what was vendored"])
    project.run("vendor").ok()
    project.run("check").ok()
    shutil.rmtree(project.root / "payload")
    refused(project, ["check"], 3, ["payload: missing: it was vendored", "vendor --locked"])


def test_a_chart_of_a_helm_repository_is_fetched_with_the_pinned_helm(
    plain: PackageProject, tmp_path: Path, directory_server: str
) -> None:
    search = Search(Path(), None, DEFAULT_GO, dict(os.environ))
    helm = toolchain.find_helm(search, Recorder()).path
    chart = tmp_path / "greeter"
    chart.mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: greeter\nversion: 1.2.3\n")
    call(helm, "package", chart, "--destination", tmp_path / "served")
    call(helm, "repo", "index", tmp_path / "served")
    names(plain, f"{{path: ., helmChart: {{name: greeter, repository: {{url: '{directory_server}'}}}}}}")
    path = f"{helm.parent}{os.pathsep}{plain.environment['PATH']}"
    outcome = plain.run("vendor", environment={"PATH": path}).ok()
    assert outcome.out.startswith(f"{VENDORED}: helmChart 1.2.3\n")
    assert (plain.root / VENDORED / "Chart.yaml").is_file()


def test_secrets_may_stand_beside_the_config_and_lines_are_still_told(plain: PackageProject) -> None:
    beside = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {}\n---\n"
    names(plain, "{path: ., inline: {paths: {a.txt: b}}}")
    text = (plain.root / "vendir.yml").read_text()
    (plain.root / "vendir.yml").write_text(beside + text)
    plain.run("vendor").ok()
    (plain.root / "vendir.yml").write_text(beside + text.replace("contents", "content"))
    refused(plain, ["vendor"], 3, ["vendir.yml:9:", "unknown key 'content' in directories[0]"])


def test_a_package_of_a_workspace_is_named(local: PackageProject) -> None:
    member = local.root / "packages/other"
    for name in ("package", "bundle", "values-schema.yaml", "vendir.yml"):
        copy = shutil.copytree if (local.root / name).is_dir() else shutil.copyfile
        (member).mkdir(parents=True, exist_ok=True)
        copy(local.root / name, member / name)
    build = yamldoc.load(local.root / "package/build.yaml").data
    (member / "package/build.yaml").write_text("refName: other.packages.example.com\nplatforms: [linux/amd64]\n")
    (local.root / "package/build.yaml").write_text(f"refName: {build['refName']}\nplatforms: [linux/amd64]\n")
    (local.root / "carvelwright.yaml").write_text(
        f"registry: {build['registry']}\ntools: []\nmembers: [., packages/other]\n"
    )
    (member / "vendir.yml").write_text(
        f"{HEAD}  - path: {VENDORED}\n    contents: [{{path: ., inline: {{paths: {{a: b}}}}}}]\n"
    )
    kept = (local.root / RECORD).read_bytes()
    local.run("vendor", "--package", "other").ok()
    assert (member / VENDORED / "a").read_text() == "b"
    assert (local.root / RECORD).read_bytes() == kept


def test_vendir_is_asked_for_only_where_a_package_vendors(hello: PackageProject, plain: PackageProject) -> None:
    without = replace(plain, environment=hello.environment)
    assert "vendir" not in without.run("doctor").out
    names(plain, LOCAL)
    refused(without, ["vendor"], 4, ["missing or wrong: vendir", "put vendir on PATH"])
    assert [tool["name"] for tool in json.loads(plain.run("doctor", "--format", "json").out)["tools"]][-1] == "vendir"


def test_what_a_private_ca_vouches_for_is_fetched_with_that_ca(
    plain: PackageProject, toolset: Toolchain, registry: str, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path / "ca")
    authority.issue("server", "/CN=server", server=("IP:127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.crt("server"), authority.key("server"))
    push_image(toolset.crane.path, tmp_path, f"{registry}/up/config:1", single=True)
    with Proxy(registry, tls=context) as proxy:
        entry = f"- path: {VENDORED}\n  contents:\n  - path: .\n    image: {{url: '{proxy.address}/up/config:1'}}\n"
        (plain.root / "vendir.yml").write_text(HEAD + entry)
        refused(plain, ["vendor"], 5, ["x509: certificate signed by unknown authority"])
        plain.run("vendor", "--registry-ca-cert", str(authority.crt())).ok()
    assert (plain.root / VENDORED / "content").is_file()
