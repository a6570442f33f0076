"""Commands that must fail: with words, an exit code, and without a trace in the project."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.helpers.builds import scraps, snapshot

if TYPE_CHECKING:
    from tests.conftest import PackageProject


def refused(project: PackageProject, command: list[str], code: int, told: list[str], **environment: str) -> str:
    """Run what must fail: exit code, words, no traceback, dist/ as it was, nothing half-made."""
    (project.root / "dist").mkdir(exist_ok=True)
    kept = b"what was there before"
    (project.root / "dist/kept").write_bytes(kept)
    # A build replaces only what a build made.
    (project.root / "dist/SHA256SUMS").write_text(f"{hashlib.sha256(kept).hexdigest()}  kept\n")
    before = snapshot(project.root / "dist")
    outcome = project.run(*command, environment=environment)
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert "internal error" not in outcome.err
    assert "error: " in outcome.err
    for words in told:
        assert words in outcome.err, outcome.err
    assert snapshot(project.root / "dist") == before
    assert scraps(project) == []
    return outcome.err
