"""Rules about the annotations of a values schema: ytt ignores one that it does not know, and a validation with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carvelwright.errors import Location, Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Those of ytt 0.55: pkg/schema/annotations.go of its source.
_KNOWN = ("default", "deprecated", "desc", "examples", "nullable", "title", "type", "validation")
_ANNOTATION = re.compile(r"(?:^|\s)#@\s*schema/(?P<name>[^\s=(]*)")


def annotation_problems(path: Path, text: str) -> Iterator[Problem]:
    """Find annotations of the group `schema/` that ytt does not have, in the text of the values schema at `path`."""
    for number, line in enumerate(text.splitlines(), start=1):
        match = _ANNOTATION.search(line)
        if match and match["name"] not in _KNOWN:
            name = match["name"]
            yield Problem(
                f"ytt has no annotation schema/{name}, and ignores it{did_you_mean(name, _KNOWN)}",
                Location(path, number),
                found=f"#@schema/{name}",
                expected=", ".join(f"schema/{each}" for each in _KNOWN),
                hint="correct the name, or remove the line",
            )
