"""The side for editors of a values schema: keywords of JSON Schema that OpenAPI as ytt writes it cannot say.

They stand above a key as `#! jsonschema: {…}`, or come with the rule of its `#@schema/validation`, which may be a
value, a call, or in a function of another file. Only ytt knows which key gets what, and ytt exports no such thing. So
it evaluates a copy of the files in which each description is replaced by the keywords: those it exports.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc, yamldoc
from carvelwright.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Pointer = tuple[str, ...]

_TEMPLATES = (".yaml", ".yml")
_KEYWORDS = re.compile(r"^\s*#!\s*jsonschema:\s*(?P<json>.*)$")
_ANNOTATION = re.compile(r"^\s*#@schema/(?P<name>validation|desc)(?:\s+(?P<arguments>.*))?$")
# What stands between annotations and their key.
_BETWEEN = re.compile(r"^\s*(?:#[!@].*)?$")
_KEY = re.compile(r"^\s*(?!---)[^#\s]")
_CARRIERS = (b"jsonschema:", b"json_schema")
_NAME = "carvelwright_keywords"
# What rules say comes as YAML, which keeps the order of keys; what a comment says is passed on as it stands.
_PRELUDE = f"""\
#@ load("@ytt:yaml", {_NAME}_yaml="yaml")
#@ def {_NAME}(own, *rules, **others):
#@   found = {{}}
#@   for rule in rules:
#@     if type(rule) == "tuple" and len(rule) == 2 and hasattr(rule[1], "json_schema"):
#@       found.update(rule[1].json_schema)
#@     end
#@   end
#@   return own + "\\n" + ({_NAME}_yaml.encode(found) if found else "")
#@ end
"""


def has_keywords(files: Mapping[str, bytes]) -> bool:
    """Tell whether a schema and what it loads may hold keywords at all: most packages have none."""
    return any(carrier in content for content in files.values() for carrier in _CARRIERS)


def with_keywords(files: Mapping[str, bytes], place: Callable[[str], Path]) -> dict[str, bytes]:
    """Return the files with keywords in place of descriptions, for ytt to export.

    `place` returns where a file stands. ConfigError for comments that hold no JSON object, are above no key or the
    second of one key.
    """
    found: list[Problem] = []
    made = dict(files)
    for name, content in files.items():
        if name.endswith(_TEMPLATES):
            text = content.decode(errors="replace")
            lines = list(_rewritten(text.split("\n"), place(name), found))
            made[name] = (_PRELUDE + "\n".join(lines)).encode()
    if found:
        raise ConfigError(found)
    return made


def read_keywords(exported: Mapping[str, Any]) -> dict[Pointer, Mapping[str, Any]]:
    """Return the keywords by path of keys (`[]`: the items of an array) from what ytt exported of such files."""
    found: dict[Pointer, Mapping[str, Any]] = {}
    for at, description in _descriptions(exported, ()):
        own, _, rules = description.partition("\n")
        keywords = {**(yamldoc.parse(rules, Path("a rule")).data if rules else {}), **(json.loads(own) if own else {})}
        if keywords:
            found[at] = keywords
    for at in [at for at in found if at[-1:] == ("[]",) and "$comment" in found[at]]:
        words = {"$comment": f"each: {found[at]['$comment']}"}
        found[at[:-1]] = words | dict(found.get(at[:-1], {}))
    return found


def _descriptions(node: Mapping[str, Any], at: Pointer) -> Iterator[tuple[Pointer, str]]:
    if node.get("description"):
        yield at, node["description"]
    for name, child in node.get("properties", {}).items():
        yield from _descriptions(child, (*at, name))
    if "items" in node:
        yield from _descriptions(node["items"], (*at, "[]"))


@dataclass(slots=True)
class _Block:
    """What stands above a key, so far."""

    own: str = ""
    line: int = 0
    excerpt: str = ""
    arguments: list[str] = field(default_factory=list)

    def annotation(self) -> list[str]:
        if not self.own and not self.arguments:
            return []
        return [f"#@schema/desc {_NAME}({', '.join([json.dumps(self.own), *self.arguments])})"]


def _rewritten(lines: list[str], path: Path, problems: list[Problem]) -> Iterator[str]:
    """Yield the lines of a template with keywords in place of descriptions; adds what is wrong to `problems`."""
    block = _Block()
    for number, line in enumerate(lines, 1):
        comment, annotation = _KEYWORDS.match(line), _ANNOTATION.match(line)
        if comment:
            second = block.own != ""
            block.own, block.line, block.excerpt = comment["json"].strip(), number, line.strip()
            problems += _comment_problems(block, path, second=second)
        elif annotation and annotation["name"] == "desc":
            continue
        elif annotation:
            block.arguments += [(annotation["arguments"] or "").strip()]
            yield line
        elif _BETWEEN.match(line):
            yield line
        else:
            if block.own and not _KEY.match(line):
                problems.append(_problem("no JSON object above a key", block, path))
            yield from block.annotation()
            yield line
            block = _Block()
    if block.own:
        problems.append(_problem("no JSON object above a key", block, path))


def _comment_problems(block: _Block, path: Path, *, second: bool) -> list[Problem]:
    if second:
        return [_problem("a second jsonschema line above one key", block, path)]
    try:
        keywords = jsondoc.parse(block.own)
    except ValueError as error:
        return [_problem(f"not JSON after `jsonschema:`: {error}", block, path)]
    return [] if isinstance(keywords, dict) else [_problem("no JSON object above a key", block, path)]


def _problem(message: str, block: _Block, path: Path) -> Problem:
    return Problem(message, Location(path, block.line), excerpt=block.excerpt)
