"""Renders a jinja2 template in a process of its own: a template is a program that may not end, or make too much.

Run as `python -m carvelwright.steps.template`: reads {"template", "known", "limit"} as JSON, writes {"text"}, or
{"fault"} with the line where it stands and whether a name was not known.
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
from typing import Any

_MEMORY = 1 << 30


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
