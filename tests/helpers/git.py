"""A git repository of a test's own, made with git itself."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class GitRepository:
    """A repository whose commits are dated, and that no configuration of the user reaches."""

    root: Path

    def run(self, *arguments: str, at: str = "2027-06-01T12:00:00Z") -> str:
        """Run git; `at` is the date of what it commits."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        dated = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": os.devnull}
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always")
        argv = ["git", *who, *arguments]
        return subprocess.run(argv, cwd=self.root, env=kept | dated, check=True, capture_output=True, text=True).stdout

    def commit(self, message: str = "work", *, at: str = "2027-06-01T12:00:00Z") -> str:
        """Commit all that is there; return the commit's name."""
        self.run("add", "-A")
        self.run("commit", "--allow-empty", "-qm", message, at=at)
        return self.run("rev-parse", "HEAD").strip()


def make_repository(directory: Path) -> GitRepository:
    made = GitRepository(directory)
    made.run("init", "-q", "-b", "main")
    return made
