"""The package project: build.yaml, metadata, the package template and the releases, read and checked at once."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.carvel.version import PackageVersion
from carvelwright.errors import ConfigError, InputError, Location, Problem, did_you_mean
from carvelwright.files import is_junk
from carvelwright.platform import Platform
from carvelwright.project import clashes, images, paths, validation, vendored
from carvelwright.project import workspace as workspaces
from carvelwright.project.images import GoImage, LockedImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from carvelwright.project.images import DeclaredImage
    from carvelwright.project.workspace import Workspace

BUILD_FILE = paths.BUILD_FILE
METADATA_FILE = paths.METADATA_FILE
PACKAGE_TEMPLATE = paths.PACKAGE_TEMPLATE
RELEASES_DIRECTORY = paths.RELEASES_DIRECTORY
# Values files: with each of them the package is rendered as well, to find what options bring.
RENDERS_DIRECTORY = "package/renders"
VALUES_SCHEMA = paths.VALUES_SCHEMA
BUNDLE_CONFIG = paths.BUNDLE_CONFIG


@dataclass(frozen=True, slots=True)
class Release:
    """One released version: `released_at` is UTC text such as 2026-11-23T00:00:00Z.

    `breaking` tells that the file admits changes that may refuse values which the version before took.
    """

    version: PackageVersion
    upstream: str
    released_at: str
    notes: str
    file: Path
    breaking: bool = False

    @property
    def epoch(self) -> int:
        """The release date in seconds since 1970, as SOURCE_DATE_EPOCH counts."""
        return int(dt.datetime.fromisoformat(self.released_at).timestamp())

    def fill(self, text: str) -> str:
        """Replace {version} and {upstream} in a text of build.yaml."""
        return text.replace("{version}", str(self.version)).replace("{upstream}", self.upstream)


@dataclass(frozen=True, slots=True)
class CrdSource:
    """Files of a Go module that the project pins, staged into the bundle."""

    pinned_by: str
    go_module: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpstreamModule:
    """The Go module that is the packaged software: its version is `upstream` of a release, with a v."""

    go_module: str
    pinned_by: str


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a workspace, checked; `root` is its directory."""

    workspace: Workspace
    root: Path
    ref_name: str
    platforms: tuple[Platform, ...]
    images: tuple[GoImage | LockedImage, ...]
    declared: tuple[DeclaredImage, ...]
    renders: tuple[Path, ...]
    crds: tuple[CrdSource, ...]
    upstream: UpstreamModule | None
    metadata: Mapping[str, Any]
    releases: tuple[Release, ...]

    @property
    def short_name(self) -> str:
        """The first segment of the refName: whereabouts of whereabouts.tanzu.vmware.com."""
        return self.ref_name.partition(".")[0]

    @property
    def go_images(self) -> tuple[GoImage, ...]:
        """The images that the project builds."""
        return tuple(image for image in self.images if isinstance(image, GoImage))

    @property
    def locked_images(self) -> tuple[LockedImage, ...]:
        """The existing images that the lock file holds."""
        return tuple(image for image in self.images if isinstance(image, LockedImage))

    def go_module_names(self) -> list[str]:
        """Return the directories of Go modules as build.yaml writes them, with {version} and {upstream} to fill in."""
        named = [module.directory for image in self.go_images for module in image.modules]
        named += [crds.pinned_by for crds in self.crds]
        named += [self.upstream.pinned_by] if self.upstream else []
        return list(dict.fromkeys(named))

    def go_modules(self, release: Release) -> list[str]:
        """Return the directories of the Go modules that a release is made from, below the package's."""
        return list(dict.fromkeys(release.fill(name) for name in self.go_module_names()))

    def release(self, version: str | None) -> Release:
        """Return the release of that version, or the newest; InputError names the versions there are."""
        if version is None:
            return self.releases[-1]
        for release in self.releases:
            if str(release.version) == version:
                return release
        names = [str(release.version) for release in self.releases]
        raise InputError(
            f"no release {version} in {RELEASES_DIRECTORY}{did_you_mean(version, names)}",
            details=f"found: {', '.join(names)}",
            hint=f"add {RELEASES_DIRECTORY}/{version}.yaml, or use one of these",
        )


def load_packages(directory: Path, *, validate: bool = True) -> tuple[Package, ...]:
    """Read every package of the workspace whose root a directory is, or the one package that it holds.

    Raises as load_package; of several packages with the problems of all, and of names that two of them share.
    """
    paths.require_project(directory)
    root = paths.find_root(directory)
    if root is None or root.resolve() != directory.resolve():
        return (load_package(directory, validate=validate),)
    shared = workspaces.load_workspace(root, validate=validate)
    packages: list[Package] = []
    found: list[Problem] = []
    for member in shared.members:
        try:
            packages.append(_load_package(member, shared, validate=validate))
        except ConfigError as error:
            found += error.problems
    found += workspaces.name_problems(packages)
    if found:
        raise ConfigError(found)
    return tuple(packages)


def load_package(directory: Path, *, validate: bool = True) -> Package:
    """Read the package of a directory.

    `validate=False` skips the JSON Schemas for content that passed them before. Raises ConfigError with every problem
    of every file, and CarvelwrightError where the directory holds no package.
    """
    paths.require_project(directory)
    root = paths.find_root(directory)
    if root is None:
        return _load_package(directory, None, validate=validate)
    shared = workspaces.load_workspace(root, validate=validate)
    # As the workspace names it: what is put together from several places has one form of path.
    here = next(member for member in shared.members if member.resolve() == directory.resolve())
    return _load_package(here, shared, validate=validate)


def _load_package(root: Path, shared: Workspace | None, *, validate: bool) -> Package:
    found: list[Problem] = []
    optional = ("registry",) if shared else ()
    build = _load(root / BUILD_FILE, "build", found, validate=validate, optional=optional)
    metadata = _load(root / METADATA_FILE, "metadata", found, validate=validate)
    releases = _load_releases(root / RELEASES_DIRECTORY, found, validate=validate)
    locked = _load_lock(root / images.LOCK_FILE, found, validate=validate)
    found += [*_missing_parts(root), *_unread_files(root)]
    if build is not None and not found:
        found += _modules_outside(root, shared.root if shared else root, build, releases)
    if build is not None and not found:
        found += [
            *_missing_modules(root, build, releases),
            *_special_sources(root, build.data, releases),
            *clashes.problems(build, root / BUNDLE_CONFIG, root / VALUES_SCHEMA),
        ]
        found += _misplaced(build) if shared else []
    if found or build is None or metadata is None:
        raise ConfigError(found)
    return _package(root, shared or workspaces.alone(root, build.data), build.data, metadata.data, releases, locked)


def _misplaced(build: yamldoc.Document) -> list[Problem]:
    return [
        build.problem(
            [key], f"{key!r} belongs to the whole workspace", key=True, hint=f"move it to {paths.WORKSPACE_FILE}"
        )
        for key in workspaces.SHARED_KEYS
        if key in build.data
    ]


def _load(
    path: Path, schema_name: str, found: list[Problem], *, validate: bool, optional: Sequence[str] = ()
) -> yamldoc.Document | None:
    if not path.is_file():
        found.append(_not_a_file(path))
        return None
    try:
        document = yamldoc.load(path)
    except ConfigError as error:
        found += error.problems
        return None
    if validate:
        found += validation.problems(document, schema_name, optional)
    return document


def _load_lock(path: Path, found: list[Problem], *, validate: bool) -> list[LockedImage]:
    before = len(found)
    document = _load(path, "images-lock", found, validate=validate) if path.exists() else None
    if document is None or len(found) > before:
        return []
    locked, problems = images.locked_images(document)
    found += problems
    return locked


def _load_releases(directory: Path, found: list[Problem], *, validate: bool) -> tuple[Release, ...]:
    files = [path for path in _entries(directory) if _is_plain_yaml(path)]
    if not files:
        found.append(
            Problem("no release files", Location(directory), expected="one VERSION.yaml for each released version")
        )
    releases = []
    for file in files:
        before = len(found)
        document = _load(file, "release", found, validate=validate)
        if document is not None and len(found) == before:
            release = _release(document, found)
            releases += [release] if release else []
    return tuple(sorted(releases, key=lambda release: release.version))


def _release(document: yamldoc.Document, found: list[Problem]) -> Release | None:
    data = document.data
    text = f"{data['upstream']}+{data['revision']}"
    key = "upstream"
    try:
        PackageVersion.parse(data["upstream"])
        key = "revision"
        version = PackageVersion.parse(text)
        key = "releasedAt"
        dt.datetime.fromisoformat(data["releasedAt"])
    except ValueError as error:
        found.append(document.problem([key], str(error), found=json.dumps(data[key], ensure_ascii=False)))
        return None
    if document.path.stem != text:
        found.append(
            document.problem(
                ["revision"], "the file's name is not its version", found=document.path.name, expected=f"{text}.yaml"
            )
        )
        return None
    return Release(
        version, data["upstream"], data["releasedAt"], data["releaseNotes"], document.path, "breaking" in data
    )


def _modules_outside(
    root: Path, workspace: Path, build: yamldoc.Document, releases: Iterable[Release]
) -> list[Problem]:
    """Find Go modules of images that `..` leads out of the workspace: nothing would notice a change there."""
    newest = max(releases, key=lambda release: release.version)
    top = workspace.resolve()
    return [
        build.problem(
            ["images", number, "modules", index, "directory"],
            "this Go module is outside of the workspace",
            found=module["directory"],
            expected=f"a directory below {top}",
            hint=f"move it there, or list the package in the {paths.WORKSPACE_FILE} of a directory above both",
        )
        for number, image in enumerate(build.data.get("images", []))
        for index, module in enumerate(image.get("modules", []))
        if module["directory"].startswith("../")
        and not (root / newest.fill(module["directory"])).resolve().is_relative_to(top)
    ]


def _missing_modules(root: Path, build: yamldoc.Document, releases: Iterable[Release]) -> list[Problem]:
    """Find Go modules that build.yaml names and that are not there, for the newest release.

    One that is vendored and not fetched yet is none of them: `check` says so, and `vendor` has to run.
    """
    newest = max(releases, key=lambda release: release.version)
    data = build.data
    named: list[tuple[list[str | int], str]] = [
        (["tools", index], path) for index, path in enumerate(data.get("tools", []))
    ]
    for number, image in enumerate(data.get("images", [])):
        for index, module in enumerate(image.get("modules", [])):
            named.append((["images", number, "modules", index, "directory"], module["directory"]))
    named += [(["crds", index, "pinnedBy"], crds["pinnedBy"]) for index, crds in enumerate(data.get("crds", []))]
    named += [(["upstream", "pinnedBy"], data["upstream"]["pinnedBy"])] if "upstream" in data else []
    missing = [(at, newest.fill(path)) for at, path in named if not (root / newest.fill(path) / "go.mod").is_file()]
    fetched = [root / name for name in vendored.directories(root) if not (root / name).exists()] if missing else []
    return [
        build.problem(pointer, "no Go module there", found=path, expected="a directory that holds go.mod")
        for pointer, path in missing
        if not any((root / path).is_relative_to(directory) for directory in fetched)
    ]


def _special_sources(root: Path, build: Mapping[str, Any], releases: Iterable[Release]) -> list[Problem]:
    """Find what no compiler can read among the sources of the newest release: pipes, links that lead nowhere."""
    newest = max(releases, key=lambda release: release.version)
    modules = [module["directory"] for image in build.get("images", []) for module in image.get("modules", [])]
    return [
        Problem("a special file, or a link that leads nowhere", Location(path), expected="a file that Go can read")
        for name in dict.fromkeys(modules)
        for path in paths.source_files(root / newest.fill(name))
        if not path.is_file()
    ]


def _missing_parts(root: Path) -> list[Problem]:
    """Find parts of the project that are not there, or are a file instead of a directory or the reverse."""
    found = [_not_a_file(root / name) for name in (VALUES_SCHEMA, PACKAGE_TEMPLATE) if not (root / name).is_file()]
    config = root / BUNDLE_CONFIG
    if config.is_dir():
        return found
    message = "not a directory" if config.exists() else "missing"
    return [*found, Problem(message, Location(config), expected="required in every package project: a directory")]


def _not_a_file(path: Path) -> Problem:
    message = "missing" if not path.exists() else "a directory" if path.is_dir() else "a special file"
    return Problem(message, Location(path), expected="required in every package project: a file")


def _unread_files(root: Path) -> list[Problem]:
    """Find what lies among the project's files and is never read: a misspelt name would pass unseen."""
    others = (images.LOCK_FILE, paths.VENDORED_LOCK, paths.VULNERABILITIES)
    known = (BUILD_FILE, METADATA_FILE, PACKAGE_TEMPLATE, *others, RELEASES_DIRECTORY, RENDERS_DIRECTORY)
    read = {root / name for name in known}
    read |= {path for path in _entries(root / RELEASES_DIRECTORY) if _is_plain_yaml(path)}
    read |= set(_renders(root))
    expected = {
        root / "package": "build.yaml, metadata.yaml, package.yaml.j2, images.lock.yaml, "
        "vendored.lock.yaml, vulnerabilities.yaml, releases/ and renders/",
        root / RELEASES_DIRECTORY: "VERSION.yaml files",
        root / RENDERS_DIRECTORY: "values files NAME.yaml",
    }
    return [
        Problem(
            "unknown file, which nothing reads",
            Location(path),
            expected=words,
            hint="rename it to one of these, or move it elsewhere; only a README is allowed besides",
        )
        for directory, words in expected.items()
        for path in _entries(directory)
        if path not in read and not _is_note(path) and not is_junk(path.name)
    ]


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _is_plain_yaml(path: Path) -> bool:
    return path.suffix == ".yaml" and not path.name.startswith(".") and path.is_file()


def _renders(root: Path) -> tuple[Path, ...]:
    return tuple(path for path in _entries(root / RENDERS_DIRECTORY) if _is_plain_yaml(path))


def _is_note(path: Path) -> bool:
    """Tell what is for people or for git."""
    return path.stem == "README" or path.name in (".gitattributes", ".gitignore", ".gitkeep")


def _package(
    root: Path,
    workspace: Workspace,
    build: Mapping[str, Any],
    metadata: Mapping[str, Any],
    releases: tuple[Release, ...],
    locked: Iterable[LockedImage],
) -> Package:
    named = build.get("images", [])
    return Package(
        workspace=workspace,
        root=root,
        ref_name=build["refName"],
        platforms=tuple(Platform.parse(text) for text in build["platforms"]),
        images=(*(images.go_image(image) for image in named if "image" not in image), *locked),
        declared=tuple(images.declared_image(image) for image in named if "image" in image),
        renders=_renders(root),
        crds=tuple(
            CrdSource(crds["pinnedBy"], crds["goModule"], tuple(crds["files"])) for crds in build.get("crds", [])
        ),
        upstream=_upstream(build.get("upstream")),
        metadata=metadata,
        releases=releases,
    )


def _upstream(upstream: Mapping[str, str] | None) -> UpstreamModule | None:
    return UpstreamModule(upstream["goModule"], upstream["pinnedBy"]) if upstream else None
