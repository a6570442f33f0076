"""What ytt files load: files that stand beside the values schema, and those of carvelwright's own library.

ytt starts in the bundle's config directory. The values schema stands there, too, with what it loads from beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import bounds, files
from carvelwright.errors import Location, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The directory of carvelwright's library in a bundle's config directory: load("/carvelwright/rules.star", "cpu").
LIBRARY = "carvelwright"
_PRIVATE = "_ytt_lib"
_LOAD = re.compile(rb"load\(\s*(?P<quote>[\"'])(?P<name>[^\"'\n]+)(?P=quote)")
# What stands before it: nothing in Starlark, the marks of code in a YAML template and in a text template.
_BEFORE = re.compile(rb"(?:#@|.*\(@-?)?\s*")


@dataclass(frozen=True, slots=True)
class _Load:
    """A load of a file: its name from where ytt starts, the root that `/` means in it, and where it is asked for."""

    name: str
    root: str
    file: str
    line: int


def of_schema(schema: Path, content: bytes, config: Path | None = None) -> dict[str, bytes]:
    """Return a values schema (`content`) and all that it loads, by name from where ytt starts.

    Files are looked for beside the schema, then in the bundle's config directory (`config`). What is in neither is
    left out: ytt reports it with the line that loads it.
    """
    return _closure({schema.name: content}, lambda name: _find(name, schema.parent, config))


def staged(schema: Path, config: Path) -> dict[str, bytes]:
    """Return what a bundle's config directory gets besides its own files: the values schema and what is loaded.

    Parts of carvelwright's library are staged for whatever file of the bundle loads them, and only then.
    """
    own = _contents(config)
    return {name: content for name, content in _bundled(schema, own).items() if name not in own}


def place(schema: Path, config: Path | None, name: str) -> Path:
    """Return where a file stands that ytt sees under this name; of carvelwright's library, its path in the bundle."""
    path = schema.parent / name
    return path if config is None or name.startswith(f"{LIBRARY}/") or path.is_file() else config / name


def problems(schema: Path, config: Path) -> Iterator[Problem]:
    """Find names that two files would have in the bundle, and files that carvelwright's library does not have."""
    loaded = of_schema(schema, files.read_bytes(schema, bounds.FILE.size), config)
    for name in loaded:
        if name != schema.name and (config / name).is_file() and _find(name, schema.parent) is not None:
            hint = (
                f"rename it, or keep the one in {config}: the build copies what the values schema loads into the bundle"
            )
            yield Problem(f"{config / name} has the same name in the bundle", Location(schema.parent / name), hint=hint)
    for file, content in _bundled(schema, _contents(config)).items():
        for load in _own_loads(content, file):
            if load.name.startswith(f"{LIBRARY}/") and load.name not in _library():
                names = [name.rpartition("/")[2] for name in _library()]
                wrong = load.name.removeprefix(f"{LIBRARY}/")
                message = f"carvelwright's library has no file {wrong}{did_you_mean(wrong, names)}"
                yield Problem(message, Location(place(schema, config, file), load.line), expected=", ".join(names))


def _bundled(schema: Path, own: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what ytt reads of a bundle: its own files, the values schema, and what these load from elsewhere."""
    first = {schema.name: files.read_bytes(schema, bounds.FILE.size), **own}
    return _closure(first, lambda name: _find(name, schema.parent))


def _contents(config: Path) -> dict[str, bytes]:
    """Return the files of a bundle's config directory by name; that there is nothing else is for others to check."""
    found = {}
    for path in sorted(config.rglob("*")):
        name = path.relative_to(config)
        if path.is_file() and not path.is_symlink() and not any(map(files.is_no_content, name.parts)):
            found[name.as_posix()] = files.read_bytes(path)
    return found


def _find(name: str, *directories: Path | None) -> bytes | None:
    """Return a file of carvelwright's library, or the first one of that name in the directories."""
    if name.startswith(f"{LIBRARY}/"):
        return _library().get(name)
    paths = [directory / name for directory in directories if directory]
    return next((files.read_bytes(path, bounds.FILE.size) for path in paths if path.is_file()), None)


@cache
def _library() -> Mapping[str, bytes]:
    """Return carvelwright's library, by name from where ytt starts."""
    entries = sorted((Path(__file__).parents[1] / "library").iterdir(), key=lambda entry: entry.name)
    return {f"{LIBRARY}/{entry.name}": entry.read_bytes() for entry in entries}


def _closure(first: Mapping[str, bytes], find: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return files with all that they load, directly or not."""
    found = dict(first)
    waiting = [load for name, content in first.items() for load in _own_loads(content, name)]
    while waiting:
        load = waiting.pop()
        if load.name not in found and (content := find(load.name)) is not None:
            found[load.name] = content
            waiting += _loads(content, load.name, load.root)
    return dict(sorted(found.items()))


def _own_loads(content: bytes, file: str) -> list[_Load]:
    """Return what a file loads that belongs to no library of its own; those of a library have another root."""
    return [] if _PRIVATE in file.split("/") else _loads(content, file, "")


def _loads(content: bytes, file: str, root: str) -> list[_Load]:
    """Return what a file loads, `root` being what `/` means in it; names that ytt does not accept are left out."""
    found = []
    for match in _LOAD.finditer(content):
        if not _BEFORE.fullmatch(content[content.rfind(b"\n", 0, match.start()) + 1 : match.start()].lstrip()):
            continue
        directory, path = file.rpartition("/")[0], match["name"].decode(errors="replace")
        base, start = root, directory
        if path.startswith("@"):
            # A library is looked for in _ytt_lib/ of the file's own directory.
            library, _, path = path[1:].partition(":")
            if library == "ytt":
                continue
            base = start = f"{directory}/{_PRIVATE}/{library}"
        parts = f"{base if path.startswith('/') else start}/{path}".strip("/").split("/")
        parts = [part for part in parts if part]
        if parts and "." not in parts and ".." not in parts:
            line = content.count(b"\n", 0, match.start()) + 1
            found.append(_Load("/".join(parts), base.strip("/"), file, line))
    return found
