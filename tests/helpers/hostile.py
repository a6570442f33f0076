"""Strategies for what a reader may be given, and what it may answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from carvelwright.errors import CarvelwrightError

if TYPE_CHECKING:
    from collections.abc import Callable

# Few and quick: what they find is kept as a case of its own.
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ImagesLock", "BundleLock", "Package", "PackageMetadata", "List", "sha256:" + "1" * 64, "x/y:z"])
)
values = st.recursive(
    _SCALARS,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3),
    max_leaves=6,
)
_FRAGMENTS = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "!!set ",
    "<<: ",
    "---\n",
    "\n",
    "kind: ",
    "a",
    "1",
    "\0",
]
_FRAGMENTS += [
    "\ufeff",
    "\r\n",
    "\xe9",
    "'",
    '"',
    "|\n",
    "? ",
    "0x1f",
    ".nan",
    "1e999",
    "#! jsonschema: ",
    "%TAG ! x\n",
]
texts = st.lists(st.sampled_from(_FRAGMENTS), max_size=12).map("".join).map(str.encode) | st.binary(max_size=20)


def mutated(document: Any) -> st.SearchStrategy[Any]:
    """Return copies of a document in which one part is something else, or is not there."""
    return st.sampled_from(list(_places(document))).flatmap(
        lambda place: (st.just(_missing) | values).map(lambda value: _with(document, place, value))
    )


def answer(read: Callable[[], object], *expected: type[Exception]) -> object:
    """Return the result, or the error that may come; any other exception is the test's failure."""
    allowed: tuple[type[Exception], ...] = (CarvelwrightError, *expected)
    try:
        return read()
    except allowed as error:
        return error


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


_missing = object()


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
    return [at, *(place for key, child in children for place in _places(child, (*at, key)))]


def _with(node: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return None if value is _missing else value
    copy = dict(node) if isinstance(node, dict) else list(node)
    if len(place) == 1 and value is _missing:
        del copy[place[0]]
    else:
        copy[place[0]] = _with(copy[place[0]], place[1:], value)
    return copy
