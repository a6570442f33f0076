"""package/vulnerabilities.yaml: the known vulnerabilities that somebody looked at, and what was decided."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.errors import ConfigError
from carvelwright.project import paths, validation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def load(root: Path) -> list[Mapping[str, Any]]:
    """Return the entries of a package's file, days as dates; none without a file. ConfigError for a wrong one."""
    path = root / paths.VULNERABILITIES
    if not path.exists():
        return []
    document = yamldoc.load(path)
    if found := validation.problems(document, "vulnerabilities"):
        raise ConfigError(found, what=str(path))
    return [
        {key: dt.date.fromisoformat(value) if key in ("date", "until") else value for key, value in entry.items()}
        for entry in document.data["accepted"]
    ]
