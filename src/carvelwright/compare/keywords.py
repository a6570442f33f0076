"""The rules of one option before and after: which of them allow less than they did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from carvelwright.compare import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.compare.nodes import Node

_NUMBERS = frozenset({"integer", "number"})
# By keyword: the types that it is for, and whether more of it allows less.
_COUNTS = {
    "minLength": ("string", True),
    "maxLength": ("string", False),
    "minItems": ("array", True),
    "maxItems": ("array", False),
    "minProperties": ("object", True),
    "maxProperties": ("object", False),
}
# They say how a number is kept, and refuse none.
_WIDE_FORMATS = ("float", "double", None)

# Whether a rule allows less than before, and what changed.
Found = tuple[bool, str]


def compared(old: Node, new: Node) -> Iterator[Found]:
    """Yield each rule that changed. A rule for values that one of the nodes refuses anyway does nothing."""
    given = nodes.types(old) & nodes.types(new)
    for keyword, (kind, lower) in _COUNTS.items():
        if kind in given:
            yield from _count(keyword, old, new, lower=lower)
    if given & _NUMBERS:
        yield from _limit(old, new, "minimum")
        yield from _limit(old, new, "maximum")
        yield from _multiple(old.get("multipleOf"), new.get("multipleOf"))
    if "string" in given:
        yield from _text_rule("pattern", old, new)
    yield from _format(old, new)
    yield from _enumeration(old, new)


def _count(keyword: str, old: Node, new: Node, *, lower: bool) -> Iterator[Found]:
    none = 0 if lower else math.inf
    before, after = old.get(keyword, none), new.get(keyword, none)
    if before != after:
        yield (after > before) is lower, f"{keyword} {_or_none(old, keyword)} → {_or_none(new, keyword)}"


def _limit(old: Node, new: Node, keyword: str) -> Iterator[Found]:
    sign = 1 if keyword == "minimum" else -1
    before, after = _bound(old, keyword, sign), _bound(new, keyword, sign)
    if before != after:
        yield after > before, f"{keyword} {_bound_text(before, sign)} → {_bound_text(after, sign)}"


def _bound(node: Node, keyword: str, sign: int) -> tuple[float, bool]:
    """Return the lower bound of a number, or of its negative, and whether the bound itself is out."""
    limit, exclusive = node.get(keyword), node.get(f"exclusive{keyword.capitalize()}")
    found = [(-math.inf, False)]
    found += [(sign * limit, exclusive is True)] if limit is not None else []
    found += [(sign * exclusive, True)] if exclusive is not None and not isinstance(exclusive, bool) else []
    return max(found)


def _bound_text(bound: tuple[float, bool], sign: int) -> str:
    return "none" if bound[0] == -math.inf else f"{sign * bound[0]}{' (exclusive)' if bound[1] else ''}"


def _multiple(old: Any, new: Any) -> Iterator[Found]:
    if old != new:
        whole = isinstance(old, int) and isinstance(new, int) and old % new == 0
        yield new is not None and not whole, f"multipleOf {_text(old)} → {_text(new)}"


def _text_rule(keyword: str, old: Node, new: Node) -> Iterator[Found]:
    before, after = old.get(keyword), new.get(keyword)
    if before != after:
        yield after is not None, f"{keyword} {_text(before)} → {_text(after)}"


def _format(old: Node, new: Node) -> Iterator[Found]:
    before, after = old.get("format"), new.get("format")
    if before != after and not (before in _WIDE_FORMATS and after in _WIDE_FORMATS):
        yield after not in _WIDE_FORMATS, f"format {_text(before)} → {_text(after)}"


def _enumeration(old: Node, new: Node) -> Iterator[Found]:
    before, after = nodes.enumeration(old), nodes.enumeration(new)
    if before == after or (set(before or ()) == set(after or ()) and (before is None) is (after is None)):
        return
    if after is None:
        yield False, "any value is allowed, no longer one of a list"
    elif before is None:
        yield True, f"only these are allowed now: {_listed(after)}"
    else:
        # That null is no longer allowed is a change of the type.
        gone = {text: value for text, value in before.items() if text not in after and value is not None}
        come = {text: value for text, value in after.items() if text not in before and value is not None}
        if gone or (before.keys() - after.keys() and "null" in nodes.types(new)):
            yield True, f"no longer allowed: {_listed(gone) or 'null'}"
        if come:
            yield False, f"allowed as well: {_listed(come)}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(nodes.shown(value) for value in values.values())


def _or_none(node: Node, keyword: str) -> str:
    return _text(node.get(keyword))


def _text(value: Any) -> str:
    return "none" if value is None else nodes.shown(value)
