"""YAML as two Go encoders write it, byte for byte.

`dump_v3` is gopkg.in/yaml.v3 with an indent of 2, `dump_v2` is gopkg.in/yaml.v2 (which sigs.k8s.io/yaml wraps). Both
take plain data: None, bool, int, float, str, list, and dict with string keys. The rules were read from yaml.v3 v3.0.1
and yaml.v2 v2.4.0 and are held to them by tests/integration/test_goyaml_against_go.py.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, auto
from functools import cmp_to_key, partial
from typing import Any

_BREAKS = frozenset("\n\r\x85\u2028\u2029")
_UNPRINTABLE = re.compile("[^\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
_INDICATORS = re.compile(
    r"""---|\.\.\.|[#,\[\]{}&*!|>'"%@`]|[-?:](?:[ \t]|\Z)"""  # at the start
    "|(?s:.+?)(?:"
    r":(?:[ \t]|\Z)|(?<=[ \t\n\r\0\x85" + "\u2028\u2029])#)"  # further on
)
_BREAK_SPACE = re.compile("[\n\r\x85\u2028\u2029] ")
_SPACE_BREAK = re.compile(" [\n\r\x85\u2028\u2029]")
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip

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
_GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def dump_v3(value: Any) -> str:
    """Return `value` as yaml.v3's encoder with SetIndent(2) writes it; ends with a newline."""
    return _Emitter(legacy=False).document(value)


def dump_v2(value: Any) -> str:
    """Return `value` as yaml.v2's Marshal writes it; lines fold after 80 columns; ends with a newline."""
    return _Emitter(legacy=True).document(value)


def trim_space(text: str) -> str:
    """Return `text` without the white space that Go's strings.TrimSpace removes."""
    return text.strip(_GO_SPACE)


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


def _is_plain(text: str, *, legacy: bool) -> bool:
    tag, _ = resolve(text)
    if legacy and tag is Tag.INT and _go_integer(text.replace("_", "")) is None and "o" in text:
        tag = Tag.STR  # yaml.v2 reads 0o7 and 0b-1, but not 0o-7
    return tag is Tag.STR and text not in OLD_BOOLS and _BASE60.fullmatch(text) is None


class _Style(Enum):
    PLAIN = auto()
    SINGLE = auto()
    DOUBLE = auto()
    LITERAL = auto()


@dataclass(frozen=True, slots=True)
class _Form:
    """Which styles a text can be written in."""

    multiline: bool
    plain: bool
    single: bool
    literal: bool


def _form(text: str, *, legacy: bool) -> _Form:
    if not text:
        return _Form(multiline=False, plain=True, single=True, literal=False)
    breaks = not _BREAKS.isdisjoint(text)
    tabs = "\t" in text
    special = _UNPRINTABLE.search(text if legacy or not tabs else text.replace("\t", "")) is not None
    space_break = _SPACE_BREAK.search(text) is not None
    single = not (_BREAK_SPACE.search(text) or space_break or tabs or special)
    return _Form(
        multiline=breaks,
        plain=single and not breaks and " " not in (text[0], text[-1]) and _INDICATORS.match(text) is None,
        single=single,
        literal=text[-1] != " " and not space_break and not special,
    )


def _style(text: str, form: _Form, *, simple_key: bool, legacy: bool) -> _Style:
    if "\n" in text:
        return _Style.LITERAL if form.literal and not simple_key else _Style.DOUBLE
    if (simple_key and form.multiline) or not _is_plain(text, legacy=legacy):
        return _Style.DOUBLE
    if form.plain:
        return _Style.PLAIN
    return _Style.SINGLE if form.single else _Style.DOUBLE


def loses_leading_break(text: str) -> bool:
    """Tell whether yaml.v3 writes `text` as a block scalar that lacks the line break it begins with."""
    form = _form(text, legacy=False)
    return text[:1] in _BREAKS and _style(text, form, simple_key=False, legacy=False) is _Style.LITERAL


class _Emitter:
    """The state of libyaml's emitter, as far as block collections without comments, tags and anchors need it."""

    def __init__(self, *, legacy: bool) -> None:
        self._legacy = legacy
        self._width = 80 if legacy else math.inf
        self._out: list[str] = []
        self._column = 0
        self._indent = -1
        self._whitespace = True  # the last thing written separates tokens
        self._indention = True  # nothing but indentation and "- " stands on this line
        self._order = cmp_to_key(partial(_compare_keys, legacy=legacy))

    def document(self, value: Any) -> str:
        self._node(value, in_mapping=False)
        self._write_indent()
        return "".join(self._out)

    def _put(self, text: str) -> None:
        self._out.append(text)
        self._column += len(text)

    def _put_break(self, char: str = "\n") -> None:
        self._out.append(char)
        self._column = 0
        self._indention = True

    def _write_indent(self) -> None:
        indent = max(self._indent, 0)
        if not self._indention or self._column > indent or (self._column == indent and not self._whitespace):
            self._put_break()
        self._put(" " * (indent - self._column))
        self._whitespace = True

    def _indicator(self, text: str, *, separate: bool, whitespace: bool = False, indention: bool = False) -> None:
        if separate and not self._whitespace:
            self._put(" ")
        self._put(text)
        self._whitespace = whitespace
        self._indention = self._indention and indention

    def _node(self, value: Any, *, in_mapping: bool) -> None:
        if isinstance(value, dict):
            self._mapping(value)
        elif isinstance(value, list):
            self._sequence(value, in_mapping=in_mapping)
        elif isinstance(value, str):
            self._text(value, simple_key=False)
        else:
            self._plain(_scalar(value))

    def _mapping(self, value: dict[str, Any]) -> None:
        if not value:
            self._indicator("{", separate=True, whitespace=True)
            self._indicator("}", separate=False)
            return
        outer = self._indent
        self._indent = outer + 2 if outer >= 0 else 0
        for key in sorted(value, key=self._order):
            self._write_indent()
            self._key(key)
            self._node(value[key], in_mapping=True)
        self._indent = outer

    def _key(self, key: str) -> None:
        if not _form(key, legacy=self._legacy).multiline and len(key.encode()) <= 128:  # noqa: PLR2004  # libyaml's
            self._text(key, simple_key=True)
            self._indicator(":", separate=False)
            return
        self._indicator("?", separate=True, indention=True)
        self._text(key, simple_key=False)
        self._write_indent()
        self._indicator(":", separate=True, indention=True)

    def _sequence(self, value: list[Any], *, in_mapping: bool) -> None:
        if not value:
            self._indicator("[", separate=True, whitespace=True)
            self._indicator("]", separate=False)
            return
        outer = self._indent
        if outer < 0:
            self._indent = 0
        elif not (self._legacy and in_mapping and not self._indention):
            self._indent = outer + 2
        for item in value:
            self._write_indent()
            self._indicator("-", separate=True, indention=True)
            self._node(item, in_mapping=False)
        self._indent = outer

    def _text(self, text: str, *, simple_key: bool) -> None:
        outer = self._indent
        self._indent = outer + 2 if outer >= 0 else 2
        style = _style(text, _form(text, legacy=self._legacy), simple_key=simple_key, legacy=self._legacy)
        if style is _Style.PLAIN:
            self._plain(text, fold=not simple_key)
        elif style is _Style.SINGLE:
            self._single_quoted(text, fold=not simple_key)
        elif style is _Style.DOUBLE:
            self._double_quoted(text, fold=not simple_key)
        else:
            self._literal(text)
        self._indent = outer

    def _plain(self, text: str, *, fold: bool = False) -> None:
        if not self._whitespace:
            self._put(" ")
        self._folded(text, fold=fold, quoted=False)
        self._whitespace = False
        self._indention = False

    def _single_quoted(self, text: str, *, fold: bool) -> None:
        self._indicator("'", separate=True)
        self._folded(text, fold=fold, quoted=True)
        self._indicator("'", separate=False)
        self._indention = False

    def _folded(self, text: str, *, fold: bool, quoted: bool) -> None:
        after_break = after_space = False
        last = len(text) - 1
        for i, char in enumerate(text):
            if char == " ":
                inner = i < last and text[i + 1] != " " and (i > 0 or not quoted)
                if fold and not after_space and inner and self._column > self._width:
                    self._write_indent()
                else:
                    self._put(char)
                after_space = True
            elif char in _BREAKS:
                self._put_break(char)
                after_break = True
            else:
                if after_break:
                    self._write_indent()
                self._put("''" if quoted and char == "'" else char)
                self._indention = after_space = after_break = False

    def _double_quoted(self, text: str, *, fold: bool) -> None:
        self._indicator('"', separate=True)
        after_space = False
        last = len(text) - 1
        for i, char in enumerate(text):
            if char == " " and text[0] != "\ufeff":
                if fold and not after_space and self._column > self._width and 0 < i < last:
                    self._write_indent()
                    if text[i + 1] == " ":
                        self._put("\\")
                else:
                    self._put(char)
                after_space = True
            else:
                # The encoders' test for a byte order mark looks at the text's start, whichever character it is at.
                escaped = text[0] == "\ufeff" or char in '"\\' or char in _BREAKS or _UNPRINTABLE.match(char)
                self._put(_escape(char) if escaped else char)
                after_space = False
        self._indicator('"', separate=False)
        self._indention = False

    def _literal(self, text: str) -> None:
        self._indicator("|", separate=True)
        if text[0] == " " or text[0] in _BREAKS:
            self._indicator("2", separate=False)
        if text[-1] not in _BREAKS:
            self._indicator("-", separate=False)
        elif len(text) == 1 or text[-2] in _BREAKS:
            self._indicator("+", separate=False)
        if self._legacy:
            self._put_break()
        self._whitespace = True
        after_break = True
        for char in text:
            if char in _BREAKS:
                self._put_break(char)
                after_break = True
            else:
                if after_break:
                    self._write_indent()
                self._put(char)
                self._indention = after_break = False


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format_float(value)
    raise TypeError(f"not plain data: {type(value).__name__}")


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return "\\" + _ESCAPES[char]
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004


def _compare_keys(a: str, b: str, *, legacy: bool) -> int:
    return -1 if _key_less(a, b, legacy=legacy) else int(_key_less(b, a, legacy=legacy))


def _key_less(a: str, b: str, *, legacy: bool) -> bool:
    """Order as the encoders do: letters after all else, runs of digits by their number."""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if at is None:
        return len(a) < len(b)
    a_letter, b_letter = _is_letter(a[at]), _is_letter(b[at])
    if a_letter and b_letter:
        return a[at] < b[at]
    if a_letter or b_letter:
        # yaml.v3 alone ends a number before a letter: a1b before a10.
        after_digit = not legacy and at > 0 and _is_digit(a[at - 1])
        return a_letter if after_digit else b_letter
    start = int("0" in (a[at], b[at]) and _significant_digit_before(a, at))
    a_number, a_end = _digit_run(a, at, start)
    b_number, b_end = _digit_run(b, at, start)
    if a_number != b_number:
        return a_number < b_number
    return a_end < b_end if a_end != b_end else a[at] < b[at]


def _significant_digit_before(key: str, at: int) -> bool:
    for char in reversed(key[:at]):
        if not _is_digit(char):
            return False
        if char != "0":
            return True
    return False


def _digit_run(key: str, at: int, number: int) -> tuple[int, int]:
    end = at
    while end < len(key) and _is_digit(key[end]):
        number = _wrap(number * 10 + ord(key[end]) - ord("0"))
        end += 1
    return number, end


def _wrap(number: int) -> int:
    """Wrap around as an int64 does: long runs of digits overflow in the encoders."""
    return (number + 2**63) % 2**64 - 2**63


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] == "L"


def _is_digit(char: str) -> bool:
    return unicodedata.category(char) == "Nd"
