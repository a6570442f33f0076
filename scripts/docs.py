"""Write docs/reference, or with --check say which of its pages no longer says what is true."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from carvelwright import docs, files
from carvelwright.report import Recorder
from carvelwright.session import open_session
from carvelwright.steps.render import export_schema

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs/reference"


def main() -> int:
    """Return the exit code."""
    session = open_session(ROOT, os.environ, Recorder())
    pages = docs.pages(export_schema(session.project.root, ROOT, session.tools()))
    if sys.argv[1:] != ["--check"]:
        for name, text in pages.items():
            files.write_atomic(REFERENCE / name, text)
        return 0
    stale = [name for name, text in pages.items() if not _holds(REFERENCE / name, text)]
    if stale:
        sys.stderr.write(f"error: out of date in docs/reference: {', '.join(stale)}; run make docs\n")
    return int(bool(stale))


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
