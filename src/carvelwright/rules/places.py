"""Finds where rendered documents come from: ytt's output does not say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.errors import CarvelwrightError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# How a boolean may stand in a file that ytt reads.
_BOOLEANS = {("y", "yes", "on", "true"): "true", ("n", "no", "off", "false"): "false"}
_SUFFIXES = (".yaml", ".yml")
_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A document of a file as it is written: its first line's number, and its lines without indentation."""

    file: Path
    first: int
    lines: tuple[str, ...]


def chunks(directory: Path) -> list[Chunk]:
    """Cut the files of a bundle into documents."""
    found: list[Chunk] = []
    for path in files.walk_files(directory):
        if path.suffix in _SUFFIXES:
            found += _cut(path)
    return found


def _cut(path: Path) -> Iterator[Chunk]:
    try:
        lines = files.read_bytes(path).decode(errors="replace").splitlines()
    except CarvelwrightError:
        return
    starts = [0, *(number for number, line in enumerate(lines) if line.startswith("---"))]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Chunk(path, start + 1, tuple(_plain(line) for line in lines[start:end]))


def origins(documents: Sequence[Any], among: Sequence[Chunk]) -> list[Chunk | None]:
    """Return for each document the chunk that holds most of its lines; None where none holds half of them.

    A guess, but a safe one: what overlays and templates write is in no chunk, and each chunk is taken once.
    """
    free = list(among)
    found: list[Chunk | None] = []
    for document in documents:
        wanted = set(_leaves(document))
        score, best = max(((len(wanted & set(c.lines)), -i) for i, c in enumerate(free)), default=(0, 0))
        if not score or score * 2 < len(wanted):
            found.append(None)
        else:
            found.append(free.pop(-best))
    return found


def locate(origin: Chunk | None, document: Any, at: Sequence[str | int], otherwise: Path) -> Location:
    """Return the line of a value of a document, or the nearest place that is known."""
    if origin is None:
        return Location(otherwise)
    node = document
    for part in at:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
    keys = [part for part in at if isinstance(part, str)]
    needles = [f"{keys[-1]}: {_scalar(node)}", f"{keys[-1]}:"] if keys else []
    for needle in needles:
        for number, line in enumerate(origin.lines):
            if line == needle:
                return Location(origin.file, origin.first + number)
    first = next((n for n, line in enumerate(origin.lines) if line and not line.startswith(("#", "---"))), 0)
    return Location(origin.file, origin.first + first)


def _plain(line: str) -> str:
    text = line.strip()
    while text.startswith("- "):
        text = text[2:].lstrip()
    key, colon, value = text.partition(": ")
    value = value.strip()
    for words, boolean in _BOOLEANS.items():
        if value.lower() in words:
            value = boolean
    return f"{key.strip(_QUOTES)}{colon}{value.strip(_QUOTES)}"


def _leaves(node: Any, key: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, str(name))
    elif isinstance(node, list):
        for child in node:
            yield from _leaves(child)
    else:
        yield f"{key}: {_scalar(node)}" if key else _scalar(node)


def _scalar(node: Any) -> str:
    return node if isinstance(node, str) else json.dumps(node, default=str)
