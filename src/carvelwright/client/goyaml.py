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
from enum import Enum, auto
from functools import cmp_to_key, partial
from typing import Any

from carvelwright.client import goscalar

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
    if (simple_key and form.multiline) or not goscalar.is_plain(text, legacy=legacy):
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
        return goscalar.format_float(value)
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
