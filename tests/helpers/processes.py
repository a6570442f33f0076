"""Processes of this machine: which of them are left."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def running(pid: int) -> bool:
    """Tell whether a process exists and has not ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def alive_below(root: Path) -> list[str]:
    """Return the command lines of processes that work in or on a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if running(int(entry.name)) and (
                    str(root) in command or str((entry / "cwd").readlink()).startswith(str(root))
                ):
                    found.append(command)
    return found
