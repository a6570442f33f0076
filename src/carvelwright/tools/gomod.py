"""Reads go.mod: what a module requires, replaces and builds as tools."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# As golang.org/x/mod/modfile splits a line: comments end it, brackets and commas stand alone, paths may be quoted.
_TOKEN = re.compile(
    r'\s+|(?P<comment>//.*)|(?P<token>=>|"(?:[^"\\]|\\.)*"|`[^`]*`|[][(){},]|(?:(?!//)[^\s\[\](){},])+)'
)
# What says nothing about which code is built, or is Go's to judge.
_OTHER_VERBS = ("module", "go", "toolchain", "godebug", "exclude", "retract", "ignore")


def checksum(go_sum: Path, module: str, version: str) -> str:
    """Return the checksum that a go.sum has of a module's files, such as h1:…; empty where it has none."""
    lines = files.read_bytes(go_sum).decode(errors="replace").splitlines()
    wanted = [module, version]
    return next((words[2] for line in lines if (words := line.split())[:2] == wanted and len(words) > len(wanted)), "")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A line of `require`: the version, and where it stands."""

    version: str
    line: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """A line of `replace`: `version` is None for a directory, `replaces` None where it is for every version."""

    replaces: str | None
    path: str
    version: str | None
    line: int

    def __str__(self) -> str:
        return f"{self.path} {self.version}" if self.version else self.path


@dataclass(frozen=True, slots=True)
class GoMod:
    """The parts of a go.mod that say which code is built."""

    path: Path
    requirements: Mapping[str, Requirement]
    replacements: Mapping[tuple[str, str | None], Replacement]
    tools: frozenset[str]

    def replacement(self, module: str) -> Replacement | None:
        """Return what is built in place of the required version of a module, by Go's rule: the exact version first."""
        required = self.requirements.get(module)
        exact = self.replacements.get((module, required.version)) if required else None
        return exact or self.replacements.get((module, None))


def load(path: Path) -> GoMod:
    """Read a go.mod; ConfigError for a line that cannot be read."""
    requirements: dict[str, Requirement] = {}
    replacements: dict[tuple[str, str | None], Replacement] = {}
    tools: set[str] = set()
    found: list[Problem] = []
    text = yamldoc.read_text(path)
    lines = text.split("\n")
    for number, verb, words in _statements(text):
        match verb, words:
            case "require", [module, version]:
                requirements[module] = Requirement(version, number)
            case "replace", [module, *old, "=>", new] if len(old) <= 1:
                replaces = old[0] if old else None
                replacements[module, replaces] = Replacement(replaces, new, None, number)
            case "replace", [module, *old, "=>", new, version] if len(old) <= 1:
                replaces = old[0] if old else None
                replacements[module, replaces] = Replacement(replaces, new, version, number)
            case "tool", [package]:
                tools.add(package)
            case (("require" | "replace" | "tool"), _):
                problem = f"a line of {verb} that Go does not read"
                found.append(Problem(problem, Location(path, number), excerpt=lines[number - 1].strip()))
            case verb, _ if verb not in _OTHER_VERBS:
                problem = "a line that Go does not read"
                found.append(Problem(problem, Location(path, number), verb, excerpt=lines[number - 1].strip()))
    if found:
        raise ConfigError(found, what=str(path))
    return GoMod(path, requirements, replacements, frozenset(tools))


def _statements(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number, verb and words of each statement, those in blocks with the block's verb."""
    block = None
    for number, line in enumerate(text.split("\n"), 1):
        words = [_word(match["token"]) for match in _TOKEN.finditer(line) if match["token"]]
        if not words:
            continue
        if block is None and words[-1] == "(":
            block = words[0]
        elif words == [")"]:
            block = None
        elif block is not None:
            yield number, block, words
        elif words[1:] != ["(", ")"]:
            yield number, words[0], words[1:]


def _word(token: str) -> str:
    if token.startswith("`"):
        return token[1:-1]
    if not token.startswith('"'):
        return token
    try:
        return str(json.loads(token))
    except ValueError:
        return token
