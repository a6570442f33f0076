"""A program that calls vulnerable code, and a vulnerability database of its own, both from a module proxy."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from carvelwright.project.workspace import load_workspace
from carvelwright.report import Recorder
from carvelwright.session import search_of
from carvelwright.tools import toolchain
from tests.conftest import ROOT, PackageProject, copy_hello
from tests.helpers.tools import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_LIB, _DATABASE = "example.org/lib", "golang.org/x/vulndb"
_SOURCE = "package lib\n\n// Parse loops.\nfunc Parse() {}\n\n// Other loops too.\nfunc Other() {}\n"


@pytest.fixture(scope="session")
def govulncheck() -> Tool:
    """govulncheck, built where it is not there yet."""
    return toolchain.find_govulncheck(search_of(load_workspace(ROOT), dict(os.environ)), Recorder())


@dataclass
class Scanned:
    """The second example package with a program that calls vulnerable code; `version` is that of the database."""

    project: PackageProject
    proxy: Proxy
    version: str = ""

    def require(self, made: dt.datetime) -> None:
        """Pin a database of that moment."""
        self.version = f"v0.0.0-{made:%Y%m%d%H%M%S}-{'a' * 12}"
        entries = {f"data/osv/{entry['id']}.json": json.dumps(entry).encode() for entry in _ENTRIES}
        sums = self.proxy.publish(_DATABASE, self.version, {"go.mod": f"module {_DATABASE}\n".encode(), **entries})
        directory = self.project.root / "database"
        directory.mkdir(exist_ok=True)
        (directory / "go.mod").write_text(f"module database\n\ngo 1.25\nrequire {_DATABASE} {self.version}\n")
        (directory / "go.sum").write_text("".join(f"{line}\n" for line in sums))


def _entry(identifier: str, symbol: str, fixed: str | None, **more: object) -> dict[str, object]:
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    affected = {
        "package": {"name": _LIB, "ecosystem": "Go"},
        "ranges": [{"type": "SEMVER", "events": events}],
        "ecosystem_specific": {"imports": [{"path": _LIB, "symbols": [symbol]}]},
    }
    dates = {"modified": "2026-11-01T00:00:00Z", "published": "2026-11-01T00:00:00Z"}
    return {"schema_version": "1.3.1", "id": identifier, "affected": [affected], **dates, **more}


_ENTRIES = [
    _entry("GO-2026-9001", "Parse", "1.1.0", aliases=["CVE-2026-99001"], summary="Endless loop"),
    _entry("GO-2026-9002", "Other", None, summary="Another loop"),
]


@pytest.fixture
def scanned(tmp_path: Path, tool_environment: Mapping[str, str], govulncheck: Tool) -> Scanned:
    proxy = Proxy(tmp_path)
    path = os.pathsep.join([str(govulncheck.path.parent), tool_environment["PATH"]])
    # No database of checksums knows these modules.
    environment = {**tool_environment, **proxy.environment, "PATH": path, "GONOSUMDB": "*", "GOENV": "off"}
    project = copy_hello(tmp_path / "hello", environment)
    sums = proxy.publish(_LIB, "v1.0.0", {"go.mod": f"module {_LIB}\n\ngo 1.25\n".encode(), "lib.go": _SOURCE.encode()})
    (project.root / "payload/go.mod").write_text(f"module example.com/hello\n\ngo 1.25\n\nrequire {_LIB} v1.0.0\n")
    (project.root / "payload/go.sum").write_text("".join(f"{line}\n" for line in sums))
    code = f'package main\n\nimport "{_LIB}"\n\nvar version = ""\n\nfunc main() {{ lib.Parse(); println(version) }}\n'
    (project.root / "payload/main.go").write_text(code)
    build = project.root / "package/build.yaml"
    terms = f"licenses: {{overrides: [{{module: {_LIB}, licenses: LicenseRef-Test, reason: made for a test}}]}}"
    text = re.sub("platforms: .*", "platforms: [linux/amd64]", build.read_text())
    build.write_text(text.replace("tools: []", f"tools: [database]\n{terms}"))
    made = Scanned(project, proxy)
    made.require(dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    return made
