"""Renders a jinja2 template in a process of its own: a template is a program that may not end, or make too much.

One that only names values, as most do, is no program: `fill` writes it as jinja2 would, without a process.

Run as `python -m carvelwright.steps.template`: reads {"template", "known", "limit"} as JSON, writes {"text"}, or
{"fault"} with the line where it stands and whether a name was not known.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEMORY = 1 << 30
# A comment, or the name of a value.
_TAG = re.compile(r"\{#(?P<note>.*?)#\}|\{\{(?P<left>-?)\s*(?P<name>[a-z]+)\s*(?P<right>-?)\}\}", re.DOTALL)
# What begins anything else; a brace before a tag makes it something else, too.
_OTHER = re.compile(r"\{[{%#]|\{\Z")


def fill(template: str, known: Mapping[str, str]) -> str | None:
    """Return what `render` would; None where a template holds more than comments and names of known values."""
    text = re.sub("\r\n?", "\n", template).removesuffix("\n")
    if text.rfind("{#") > text.rfind("#}"):
        # To look for the end of each would take the square of the time.
        return None
    parts, at, trim = [], 0, False
    for tag in _TAG.finditer(text):
        left, value, right = _read(tag, known)
        data = text[at : tag.start()]
        if value is None or _OTHER.search(data):
            return None
        parts += [_trimmed(data, start=trim, end=left), value]
        at, trim = tag.end(), right
    rest = text[at:]
    return None if _OTHER.search(rest.removesuffix("{")) else "".join([*parts, _trimmed(rest, start=trim)])


def _read(tag: re.Match[str], known: Mapping[str, str]) -> tuple[bool, str | None, bool]:
    """Return whether the white space before goes, the value (None: not known), whether the white space after goes."""
    if tag["name"] is not None:
        return tag["left"] == "-", known.get(tag["name"]), tag["right"] == "-"
    note = tag["note"].removeprefix("-")
    # A plus sign has a meaning of its own.
    plus = tag["note"].startswith("+") or note.endswith("+")
    return tag["note"] != note, None if plus else "", note.endswith("-")


def _trimmed(text: str, *, start: bool = False, end: bool = False) -> str:
    text = text.lstrip() if start else text
    return text.rstrip() if end else text


def render(template: str, known: dict[str, str], limit: int) -> dict[str, Any]:
    """Render a template to at most `limit` characters; what it may call is what jinja2's sandbox allows."""
    import jinja2  # noqa: PLC0415 - after the memory is bounded
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    try:
        # The output is YAML, which has no markup to escape; it is parsed and checked before it is used.
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
        parts, size = [], 0
        for part in environment.from_string(template).generate(known):
            parts.append(part)
            size += len(part)
            if size > limit:
                return _fault(f"the output of the template exceeds {limit} characters", None)
        text = "".join(parts)
        text.encode()
    except jinja2.TemplateSyntaxError as error:
        return _fault(f"not a jinja2 template: {error.message}", error.lineno)
    except jinja2.UndefinedError as error:
        return _fault(str(error), _line(error), unknown=True)
    except Exception as error:  # noqa: BLE001 - an expression of the template may raise anything
        return _fault(f"the template fails: {type(error).__name__}: {error}", _line(error))
    return {"text": text}


def _fault(message: str, line: int | None, *, unknown: bool = False) -> dict[str, Any]:
    return {"fault": message, "line": line, "unknown": unknown}


def _line(error: Exception) -> int | None:
    """Find the line of a template where it failed: jinja2 gives templates frames of their own."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == "<template>"), None)


def main() -> None:
    """Render what standard input asks for."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    asked = json.load(sys.stdin)
    json.dump(render(asked["template"], asked["known"], asked["limit"]), sys.stdout)


if __name__ == "__main__":
    main()
