"""go: raises the version of a module that another requires."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, process
from carvelwright.errors import InputError, Location, ToolError, ToolFailedError
from carvelwright.tools import gomod

if TYPE_CHECKING:
    from carvelwright.tools.tool import Tool

_SECONDS = 1800.0
_NEWER_GO = re.compile(r"requires go >= (?P<version>[0-9.]+[0-9])")
_MODULE = re.compile(r"^module[ \t]+\"?(?P<path>[^\s\"]+)", re.MULTILINE)
_BY_NAME = "name the version: carvelwright bump VERSION; or check GOPROXY and the network"


def listed_versions(tool: Tool, directory: Path, module: str, *, step: str) -> list[str]:
    """Return the versions of a module that the proxy lists, with their v; ToolError where it lists none."""
    try:
        listed = _call(tool, directory, step, "list", "-m", "-versions", "-json", "--", module)
        versions = json.loads(listed).get("Versions") or []
    except ToolFailedError as error:
        raise ToolError(
            f"step {step}: the Go proxy does not list the versions of {module}",
            details=error.stderr.strip() or error.details,
            hint=_BY_NAME,
            step=step,
        ) from error
    if not versions:
        raise ToolError(f"step {step}: the Go proxy lists no version of {module}", hint=_BY_NAME, step=step)
    return [str(version) for version in versions]


def fetch(tool: Tool, directory: Path, module: str, version: str, *, step: str) -> tuple[str, Path]:
    """Return a version as Go writes it (v2.0.0 may be v2.0.0+incompatible), and its files in the module cache.

    `directory` holds a go.mod; its go.sum and the checksum database verify what is fetched. ToolError where Go refuses.
    """
    query = f"{module}@{version}"
    try:
        _call(tool, directory, step, "mod", "download", "--", query)
        listed = _call(tool, directory, step, "list", "-m", "-json", "--", query)
    except ToolFailedError as error:
        raise ToolError(
            f"step {step}: Go cannot fetch {module} {version}",
            details=error.stderr.strip() or error.details,
            hint="name a version that the proxy has, or check GOPROXY, GOSUMDB and the network",
            step=step,
        ) from error
    found = json.loads(listed)
    return str(found["Version"]), Path(found["Dir"])


def require(tool: Tool, directory: Path, work: Path, module: str, version: str, *, step: str) -> None:
    """Raise a requirement in work/go.mod and tidy it, with work/go.sum; the sources are those in `directory`.

    Both may be one directory. What the checksum database or go.sum refuses, Go refuses: ToolFailedError. InputError
    where the version needs another Go, or other requirements lead to another version.
    """
    target = work / "go.mod"
    other = [] if work == directory else [f"-modfile={target.absolute()}"]
    _call(tool, directory, step, "mod", "edit", f"-require={module}@{version}", target.absolute())
    raised = files.read_bytes(target)
    _call(tool, directory, step, "mod", "tidy", *other)
    if module not in gomod.load(target).requirements:
        # Nothing imports it: the module only pins the version, of CRDs for example. Then it stays as it was otherwise.
        files.write_atomic(target, raised)
        _call(tool, directory, step, "mod", "download", *other, "--", module)
    found = gomod.load(target).requirements.get(module)
    if found is None or found.version != version:
        raise InputError(
            f"step {step}: {directory / 'go.mod'} cannot require {module} {version}",
            details=f"found after go mod tidy: {found.version if found else 'no requirement'}",
            hint=f"run `go mod graph` there to see what requires another version of {module}",
            location=Location(directory / "go.mod"),
            step=step,
        )


def rename(tool: Tool, directory: Path, old: str, new: str, *, step: str) -> None:
    """Rename a module after its directory was copied: where its path holds `old`, such as 0.9.4, that becomes `new`."""
    match = _MODULE.search((directory / "go.mod").read_text("utf-8", errors="replace"))
    if match is None or old not in match["path"]:
        return
    path, renamed = match["path"], match["path"].replace(old, new)
    _call(tool, directory, step, "mod", "edit", f"-module={renamed}", (directory / "go.mod").absolute())
    own_import = re.compile(rf'"{re.escape(path)}(?=["/])'.encode())
    for file in sorted(directory.rglob("*.go")):
        if file.is_file() and not file.is_symlink():
            content = files.read_bytes(file)
            changed = own_import.sub(f'"{renamed}'.encode(), content)
            if changed != content:
                files.write_atomic(file, changed, mode=file.stat().st_mode & 0o777)


def _call(tool: Tool, directory: Path, step: str, *arguments: str | Path) -> bytes:
    argv = tool.argv(*arguments)
    try:
        return process.run(argv, step=step, env=tool.environment, cwd=directory, timeout=_SECONDS).stdout
    except ToolFailedError as error:
        if match := _NEWER_GO.search(error.stderr):
            raise InputError(
                f"step {step}: a module requires Go {match['version']} or newer, and this is Go {tool.version}",
                details=error.stderr.strip(),
                hint="raise `go` in carvelwright.yaml or package/build.yaml, and install that Go",
                step=step,
            ) from error
        raise
