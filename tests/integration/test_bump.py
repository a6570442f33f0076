"""`bump` raises the version of the packaged Go module, with real Go and a proxy of its own."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.helpers.tools import Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

LIB = "example.com/lib"
BUILD, FIRST = "package/build.yaml", "package/releases/1.0.0+build.1.yaml"
NEW = "package/releases/1.1.0+build.1.yaml"
ROLE = 'kind: ClusterRole\nmetadata: {{name: lib}}\nrules: [{{apiGroups: [""], resources: [pods], verbs: [{}]}}]\n'


def lib(version: str, *, flag: str = "level", verbs: str = "get", go: str = "1.25") -> dict[str, bytes]:
    """Return the files of the packaged software."""
    head = f'package lib\n\nimport "flag"\n\nvar Level = flag.String("{flag}", "info", "Words.")\n'
    code = f'{head}\nconst V = "{version}"\n'
    files = {"go.mod": f"module {LIB}\n\ngo {go}\n", "lib.go": code, "deploy/role.yaml": ROLE.format(verbs)}
    return {name: text.encode() for name, text in files.items()}


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    made = Proxy(tmp_path)
    made.publish(LIB, "v0.9.0", lib("0.9.0"))
    made.publish(LIB, "v1.1.0", lib("1.1.0", flag="log-level", verbs="get, list"))
    made.publish(LIB, "v1.2.0-rc.1", lib("1.2.0-rc.1"))
    return made


@pytest.fixture
def project(hello: PackageProject, proxy: Proxy) -> PackageProject:
    """The example package, of example.com/lib 1.0.0, pinned in payload."""
    sums = proxy.publish(LIB, "v1.0.0", lib("1.0.0"))
    (hello.root / "payload/go.mod").write_text(f"module example.com/hello\n\ngo 1.25\n\nrequire {LIB} v1.0.0\n")
    (hello.root / "payload/go.sum").write_text("\n".join(sums) + "\n")
    code = (
        f'package main\n\nimport "{LIB}"\n\nvar version = ""\n\nfunc main() {{ println(*lib.Level, lib.V, version) }}\n'
    )
    (hello.root / "payload/main.go").write_text(code)
    terms = f"licenses: {{overrides: [{{module: {LIB}, licenses: LicenseRef-Test, reason: made for a test}}]}}"
    hello.replace(BUILD, "tools: []", f"tools: []\n{terms}\nupstream: {{goModule: {LIB}, pinnedBy: payload}}")
    names = {name: proxy.environment[name] for name in ("GOPROXY", "GOMODCACHE")}
    # No database knows the checksums of a module that only this test has; those of any other are verified.
    return replace(hello, environment={**hello.environment, **names, "GONOSUMDB": "example.com", "GOENV": "off"})


def own_directory(project: PackageProject) -> None:
    """Let each upstream version have a Go module of its own."""
    (project.root / "payload").rename(project.root / "v1.0.0")
    (project.root / "payload").mkdir()
    (project.root / "v1.0.0").rename(project.root / "payload/v1.0.0")
    project.replace(BUILD, "pinnedBy: payload", "pinnedBy: 'payload/v{upstream}'")
    project.replace(BUILD, "directory: payload", "directory: 'payload/v{upstream}'")
    project.replace("payload/v1.0.0/go.mod", "example.com/hello", "example.com/hello/v1.0.0")


def tree(project: PackageProject) -> dict[str, bytes]:
    root = project.root
    return {
        name: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not (name := path.relative_to(root).as_posix()).startswith("build/")
    }


def test_the_newest_version_is_pinned_tidied_released_and_reported(project: PackageProject) -> None:
    before = tree(project)
    done = project.run("bump", "-q").ok()
    assert done.out.splitlines() == [
        f"{LIB} 1.0.0 -> 1.1.0",
        "rights:",
        "  changed  ClusterRole lib: core/pods: get -> get, list",
        "flags:",
        '  removed  . --level: "info", "Words."',
        '  added    . --log-level: "info", "Words."',
        "wrote payload/go.mod",
        f"wrote {NEW}",
    ]
    after = tree(project)
    assert {name for name in after if after[name] != before.get(name)} == {"payload/go.mod", "payload/go.sum", NEW}
    assert f"require {LIB} v1.1.0" in after["payload/go.mod"].decode()
    assert b"v1.0.0" not in after["payload/go.sum"]
    stub = after[NEW].decode()
    assert re.sub(r"20\d\d-\d\d-\d\dT00", "DAY", stub) == (
        "upstream: 1.1.0\nrevision: build.1\nreleasedAt: DAY:00:00Z\n"
        f"releaseNotes: |\n  {LIB} v1.1.0, in place of v1.0.0.\n"
    )
    assert project.run("check").ok().out == "ok: no problems found\n"
    again = project.run("bump", "-q").ok()
    assert again.out == f"{LIB} 1.1.0: the Go proxy lists nothing newer\n"


def test_what_was_bumped_builds_with_the_new_version(project: PackageProject) -> None:
    project.run("bump", "1.1.0").ok()
    project.run("build", "--platform", "linux/amd64").ok()
    (binary,) = (project.root / "build/payload").rglob("hello")
    said = subprocess.run([binary], capture_output=True, text=True, check=True).stderr
    assert said == "info 1.1.0 1.1.0+build.1\n"


def test_each_upstream_version_with_a_module_of_its_own_gets_a_copy(project: PackageProject) -> None:
    own_directory(project)
    before = tree(project)
    done = project.run("bump", "v1.1.0", "-q").ok()
    assert done.out.splitlines()[-2:] == ["wrote payload/v1.1.0", f"wrote {NEW}"]
    after = tree(project)
    assert {name: after[name] for name in before} == before
    added = {f"payload/v1.1.0/{name}" for name in ("go.mod", "go.sum", "main.go")}
    assert after.keys() - before.keys() == {*added, NEW}
    text = after["payload/v1.1.0/go.mod"].decode()
    assert text.startswith("module example.com/hello/v1.1.0\n")
    assert f"require {LIB} v1.1.0" in text
    project.run("check").ok()


def test_imports_within_a_module_follow_its_new_name(project: PackageProject) -> None:
    own_directory(project)
    inner = project.root / "payload/v1.0.0/inner"
    inner.mkdir()
    (inner / "inner.go").write_text("package inner\n\nconst X = 1\n")
    project.replace("payload/v1.0.0/main.go", "import", 'import _ "example.com/hello/v1.0.0/inner"\nimport')
    project.run("bump", "1.1.0").ok()
    assert '"example.com/hello/v1.1.0/inner"' in (project.root / "payload/v1.1.0/main.go").read_text()
    project.run("check").ok()


def test_a_dry_run_reports_the_same_and_writes_nothing(project: PackageProject) -> None:
    before = tree(project)
    planned = project.run("bump", "--dry-run", "-q").ok().out
    assert tree(project) == before
    assert project.run("bump", "-q").ok().out == planned.replace("would write", "wrote")


def test_the_report_as_json(project: PackageProject) -> None:
    document = json.loads(project.run("bump", "--format", "json").ok().out)
    assert {name: document[name] for name in ("module", "old", "new", "release", "raised")} == {
        "module": LIB,
        "old": "1.0.0",
        "new": "1.1.0",
        "release": "1.1.0+build.1",
        "raised": ["payload/go.mod"],
    }
    words = '"info", "Words."'
    assert {"kind": "flags", "key": ". --level", "old": words, "new": None} in document["changes"]


def test_a_pre_release_has_to_be_named(project: PackageProject) -> None:
    assert "1.0.0 -> 1.2.0-rc.1" in project.run("bump", "1.2.0-rc.1").ok().out
    project.run("check").ok()


def test_a_revision_may_be_named(project: PackageProject) -> None:
    project.run("bump", "--revision", "site.7").ok()
    assert (project.root / "package/releases/1.1.0+site.7.yaml").is_file()
    project.run("check").ok()


def test_a_module_that_imports_nothing_of_it_stays_a_pin(project: PackageProject) -> None:
    (project.root / "pins").mkdir()
    for name in ("go.mod", "go.sum"):
        (project.root / "pins" / name).write_bytes((project.root / "payload" / name).read_bytes())
    project.replace(BUILD, "pinnedBy: payload", "pinnedBy: pins")
    project.run("bump").ok()
    for name in ("pins", "payload"):
        assert f"{LIB} v1.1.0" in (project.root / name / "go.mod").read_text()
    project.run("check").ok()


def test_an_older_line_goes_on_beside_the_newer(project: PackageProject, proxy: Proxy) -> None:
    own_directory(project)
    project.run("bump", "1.1.0").ok()
    proxy.publish(LIB, "v1.0.1", lib("1.0.1"))
    assert f"{LIB} 1.0.0 -> 1.0.1" in project.run("bump", "1.0.1").ok().out
    assert f"{LIB} v1.0.1" in (project.root / "payload/v1.0.1/go.mod").read_text()
    project.run("check").ok()


REFUSED = {
    "below": ("0.9.0", 2, "0.9.0 is below 1.0.0, which hello packages already"),
    "there already": ("1.0.0", 2, "hello 1.0.0 is packaged already, as 1.0.0+build.1"),
    "no such version": ("1.9.0", 5, f"Go cannot fetch {LIB} v1.9.0"),
    "no version": ("latest", 2, "not a version of a Go module: 'latest'"),
    "an option": ("--1.1.0", 2, "No such option"),
    "a path": ("../1.1.0", 2, "not a version of a Go module"),
    "a revision with it": ("1.1.0+build.1", 2, "not a version of a Go module"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_versions_that_cannot_be_are_refused_and_nothing_is_changed(project: PackageProject, name: str) -> None:
    version, code, words = REFUSED[name]
    before = tree(project)
    refused = project.run("bump", version)
    assert (refused.code, tree(project)) == (code, before)
    assert words in refused.err


def test_a_wrong_revision_is_refused(project: PackageProject) -> None:
    before = tree(project)
    for revision in ("", "a b", "../x"):
        refused = project.run("bump", f"--revision={revision}", "1.1.0")
        assert (refused.code, tree(project)) == (2, before), refused.err


def test_a_proxy_without_a_list_asks_for_the_version(project: PackageProject, proxy: Proxy) -> None:
    (proxy.root / LIB / "@v/list").unlink()
    refused = project.run("bump")
    assert refused.code == 5
    assert "hint: name the version: carvelwright bump VERSION" in refused.err
    project.run("bump", "1.1.0").ok()


def test_a_package_of_no_go_module_says_what_is_missing(hello: PackageProject) -> None:
    refused = hello.run("bump")
    assert refused.code == 3
    assert f"{BUILD} does not name the Go module of the packaged software" in refused.err


def test_a_replaced_module_is_refused_at_its_line(project: PackageProject) -> None:
    with (project.root / "payload/go.mod").open("a") as file:
        file.write(f"\nreplace {LIB} => {LIB} v0.9.0\n")
    refused = project.run("bump", "1.1.0")
    assert refused.code == 3
    assert "payload/go.mod:7: go.mod replaces example.com/lib" in refused.err


def test_content_with_another_checksum_is_refused(project: PackageProject) -> None:
    with (project.root / "payload/go.sum").open("a") as file:
        file.write(f"{LIB} v1.1.0 h1:{'A' * 43}=\n")
    before = tree(project)
    refused = project.run("bump", "1.1.0")
    assert (refused.code, tree(project)) == (5, before)
    assert "checksum mismatch" in refused.err


def test_a_version_that_the_programs_do_not_fit_changes_nothing(project: PackageProject, proxy: Proxy) -> None:
    moved = {name.replace("lib.go", "inner/lib.go"): content for name, content in lib("1.3.0").items()}
    proxy.publish(LIB, "v1.3.0", moved)
    for layout in (lambda _: None, own_directory):
        layout(project)
        before = tree(project)
        refused = project.run("bump", "1.3.0")
        assert (refused.code, tree(project)) == (5, before)
        assert "does not contain package example.com/lib" in refused.err


def test_a_version_that_needs_a_newer_go_says_so(project: PackageProject, proxy: Proxy) -> None:
    proxy.publish(LIB, "v1.3.0", lib("1.3.0", go="1.99"))
    before = tree(project)
    refused = project.run("bump", "1.3.0")
    assert (refused.code, tree(project)) == (3, before), refused.err
    assert "requires Go 1.99 or newer" in refused.err


def test_a_release_file_is_never_overwritten(project: PackageProject) -> None:
    # It is not what its name says, and nothing that a release could be made from.
    (project.root / NEW).mkdir()
    before = tree(project)
    refused = project.run("bump", "1.1.0")
    assert refused.code != 0
    assert tree(project) == before


def test_crds_that_the_new_version_moved_are_noted(project: PackageProject, proxy: Proxy) -> None:
    crd = b"kind: CustomResourceDefinition\nmetadata: {name: a.example.com}\nspec: {scope: Cluster, versions: []}\n"
    proxy.publish(LIB, "v1.4.0", {**lib("1.4.0"), "crds/a.yaml": crd})
    proxy.publish(LIB, "v1.5.0", {**lib("1.5.0"), "crds/b.yaml": crd})
    project.run("bump", "1.4.0").ok()
    project.replace(
        BUILD, "upstream:", f"crds: [{{goModule: {LIB}, pinnedBy: payload, files: [crds/a.yaml]}}]\nupstream:"
    )
    lines = project.run("bump", "1.5.0", "-q").ok().out.splitlines()
    assert f"note: {BUILD} names crds/a.yaml, which the new version does not have: change `crds`" in lines
    assert any(line.startswith("note: crds/b.yaml is new and not named") for line in lines)


@pytest.mark.parametrize("layout", [lambda _: None, own_directory])
def test_a_kill_leaves_a_project_that_works_and_the_next_run_completes(project: PackageProject, layout: object) -> None:
    layout(project)  # type: ignore[operator]
    before = tree(project)
    command = project.command("bump", "1.1.0")
    with subprocess.Popen(
        command, cwd=project.root, env=dict(project.environment), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "read both versions" in line:
                process.kill()
    visible = {name: data for name, data in tree(project).items() if ".new." not in name}
    assert visible == before
    project.run("check").ok()
    project.run("bump", "1.1.0").ok()
    project.run("check").ok()
    assert [name for name in tree(project) if ".new." in name] == []


@pytest.mark.parametrize("layout", [lambda _: None, own_directory])
def test_a_run_that_ended_before_the_release_was_written_is_completed(project: PackageProject, layout: object) -> None:
    layout(project)  # type: ignore[operator]
    project.run("bump", "1.1.0").ok()
    whole = tree(project)
    # The release is the last that is written.
    (project.root / NEW).unlink()
    done = project.run("bump", "1.1.0", "-q").ok()
    assert f"{LIB} 1.0.0 -> 1.1.0" in done.out
    assert tree(project) == whole


def test_a_copy_keeps_its_relative_paths_and_leaves_out_what_editors_left(project: PackageProject) -> None:
    own_directory(project)
    other = project.root / "payload/other"
    other.mkdir()
    (other / "go.mod").write_text("module example.com/other\n\ngo 1.25\n")
    (other / "other.go").write_text("package other\n")
    ours = "{module: example.com/other, licenses: LicenseRef-Test, reason: made for a test}"
    project.replace(BUILD, "overrides: [", f"overrides: [{ours}, ")
    project.replace("payload/v1.0.0/main.go", "import", 'import _ "example.com/other"\nimport')
    (project.root / "payload/v1.0.0/main.go~").write_text("junk")
    with (project.root / "payload/v1.0.0/go.mod").open("a") as file:
        file.write("\nrequire example.com/other v0.0.0\n\nreplace example.com/other => ../other\n")
    project.run("bump", "1.1.0").ok()
    assert not (project.root / "payload/v1.1.0/main.go~").exists()
    project.run("check").ok()


def test_the_stub_keeps_the_comments_of_the_last_release(project: PackageProject) -> None:
    path = project.root / FIRST
    path.write_text(f"# SPDX-License-Identifier: Apache-2.0\n# Append-only.\n{path.read_text()}")
    project.run("bump").ok()
    assert (
        (project.root / NEW).read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n# Append-only.\nupstream:")
    )


def test_a_package_of_a_workspace_is_named(project: PackageProject, tmp_path: Path) -> None:
    lines = (project.root / BUILD).read_text().splitlines()
    registry = next(line for line in lines if line.startswith("registry:"))
    terms = next(line for line in lines if line.startswith("licenses:"))
    kept = [line for line in lines if not line.startswith(("registry:", "go:", "tools:", "licenses:"))]
    (project.root / BUILD).write_text("\n".join(kept) + "\n")
    (tmp_path / "carvelwright.yaml").write_text(f"{registry}\ntools: []\n{terms}\nmembers: [hello]\n")
    workspace = replace(project, root=tmp_path)
    refused = workspace.run("bump", "--package", "helo")
    assert (refused.code, "did you mean hello?" in refused.err) == (2, True)
    workspace.run("bump", "--package", "hello").ok()
    assert (project.root / NEW).is_file()


@pytest.mark.parametrize(
    "text",
    [
        "module",
        "require example.com/lib",
        "\x00",
        f"module x\n\ngo 1.25\n\nrequire {LIB} vX\n",
        "module x\n\ngo 1.25\n",
    ],
)
def test_a_go_mod_that_says_nothing_of_use_is_refused(project: PackageProject, text: str) -> None:
    (project.root / "payload/go.mod").write_text(text)
    before = tree(project)
    refused = project.run("bump", "1.1.0")
    assert refused.code in (3, 5)
    assert "go.mod" in refused.err
    assert tree(project) == before


@pytest.mark.parametrize("layout", [lambda _: None, own_directory])
def test_a_release_that_cannot_be_written_undoes_the_pin(project: PackageProject, layout: object) -> None:
    layout(project)  # type: ignore[operator]
    # The new release repeats these comments, and is the only large file that is written once Go has fetched all.
    path = project.root / FIRST
    path.write_text(f"# {'x' * 40_000}\n{path.read_text()}")
    project.run("bump", "1.1.0", "--dry-run").ok()
    before = tree(project)
    command = " ".join(project.command("bump", "1.1.0"))
    limited = subprocess.run(
        ["sh", "-c", f"ulimit -f 32; exec {command}"],
        cwd=project.root,
        env=dict(project.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 8, limited.stderr
    assert f"cannot write {NEW}: File too large" in limited.stderr
    assert tree(project) == before
    project.run("bump", "1.1.0").ok()
