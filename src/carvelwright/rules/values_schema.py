"""Rules about the values schema: what ytt refuses, and what the client makes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carvelwright import values
from carvelwright.client import schema_traps
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, Location, Problem
from carvelwright.project import config
from carvelwright.rules.keywords import keyword_problems
from carvelwright.steps.render import export_schema

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

# ytt exports a default for the items of every typed array, and requires one of the array itself: nothing is lost.
_HARMLESS_TRAPS = ("item-default",)
# A trap within a list has the place of the list's key.
_ITEM = re.compile(r"\[[0-9]*\]")


def values_schema(session: Session, tools: Toolchain) -> list[Problem]:
    """Find what ytt refuses, and the shapes that the client's generators drop, mangle or panic on."""
    return schema_problems(session.project.root, session.project.workspace.root, tools)


def schema_problems(root: Path, store: Path, tools: Toolchain) -> list[Problem]:
    """Check the values schema of a project whose other files may be wrong; `store` is its workspace's directory."""
    path = root / config.VALUES_SCHEMA
    try:
        schema = export_schema(root, store, tools)
    except CarvelwrightError as error:
        return refusal(error, Location(path))
    document = values.load_schema(path)
    traps = [
        document.problem(_ITEM.sub("", trap.path).split("."), trap.message, key=True, hint=trap.hint)
        for trap in schema_traps(schema.openapi)
        if trap.kind not in _HARMLESS_TRAPS
    ]
    return [*keyword_problems(schema, document), *traps]


def refusal(error: CarvelwrightError, where: Location) -> list[Problem]:
    """Return what is wrong with the input; raise again what is not the input's fault, such as a full disk."""
    if isinstance(error, ConfigError):
        return list(error.problems)
    if error.exit_code not in (ExitCode.CONFIG, ExitCode.TOOL_FAILED):
        raise error
    return [Problem(error.message, error.location or where, found=error.details, hint=error.hint)]
