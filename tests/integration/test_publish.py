"""`publish` against a real registry: what is pushed, in which order, by several at once, killed anywhere."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import locks
from carvelwright.catalog.content import Catalog, read
from tests.helpers import images
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import (
    bundle_reference,
    call,
    content_of,
    package_of,
    published_bundle,
    pulled_repository,
    revisions_of,
    scraps,
    snapshot,
    wrap,
)
from tests.helpers.proxy import Manners, Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import PackageProject

NAME, FIRST = "hello.packages.example.com", "1.0.0+build.1"
OURS, METADATA = f"packages/{NAME}/{FIRST}.yml", f"packages/{NAME}/metadata.yml"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {a: b}\n"
NO_IMAGES = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"
# imgpkg gives everything that it copies a tag of its own, so that no registry removes it.
BY_DIGEST = re.compile(r":sha256-[0-9a-f]{64}(\.imgpkg|\.image-locations\.imgpkg)?$")


def names_in(crane: Path, registry: str) -> set[str]:
    """Return every tag of a registry, without those that imgpkg gives by digest."""
    return {name for name in content_of(crane, registry) if not BY_DIGEST.search(name)}


def highest(crane: Path, imgpkg: Path, to: str, scratch: Path) -> dict[str, bytes]:
    """Return what clients see that follow a repository by its tags."""
    shutil.rmtree(scratch, ignore_errors=True)
    (*_, tag) = revisions_of(crane, f"{to}/package-repository")
    return pulled_repository(imgpkg, f"{to}/package-repository:{tag}", scratch)


def catalog_of(files: Mapping[str, bytes]) -> Catalog:
    return read(files)


def push_others(imgpkg: Path, repository: str, directory: Path, files: Mapping[str, bytes], *tags: str) -> None:
    """Publish a package repository as others do, with imgpkg."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    for tag in tags:
        call(imgpkg, "push", "-b", f"{repository}:{tag}", "-f", directory, "--tty=false")


def test_a_dry_run_pushes_nothing_and_names_all_that_is_pushed_afterwards(
    built: PackageProject, registry: str, crane: Path
) -> None:
    to = f"{registry}/p"
    before = snapshot(built.root / "dist")
    said = built.run("publish", to, "--dry-run").ok().out
    planned = json.loads(built.run("publish", to, "--dry-run", "--format", "json").ok().out)
    assert call(crane, "catalog", registry) == b""
    done = json.loads(built.run("publish", to, "--format", "json").ok().out)
    assert planned == done
    assert done["changed"]
    words = {word.partition("@")[0] for line in said.splitlines() for word in line.split() if word.startswith(registry)}
    assert words == names_in(crane, registry)
    assert f"{NAME} {FIRST}: would be added" in said
    for reference in (done["repository"], done["packages"][0]["bundle"], *done["packages"][0]["images"]):
        name, _, digest = reference.partition("@")
        assert call(crane, "digest", name).decode().strip() == digest
    assert snapshot(built.root / "dist") == before
    assert scraps(built) == []


def test_a_second_run_changes_nothing_and_says_so(built: PackageProject, registry: str, crane: Path) -> None:
    to = f"{registry}/p"
    first = built.run("publish", to).ok().out
    assert first.startswith(f"published to {to}/package-repository\n")
    assert f"tanzu package repository add REPOSITORY --url {to}/package-repository " in first
    held = content_of(crane, registry)
    again = built.run("publish", to).ok().out
    assert again.startswith("already there: nothing was changed\n")
    assert "already there" in again.partition(NAME)[2].splitlines()[0]
    dry = built.run("publish", to, "--dry-run").ok().out
    assert f"{NAME} {FIRST}: already there" in dry
    assert f"unchanged: {to}/package-repository:" in dry
    assert content_of(crane, registry) == held


def test_a_registry_that_shows_late_what_was_pushed_is_waited_for(
    built: PackageProject, registry: str, crane: Path
) -> None:
    with Proxy(registry, manners=Manners(absent=1.0)) as proxy:
        outcome = built.run("publish", f"{proxy.address}/p").ok()
        assert "the registry does not have it yet: " in outcome.err
    assert f"{registry}/p/{NAME}:1.0.0_build.1" in names_in(crane, registry)


def test_a_kill_leaves_nothing_in_the_directory_of_temporary_files(
    built: PackageProject, registry: str, tmp_path: Path
) -> None:
    """imgpkg leaves its temporary files where it is killed: they are below build/, and go with the next run."""
    names = tmp_path / "names"
    imgpkg = f'mktemp -d -t imgpkg-XXXX > {names}; case "$TMPDIR" in */build/scratch/*) ;; *) exit 9;; esac'
    environment = {key: value for key, value in built.environment.items() if key != "TMPDIR"}
    kill = wrap(tmp_path, built, "imgpkg", "copy", f"{imgpkg}; kill -9 $PPID; sleep 9")
    done = subprocess.run(
        built.command("publish", f"{registry}/p"), cwd=built.root, env={**environment, **kill}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    left = Path(names.read_text().strip())
    assert left.is_dir()
    assert left.is_relative_to(built.root / "build/scratch")
    built.run("publish", f"{registry}/p").ok()
    assert not left.exists()
    assert scraps(built) == []


@pytest.mark.parametrize("lost", ["bundle", "image"])
def test_content_that_the_registry_has_lost_is_pushed_again(
    built: PackageProject, registry: str, crane: Path, lost: str
) -> None:
    """As a garbage collection leaves it that takes what has no tag: the version is listed, its content is gone."""
    to = f"{registry}/p"
    done = json.loads(built.run("publish", to, "--format", "json").ok().out)
    (package,) = done["packages"]
    held = content_of(crane, registry)
    gone = (package["bundle"] if lost == "bundle" else package["images"][0]).rpartition("@")[2]
    call(crane, "delete", f"{to}/{NAME}@{gone}")
    for name, digest in held.items():
        if digest == gone and name.startswith(f"{to}/{NAME}:"):
            call(crane, "delete", name)
    before = content_of(crane, registry)
    assert gone not in {digest for name, digest in before.items() if name.startswith(f"{to}/{NAME}:")}
    words = f"{NAME} {FIRST} is published, but {to}/{NAME} lacks {gone}: it is pushed again"
    assert words in built.run("publish", to, "--dry-run").ok().err
    assert content_of(crane, registry) == before
    again = built.run("publish", to).ok()
    assert words in again.err
    assert again.out.startswith(f"published to {to}/package-repository\n")
    assert content_of(crane, registry) == held
    assert built.run("publish", to).ok().out.startswith("already there: nothing was changed")


def test_a_client_gets_the_bundle_and_its_images_from_the_place_published_to(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/deep/er"
    built.run("publish", to).ok()
    files = highest(crane, imgpkg, to, tmp_path / "repository")
    assert set(files) == {OURS, METADATA, locks.IMAGES_LOCK, ".imgpkg/bundle.yml", "carvelwright.json"} - (
        set() if ".imgpkg/bundle.yml" in files else {".imgpkg/bundle.yml"}
    )
    (package,) = yamldoc.load_all_text(files[OURS].decode(), tmp_path)
    reference = bundle_reference(package)
    assert reference == published_bundle(built, to)
    # What else it says is what was built, byte for byte.
    assert (
        files[OURS].decode().replace(reference, bundle_reference(package_of(built)))
        == (built.root / "dist" / OURS).read_text()
    )
    call(imgpkg, "pull", "-b", reference, "-o", tmp_path / "bundle", "--tty=false")
    (image,) = yamldoc.load(tmp_path / "bundle/.imgpkg/images.yml").data["images"]
    assert image["image"].startswith(f"{to}/{NAME}@sha256:"), "imgpkg found it beside the bundle"
    call(crane, "validate", "--remote", image["image"])
    # Without a tag of its own a registry would remove it.
    assert image["image"].rpartition("@")[2] in content_of(crane, registry).values()


STEPS = [
    ("imgpkg", "copy", 1),
    ("crane", "push", 1),
    ("crane", "push", 2),
    ("crane", "tag", 1),
    ("crane", "tag", 2),
    ("crane", "tag", 3),
]


def test_killed_at_any_step_the_next_run_goes_on(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    built.run("publish", f"{registry}/whole").ok()
    whole = {name.removeprefix(f"{registry}/whole/") for name in names_in(crane, registry)}
    for number, (tool, argument, nth) in enumerate(STEPS):
        to, place = f"{registry}/p{number}", tmp_path / f"kill-{number}"
        place.mkdir()
        kill = f'echo x >> "$STATE/calls"; [ $(wc -l < "$STATE/calls") != {nth} ] || {{ kill -9 $PPID; sleep 9; }}'
        outcome = subprocess.run(
            built.command("publish", to),
            cwd=built.root,
            env={**built.environment, **wrap(place, built, tool, argument, kill)},
            capture_output=True,
            check=False,
        )
        assert outcome.returncode == -signal.SIGKILL, (tool, argument, nth, outcome)
        visible = revisions_of(crane, f"{to}/package-repository") if number > 1 else []
        # Nobody sees a version whose content is not there.
        assert bool(visible) == (number > 2), (tool, argument, nth)
        assert f"{to}/{NAME}:1.0.0_build.1" not in names_in(crane, registry) or number > 3
        built.run("publish", to).ok()
        names = {name.removeprefix(f"{to}/") for name in names_in(crane, registry) if name.startswith(f"{to}/")}
        assert {re.sub(r"r\.[0-9a-f]+\..*|:0\..*", "", name) for name in names} == {
            re.sub(r"r\.[0-9a-f]+\..*|:0\..*", "", name) for name in whole
        }
        assert OURS in highest(crane, imgpkg, to, tmp_path / "pulled")
        assert call(crane, "digest", f"{to}/package-repository:latest") == call(
            crane, "digest", f"{to}/package-repository:{revisions_of(crane, f'{to}/package-repository')[-1]}"
        )
        assert scraps(built) == []


def test_other_content_of_a_version_is_refused_before_anything_is_pushed(
    built: PackageProject, registry: str, crane: Path
) -> None:
    to = f"{registry}/p"
    built.run("publish", to).ok()
    held = content_of(crane, registry)
    built.replace(f"package/releases/{FIRST}.yaml", "The first release.", "Rewritten history.")
    built.run("build").ok()
    for arguments in (["publish", to], ["publish", to, "--dry-run"], ["build", "--to", to]):
        outcome = built.run(*arguments)
        assert outcome.code == 7
        assert f"error: {NAME} {FIRST} is already released with different content" in outcome.err
        assert "differs in spec:  releaseNotes" in outcome.err
        assert f"package/releases/{FIRST}.yaml" in outcome.err.rpartition("hint: ")[2]
    assert content_of(crane, registry) == held


def yaml_projects(tmp_path: Path, environment: Mapping[str, str], *names: str) -> list[PackageProject]:
    """Build small packages of manifests."""
    projects = []
    for name in names:
        project = images.yaml_package(tmp_path / name, environment, CONFIG.replace("settings", name))
        text = (project.root / "package/build.yaml").read_text()
        (project.root / "package/build.yaml").write_text(
            re.sub(r"(?m)^refName: .*$", f"refName: {name}.example.com", text)
        )
        project.run("build").ok()
        projects.append(project)
    return projects


def test_packages_that_are_published_at_the_same_time_are_all_there(
    tmp_path: Path, tool_environment: dict[str, str], registry: str, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    names = ["one", "two", "three"]
    projects = yaml_projects(tmp_path, tool_environment, *names)
    running = [
        subprocess.Popen(
            project.command("publish", to),
            cwd=project.root,
            env=dict(project.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for project in projects
    ]
    for process in running:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out.decode()
    for reference in ("latest", revisions_of(crane, f"{to}/package-repository")[-1]):
        files = pulled_repository(imgpkg, f"{to}/package-repository:{reference}", tmp_path / reference)
        assert {ref_name for ref_name, _ in catalog_of(files).versions} == {f"{name}.example.com" for name in names}
        assert sum(name.startswith("packages/") for name in files) == 2 * len(names)


def test_metadata_that_changed_without_a_version_is_published(
    tmp_path: Path, tool_environment: dict[str, str], registry: str, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    (project,) = yaml_projects(tmp_path, tool_environment, "one")
    project.run("publish", to).ok()
    before = highest(crane, imgpkg, to, tmp_path / "pulled")
    metadata = "packages/one.example.com/metadata.yml"
    text = (project.root / "package/metadata.yaml").read_text()
    for name in ("Another name", "One more name"):
        (project.root / "package/metadata.yaml").write_text(
            re.sub(r"(?m)^displayName: .*$", f"displayName: {name}", text)
        )
        outcome = project.run("build", "--to", to).ok()
        assert f"published to {to}/package-repository" in outcome.out
        after = highest(crane, imgpkg, to, tmp_path / "pulled")
        assert name in after[metadata].decode()
        assert {
            key: value for key, value in after.items() if key.endswith("1.yml") and key.startswith("packages/")
        } == {key: value for key, value in before.items() if key.endswith("1.yml") and key.startswith("packages/")}
    assert project.run("publish", to).ok().out.startswith("already there: nothing was changed")


def test_all_lies_in_one_repository_where_a_registry_has_no_paths(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/everything"
    planned = json.loads(built.run("publish", to, "--single", "--dry-run", "--format", "json").ok().out)
    done = json.loads(built.run("publish", to, "--single", "--format", "json").ok().out)
    assert planned == done
    assert call(crane, "catalog", registry).decode().split() == ["everything"]
    assert {f"{to}:{NAME}.1.0.0_build.1", f"{to}:hello.1.0.0_build.1", f"{to}:latest"} < names_in(crane, registry)
    files = pulled_repository(imgpkg, done["repository"].partition("@")[0], tmp_path / "pulled")
    (package,) = yamldoc.load_all_text(files[OURS].decode(), tmp_path)
    assert bundle_reference(package).startswith(f"{to}@sha256:")
    call(imgpkg, "pull", "-b", bundle_reference(package), "-o", tmp_path / "bundle", "--tty=false")
    (image,) = yamldoc.load(tmp_path / "bundle/.imgpkg/images.yml").data["images"]
    assert image["image"].startswith(f"{to}@")
    assert "nothing was changed" in built.run("publish", to, "--single").ok().out


# Repositories that others wrote


def older(built: PackageProject, to: str, version: str = FIRST) -> dict[str, bytes]:
    """Return a repository as the former carvelwright wrote it: the Package in place, no index."""
    text = (built.root / "dist" / OURS).read_text()
    moved = text.replace(bundle_reference(package_of(built)), published_bundle(built, to))
    return {
        f"packages/{NAME}/{version}.yml": moved.replace(FIRST, version).encode(),
        METADATA: (built.root / "dist" / METADATA).read_bytes(),
        locks.IMAGES_LOCK: NO_IMAGES,
    }


@pytest.mark.parametrize("version", [FIRST, "0.9.0+build.1"])
def test_a_repository_of_a_former_carvelwright_is_adopted(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path, version: str
) -> None:
    to = f"{registry}/p"
    theirs = older(built, to, version)
    repository = f"{to}/package-repository"
    archive = next((built.root / "dist").glob("*.tar"))
    call(imgpkg, "copy", "--tar", archive, "--to-repo", f"{to}/{NAME}", "--tty=false")
    push_others(imgpkg, repository, tmp_path / "theirs", theirs, "latest", f"{NAME}.1.0.0_build.1")
    tagged = call(crane, "digest", f"{repository}:{NAME}.1.0.0_build.1")
    built.run("publish", to).ok()
    files = highest(crane, imgpkg, to, tmp_path / "pulled")
    kept = f"packages/{NAME}/{version}.yml"
    assert files[kept] == theirs[kept]
    assert set(files) >= {OURS, kept, METADATA}
    # Those who install by tag or by digest what was there before find it.
    assert call(crane, "digest", f"{repository}:{NAME}.1.0.0_build.1") == tagged
    assert call(crane, "digest", f"{repository}:latest") != tagged
    assert revisions_of(crane, repository)[-1].startswith("0.1.")


def test_a_version_that_a_former_carvelwright_published_is_not_changed(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    theirs = older(built, to)
    theirs[OURS] = re.sub(rb"sha256:[0-9a-f]{64}", b"sha256:" + b"5" * 64, theirs[OURS])
    push_others(imgpkg, f"{to}/package-repository", tmp_path / "theirs", theirs, "latest")
    held = content_of(crane, registry)
    outcome = built.run("publish", to)
    assert outcome.code == 7
    assert f"published bundle: {to}/{NAME}@sha256:{'5' * 64}" in outcome.err
    assert content_of(crane, registry) == held


def test_what_a_former_carvelwright_still_publishes_is_not_lost(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    built.run("publish", to).ok()
    # It reads `latest`, carries on every file in it, adds a version and writes `latest`.
    files = pulled_repository(imgpkg, f"{to}/package-repository:latest", tmp_path / "read")
    added = f"packages/{NAME}/0.9.0+build.1.yml"
    files[added] = older(built, to, "0.9.0+build.1")[added]
    push_others(imgpkg, f"{to}/package-repository", tmp_path / "theirs", files, "latest")
    built.run("publish", to).ok()
    assert highest(crane, imgpkg, to, tmp_path / "pulled")[added] == files[added]


def test_a_repository_of_kctrl_is_adopted_and_outranked(
    built: PackageProject, registry: str, tmp_path: Path, imgpkg: Path, crane: Path
) -> None:
    to = f"{registry}/p"
    repository = f"{to}/package-repository"
    other = "theirs.example.com"
    theirs = {
        f"packages/{other}/1.2.3.yml": f"kind: Package\nmetadata: {{name: {other}.1.2.3}}\n"
        f"spec: {{refName: {other}, version: 1.2.3, template: {{spec: {{fetch: [{{inline: {{}}}}]}}}}}}\n".encode(),
        f"packages/{other}/metadata.yml": f"kind: PackageMetadata\nmetadata: {{name: {other}}}\n".encode(),
        "packages/empty.yml": b"",
        "packages/deep/er/latin.yml": b"a: \xe9\n",
        "README.md": b"theirs \xff\n",
    }
    push_others(imgpkg, repository, tmp_path / "theirs", {**theirs, locks.IMAGES_LOCK: NO_IMAGES}, "1.0.0", "build-17")
    built.run("publish", to).ok()
    (first, ours) = revisions_of(crane, repository)
    assert first == "1.0.0"
    assert ours.startswith("1.1.")
    files = highest(crane, imgpkg, to, tmp_path / "pulled")
    assert {name: content for name, content in files.items() if name in theirs} == theirs
    assert OURS in files
    assert "nothing was changed" in built.run("publish", to).ok().out


# Nonsense


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "REGISTRY/PATH"),
        (["no registry"], "not a repository: 'no registry'"),
        (["r.example.com/p:tag"], "r.example.com/p:tag"),
        (["r.example.com/UPPER"], "r.example.com/UPPER"),
        (["r.example.com/" + "a" * 240], "255"),
        (["127.0.0.1:1/p", "nothing"], "no package nothing in dist/"),
        (["127.0.0.1:1/p", "hallo"], "did you mean hello?"),
        (["127.0.0.1:1/p", "--registry-timeout", "0"], "--registry-timeout"),
        (["127.0.0.1:1/p", "--registry-timeout", "x"], "--registry-timeout"),
        (["127.0.0.1:1/p", "--format", "yaml"], "--format"),
    ],
)
def test_nonsense_is_refused_before_a_registry_is_asked(built: PackageProject, arguments: list[str], told: str) -> None:
    outcome = built.run("publish", *arguments)
    assert outcome.code == 2, outcome
    assert told in outcome.err
    assert outcome.out == ""


def test_what_is_not_built_or_was_changed_is_not_published(hello: PackageProject, built: PackageProject) -> None:
    target = "127.0.0.1:1/p"
    release = built.root / "dist/release.json"
    text = release.read_text()
    for content, told in (
        (None, "nothing to publish: no "),
        ("{}", "was not written by a build"),
        (text.replace('"schemaVersion": 2', '"schemaVersion": 1'), "schemaVersion is 1, expected 2"),
        (text + "\n", "differs from what was built"),
    ):
        release.unlink(missing_ok=True)
        if content is not None:
            release.write_text(content)
        outcome = built.run("publish", target)
        assert outcome.code == 8
        assert told in outcome.err
        assert "carvelwright build" in outcome.err.rpartition("hint: ")[2]
    release.write_text(text)
    outcome = built.run("publish", target, "--registry-timeout", "5")
    assert outcome.code == 6
    assert "step read published repository: " in outcome.err
    assert scraps(built) == []


def test_a_dist_that_cannot_be_written_is_published(built: PackageProject, registry: str, crane: Path) -> None:
    for path in [*(built.root / "dist").rglob("*"), built.root / "dist"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(built.root / "dist")
    built.run("publish", f"{registry}/p").ok()
    assert snapshot(built.root / "dist") == before
    for path in [built.root / "dist", *(built.root / "dist").rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
