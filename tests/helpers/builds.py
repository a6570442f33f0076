"""Built projects, and what registries and directories hold."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.catalog.tags import Revision
from carvelwright.record import ReleaseRecord
from carvelwright.reference import Reference, Repository
from carvelwright.steps import dist
from tests.conftest import PackageProject

if TYPE_CHECKING:
    from collections.abc import Iterator

# One built project for each test process: compiling is most of a build's time.
_TEMPLATE = pytest.StashKey[PackageProject]()


def copy_built(built: PackageProject, target: Path) -> PackageProject:
    """Copy a project with all that was made, as a fresh checkout that gets a cached build/ does: new time stamps."""
    shutil.copytree(built.root, target, copy_function=shutil.copyfile)
    for path in (target / "build/payload").rglob("hello"):
        path.chmod(0o755)
    return replace(built, root=target)


@pytest.fixture
def built(
    hello: PackageProject, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PackageProject:
    """The second example package, built, in a directory of its own."""
    stash = request.config.stash
    if _TEMPLATE not in stash:
        template = replace(hello, root=tmp_path_factory.mktemp("template") / "hello")
        shutil.copytree(hello.root, template.root)
        template.run("build").ok()
        stash[_TEMPLATE] = template
    shutil.rmtree(hello.root)
    return copy_built(stash[_TEMPLATE], hello.root)


def release_of(project: PackageProject) -> dict[str, Any]:
    """Return what dist/release.json says of its one package, with all that is said once for all packages."""
    document = record_of(project)
    (package,) = document["packages"]
    (repository,) = document["repository"]
    return {**document, **package, "repository": repository}


def record_of(project: PackageProject) -> dict[str, Any]:
    """Return dist/release.json."""
    document: dict[str, Any] = json.loads((project.root / "dist/release.json").read_bytes())
    return document


def package_of(project: PackageProject, version: str = "1.0.0+build.1") -> dict[str, Any]:
    """Return a Package of dist/."""
    path = project.root / f"dist/packages/hello.packages.example.com/{version}.yml"
    document: dict[str, Any] = yamldoc.load(path).data
    return document


def bundle_reference(package: dict[str, Any]) -> str:
    """Return what a Package fetches."""
    (fetch,) = package["spec"]["template"]["spec"]["fetch"]
    image: str = fetch["imgpkgBundle"]["image"]
    return image


def published_bundle(project: PackageProject, to: str) -> str:
    """Return where a package of dist/ was published to: a Package there fetches it by this name."""
    release = release_of(project)
    return f"{to}/{release['refName']}@{release['bundle'].rpartition('@')[2]}"


def pulled_repository(imgpkg: Path, repository: str, target: Path) -> dict[str, bytes]:
    """Return what the bundle of a package repository holds, as a client pulls it."""
    call(imgpkg, "pull", "-b", repository, "-o", target, "--tty=false")
    return snapshot(target)


def revisions_of(crane: Path, repository: str) -> list[str]:
    """Return the tags of a package repository that clients compare, the lowest first."""
    tags = call(crane, "ls", repository).decode().split()
    return [revision.tag for revision in sorted(filter(None, map(Revision.parse, tags)))]


def snapshot(directory: Path) -> dict[str, bytes]:
    """Return the content of every file below a directory; {} where there is none."""
    paths = sorted(directory.rglob("*"))
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def scraps(project: PackageProject) -> list[str]:
    """Return what no run may leave: scratch files, half-made directories, files under a temporary name."""
    root = project.root
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_relative_to(root)]
    hidden = [name for name in names if any(part.startswith(".") for part in name.split("/")) and name != "build/.lock"]
    return sorted(hidden) + sorted(name for name in names if name.startswith("build/scratch/"))


def call(*argv: str | Path, stdin: bytes = b"") -> bytes:
    """Run a tool that has to end well; returns what it wrote."""
    done = subprocess.run([str(part) for part in argv], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr.decode()}"
    return done.stdout


def content_of(crane: Path, registry: str) -> dict[str, str]:
    """Return the digest of every tag of every repository of a registry."""
    held = {}
    for repository in call(crane, "catalog", registry).decode().split():
        for tag in call(crane, "ls", f"{registry}/{repository}").decode().split():
            reference = f"{registry}/{repository}:{tag}"
            held[reference] = call(crane, "digest", reference).decode().strip()
    return held


def server_render(bundle: str, directory: Path, *, imgpkg: Path, ytt: Path, kbld: Path) -> list[dict[str, Any]]:
    """Do with a package bundle what the server does: pull it, ytt, kbld with the bundle's own ImagesLock."""
    call(imgpkg, "pull", "-b", bundle, "-o", directory, "--tty=false")
    manifests = call(ytt, "-f", directory / "config")
    resolved = call(kbld, "-f", "-", "-f", directory / ".imgpkg/images.yml", stdin=manifests)
    return [document for document in yamldoc.load_all_text(resolved.decode(), directory) if document]


@contextlib.contextmanager
def serve(project: PackageProject) -> Iterator[subprocess.Popen[str]]:
    """Run `carvelwright serve`; it is up and ready while the block runs."""
    server = subprocess.Popen(
        project.command("serve"),
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout
    try:
        lines = [server.stdout.readline(), server.stdout.readline()]
        assert lines[1] == "serving; press Ctrl-C to stop\n", (lines, server.poll())
        yield server
    finally:
        server.kill()
        server.communicate()


def images_of(node: Any) -> set[str]:
    """Return every image that manifests name under the key `image`."""
    if isinstance(node, list):
        return {image for item in node for image in images_of(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["image"]} if isinstance(node.get("image"), str) else set()
    return own | {image for value in node.values() for image in images_of(value)}


def wrap(
    place: Path,
    project: PackageProject,
    tool: str,
    argument: str,
    action: str,
    environment: dict[str, str] | None = None,
) -> dict[str, str]:
    """Put a script in front of a tool that acts when its first argument is `argument`; the real tool is $REAL."""
    directory = place / "wrapped"
    directory.mkdir(exist_ok=True)
    real = next(
        Path(part, tool) for part in project.environment["PATH"].split(os.pathsep) if Path(part, tool).is_file()
    )
    script = directory / tool
    script.write_text(
        f'#!/bin/sh\nREAL={real}; STATE={place}\nif [ "$1" = {argument} ]; then\n{action}\nfi\nexec "$REAL" "$@"\n'
    )
    script.chmod(0o755)
    return (environment or {}) | {"PATH": f"{directory}{os.pathsep}{project.environment['PATH']}"}


def record_of_files(directory: Path) -> ReleaseRecord:
    """Return the record of a dist/ that was filled by hand."""
    reference = Reference.parse(f"r.example.com/p/package-repository:x@sha256:{'1' * 64}")
    return ReleaseRecord(
        registry=Repository.parse("r.example.com/p"),
        repository=(reference,),
        archive="archive.tar",
        packages=(),
        tools={"go": "1.27.3"},
        files=dist.list_files(directory),
    )
