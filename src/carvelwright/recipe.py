"""What makes each kind of product, for its key: an upgrade of carvelwright must not take old products for its own."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# All own code. Not importlib.resources, which imports zipfile: it takes a tenth of a run that has nothing to do.
_PACKAGE = Path(__file__).parent
# The files of this package that shape the bytes of a kind of product. A test compares them with the imports, which may
# lead out of them only to NEUTRAL.
PARTS = {
    "payload": ("steps/payload.py", "tools/go.py", "tools/compiler.py"),
    "tools": ("tools/compiler.py",),
    "buildinfo": ("steps/buildinfo.py", "supply/modules.py", "tools/buildinfo.py"),
    "licences": (
        "steps/licences.py",
        "steps/linked.py",
        "supply/licences.py",
        "supply/modules.py",
        "tools/classifier.py",
        "tools/golist.py",
    ),
    "scanned": ("steps/scan.py", "supply/modules.py", "supply/vulnerabilities.py", "tools/govulncheck.py"),
    "linked": ("steps/linked.py", "supply/modules.py", "tools/golist.py"),
    "layer": ("steps/layer.py", "oci/layer.py"),
    "image": ("steps/image.py", "steps/layer.py", "oci/image.py", "oci/layout.py", "oci/layer.py"),
    "crds": ("steps/crds.py", "tools/go.py", "tools/compiler.py"),
    "images": ("steps/rendered.py", "tools/kbld.py", "yamldoc.py"),
    "manifests": (
        "steps/templating.py",
        "carvel/app.py",
        "carvel/locks.py",
        "tools/helm.py",
        "tools/kbld.py",
        "tools/ytt.py",
        "yamldoc.py",
    ),
    "schema": ("steps/exported.py", "probe.py", "tools/ytt.py", "yamldoc.py"),
    "package": (
        "steps/package.py",
        "steps/included.py",
        "steps/template.py",
        "carvel/app.py",
        "carvel/locks.py",
        "carvel/resources.py",
        "project/validation.py",
        "project/schemas/package.json",
        "yamldoc.py",
    ),
}
# Modules that refuse bytes and names, or hand them on as they are: a change there makes nothing anew.
NEUTRAL = (
    "bounds.py",
    "digest.py",
    "errors.py",
    "files.py",
    "project/formats.py",
    "jsondoc.py",
    "names.py",
    "platform.py",
    "process.py",
    "recipe.py",
    "reference.py",
    "report.py",
    "project/clashes.py",
    "project/config.py",
    "project/paths.py",
    "project/vendored.py",
    "project/workspace.py",
    "carvel/accepted.py",
    "carvel/constraints.py",
    "project/licences.py",
    "project/loads.py",
    "project/images.py",
    "carvel/version.py",
    "stepnames.py",
    "store.py",
    "tools/retries.py",
    "tools/tool.py",
)
# Libraries whose output is in a product.
_LIBRARIES = {"package": ("jinja2", "ruamel.yaml")}
# Layers are packed by Python's tarfile and compressed by its zlib.
_PYTHON = ("layer",)


def of(kind: str) -> list[str]:
    """Return what a kind of product is made with, to be a part of its key."""
    versions = [sys.version, zlib.ZLIB_RUNTIME_VERSION] if kind in _PYTHON else []
    return [_digest(PARTS[kind]), *versions, *libraries(*_LIBRARIES.get(kind, ()))]


@functools.cache
def of_everything() -> tuple[str, ...]:
    """Return what a build as a whole is made with: all own code, Python, and the libraries that write output.

    As it was at the first call: code that is changed later is not what runs.
    """
    names = sorted(name for name in _walk(_PACKAGE, "") if not name.endswith(".pyc"))
    found = {name for names in _LIBRARIES.values() for name in names}
    return (_digest(names), sys.version, zlib.ZLIB_RUNTIME_VERSION, *libraries(*sorted(found)))


def libraries(*names: str) -> list[str]:
    """Return name and version of installed libraries.

    By the names of their directories: to import importlib.metadata takes a fifth of a run that has nothing to do.
    """
    if not names:
        return []
    wanted = "|".join(re.escape(name).replace(r"\.", "[-_.]") for name in names)
    pattern = re.compile(rf"({wanted})-[^-]+\.dist-info", re.IGNORECASE)
    return sorted(name for name in _installed() if pattern.fullmatch(name))


def _installed() -> Iterator[str]:
    for directory in sys.path:
        if os.path.isdir(directory):  # noqa: PTH112 - an entry may be empty or no path at all
            yield from os.listdir(directory)  # noqa: PTH208 - names are wanted, not paths


def _digest(names: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        content = (_PACKAGE / name).read_bytes()
        total.update(f"{name}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}"
