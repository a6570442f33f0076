"""Reads the source of the packaged software: its Go files, manifests, charts and Dockerfiles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.upstream import gosource, manifests
from carvelwright.upstream.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not what users install.
_SKIPPED = frozenset(("testdata", "vendor", "test", "tests", "e2e", "node_modules", "third_party"))
# Longer ones are data or generated.
_LONGEST = 4 << 20


def read(directory: Path) -> Facts:
    """Return the facts of the source in a directory; tests, vendored code and hidden directories are left out."""
    facts = Facts()
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        reader = _reader(path)
        if reader is not None and path.is_file() and path.stat().st_size <= _LONGEST:
            reader(path.read_text("utf-8", errors="replace"), name, path, facts)
    return facts


def _reader(path: Path) -> manifests.Reader | None:
    if path.name == "go.mod":
        return gosource.read_go_mod
    if path.suffix == ".go" and not path.name.endswith("_test.go"):
        return gosource.read_go
    if path.suffix in (".yaml", ".yml"):
        return manifests.read_values if _is_chart_values(path) else manifests.read_yaml
    if path.name.startswith(("Dockerfile", "Containerfile")):
        return manifests.read_dockerfile
    return None


def _is_chart_values(path: Path) -> bool:
    return path.name == "values.yaml" and (path.parent / "Chart.yaml").is_file()


def _walk(directory: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in _SKIPPED and not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names))
