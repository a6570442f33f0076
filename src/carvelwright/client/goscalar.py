"""YAML's unquoted scalars as yaml.v3 resolves them, and numbers as Go prints them."""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal
from enum import Enum, auto
from typing import Any

_WORDS: dict[str, object] = (
    dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
    | dict.fromkeys(("", "~", "null", "Null", "NULL"), None)
    | dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)
    | dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf)
    | dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf)
)
OLD_BOOLS = dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"], True) | dict.fromkeys(
    ["n", "N", "no", "No", "NO", "off", "Off", "OFF"], False
)
_BASE60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?")
_GO_INTEGER = re.compile(r"0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*)")
_PREFIXED = re.compile(r"(?P<minus>-?)0(?:b(?P<bin>[-+]?[01]+)|o(?P<oct>[-+]?[0-7]+))")
_TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"
    r"(?:(?P<sep>[Tt]| +)(?P<h>[0-9]{1,2}):(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})(?:[.,][0-9]+)?"
    r"(?P<zone>Z|[-+](?P<zh>[0-9]{2}):(?P<zm>[0-9]{2}))?)?"
)


def format_float(value: float) -> str:
    """Return `value` as both encoders print a float64: shortest digits, an exponent from 1e+06 on and below 1e-04."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    sign, digits, point = _decimal(value)
    exponent = point - 1
    if digits == "0":
        return sign + "0"
    if exponent < -4 or exponent >= 6:  # noqa: PLR2004  # strconv's %g with the shortest precision
        return f"{sign}{_mantissa(digits)}e{exponent:+03d}"
    return sign + _fixed(digits, point)


def format_json_float(value: float) -> str:
    """Return a finite `value` as Go's encoding/json prints a float64: no fraction for 1.0, an exponent from 1e21 on."""
    sign, digits, point = _decimal(value)
    if digits != "0" and not 1e-6 <= abs(value) < 1e21:  # noqa: PLR2004  # the bounds of encoding/json
        return f"{sign}{_mantissa(digits)}e{point - 1:+d}"
    return sign + _fixed(digits, point)


def _decimal(value: float) -> tuple[str, str, int]:
    sign, numbers, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, numbers)).lstrip("0")
    shortest = digits.rstrip("0") or "0"
    point = len(digits) + int(exponent)
    return "-" if sign else "", shortest, point


def _mantissa(digits: str) -> str:
    return digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"


def _fixed(digits: str, point: int) -> str:
    if digits == "0":
        return "0"
    if point <= 0:
        return f"0.{'0' * -point}{digits}"
    if point >= len(digits):
        return digits + "0" * (point - len(digits))
    return f"{digits[:point]}.{digits[point:]}"


class Tag(Enum):
    """What an unquoted scalar means."""

    STR = auto()
    NULL = auto()
    BOOL = auto()
    INT = auto()
    FLOAT = auto()
    TIMESTAMP = auto()


def resolve(text: str) -> tuple[Tag, Any]:
    """Return the tag and the value that yaml.v3 gives the unquoted scalar `text`.

    An INT lies in int64 or uint64; a larger number is a FLOAT, and one that no float64 holds is a STR, as in Go.
    The YAML 1.1 booleans (yes, no, on, off, y, n) are STR here, see OLD_BOOLS; a TIMESTAMP's value is its text.
    """
    if text in _WORDS:
        word = _WORDS[text]
        tag = Tag.NULL if word is None else Tag.BOOL if isinstance(word, bool) else Tag.FLOAT
        return tag, word
    if text[0] == ".":
        number = _finite(text.replace("_", "")) if _DOT_FLOAT.fullmatch(text) else None
        return (Tag.STR, text) if number is None else (Tag.FLOAT, number)
    if text[0] not in "+-0123456789":
        return Tag.STR, text
    if _is_timestamp(text):
        return Tag.TIMESTAMP, text
    return _resolve_number(text)


def _resolve_number(text: str) -> tuple[Tag, Any]:
    plain = text.replace("_", "")
    whole = _go_integer(plain)
    if whole is not None:
        return Tag.INT, whole
    number = _finite(plain) if _FLOAT.fullmatch(plain) else None
    if number is not None:
        return Tag.FLOAT, number
    whole = _prefixed_integer(plain)
    if whole is not None:
        return Tag.INT, whole
    return Tag.STR, text


def _finite(text: str) -> float | None:
    number = float(text)
    return None if math.isinf(number) else number


def _go_integer(plain: str) -> int | None:
    sign = plain[:1] if plain[:1] in ("+", "-") else ""
    match = _GO_INTEGER.fullmatch(plain, len(sign))
    if match is None:
        return None
    bases = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
    kind = match.lastgroup or "dec"
    # int() refuses decimal texts of thousands of digits; no integer of Go is longer than 64 bits.
    if len(match[kind].lstrip("0")) > 64:  # noqa: PLR2004
        return None
    number = int(match[kind], bases[kind])
    signed = -number if sign == "-" else number
    top = 2**63 - 1 if sign else 2**64 - 1
    return signed if -(2**63) <= signed <= top else None


def _prefixed_integer(plain: str) -> int | None:
    """Read what ParseInt refuses with base 0 and yaml.v3 reads all the same: a sign behind the prefix, as in 0b-1."""
    match = _PREFIXED.fullmatch(plain)
    if match is None:
        return None
    digits, base = (match["bin"], 2) if match["bin"] else (match["oct"], 8)
    if match["minus"] and digits[0] in "+-":
        return None
    number = int(match["minus"] + digits, base)
    return number if -(2**63) <= number < 2**63 else None


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    try:
        # Go knows a year 0, a leap year like 2000, which Python's dates lack.
        date(int(match["year"]) or 2000, int(match["month"]), int(match["day"]))
    except ValueError:
        return False
    if match["sep"] is None:
        return True
    if (match["sep"] in "Tt") != (match["zone"] is not None):
        return False
    zone = match["zh"] is None or (int(match["zh"]) <= 24 and int(match["zm"]) <= 60)  # noqa: PLR2004  # sic
    return zone and int(match["h"]) < 24 and int(match["m"]) < 60 and int(match["s"]) < 60  # noqa: PLR2004


def is_plain(text: str, *, legacy: bool) -> bool:
    """Tell whether `text` without quotes is read as itself; `legacy` as yaml.v2 sees it."""
    tag, _ = resolve(text)
    if legacy and tag is Tag.INT and _go_integer(text.replace("_", "")) is None and "o" in text:
        tag = Tag.STR  # yaml.v2 reads 0o7 and 0b-1, but not 0o-7
    return tag is Tag.STR and text not in OLD_BOOLS and _BASE60.fullmatch(text) is None
