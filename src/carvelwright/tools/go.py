"""go: says its version and finds files of pinned modules."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import Location, Problem, ToolError, ToolFailedError
from carvelwright.tools import compiler
from carvelwright.tools.compiler import Compilation as Compilation  # noqa: PLC0414 - go's adapter in two files
from carvelwright.tools.compiler import build as build  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.tools.tool import Tool

# Time limits.
_DOWNLOAD_SECONDS = 1800.0
_ANSWER_SECONDS = 60.0
# The user's settings: where modules come from and how they are verified, caches, use of the machine.
_SETTINGS = (
    *("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH"),
    *("GOPATH", "GOMODCACHE", "GOCACHE", "GOCACHEPROG", "GOTMPDIR"),
    *("GOMAXPROCS", "GOMEMLIMIT", "GOGC"),
)
# What Go may read of the environment, such as GOAMD64, GO_EXTLINK_ENABLED and CGO_LDFLAGS.
_GO_VARIABLE = re.compile(r"GO[A-Z0-9]*|GO_\w*|CGO_\w*")
# How Go points at a line of go.mod, with a column or without.
_AT_LINE = re.compile(r"^(?:\S*/)?go\.mod:(?P<line>\d+)(?::(?P<column>\d+))?: (?P<message>.*)$", re.MULTILINE)
_NO_LOOK_UP = "module lookup disabled by GOPROXY=off"
_VERSION = re.compile(rb"go(1\.[0-9]+(?:\.[0-9]+)?\S*)")


def version(path: Path, base: Mapping[str, str]) -> str | None:
    """Return the version of a go executable, such as 1.27.3; None where it does not say one."""
    # In a directory that is certainly there: Go refuses to run in one that was removed.
    here, argv = path.absolute().parent, [str(path.absolute()), "version"]
    output = process.run(argv, step="go version", env=compiler.environment(base), cwd=here, timeout=_ANSWER_SECONDS)
    match = _VERSION.search(output.stdout)
    return match[1].decode() if match else None


def environment(path: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for this go: the user's settings, and nothing else of theirs that Go reads."""
    theirs = {name: value for name, value in base.items() if name in _SETTINGS or not _GO_VARIABLE.fullmatch(name)}
    clean = compiler.environment(theirs) | {"GO111MODULE": "on"}
    here, argv = path.absolute().parent, [str(path.absolute()), "env", "-json", *_SETTINGS]
    asking = clean | ({"GOENV": base["GOENV"]} if "GOENV" in base else {})
    output = process.run(argv, step="go env", env=asking, cwd=here, timeout=_ANSWER_SECONDS)
    try:
        settings = dict(json.loads(output.stdout))
    except (ValueError, TypeError):
        raise ToolError(
            f"step go env: {path} does not list its settings as JSON",
            hint="run `carvelwright doctor` to see which Go is used",
            step="go env",
        ) from None
    # The file of `go env -w` may hold anything else, too, such as flags of the compiler.
    return clean | {"GOENV": "off"} | {name: str(settings[name]) for name in _SETTINGS if settings.get(name)}


def module_problems(tool: Tool, directory: Path) -> list[Problem]:
    """Return what Go says is wrong in a module's go.mod; nothing is fetched for it."""
    path = directory / "go.mod"
    try:
        # Versions that are queries (`v1`, `latest`) would be looked up.
        environment = {**tool.environment, "GOPROXY": "off"}
        process.run(
            tool.argv("list", "-m"), step="read go.mod", env=environment, cwd=directory, timeout=_ANSWER_SECONDS
        )
    except ToolFailedError as error:
        lines = list(_AT_LINE.finditer(error.stderr))
        excerpts = path.read_text(errors="replace").split("\n")
        words = error.stderr.strip().removeprefix("go: ")
        return [_problem(match, path, excerpts) for match in lines] or [
            Problem(f"Go refuses it: {words}", Location(path))
        ]
    return []


def _problem(match: re.Match[str], path: Path, lines: list[str]) -> Problem:
    line = int(match["line"])
    column = int(match["column"]) if match["column"] else None
    query = match["message"] == _NO_LOOK_UP
    message = "not a version" if query else match["message"]
    expected = "vMAJOR.MINOR.PATCH, as `go get` writes it" if query else None
    excerpt = (lines[line - 1].strip() or None) if line <= len(lines) else None
    return Problem(f"Go refuses it: {message}", Location(path, line, column), expected=expected, excerpt=excerpt)


def module_directory(tool: Tool, pinned_by: Path, module: str, *, step: str) -> Path:
    """Return the directory of a pinned module's files in the module cache, fetched if need be."""
    argv = tool.argv("mod", "download", "--", module)
    process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    argv = tool.argv("list", "-m", "-f", "{{.Dir}}", "--", module)
    listed = process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    output = listed.stdout.decode().strip()
    if not output:
        raise ToolError(
            f"step {step}: Go has no directory for module {module}",
            location=Location(pinned_by / "go.mod"),
            hint=f"pin the module: go get {module}@VERSION",
            step=step,
        )
    return Path(output)
