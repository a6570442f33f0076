"""Rules about the values schema: what ytt refuses, and what the client makes of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright import bounds, files, values
from carvelwright.client import schema_traps
from carvelwright.errors import CarvelwrightError, Location, Problem, Severity
from carvelwright.project import config
from carvelwright.project.validation import dotted
from carvelwright.rules.annotations import annotation_problems
from carvelwright.rules.keywords import keyword_problems
from carvelwright.rules.refusals import refusal
from carvelwright.steps.render import export_schema

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema
    from carvelwright.yamldoc import Document

# ytt exports a default for the items of every typed array, and requires one of the array itself: nothing is lost.
_HARMLESS_TRAPS = ("item-default",)
# The client writes no file, or needs more memory than there is. With the others it writes one that is not right.
_FATAL_TRAPS = ("error", "panic", "empty", "doubling")
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
    content = files.read_bytes(path, bounds.FILE.size)
    document = values.parse_schema(content, path)
    traps = [
        replace(
            document.problem(_ITEM.sub("", trap.path).split("."), trap.message, key=True, hint=trap.hint),
            severity=Severity.ERROR if trap.kind in _FATAL_TRAPS else Severity.WARNING,
        )
        for trap in schema_traps(schema.openapi)
        if trap.kind not in _HARMLESS_TRAPS
    ]
    unknown = annotation_problems(path, content.decode(errors="replace"))
    return [*unknown, *keyword_problems(schema, document), *traps, *_required(schema, document)]


def _required(schema: ValuesSchema, document: Document) -> list[Problem]:
    """Return the values that users have to give as warnings: the author may have meant a default to be right."""
    return [
        replace(
            document.problem(
                at,
                f"{dotted(at) or 'the values'}: without a valid default, so that every user has to give a value",
                key=True,
                found=json.dumps(schema.default_of(at), ensure_ascii=False) if at else None,
                expected=rule,
                hint="if a default can be right, correct it",
            ),
            severity=Severity.WARNING,
        )
        for at, rule in schema.required.items()
    ]
