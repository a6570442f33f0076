"""JSON read strictly: what two readers could understand differently is refused, and so is what nothing can hold."""

from __future__ import annotations

import json
import math
from typing import Any

from carvelwright import bounds as limits


def loads(text: str) -> Any:
    """Read a JSON text; ValueError (json.JSONDecodeError with the place, where there is one) for what is no JSON."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse(text: str | bytes, limit: limits.Bounds = limits.FILE) -> Any:
    """Read JSON, in UTF-8, as plain data that can be written again.

    ValueError as `loads`, and for what exceeds the bounds, numbers beyond float64 and halves of surrogate pairs.
    """
    if len(text) > limit.size:
        raise ValueError(f"larger than {limit.size} bytes")
    data = loads(text.decode() if isinstance(text, bytes) else text)
    _check(data, limit)
    return data


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return content


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _check(data: Any, limit: limits.Bounds) -> None:
    """Look at every value, level by level, without recursion."""
    level, count = [data], 1
    for _ in range(limit.depth + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str):
                item.encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError("a number that no float64 holds")
        level, count = inner, count + len(inner)
        if count > limit.nodes:
            raise ValueError(f"more than {limit.nodes} values")
        if not inner:
            return
    raise ValueError("nested too deeply")
