"""JSON as Go's encoding/json writes it, which is what the API server serves."""

from __future__ import annotations

import json
import math

from carvelwright.client import goscalar

_JSON_ESCAPES = {
    ord(char): f"\\u{ord(char):04x}" for char in [*map(chr, range(0x20)), "<", ">", "&", "\u2028", "\u2029"]
} | {ord(char): "\\" + letter for char, letter in zip('"\\\b\f\n\r\t', '"\\bfnrt', strict=True)}
_JSON_ESCAPES |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def to_go_json(value: object) -> str:
    """Return plain data as Go's encoding/json writes it: 1.0 is 1."""
    if isinstance(value, dict):
        members = (f"{json_string(key)}:{to_go_json(value[key])}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_go_json, value)) + "]"
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError("a number that no float64 holds")
        return goscalar.format_json_float(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    raise TypeError(f"not plain data: {type(value).__name__}")


def json_string(text: str) -> str:
    """Return a text as Go's encoding/json quotes it."""
    return f'"{text.translate(_JSON_ESCAPES)}"'
