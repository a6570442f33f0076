"""Texts of licenses, from the classifier's own module, and projects whose Go modules come under them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carvelwright.project.workspace import load_workspace
from carvelwright.report import Recorder
from carvelwright.session import search_of
from carvelwright.tools import toolchain
from tests.conftest import ROOT, copy_hello
from tests.helpers.tools import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.tools.tool import Tool
    from tests.conftest import PackageProject

_MODULE = "github.com/google/licenseclassifier/v2"
_GO = f"{sys.prefix}/bin/go"


@pytest.fixture(scope="session")
def classifier() -> Tool:
    """identify_license, built where it is not there yet."""
    return toolchain.find_classifier(search_of(load_workspace(ROOT), dict(os.environ)), Recorder())


@pytest.fixture(scope="session")
def terms() -> Mapping[str, str]:
    """The texts of some licenses, by the classifier's names."""
    pins = ROOT / "src/carvelwright/pins/licenses"
    argv = [_GO, "mod", "download", "-json", _MODULE]
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    answer = json.loads(subprocess.run(argv, cwd=pins, env=environment, check=True, capture_output=True).stdout)
    texts = Path(answer["Dir"]) / "assets/License"
    return {name: (texts / name / "pristine.txt").read_text() for name in ("Apache-2.0", "BSD-3-Clause", "MIT")}


def linked_project(
    tmp_path: Path, environment: Mapping[str, str], tool: Tool, modules: Mapping[str, Mapping[str, str]]
) -> PackageProject:
    """Return the second example package, whose program uses modules with these files, from a proxy of their own.

    A module is named by the last part of its path, example.org/NAME.
    """
    proxy = Proxy(tmp_path)
    path = os.pathsep.join([str(tool.path.parent), environment["PATH"]])
    project = copy_hello(tmp_path / "hello", {**environment, **proxy.environment, "PATH": path})
    lines, sums = ["module example.com/hello", "go 1.25"], []
    for name, texts in modules.items():
        module, source = f"example.org/{name}", f"package {name}\n\n// Name is one.\nconst Name = {json.dumps(name)}\n"
        content = {"go.mod": f"module {module}\n\ngo 1.25\n", f"{name}.go": source, **texts}
        sums += proxy.publish(module, "v1.0.0", {file: text.encode() for file, text in content.items()})
        lines.append(f"require {module} v1.0.0")
    payload = project.root / "payload"
    (payload / "go.mod").write_text("\n".join(lines) + "\n")
    (payload / "go.sum").write_text("".join(f"{line}\n" for line in sums))
    imports = "".join(f'\t"example.org/{name}"\n' for name in modules)
    uses = "".join(f"\tprintln({name}.Name)\n" for name in modules)
    head = f'package main\n\nimport (\n{imports})\n\nvar version = "unknown"\n\n'
    (payload / "main.go").write_text(f"{head}func main() {{\n\tprintln(version)\n{uses}}}\n")
    return project
