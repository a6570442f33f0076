"""YAML documents with positions: read strictly, point at what is wrong, write deterministically."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from carvelwright import bounds as limits
from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from carvelwright.bounds import Bounds

# Plain in YAML 1.2, but a boolean or a number to the YAML 1.1 readers of kapp-controller.
_OLD_WORDS = re.compile(r"y|n|yes|no|on|off|[-+.0-9][0-9a-fxob_.,:+-]*", re.IGNORECASE)
_OLD_BREAKS = frozenset("\x85\u2028\u2029")
_EXCERPT = 160
# A file that is wrong throughout is not told in full.
PROBLEMS = 100
# What ruamel raises for a text that is not what its explicit tag says, such as `!!int` alone.
_TAG_FAULTS = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
_LINE_WIDTH = 4096  # never fold: a folded line is harder to compare and to search


@dataclass(frozen=True)
class Document:
    """One YAML document: plain data (dict, list, str, int, float, bool, None) and where it stands; dates stay text."""

    path: Path
    text: str
    data: Any

    def locate(self, pointer: Sequence[str | int], *, key: bool = False) -> Location:
        """Return the place of a value (`key`: of its key) by its path of keys and indexes, or of its nearest parent."""
        node, mark = self._positions, None
        for part in pointer:
            pair = self._child(node, part)
            if pair is None:
                break
            node, mark = pair[1], pair[0 if key else 1].start_mark
        return Location(self.path, mark.line + 1, mark.column + 1) if mark else Location(self.path, 1, 1)

    def excerpt(self, location: Location) -> str | None:
        """Return the line of a place, as it stands."""
        number = location.line or 0
        return _short(self._lines[number - 1]) if 0 < number <= len(self._lines) else None

    def problem(
        self,
        pointer: Sequence[str | int],
        message: str,
        *,
        key: bool = False,
        found: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> Problem:
        """Make a problem that points at a value of this document."""
        location = self.locate(pointer, key=key)
        return Problem(message, location, found, expected, hint, self.excerpt(location))

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def _positions(self) -> Any:
        return _yaml("safe").compose(self.text)

    @cached_property
    def _pairs(self) -> dict[int, dict[str, tuple[Any, Any]]]:
        return {}

    def _child(self, node: Any, part: str | int) -> tuple[Any, Any] | None:
        """Return the nodes of a key and its value, or of an item twice."""
        if node is None or node.id == "scalar":
            return None
        if node.id == "sequence":
            inside = isinstance(part, int) and 0 <= part < len(node.value)
            return (node.value[part], node.value[part]) if inside else None
        pairs = self._pairs.setdefault(id(node), {})
        if not pairs:
            pairs.update({str(key.value): (key, value) for key, value in node.value})
        return next((pairs[name] for name in _spellings(part) if name in pairs), None)


def _spellings(key: str | int | None) -> list[str]:
    """Return how a key may stand in a file; what is not text there (`True`, null) has several ways."""
    if isinstance(key, str):
        return [key]
    return [str(key), str(key).lower(), *(["null", "~", ""] if key is None else [])]


def load(path: Path) -> Document:
    """Read a file with exactly one YAML document; ConfigError with the place for broken YAML and duplicate keys."""
    return parse(read_text(path), path)


def parse(text: str, path: Path, *, repeated_keys: bool = False) -> Document:
    """Read a text with exactly one YAML document; `path` names it in errors.

    With `repeated_keys`, the first of several equal keys counts: in a template they may be alternatives.
    """
    documents = load_all_text(text, path, limits.FILE, repeated_keys=repeated_keys)
    if len(documents) != 1:
        raise ConfigError(
            [Problem(f"{len(documents)} YAML documents in one file", Location(path, 1), expected="exactly one")],
            what=str(path),
        )
    document = Document(path, text, documents[0])
    if odd := list(itertools.islice(_odd_parts(document, documents[0], ()), PROBLEMS)):
        raise ConfigError(odd, what=str(path))
    return document


def load_all_text(text: str, path: Path, bounds: Bounds = limits.STREAM, *, repeated_keys: bool = False) -> list[Any]:
    """Read every document of a YAML text; `path` names it in errors.

    ConfigError where it is no YAML or exceeds the bounds, which are checked before anything is built.
    """
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - slow to import, not always needed

    try:
        limits.check_yaml(text, path, bounds)
        reader = _yaml("safe")
        reader.allow_duplicate_keys = repeated_keys
        return list(reader.load_all(text))
    except YAMLError as error:
        raise ConfigError([_syntax_problem(error, text, path)], what=str(path)) from None
    except _TAG_FAULTS as error:
        raise ConfigError([Problem(f"not YAML: {error}", Location(path))], what=str(path)) from None


def check_bounds(content: bytes, path: Path, bounds: Bounds) -> None:
    """Refuse a YAML file that a tool is to read, where it exceeds the bounds; its syntax is the tool's to judge."""
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - slow to import, not always needed

    with contextlib.suppress(YAMLError, UnicodeDecodeError, *_TAG_FAULTS):
        limits.check_yaml(content.decode(), path, bounds)


def dump(data: Any) -> str:
    """Write plain data as one YAML document: block style, keys in the given order, long text as literal blocks."""
    return dump_all([data])


def dump_all(documents: Sequence[Any]) -> str:
    """Write several documents, each begun by `---`."""
    stream = io.StringIO()
    yaml = _yaml("safe")
    yaml.explicit_start = True
    yaml.default_flow_style = False
    yaml.width = _LINE_WIDTH
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares it without a type
    yaml.representer.add_representer(str, _represent_text)
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.dump_all(documents, stream)
    return stream.getvalue()


def _represent_text(representer: Any, text: str) -> Any:
    style = "|" if "\n" in text else "'" if _OLD_WORDS.fullmatch(text) else None
    # Escaped, since a break of YAML 1.1 alone is folded, and empty lines at an end are one with those that follow.
    if text.endswith("\n\n") or text == "\n" or not _OLD_BREAKS.isdisjoint(text):
        style = '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, not always needed

    yaml = YAML(typ=kind)
    # Dates stay the text that was written: what they mean is for the schema to say. A lone = or << is text to Go, too.
    for tag in ("timestamp", "value", "merge"):
        yaml.constructor.add_constructor(f"tag:yaml.org,2002:{tag}", lambda loader, node: loader.construct_scalar(node))
    return yaml


def read_text(path: Path) -> str:
    """Read a text file; ConfigError with the line for what is not UTF-8, and for what is too large."""
    return decode(read_bytes(path, limits.FILE.size), path)


def decode(content: bytes, path: Path) -> str:
    """Return a file's content as text; ConfigError with the line for what is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem("not UTF-8 text", Location(path, line), found=f"byte {error.object[error.start]:#04x}")
        raise ConfigError([problem], what=str(path)) from None


def _odd_parts(document: Document, node: Any, at: tuple[str | int, ...]) -> Iterator[Problem]:
    """Find what YAML can say and JSON cannot."""
    if isinstance(node, dict):
        for key, child in node.items():
            if isinstance(key, str):
                yield from _odd_parts(document, child, (*at, key))
            else:
                yield document.problem([*at, key], f"key {key!r} is not text", key=True, hint="put it in quotes")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _odd_parts(document, child, (*at, index))
    elif isinstance(node, float) and not math.isfinite(node):
        yield document.problem(at, "a number that JSON cannot hold", found=str(node), expected="a finite number")
    elif not isinstance(node, str | int | float | None):
        kind = type(node).__name__
        yield document.problem(at, "a value of a special type", found=kind, expected="text, number, boolean, list, map")


def _short(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _syntax_problem(error: YAMLError, text: str, path: Path) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    location = Location(path, mark.line + 1, mark.column + 1) if mark else Location(path)
    position = getattr(error, "position", None)
    if isinstance(position, int):
        # What no YAML may hold, such as a NUL byte: the reader counts in bytes.
        location = Location(path, text.encode(errors="replace")[:position].count(b"\n") + 1)
    lines = text.splitlines()
    excerpt = _short(lines[mark.line]) if mark and mark.line < len(lines) else None
    duplicate = type(error).__name__ == "DuplicateKeyError"
    words = getattr(error, "problem", None) or getattr(error, "context", None) or getattr(error, "reason", None)
    message = next(iter(str(words or error).splitlines()), "not YAML")
    return Problem(
        f"{'duplicate key: ' if duplicate else 'not YAML: '}{_short(message)}",
        location,
        expected="each key once" if duplicate else None,
        excerpt=excerpt,
    )
