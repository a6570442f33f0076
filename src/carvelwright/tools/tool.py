"""What an external tool is to its adapter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tool:
    """An executable that was found and whose version was checked; `environment` is all it will see."""

    path: Path
    version: str
    environment: Mapping[str, str]

    def argv(self, *arguments: str | os.PathLike[str]) -> list[str]:
        """Return the command line of one call."""
        return [str(self.path), *(os.fspath(argument) for argument in arguments)]
