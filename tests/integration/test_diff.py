"""`carvelwright diff` with real tools, git and a registry: what each operand shows, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.errors import ExitCode
from tests.conftest import free_address, registry_at
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

NAME, VERSION = "hello.packages.example.com", "1.0.0+build.1"
SECOND = "1.0.0+build.2"
SCHEMA, OVERLAY = "values-schema.yaml", "bundle/config/overlays/deployment.yaml"


def git(project: PackageProject, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", *identity, *arguments], cwd=project.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def cloned(hello: PackageProject) -> PackageProject:
    """The project in a git repository of its own, below its top, with one commit."""
    top = hello.root.parent
    (top / ".gitattributes").write_text("hello/examples export-ignore\n")
    git(hello, "init", "-q", "-b", "main", str(top))
    git(hello, "add", "-A", str(top))
    git(hello, "commit", "-q", "-m", "first")
    return hello


def change(project: PackageProject) -> None:
    """Rename an option, tighten a rule that only JSON Schema knows, add an option, a right and an argument."""
    project.replace(SCHEMA, "greeting: hello", "salutation: hello")
    project.replace(OVERLAY, "data.values.greeting", "data.values.salutation")
    project.replace(SCHEMA, '"^[a-z]+$"', '"^[a-z]{1,9}$"')
    schema = project.root / SCHEMA
    schema.write_text(schema.read_text() + '\n#@schema/desc "More."\nmore: true\n')
    (project.root / "bundle/config/base/role.yaml").write_text(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: hello, namespace: default}\n"
        "rules:\n- {apiGroups: [''], resources: [pods], verbs: [get]}\n"
    )


def diff(project: PackageProject, old: str, new: str, *more: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(project.run("diff", old, new, "--format", "json", *more).ok().out)
    return document


def kinds(document: dict[str, Any], part: str = "values") -> set[tuple[str, ...]]:
    if part == "values":
        return {(change["path"], change["kind"], change["judgement"]) for change in document["values"]}
    if part == "manifests":
        return {(change["object"]["kind"], change["kind"]) for change in document["manifests"]}
    return {(change["role"], change["resource"], change["kind"]) for change in document["rights"]}


def test_pull_request_shows_values_manifests_and_rights(cloned: PackageProject) -> None:
    change(cloned)
    before = git(cloned, "status", "--porcelain", "--untracked-files=no")
    document = diff(cloned, "git:main", ".")
    assert kinds(document) == {
        ("salutation", "renamed", "breaking"),
        ("name", "tightened", "breaking"),
        ("more", "added", "compatible"),
    }
    assert kinds(document, "manifests") == {("Role", "added")}
    assert kinds(document, "rights") == {("Role default/hello", "pods", "added")}
    assert document["images"] == document["notCompared"] == []
    assert document["judgement"] == "breaking"
    # Neither the index nor a file of the user's changed.
    assert git(cloned, "status", "--porcelain", "--untracked-files=no") == before


def test_same_version_has_no_differences(cloned: PackageProject) -> None:
    for old, new in (("git:HEAD", "."), (".", "."), (VERSION, VERSION), ("git:main", VERSION)):
        outcome = cloned.run("diff", old, new, "--fail-on", "change").ok()
        assert "nothing differs" in outcome.out


@pytest.mark.parametrize(("fail_on", "code"), [("breaking", ExitCode.DIFFERENT), ("change", ExitCode.DIFFERENT)])
def test_breaking_change_fails_where_it_is_asked_for(cloned: PackageProject, fail_on: str, code: int) -> None:
    change(cloned)
    assert cloned.run("diff", "git:main", ".").code == 0
    outcome = cloned.run("diff", "git:main", ".", "--fail-on", fail_on, "--format", "json")
    assert outcome.code == code
    assert json.loads(outcome.out)["judgement"] == "breaking"
    assert "hint:" in outcome.err


def test_compatible_change_fails_only_on_any_change(cloned: PackageProject) -> None:
    cloned.replace(SCHEMA, "replicas: 1", "replicas: 2")
    outcome = cloned.run("diff", "git:main", ".", "--fail-on", "breaking", "--format", "markdown").ok()
    assert "| `replicas` | default | compatible |" in outcome.out
    assert "-  replicas: 1\n+  replicas: 2\n" in outcome.out
    assert cloned.run("diff", "git:main", ".", "--fail-on", "change").code == ExitCode.DIFFERENT


def test_releases_are_rendered_with_the_present_files(hello: PackageProject) -> None:
    first = (hello.root / f"package/releases/{VERSION}.yaml").read_text()
    (hello.root / f"package/releases/{SECOND}.yaml").write_text(first.replace("build.1", "build.2"))
    config = '#@ load("/release.star", "version")\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: v}\n'
    (hello.root / "bundle/config/base/version.yaml").write_text(config + "data: {version: #@ version\n}\n")
    document = diff(hello, VERSION, SECOND)
    assert document["values"] == []
    (changed,) = document["manifests"]
    assert f"-  version: {VERSION}" in changed["diff"]
    assert f"+  version: {SECOND}" in changed["diff"]


def test_samples_are_those_of_the_project_or_those_that_are_given(cloned: PackageProject, tmp_path: Path) -> None:
    (cloned.root / "package/renders").mkdir()
    (cloned.root / "package/renders/three.yaml").write_text("replicas: 3\n")
    cloned.replace(OVERLAY, "data.values.replicas", "data.values.replicas * 2 if data.values.replicas > 2 else 1")
    document = diff(cloned, "git:main", ".")
    assert [each["samples"] for each in document["manifests"]] == [["three.yaml"]]
    given = tmp_path / "four.yaml"
    given.write_text("replicas: 4\n")
    assert [each["samples"] for each in diff(cloned, "git:main", ".", "-f", str(given))["manifests"]] == [["four.yaml"]]


def test_sample_that_a_rule_of_ytt_refuses_now_is_breaking(cloned: PackageProject, tmp_path: Path) -> None:
    """What only ytt can judge shows where a sample is refused."""
    cloned.replace(SCHEMA, "value.isalpha() and value.islower()", 'value.isalpha() and value != "moon"')
    given = tmp_path / "moon.yaml"
    given.write_text("name: moon\n")
    document = diff(cloned, "git:main", ".", "-f", str(given))
    (refused,) = [change for change in document["values"] if change["kind"] == "refused"]
    assert refused["judgement"] == "breaking"
    assert "moon.yaml" in refused["reason"]
    assert [gap["part"] for gap in document["notCompared"]] == ["manifests"]


@pytest.fixture
def published(built: PackageProject, toolset: Toolchain, tmp_path: Path) -> Iterator[tuple[PackageProject, str]]:
    """A version published to a registry, and the project changed since, with a second release."""
    with registry_at(toolset, free_address(), tmp_path / "storage") as address:
        built.run("build", "--to", f"{address}/team").ok()
        shutil.copytree(built.root / "dist", tmp_path / "first")
        change(built)
        first = built.root / f"package/releases/{VERSION}.yaml"
        first.with_name(f"{SECOND}.yaml").write_text(first.read_text().replace("build.1", "build.2"))
        yield built, f"registry:{address}/team"


def test_published_version_is_compared_with_the_project_and_with_the_next(
    published: tuple[PackageProject, str], tmp_path: Path
) -> None:
    project, repository = published
    document = diff(project, repository, ".")
    # A Package carries no rules that OpenAPI cannot say.
    assert kinds(document) == {("salutation", "renamed", "breaking"), ("more", "added", "compatible")}
    assert kinds(document, "manifests") == {("Role", "added")}
    project.run("build", "--to", repository.removeprefix("registry:")).ok()
    document = diff(project, f"{repository}@{VERSION}", repository)
    assert (document["old"]["version"], document["new"]["version"]) == (VERSION, SECOND)
    assert kinds(document, "rights") == {("Role default/hello", "pods", "added")}
    (moved,) = document["images"]
    assert moved["old"]["digest"] != moved["new"]["digest"]
    assert moved["new"]["platforms"] == ["linux/amd64", "linux/arm64"]
    # The build's directory and its archive hold the rules as well, and need no registry.
    archive = next((tmp_path / "first").glob("*.tar"))
    by_directory = diff(project, str(tmp_path / "first"), "dist")
    assert ("name", "tightened", "breaking") in kinds(by_directory)
    assert by_directory["images"] == document["images"]
    by_archive = diff(project, str(archive), repository)
    assert by_archive["values"] == document["values"]
    assert by_archive["manifests"] == document["manifests"]


def test_package_file_whose_registry_is_gone_is_compared_as_far_as_it_goes(built: PackageProject) -> None:
    package = f"dist/packages/{NAME}/{VERSION}.yml"
    document = diff(built, package, "dist")
    assert document["values"] == []
    assert document["images"] is document["manifests"] is document["rights"] is None
    assert {gap["part"] for gap in document["notCompared"]} == {"images", "manifests", "rights"}


def test_directory_without_a_project_compares_what_was_built(built: PackageProject, tmp_path: Path) -> None:
    document = diff(built, str(built.root / "dist"), str(built.root / "dist"), "-C", str(tmp_path))
    assert document["package"] == NAME
    assert document["manifests"] == []


def test_schema_alone_is_compared_with_a_schema_alone(hello: PackageProject) -> None:
    shutil.copyfile(hello.root / SCHEMA, hello.root / "old.yaml")
    change(hello)
    outcome = hello.run("diff", "old.yaml", SCHEMA, "--fail-on", "breaking")
    assert outcome.code == ExitCode.DIFFERENT
    assert "! salutation  (renamed, BREAKING)" in outcome.out
    assert "! name  (tightened, BREAKING)" in outcome.out


def write(project: PackageProject, name: str, content: bytes | str) -> None:
    (project.root / name).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    ("operand", "code", "words"),
    [
        ("9.9.9", ExitCode.CONFIG, "no release 9.9.9"),
        ("1.0.0+build.3", ExitCode.CONFIG, f"did you mean {VERSION}"),
        ("git:", ExitCode.USAGE, "names no revision"),
        ("registry:hello", ExitCode.USAGE, "not a repository"),
        ("nowhere", ExitCode.USAGE, "no such file"),
        ("", ExitCode.USAGE, "an empty path"),
        ("package", ExitCode.CONFIG, "not a package project"),
        ("package/metadata.yaml", ExitCode.USAGE, "nothing that can be compared"),
        ("broken.yaml", ExitCode.CONFIG, "broken.yaml:2"),
        ("odd.json", ExitCode.CONFIG, "the schema.properties.a"),
        ("damaged.tar", ExitCode.FILESYSTEM, "damaged"),
        ("empty.tar", ExitCode.FILESYSTEM, "not an archive"),
        ("other.yml", ExitCode.USAGE, "two packages"),
        ("bad-schema.yml", ExitCode.CONFIG, "is not a map"),
    ],
)
def test_operand_that_names_nothing_is_refused(hello: PackageProject, operand: str, code: int, words: str) -> None:
    write(hello, "broken.yaml", "a: 1\n- b\n")
    write(hello, "odd.json", '{"properties": {"a": 5}}')
    write(hello, "damaged.tar", b"\0" * 300 + b"ustar" + b"x" * 3000)
    with tarfile.open(hello.root / "empty.tar", "w"):
        pass
    package = "kind: Package\nspec: {refName: %s, version: 1.0.0, valuesSchema: {openAPIv3: %s}}\n"
    write(hello, "other.yml", package % ("other.example.com", "{}"))
    write(hello, "bad-schema.yml", package % (NAME, "[]"))
    for pair in ((operand, "."), (".", operand)):
        outcome = hello.run("diff", *pair)
        assert outcome.code == code, outcome.err
        assert words in outcome.err
        assert outcome.out == ""


@pytest.mark.parametrize("revision", ["nope", "--all", "HEAD:package", "main..main", "\n"])
def test_revision_that_git_does_not_know_is_refused(cloned: PackageProject, revision: str) -> None:
    outcome = cloned.run("diff", f"git:{revision}", ".")
    assert outcome.code == ExitCode.CONFIG
    assert "git knows no revision" in outcome.err
    assert "git fetch origin" in outcome.err


def test_git_operand_outside_of_a_repository_is_refused(hello: PackageProject) -> None:
    outcome = hello.run("diff", "git:main", ".", environment={"GIT_CEILING_DIRECTORIES": str(hello.root.parents[1])})
    assert outcome.code == ExitCode.CONFIG
    assert "in no git repository" in outcome.err


def test_package_that_a_revision_does_not_have_is_named(cloned: PackageProject) -> None:
    git(cloned, "checkout", "-q", "--orphan", "other")
    git(cloned, "rm", "-rqf", "--cached", ".")
    git(cloned, "commit", "-q", "--allow-empty", "-m", "empty")
    outcome = cloned.run("diff", "git:other", ".")
    assert outcome.code == ExitCode.CONFIG
    assert "has no package project" in outcome.err


def test_archive_whose_layer_was_changed_is_refused_or_named(built: PackageProject) -> None:
    (archive,) = (built.root / "dist").glob("*.tar")
    target = built.root / "changed.tar"
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            if member.name != "manifest.json":
                member.size = 0
                new.addfile(member)
            else:
                new.addfile(member, content)
    outcome = built.run("diff", "changed.tar", ".")
    assert outcome.code == ExitCode.FILESYSTEM
    assert "is damaged" in outcome.err


def test_repository_that_is_not_there_is_named(hello: PackageProject, registry: str) -> None:
    outcome = hello.run("diff", f"registry:{registry}/nobody/package-repository", ".")
    assert outcome.code == ExitCode.CONFIG
    assert "no package repository at" in outcome.err


def test_build_that_was_changed_since_is_refused(built: PackageProject) -> None:
    (built.root / "dist/values.schema.json").write_text("[]")
    outcome = built.run("diff", "dist", ".")
    assert outcome.code == ExitCode.FILESYSTEM
    assert "SHA256SUMS" in outcome.err


def test_values_from_a_pipe_are_read_once_for_both(cloned: PackageProject) -> None:
    cloned.replace(OVERLAY, "data.values.replicas", "data.values.replicas + 1")
    command = f"{' '.join(cloned.command())} diff git:main . --format json -f <(echo 'replicas: 4')"
    done = subprocess.run(
        ["bash", "-c", command], cwd=cloned.root, env=dict(cloned.environment), capture_output=True, check=True
    )
    diffs = [change["diff"] for change in json.loads(done.stdout)["manifests"]]
    assert any("-  replicas: 4" in text and "+  replicas: 5" in text for text in diffs)


def test_values_that_grow_without_end_are_refused(hello: PackageProject, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    bomb.write_text("\n".join(lines))
    outcome = hello.run("diff", ".", ".", "-f", str(bomb))
    assert outcome.code == ExitCode.CONFIG
    assert "too many values" in outcome.err


def test_what_is_wrong_in_a_revision_is_named_as_git_names_it(cloned: PackageProject) -> None:
    build = (cloned.root / "package/build.yaml").read_text()
    (cloned.root / "package/build.yaml").write_text(f"{build}odd: 1\n")
    git(cloned, "commit", "-qam", "odd")
    (cloned.root / "package/build.yaml").write_text(build)
    outcome = cloned.run("diff", "git:main", ".")
    assert outcome.code == ExitCode.CONFIG
    assert "main:package/build.yaml:" in outcome.err
    assert "tree" not in outcome.err


def test_package_of_a_workspace_is_compared_by_name(cloned: PackageProject) -> None:
    top = cloned.root.parent
    cloned.replace("package/build.yaml", "tools: []\n", "")
    cloned.replace("package/build.yaml", "go: 1.27.3\n", "")
    lines = (cloned.root / "package/build.yaml").read_text().splitlines(keepends=True)
    (cloned.root / "package/build.yaml").write_text("".join(line for line in lines if not line.startswith("registry:")))
    shutil.copytree(cloned.root, top / "other", ignore=shutil.ignore_patterns("build"))
    text = (top / "other/package/build.yaml").read_text()
    (top / "other/package/build.yaml").write_text(
        text.replace("hello.packages", "other.packages").replace("name: hello", "name: other")
    )
    base = top / "other/bundle/config/base/deployment.yaml"
    base.write_text(base.read_text().replace("image: hello", "image: other"))
    (top / "carvelwright.yaml").write_text(
        "registry: 127.0.0.1:5055/p\ngo: 1.27.3\ntools: []\nmembers: [hello, other]\n"
    )
    git(cloned, "add", "-A", str(top))
    git(cloned, "commit", "-qm", "workspace")
    schema = top / "other" / SCHEMA
    schema.write_text(schema.read_text().replace("replicas: 1", "replicas: 2"))
    several = cloned.run("diff", "git:main", ".", "-C", str(top))
    assert several.code == ExitCode.USAGE
    assert "git:main holds several packages" in several.err
    for name, empty in (("hello", True), ("other", False)):
        document = diff(cloned, "git:main", ".", "-C", str(top), "--package", name)
        assert (document["values"] == []) is empty
    assert diff(cloned, "git:main", ".")["values"] == []
