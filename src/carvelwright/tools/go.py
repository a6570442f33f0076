"""go: compiles static binaries and finds files of pinned modules."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import CarvelwrightError, ExitCode, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carvelwright.platform import Platform
    from carvelwright.tools.tool import Tool

# Time limits. The standard library and a large module tree compile for minutes on a small machine.
_COMPILE_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 1800.0
_ANSWER_SECONDS = 60.0
# What `go list` says of a program whose packages are all compiled.
_IN_CACHE = "not installed but available in build cache"
_VERSION = re.compile(rb"go(1\.[0-9]+(?:\.[0-9]+)?\S*)")


@dataclass(frozen=True, slots=True)
class Compilation:
    """What to compile: packages of a module, by the file name each becomes, and linker variables."""

    module: Path
    binaries: Mapping[str, str]
    variables: Mapping[str, str]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Go: the user's proxies and caches, but nothing that changes the bytes compiled."""
    changing = ("GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOOS", "GOARCH", "GODEBUG", "GOROOT", "GOFIPS140")
    kept = {name: value for name, value in base.items() if name not in changing}
    return kept | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    }


def version(path: Path, base: Mapping[str, str]) -> str | None:
    """Return the version of a go executable, such as 1.27.3; None where it does not say one."""
    output = process.run([str(path), "version"], step="go version", env=environment(base), timeout=_ANSWER_SECONDS)
    match = _VERSION.search(output.stdout)
    return match[1].decode() if match else None


def build(
    tool: Tool,
    what: Compilation,
    output: Path,
    platform: Platform | None = None,
    *,
    step: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Compile the packages into `output`, for a platform or for this machine.

    `progress` is called with the number of Go packages that are compiled, and of those that have to be.
    """
    variables = " ".join(f"-X={name}={value}" for name, value in sorted(what.variables.items()))
    target = {"GOOS": platform.os, "GOARCH": platform.architecture} if platform else {}
    tool = replace(tool, environment={**tool.environment, **target})
    waiting = _not_compiled(tool, what, step) if progress else frozenset()
    compiled: set[str] = set()

    def watch(line: str) -> None:
        if line in waiting and progress:
            compiled.add(line)
            progress(len(compiled), len(waiting))

    for name, package in what.binaries.items():
        flags = ("-v", "-ldflags", f"-s -w -buildid= {variables}", "-o", output.absolute() / name)
        argv = tool.argv("build", *flags, package)
        try:
            process.run(argv, step=step, env=tool.environment, cwd=what.module, timeout=_COMPILE_SECONDS, watch=watch)
        except process.ToolFailedError as error:
            words = "\n".join(line for line in error.stderr.splitlines() if line not in waiting)
            raise process.ToolFailedError(argv, error.code, words, step=step, timeout=_COMPILE_SECONDS) from None


def _not_compiled(tool: Tool, what: Compilation, step: str) -> frozenset[str]:
    """Return the packages that the compiler does not find in its cache; none where Go cannot tell."""
    argv = tool.argv("list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}} {{.StaleReason}}{{end}}")
    try:
        listed = process.run(
            [*argv, *what.binaries.values()],
            step=step,
            env=tool.environment,
            cwd=what.module,
            timeout=_DOWNLOAD_SECONDS,
        ).stdout.decode()
    except process.ToolFailedError:
        # What is wrong shows when it is compiled.
        return frozenset()
    lines = [line.partition(" ") for line in listed.splitlines()]
    return frozenset(path for path, _, reason in lines if reason != _IN_CACHE)


def module_directory(tool: Tool, pinned_by: Path, module: str, *, step: str) -> Path:
    """Return the directory of a pinned module's files in the module cache, fetched if need be."""
    argv = tool.argv("mod", "download", module)
    process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    argv = tool.argv("list", "-m", "-f", "{{.Dir}}", module)
    listed = process.run(argv, step=step, env=tool.environment, cwd=pinned_by, timeout=_DOWNLOAD_SECONDS)
    output = listed.stdout.decode().strip()
    if not output:
        raise CarvelwrightError(
            f"step {step}: Go has no directory for module {module}",
            exit_code=ExitCode.TOOL_FAILED,
            location=Location(pinned_by / "go.mod"),
            hint=f"pin it there: go get {module}@VERSION",
            step=step,
        )
    return Path(output)
