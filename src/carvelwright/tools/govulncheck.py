"""govulncheck: finds known vulnerabilities that programs call, with the database that comes as a Go module."""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import jsondoc, process
from carvelwright.errors import InputError, Location, ToolError

if TYPE_CHECKING:
    from carvelwright.platform import Platform
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Required

MODULE = "golang.org/x/vulndb"
# Calls are followed through all that is linked, on whatever machine there is.
_SCAN_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 1800.0
_ENTRIES = "data/osv"
# The last part of a version that stands for a commit: its moment, in UTC, and its hash.
_COMMIT = re.compile(r"[-.](\d{14})-[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class Database:
    """Go's vulnerability database: the version of its module, when that was made, and the directory of the entries."""

    version: str
    made: dt.datetime
    directory: Path

    def age(self, now: dt.datetime) -> int:
        """Return how old it is, in whole days; 0 for one of the future."""
        return max(0, (now - self.made).days)


def database(go: Tool, required: Required, *, step: str) -> Database:
    """Return the database of a version of its module, fetched if need be."""
    match = _COMMIT.search(required.version)
    if match is None:
        raise InputError(
            f"{MODULE} {required.version} does not say how old it is",
            location=Location(required.go_mod, required.line),
            details="expected: a version of a commit, such as v0.0.0-20261105234957-e22db6528018",
            hint=f"run `go get {MODULE}@latest` there",
        )
    made = dt.datetime.strptime(f"{match[1]}+0000", "%Y%m%d%H%M%S%z")
    argv = go.argv("mod", "download", "-json", "--", MODULE)
    where = required.go_mod.parent
    answer = process.run(argv, step=step, env=go.environment, cwd=where, timeout=_DOWNLOAD_SECONDS).stdout
    try:
        directory = Path(str(jsondoc.parse(answer)["Dir"])) / _ENTRIES
    except (ValueError, KeyError, TypeError):
        directory = where / _ENTRIES
    if not directory.is_dir():
        raise ToolError(f"step {step}: {MODULE} {required.version} has no {_ENTRIES}", step=step)
    return Database(required.version, made, directory)


@dataclass(frozen=True, slots=True)
class Programs:
    """What to scan: packages of the Go module in a directory, as they are compiled with build tags for a platform."""

    directory: Path
    packages: tuple[str, ...]
    tags: tuple[str, ...]
    platform: Platform


def report(tool: Tool, go: Tool, programs: Programs, known: Database, *, step: str) -> str:
    """Return the report on programs, as govulncheck writes it in JSON."""
    environment = {
        **go.environment,
        # It calls `go`, and has to meet the one that builds.
        "PATH": os.pathsep.join([str(go.path.absolute().parent), go.environment.get("PATH", os.defpath)]),
        "GOOS": programs.platform.os,
        "GOARCH": programs.platform.architecture,
    }
    flags = ("-db", known.directory.as_uri(), "-format", "json", "-tags", ",".join(programs.tags))
    argv = tool.argv(*flags, *programs.packages)
    return process.run(argv, step=step, env=environment, cwd=programs.directory, timeout=_SCAN_SECONDS).stdout.decode()
