"""What an external tool is to its adapter."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carvelwright.tools.retries import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def list_item(path: str | os.PathLike[str]) -> str:
    """Write a path for an option that takes comma-separated values, as CSV (`-f` of imgpkg and kbld)."""
    text = os.fspath(path)
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if set(text) & set(',"\n\r') else text


@dataclass(frozen=True, slots=True)
class Tool:
    """An executable that was found and whose version was checked; `environment` is all it will see.

    `retries` bounds how calls that talk to a registry are repeated. `module` is the Go module that it was built from,
    as MODULE@VERSION, and `sum` that module's checksum as go.sum has it; both are empty for a tool of PATH.
    """

    path: Path
    version: str
    environment: Mapping[str, str]
    retries: Policy = field(default_factory=Policy, repr=False)
    module: str = ""
    sum: str = ""

    def argv(self, *arguments: str | os.PathLike[str]) -> list[str]:
        """Return the command line of one call."""
        return [str(self.path), *(os.fspath(argument) for argument in arguments)]
