"""go: says which modules a program is linked from, and where their files are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.supply.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carvelwright.platform import Platform
    from carvelwright.tools.tool import Tool

# Modules may have to be fetched.
_LIST_SECONDS = 1800.0
_ANSWER_SECONDS = 60.0
# For each package of a program: its module, what replaces that, and the directory.
_TEMPLATE = (
    "{{with .Module}}{{if not .Main}}"
    "{{.Path}}\t{{.Version}}\t{{.Sum}}\t{{with .Replace}}{{.Path}}\t{{.Version}}\t{{.Sum}}{{else}}\t\t{{end}}\t{{.Dir}}"
    "{{end}}{{end}}"
)


def linked(
    tool: Tool, directory: Path, packages: Iterable[str], tags: Iterable[str], platform: Platform, *, step: str
) -> dict[Module, Path]:
    """Return the modules that programs of a Go module are linked from, for tags and a platform, and their directories.

    The same modules as Go writes into the binaries: one that is replaced is given as what replaces it. What is not
    there yet is fetched.
    """
    environment = {**tool.environment, "GOOS": platform.os, "GOARCH": platform.architecture}
    argv = tool.argv("list", "-tags", ",".join(tags), "-deps", "-f", _TEMPLATE, "--", *packages)
    listed = process.run(argv, step=step, env=environment, cwd=directory, timeout=_LIST_SECONDS).stdout.decode()
    return dict(sorted(_module(line) for line in set(listed.splitlines()) if line))


def _module(line: str) -> tuple[Module, Path]:
    path, version, checksum, new_path, new_version, new_checksum, place = line.split("\t")
    if new_version:
        return Module(new_path, new_version, new_checksum), Path(place)
    # What a directory replaces keeps its name, as in BuildInfo; go.sum has nothing of it.
    return Module(path, version, "" if new_path else checksum), Path(place)


def root(tool: Tool, *, step: str) -> Path:
    """Return the directory of Go's own files, GOROOT."""
    here, argv = tool.path.absolute().parent, tool.argv("env", "GOROOT")
    found = process.run(argv, step=step, env=tool.environment, cwd=here, timeout=_ANSWER_SECONDS)
    return Path(found.stdout.decode().strip())
