"""How large an input may be: a YAML text is measured event by event, and refused before anything is built from it.

Its readers recurse over what is nested and copy what an alias repeats: a few hundred bytes can ask for all memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a reader accepts: bytes of text, nodes with every alias counted as what it repeats, levels of nesting."""

    size: int
    nodes: int
    depth: int


# What people write, and what is small by its nature.
FILE = Bounds(4 << 20, 100_000, 50)
# What a program renders or a registry holds.
STREAM = Bounds(64 << 20, 500_000, 100)
# An OpenAPI schema in YAML, which only a slow reader reads as clients do; its nesting is bounded by the client module.
SCHEMA = Bounds(1 << 20, 50_000, 200)

# A long text counts as several nodes, so that repeating it is bounded too.
_NODE_CHARACTERS = 64
# float64 ends at 309 digits, and Python converts no more than 4300.
_DIGITS = 400
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_:]*)", re.IGNORECASE)
_TAG_DIRECTIVES = 100


def check_size(size: int, path: Path, bounds: Bounds) -> None:
    """Refuse an input by its size in bytes."""
    if size > bounds.size:
        problem = Problem("too large", Location(path), f"{size} bytes", f"at most {bounds.size} bytes")
        raise ConfigError([problem], what=str(path))


def check_yaml(text: str, path: Path, bounds: Bounds, *, pure: bool = False) -> None:
    """Refuse a text that exceeds the bounds; raises ruamel's own error where it is no YAML at all.

    `pure` measures with ruamel's own parser, for readers that use it: it differs from libyaml in what it accepts.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, not always needed

    check_size(len(text), path, bounds)
    # The parser compares each of them with all before.
    if text.count("\n%TAG") > _TAG_DIRECTIVES:
        problem = Problem("too many %TAG directives", Location(path), expected=f"at most {_TAG_DIRECTIVES}")
        raise ConfigError([problem], what=str(path))
    meter = _Meter(bounds)
    for event in YAML(typ="safe", pure=pure).parse(text):
        if excess := meter.take(event):
            mark = event.start_mark
            found = Problem(excess[0], Location(path, mark.line + 1, mark.column + 1), expected=excess[1])
            raise ConfigError([found], what=str(path))


@dataclass(slots=True)
class _Open:
    """A list or a mapping that has not ended: its anchor, its nodes and levels so far."""

    anchor: str | None
    nodes: int = 1
    height: int = 1


@dataclass(slots=True)
class _Meter:
    """Adds up the nodes of a stream; an alias counts as all that it repeats."""

    bounds: Bounds
    total: int = 0
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, event: Any) -> Sequence[str] | None:
        """Count an event; returns what exceeds the bounds and what was expected, or None."""
        match type(event).__name__:
            case "ScalarEvent":
                if _is_long_number(event):
                    return "a number of too many digits", f"at most {_DIGITS} digits; quotes make it text"
                self._leaf(event.anchor, 1 + len(event.value) // _NODE_CHARACTERS, 1)
            case "AliasEvent":
                if any(outer.anchor == event.anchor for outer in self.open):
                    return "nested too deeply: an alias within itself", "an alias of something else"
                nodes, height = self.anchors.get(event.anchor, (1, 1))
                self._leaf(None, nodes, height)
            case "SequenceStartEvent" | "MappingStartEvent":
                self.total += 1
                self.open.append(_Open(event.anchor))
            case "SequenceEndEvent" | "MappingEndEvent":
                self._close()
            case "DocumentStartEvent":
                self.total += 1
                self.anchors.clear()
        return self._excess()

    def _leaf(self, anchor: str | None, nodes: int, height: int) -> None:
        self.total += nodes
        self._add(anchor, nodes, height)

    def _close(self) -> None:
        ended = self.open.pop()
        self._add(ended.anchor, ended.nodes, ended.height)

    def _add(self, anchor: str | None, nodes: int, height: int) -> None:
        if anchor is not None:
            self.anchors[anchor] = nodes, height
        if self.open:
            outer = self.open[-1]
            outer.nodes += nodes
            outer.height = max(outer.height, 1 + height)

    def _excess(self) -> Sequence[str] | None:
        inner = self.open[-1].height if self.open else 0
        if len(self.open) - 1 + inner > self.bounds.depth:
            return "nested too deeply", f"at most {self.bounds.depth} levels"
        if self.total > self.bounds.nodes:
            return "too many values", f"at most {self.bounds.nodes}, an alias counted as all that it repeats"
        return None


def _is_long_number(event: Any) -> bool:
    if len(event.value) <= _DIGITS:
        return False
    plain = event.style in (None, "") and event.tag is None
    return event.tag == "tag:yaml.org,2002:int" or (plain and _NUMBER.fullmatch(event.value) is not None)
