"""Constraints on versions, read as kapp-controller reads them: its semver library's grammar, quirks and all."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carvelwright.carvel.version import PackageVersion

_OPERATORS = {"": "=", "=": "=", "==": "=", "!": "!", "!=": "!", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_KNOWN = " ".join(filter(None, _OPERATORS))
# After these a space belongs to the comparison: `>= 1.27.0`.
_JOINS = b"<>="
# What Go's strings.TrimSpace removes.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_WILDCARD = re.compile(r"[0-9]+\.(?:[0-9]+\.x|x(?:\.x)?)")
_SIGNED = re.compile(r"[+-]?[0-9]+")
_LARGEST = 2**63 - 1
_MINOR, _PATCH = 2, 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of `= ! > >= < <=` and a version."""

    operator: str
    version: PackageVersion

    def holds(self, version: PackageVersion) -> bool:
        """Tell whether a version passes, by Carvel's order."""
        equal = version.equals(self.version)
        below = not equal and version < self.version
        answers = {"=": equal, "!": not equal, "<": below, "<=": below or equal, ">=": not below}
        return answers.get(self.operator, not (below or equal))


@dataclass(frozen=True, slots=True)
class Constraints:
    """Alternatives, each of comparisons that must all hold.

    `remarks` say where the server reads something else than what stands there.
    """

    alternatives: tuple[tuple[Comparison, ...], ...]
    remarks: tuple[str, ...]

    def accepts(self, version: PackageVersion) -> bool:
        """Tell whether the server would install on this version."""
        return any(all(each.holds(version) for each in alternative) for alternative in self.alternatives)


def parse(text: str) -> Constraints:
    """Read constraints; ValueError names the part that the server refuses and what was expected."""
    parts, remarks = _split(text)
    if not parts or parts[0] == "||" or parts[-1] == "||":
        raise ValueError("no comparison (expected one such as >=1.27.0 before and after each ||)")
    alternatives = []
    for alternative in _alternatives(parts):
        if not alternative:
            raise ValueError("nothing between two || (expected a comparison: the server crashes when it compares)")
        expanded = [(part, _expand(part)) for part in alternative]
        texts = [text for _, of_one in expanded for text in of_one]
        read = tuple(map(_comparison, texts))
        remarks += [
            f"the server reads {part} as {' '.join(of_one)}"
            for part, of_one in expanded
            if of_one != [part] and not _is_plain(part)
        ]
        if _never(read):
            remarks.append(f"no version passes {' '.join(alternative)}: the server reads it as {' '.join(texts)}")
        alternatives.append(read)
    return Constraints(tuple(alternatives), tuple(remarks))


def check(text: str) -> None:
    """Raise ValueError for constraints that the server refuses."""
    parse(text)


def remarks(text: str) -> tuple[str, ...]:
    """Say where the server reads something else than what stands there; nothing of what it refuses."""
    try:
        return parse(text).remarks
    except ValueError:
        return ()


def _split(text: str) -> tuple[list[str], list[str]]:
    """Cut at spaces as the library does: not after `<>=`, and a part of a single byte is dropped."""
    raw = text.encode()
    parts: list[str] = []
    dropped: list[str] = []
    start, last = 0, 0
    for index, byte in enumerate([*raw, ord(" ")]):
        end = index == len(raw)
        if end or (byte == ord(" ") and last not in _JOINS):
            part = raw[start:index].decode()
            if index - start > 1:
                parts.append(part.replace(" ", ""))
            elif part.strip(" "):
                dropped.append(f"the server drops {part!r}, which stands alone between spaces")
            start = index + 1
        elif byte != ord(" "):
            last = byte
    return parts, dropped


def _alternatives(parts: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for part in parts:
        if part == "||":
            found.append([])
        else:
            found[-1].append(part)
    return found


def _cut(part: str) -> tuple[str, str]:
    """Return operator and version of a comparison."""
    at = next((index for index, letter in enumerate(part) if letter.isdecimal()), None)
    if at is None:
        raise ValueError(f"not a comparison: {part!r} (expected one such as >=1.27.0)")
    return part[:at].strip(_SPACE), part[at:]


def _is_plain(part: str) -> bool:
    """Tell whether a wildcard is read as it looks: the first version after 1.x.x is 1.1.0 to the library."""
    operator, version = _cut(part)
    if _WILDCARD.fullmatch(version) is None:
        return False
    return operator in (">=", "<") or (operator in _OPERATORS and not version.endswith(".x.x"))


def _expand(part: str) -> list[str]:
    """Write a comparison without wildcards, as the library does with each that holds an x."""
    if "x" not in part:
        return [part]
    operator, version = _cut(part)
    pieces = version.split(".")
    wildcard = len(pieces) if pieces[-1] == "x" else 0
    flat = version.replace(".x.x", ".x", 1).replace(".x", ".0", 1)
    flat += ".0" if flat.count(".") == 1 else ""
    match operator:
        case ">" | "<=":
            return [(">=" if operator == ">" else "<") + _next(part, flat, wildcard)]
        case "" | "=" | "==":
            return [f">={flat}", f"<{_next(part, flat, wildcard)}"]
        case "!" | "!=":
            return [f"<{flat}", f">={_next(part, flat, wildcard)}"]
        case ">=" | "<":
            return [operator + flat]
        case _:
            return [flat]


def _next(part: str, version: str, wildcard: int) -> str:
    """Return the first version after those of a wildcard; ValueError where there is none."""
    at = {_MINOR: 0, _PATCH: 1}.get(wildcard)
    pieces = version.split(".")
    if at is None or not _SIGNED.fullmatch(pieces[at]) or not -_LARGEST - 1 <= int(pieces[at]) < _LARGEST:
        raise ValueError(f"{part!r} is no wildcard (expected one such as 1.27.x, its last number below 2^63 - 1)")
    pieces[at] = str(int(pieces[at]) + 1)
    return ".".join(pieces)


def _comparison(part: str) -> Comparison:
    operator, version = _cut(part)
    if operator not in _OPERATORS:
        raise ValueError(f"not an operator: {operator!r} (expected one of {_KNOWN}, before the version)")
    try:
        return Comparison(_OPERATORS[operator], PackageVersion.read(version))
    except ValueError as error:
        reason, bracket, expected = str(error).partition(" (")
        raise ValueError(f"{reason} in {part!r}{bracket}{expected}") from None


def _never(alternative: tuple[Comparison, ...]) -> bool:
    """Tell whether a lower and an upper limit leave nothing between them."""
    lower = [each for each in alternative if each.operator in ("=", ">", ">=")]
    upper = [each for each in alternative if each.operator in ("=", "<", "<=")]
    return any(
        high.version < low.version
        if not high.version.equals(low.version)
        else (low.operator == ">" or high.operator == "<")
        for low in lower
        for high in upper
    )
