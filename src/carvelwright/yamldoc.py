"""YAML documents with positions: read strictly, point at what is wrong, write deterministically."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

# Plain in YAML 1.2, but a boolean or a number to the YAML 1.1 readers of kapp-controller.
_OLD_WORDS = re.compile(r"y|n|yes|no|on|off|[-+.0-9][0-9a-fxob_.,:+-]*", re.IGNORECASE)
_DEPTH = 50
_EXCERPT = 160
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
        node, line, column = self._positions, 0, 0
        for part in pointer:
            try:
                marks = node.lc.data[part]
                line, column = (marks[0], marks[1]) if key or len(marks) < 4 else (marks[2], marks[3])  # noqa: PLR2004
                node = node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return Location(self.path, line + 1, column + 1)

    def excerpt(self, location: Location) -> str | None:
        """Return the line of a place, as it stands."""
        lines = self.text.splitlines()
        number = location.line or 0
        return _short(lines[number - 1]) if 0 < number <= len(lines) else None

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
    def _positions(self) -> Any:
        from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - slow to import, not always needed

        try:
            return _yaml("rt").load(self.text)
        except (YAMLError, RecursionError, *_TAG_FAULTS):
            # The reader that keeps positions refuses a little more: the problem is told without its line.
            return None


def load(path: Path) -> Document:
    """Read a file with exactly one YAML document; ConfigError with the place for broken YAML and duplicate keys."""
    return parse(read_text(path), path)


def parse(text: str, path: Path) -> Document:
    """Read a text with exactly one YAML document; `path` names it in errors."""
    documents = load_all_text(text, path)
    if len(documents) != 1:
        raise ConfigError(
            [Problem(f"{len(documents)} YAML documents in one file", Location(path, 1), expected="exactly one")],
            what=str(path),
        )
    document = Document(path, text, documents[0])
    if odd := list(_odd_parts(document, documents[0], ())):
        raise ConfigError(odd, what=str(path))
    return document


def load_all_text(text: str, path: Path) -> list[Any]:
    """Read every document of a YAML text; `path` names it in errors."""
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - slow to import, not always needed

    try:
        return list(_yaml("safe").load_all(text))
    except MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, text, path)], what=str(path)) from None
    except (YAMLError, *_TAG_FAULTS) as error:
        raise ConfigError([Problem(f"not YAML: {error}", Location(path))], what=str(path)) from None
    except RecursionError:
        raise ConfigError([Problem("not YAML: nested too deeply", Location(path))], what=str(path)) from None


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
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, not always needed

    yaml = YAML(typ=kind)
    # Dates stay the text that was written: what they mean is for the schema to say.
    yaml.constructor.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))
    return yaml


def read_text(path: Path) -> str:
    """Read a text file; ConfigError with the line for what is not UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem("not UTF-8 text", Location(path, line), found=f"byte {error.object[error.start]:#04x}")
        raise ConfigError([problem], what=str(path)) from None


def _odd_parts(document: Document, node: Any, at: tuple[str | int, ...]) -> Iterator[Problem]:
    """Find what YAML can say and JSON cannot; the first alias that holds itself shows as depth."""
    if len(at) > _DEPTH:
        yield document.problem(at[:1], "nested too deeply", expected=f"at most {_DEPTH} levels, no alias within itself")
    elif isinstance(node, dict):
        for key, child in node.items():
            if isinstance(key, str):
                yield from _odd_parts(document, child, (*at, key))
            else:
                yield document.problem([*at, key], f"key {key!r} is not text", key=True, hint="put it in quotes")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _odd_parts(document, child, (*at, index))
    elif not isinstance(node, str | int | float | None):
        kind = type(node).__name__
        yield document.problem(at, "a value of a special type", found=kind, expected="text, number, boolean, list, map")


def _short(line: str) -> str:
    text = line.strip()
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _syntax_problem(error: MarkedYAMLError, text: str, path: Path) -> Problem:
    mark = error.problem_mark or error.context_mark
    location = Location(path, mark.line + 1, mark.column + 1) if mark else Location(path)
    lines = text.splitlines()
    excerpt = _short(lines[mark.line]) if mark and mark.line < len(lines) else None
    duplicate = type(error).__name__ == "DuplicateKeyError"
    message = str(error.problem or error.context or "not YAML").splitlines()[0]
    return Problem(
        f"{'duplicate key: ' if duplicate else 'not YAML: '}{message}",
        location,
        expected="each key once" if duplicate else None,
        excerpt=excerpt,
    )
