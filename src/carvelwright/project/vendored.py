"""What a package takes from elsewhere: vendir.yml names it, and a record of our own holds the digest of every file."""

from __future__ import annotations

import itertools
import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from carvelwright import files, yamldoc
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ConfigError, Location, Problem
from carvelwright.project import paths, validation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.yamldoc import Document

_HEAD = "# Made by `carvelwright vendor`. Commit it: builds compare the vendored files with these digests.\n"
_KIND = "VendoredFiles"
_API = "vendir.k14s.io/v1alpha1"
# Whose content is the author's or a build's: vendir removes from its directories what it did not fetch.
_OWN = ("package", "build", "dist", paths.BUNDLE_CONFIG, paths.VALUES_SCHEMA, paths.WORKSPACE_FILE)
_OWN_FILES = (paths.VENDIR_FILE, paths.VENDIR_LOCK)

HINT = "run `carvelwright vendor`, and commit what it writes"

Tree = dict[str, Digest]


@dataclass(frozen=True, slots=True)
class Record:
    """package/vendored.lock.yaml: the digests of vendir.yml, of its lock, and of each file by directory and name."""

    config: Digest
    lock: Digest
    trees: Mapping[str, Tree]

    def text(self) -> str:
        """Return the file's content, sorted by path."""
        directories = [
            {"path": path, "files": {name: str(tree[name]) for name in sorted(tree)}}
            for path, tree in sorted(self.trees.items())
        ]
        digests = {"config": str(self.config), "lock": str(self.lock)}
        return _HEAD + yamldoc.dump({"schemaVersion": 1, "kind": _KIND, **digests, "directories": directories})


@dataclass(frozen=True, slots=True)
class Changes:
    """How files differ, by their paths below the package."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def load_config(root: Path) -> Document:
    """Read vendir.yml: its one Config document. ConfigError with every problem of it."""
    path = root / paths.VENDIR_FILE
    documents = [document for document in _documents(path) if document.data is not None]
    # Secrets and ConfigMaps may stand beside it.
    configs = [each for each in documents if not isinstance(each.data, dict) or each.data.get("apiVersion") != "v1"]
    if len(configs) != 1:
        message = "not exactly one document that says what to vendor"
        expected = f"one of apiVersion {_API} and kind Config"
        raise ConfigError([Problem(message, Location(path), f"{len(configs)}", expected)], what=str(path))
    (config,) = configs
    if found := validation.problems(config, "vendir") or list(_place_problems(root, config)):
        raise ConfigError(found, what=str(path))
    return config


def directories_of(config: Document) -> list[str]:
    """Return the directories that a Config fills, below the package's, sorted."""
    return sorted(posixpath.normpath(entry["path"]) for entry in config.data["directories"])


def directories(root: Path) -> list[str]:
    """Return the vendored directories of a package, as far as they can be read; `check` tells what is wrong."""
    try:
        return directories_of(load_config(root)) if (root / paths.VENDIR_FILE).is_file() else []
    except CarvelwrightError:
        return []


def local_paths(config: Document) -> list[str]:
    """Return the files and directories that a Config reads by paths relative to its own."""
    contents = [content for entry in config.data["directories"] for content in entry["contents"]]
    named = [content["directory"]["path"] for content in contents if "directory" in content]
    for content in contents:
        named += content.get("imgpkgBundle", {}).get("additionalCACertificates", [])
    return [name for name in named if not PurePosixPath(name).is_absolute()]


def runs_helm(config: Document) -> bool:
    """Tell whether vendir runs helm for a Config."""
    return any("helmChart" in content for entry in config.data["directories"] for content in entry["contents"])


def load_record(path: Path) -> Record:
    """Read a record; ConfigError with every problem of it."""
    document = yamldoc.load(path)
    if found := validation.problems(document, "vendored-lock"):
        raise ConfigError(found, what=str(path))
    data = document.data
    trees = {
        entry["path"]: {name: Digest.parse(digest) for name, digest in entry["files"].items()}
        for entry in data["directories"]
    }
    return Record(Digest.parse(data["config"]), Digest.parse(data["lock"]), trees)


def stale(root: Path, record: Record) -> list[Problem]:
    """Say whether vendir.yml or its lock changed since they were recorded."""
    found = []
    for name, recorded in ((paths.VENDIR_FILE, record.config), (paths.VENDIR_LOCK, record.lock)):
        path = root / name
        actual = str(Digest.of_bytes(files.read_bytes(path))) if path.is_file() else "no file"
        if actual != str(recorded):
            expected = f"{recorded}, as {paths.VENDORED_LOCK} has it"
            found.append(Problem("changed since files were vendored", Location(path), actual, expected, HINT))
    return found


def tree(directory: Path) -> Tree:
    """Return the digest of each file of a directory that a bundle would hold; empty where there is none."""
    found = files.walk_files(directory, files.is_no_content) if directory.is_dir() else ()
    with files.reporting_file_errors("read"):
        return {path.relative_to(directory).as_posix(): Digest.of_file(path) for path in found}


def compare(old: Mapping[str, Tree], new: Mapping[str, Tree]) -> Changes:
    """Say how the files of directories differ."""
    before, after = _flat(old), _flat(new)
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
    )


def refs(lock: Path) -> dict[str, str]:
    """Return what vendir's lock says of each path that has a version: the kind, and the commit, digest or version.

    Empty where there is no lock, or none that can be read: it is only shown.
    """
    try:
        data = yamldoc.load(lock).data
        contents = [(entry["path"], content) for entry in data["directories"] for content in entry["contents"] or ()]
        found = [(posixpath.normpath(f"{path}/{content['path']}"), _ref(content)) for path, content in contents]
    except (CarvelwrightError, LookupError, TypeError, AttributeError):
        return {}
    return {path: ref for path, ref in sorted(found) if ref}


def _ref(content: Mapping[str, Any]) -> str:
    for kind in ("git", "hg", "image", "imgpkgBundle", "githubRelease", "helmChart"):
        if kind in content:
            said = content[kind]
            names = ("sha", "url", "image", "version")
            value = next(str(said[name]) for name in names if name in said)
            tags = [str(tag) for tag in said.get("tags", [said["tag"]] if "tag" in said else [])]
            return f"{kind} {value} ({', '.join(tags)})" if tags else f"{kind} {value}"
    return ""


def _flat(trees: Mapping[str, Tree]) -> Tree:
    return {f"{path}/{name}": digest for path, files_ in trees.items() for name, digest in files_.items()}


def _documents(path: Path) -> Iterator[Document]:
    """Cut a file at its `---`; each document keeps its line numbers."""
    text = yamldoc.read_text(path)
    starts = [0, *(match.start() for match in re.finditer(r"^---(?=\s|$)", text, re.MULTILINE)), len(text)]
    for start, end in itertools.pairwise(starts):
        if text[start:end].strip():
            yield yamldoc.parse("\n" * text.count("\n", 0, start) + text[start:end], path)


def _place_problems(root: Path, config: Document) -> Iterator[Problem]:
    for index, entry in enumerate(config.data["directories"]):
        at: list[str | int] = ["directories", index, "path"]
        expected = "a directory of its own below the package's"
        if message := _misplaced(root, entry["path"]):
            yield config.problem(at, message, found=entry["path"], expected=expected)
        for number, content in enumerate(entry["contents"]):
            if _leads_out(content["path"]):
                at = ["directories", index, "contents", number, "path"]
                yield config.problem(
                    at, "leads out of its directory", found=content["path"], expected=f"a path below {entry['path']}"
                )


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def _misplaced(root: Path, name: str) -> str | None:
    """Say why vendir must not fill, and empty, a directory."""
    path = PurePosixPath(name)
    if _leads_out(name):
        return "leads out of the package"
    for own in map(PurePosixPath, (*_OWN, *_OWN_FILES)):
        # bundle/config may hold vendored directories; the others hold none.
        inside = own in path.parents and str(own) != paths.BUNDLE_CONFIG
        if path == own or path in own.parents or inside:
            return f"holds what is not vendored: {own}"
    for part in (path, *path.parents[:-1]):
        if (root / part).is_symlink():
            return f"leads through a symbolic link: {part}"
    return None
