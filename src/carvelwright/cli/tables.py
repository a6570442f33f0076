"""Lays out what a command made, in the width of the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


def lay_out(rows: Sequence[tuple[str, str, str]], width: int | None) -> list[str]:
    """Lay out name, place and size of each row within the width."""
    column = max(len(name) for name, _, _ in rows)
    return [line for row in rows for line in _row(*row, column, width)]


def _row(name: str, place: str, size: str, column: int, width: int | None) -> list[str]:
    """Return the first layout that fits: whole, digest shortened, size below, all below each other, without digest."""
    note = f"({size})" if size else ""
    short, tag = _DIGEST.sub(r"\1…", place), _DIGEST.sub("…", place)
    head, below = f"  {name:<{column}}  ", [f"    {note}"] if note else []
    layouts = [
        [f"{head}{place}  {note}".rstrip()],
        [f"{head}{short}  {note}".rstrip()],
        [f"{head}{short}", *below],
        [f"  {name}", f"    {short}", *below],
        [f"  {name}", f"    {tag}", *below],
    ]
    return next((layout for layout in layouts if width is None or max(map(len, layout)) <= width), layouts[-1])
