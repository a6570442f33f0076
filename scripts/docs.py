"""Write docs/reference, or with --check say which of its pages no longer says what is true."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import docs, files
from carvelwright.project.config import load_packages
from carvelwright.report import Recorder
from carvelwright.session import open_session
from carvelwright.steps.render import export_schema

if TYPE_CHECKING:
    from carvelwright.project.config import Package
    from carvelwright.session import Session
    from carvelwright.values import ValuesSchema

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference"


def main() -> int:
    """Return the exit code."""
    session = open_session(ROOT, os.environ, Recorder())
    pages = docs.pages(dict(_values(package, session) for package in load_packages(ROOT)))
    if sys.argv[1:] != ["--check"]:
        for name, text in pages.items():
            files.write_atomic(REFERENCE / name, text)
        return 0
    stale = [name for name, text in pages.items() if not _holds(REFERENCE / name, text)]
    if stale:
        sys.stderr.write(f"error: out of date in docs/reference: {', '.join(stale)}; run make docs\n")
    return int(bool(stale))


def _values(package: Package, session: Session) -> tuple[str, tuple[str, ValuesSchema]]:
    """Return the file of a package's page, its title, and what it is made from."""
    own = package.root.resolve() == ROOT
    name = "data-values.md" if own else f"data-values-{package.short_name}.md"
    title = f"Data values of {package.metadata['displayName']}"
    return name, (title, export_schema(package.root, ROOT, session.tools()))


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
