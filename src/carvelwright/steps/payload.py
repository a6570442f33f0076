"""Compiles the binaries of an image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.digest import Digest
from carvelwright.project import paths
from carvelwright.stepnames import compile_step
from carvelwright.store import Store, content_key
from carvelwright.tools import compiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.platform import Platform
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import GoModule
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool

_RECORD = "binaries.json"
# Apart from the record: a binary may have any name.
_BINARIES = "bin"


@dataclass(frozen=True, slots=True)
class PayloadBinary:
    """A static binary."""

    name: str
    path: Path
    digest: Digest


@dataclass(frozen=True, slots=True)
class PayloadModule:
    """The binaries of one Go module for one platform, and the further names they go by (name: binary)."""

    platform: Platform
    binaries: tuple[PayloadBinary, ...]
    links: Mapping[str, str]


def compile_module(
    project: Package,
    release: Release,
    module: GoModule,
    platform: Platform,
    *,
    find_go: Callable[[], Tool],
    reporter: Reporter,
) -> PayloadModule:
    """Compile a module's binaries for a platform, or reuse them where sources, compiler and flags are the same."""
    directory = project.root / release.fill(module.directory)
    variables = {name: release.fill(value) for name, value in module.variables.items()}
    sources = files.tree_digest(directory, paths.source_files(directory))
    chosen = [variables, module.binaries, module.tags]
    key = content_key(sources, project.workspace.go, str(platform), chosen, recipe.of("payload"))

    name = compile_step(module.binaries, platform)
    with reporter.step(name) as step:

        def make(target: Path) -> None:
            hidden = tuple(_junk_files(directory))
            what = compiler.Compilation(directory, module.binaries, variables, hidden, module.tags)
            compiler.build(find_go(), what, target / _BINARIES, platform, step=name, progress=step.count_packages)
            digests = {name: str(Digest.of_file(target / _BINARIES / name)) for name in module.binaries}
            (target / _RECORD).write_text(json.dumps(digests))

        made = Store(project.workspace.root).product("payload", key, step, make)
    digests = json.loads((made / _RECORD).read_bytes())
    binaries = tuple(PayloadBinary(name, made / _BINARIES / name, Digest.parse(text)) for name, text in digests.items())
    return PayloadModule(platform, binaries, module.links)


def _junk_files(module: Path) -> Iterator[Path]:
    """Yield what no product may depend on, though a `//go:embed` pattern may match it."""
    for path in files.left_out(module, files.is_junk):
        if path.is_dir() and not path.is_symlink():
            yield from (inner for inner in sorted(path.rglob("*")) if not inner.is_dir())
        else:
            yield path
