"""Compiles static binaries with go: the flags here, and nothing of the user's environment, shape their bytes."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import InputError, ProgramError, program_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.platform import Platform
    from carvelwright.tools.tool import Tool

# Time limits. The standard library and a large module tree compile for minutes on a small machine.
_COMPILE_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 1800.0
# What `go list` says of a program whose packages are all compiled.
_IN_CACHE = "not installed but available in build cache"


@dataclass(frozen=True, slots=True)
class Compilation:
    """What to compile: packages of a module, by the file name each becomes, linker variables, and build tags.

    For the compiler the files of `hidden` are not there.
    """

    module: Path
    binaries: Mapping[str, str]
    variables: Mapping[str, str]
    hidden: tuple[Path, ...] = ()
    tags: tuple[str, ...] = ()


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
    variables = " ".join(_quoted(f"-X={name}={value}") for name, value in sorted(what.variables.items()))
    target = {"GOOS": platform.os, "GOARCH": platform.architecture} if platform else {}
    tool = replace(tool, environment={**tool.environment, **target})
    with _overlay(what.hidden) as overlay:
        chosen = (*overlay, "-tags", ",".join(what.tags)) if what.tags else overlay
        waiting = _not_compiled(tool, what, chosen, step) if progress else frozenset()
        compiled: set[str] = set()

        def watch(line: str) -> None:
            if line in waiting and progress:
                compiled.add(line)
                progress(len(compiled), len(waiting))

        for name, package in what.binaries.items():
            flags = ("-v", "-ldflags", f"-s -w -buildid= {variables}", "-o", output.absolute() / name)
            argv = tool.argv("build", *chosen, *flags, "--", package)
            try:
                process.run(
                    argv, step=step, env=tool.environment, cwd=what.module, timeout=_COMPILE_SECONDS, watch=watch
                )
            except ProgramError as error:
                words = "\n".join(line for line in error.stderr.splitlines() if line not in waiting)
                stopped = error.exceeded if error.code is None else None
                raise program_error(argv, error.code, words, step=step, exceeded=stopped) from None


def _quoted(flag: str) -> str:
    """Write one flag for -ldflags, which are split at spaces and know both quotes but no way to escape them."""
    if not re.search(r"[\s'\"]", flag):
        return flag
    quote = '"' if "'" in flag else "'"
    if quote in flag:
        raise InputError(
            f"a linker variable cannot hold both kinds of quotes: {flag.removeprefix('-X=')}",
            hint="use only one kind of quotes in `variables` of package/build.yaml",
        )
    return f"{quote}{flag}{quote}"


@contextlib.contextmanager
def _overlay(hidden: Iterable[Path]) -> Iterator[tuple[str, ...]]:
    """Yield the flags with which Go does not see some files."""
    replaced = {str(path.absolute()): "" for path in hidden}
    if not replaced:
        yield ()
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"Replace": replaced}, file)
        file.flush()
        yield ("-overlay", file.name)


def _not_compiled(tool: Tool, what: Compilation, chosen: Iterable[str], step: str) -> frozenset[str]:
    """Return the packages that the compiler does not find in its cache; none where Go cannot tell."""
    argv = tool.argv("list", *chosen, "-deps", "-f", "{{if .Stale}}{{.ImportPath}} {{.StaleReason}}{{end}}", "--")
    try:
        listed = process.run(
            [*argv, *what.binaries.values()],
            step=step,
            env=tool.environment,
            cwd=what.module,
            timeout=_DOWNLOAD_SECONDS,
        ).stdout.decode()
    except ProgramError:
        # What is wrong shows when it is compiled.
        return frozenset()
    lines = [line.partition(" ") for line in listed.splitlines()]
    return frozenset(path for path, _, reason in lines if reason != _IN_CACHE)
