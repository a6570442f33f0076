"""Finds in Go source what users of the program meet: flags, environment variables, markers of rights, Go's version.

It scans for calls of flag and pflag on something named as a set of flags, with a literal as the flag's name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.upstream.facts import Facts

_TYPES = (
    "Bool|BoolSlice|BytesHex|Count|Duration|DurationSlice|Float32|Float64|IP|IPNet|IPSlice|Int|Int8|Int16|Int32|Int64|"
    "IntSlice|String|StringArray|StringSlice|StringToInt|StringToString|Text|Uint|Uint8|Uint16|Uint32|Uint64"
)
_FLAG = re.compile(
    r"(?:\b|\.)(?:\w*[fF]lags?(?:[sS]et)?|fs|\w*Flags\(\))"
    rf"\.(?:(?:{_TYPES})(?:Var)?P?|VarP?|BoolFunc|Func)\("
    r'\s*(?:&?[\w.\[\]&*()]+\s*,\s*)?"(?P<name>[A-Za-z0-9][\w.-]*)"\s*,(?P<rest>[^\n]*)'
)
_IMPORT = re.compile(r'"(?:flag|github\.com/spf13/(?:pflag|cobra))"')
_VARIABLE = re.compile(r'\bos\.(?:Getenv|LookupEnv)\(\s*"(?P<name>[^"\n]+)"')
_MARKER = re.compile(r"^\s*//\s*\+kubebuilder:rbac:(?P<rule>.*)$", re.MULTILINE)
_LINE_COMMENT = re.compile(r"^[ \t]*//.*$", re.MULTILINE)
_BLOCK_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/", re.MULTILINE | re.DOTALL)
_GO_LINE = re.compile(r"^(?P<verb>go|toolchain)[ \t]+(?P<version>\S+)", re.MULTILINE)


def read_go_mod(text: str, name: str, _path: Path, facts: Facts) -> None:
    """Add the Go that the source needs."""
    if name == "go.mod":
        for match in _GO_LINE.finditer(text):
            facts.add("go", match["verb"], match["version"])


def read_go(text: str, name: str, _path: Path, facts: Facts) -> None:
    """Add the flags, environment variables and markers of rights of a Go file."""
    directory = name.rpartition("/")[0] or "."
    for match in _MARKER.finditer(text):
        _read_marker(match["rule"], facts)
    code = _BLOCK_COMMENT.sub("", _LINE_COMMENT.sub("", text))
    if _IMPORT.search(code):
        for match in _FLAG.finditer(code):
            # What follows the name: the default and the words of the help, as they are written.
            facts.add("flags", f"{directory} --{match['name']}", match["rest"].strip().removesuffix(")"))
    for match in _VARIABLE.finditer(code):
        facts.add("environment", match["name"], directory)


def _read_marker(rule: str, facts: Facts) -> None:
    parts = {key.strip(): _words(text) for key, _, text in (part.partition("=") for part in _split(rule))}
    for group in parts.get("groups") or [""]:
        for resource in parts.get("resources") or parts.get("urls") or []:
            named = f" {', '.join(parts['resourceNames'])}" if parts.get("resourceNames") else ""
            facts.add("rights", f"kubebuilder: {group or 'core'}/{resource}{named}", *parts.get("verbs", []))


def _split(rule: str) -> list[str]:
    """Split a marker at commas that a new key follows."""
    return re.split(r",(?=\s*[A-Za-z]+=)", rule)


def _words(text: str) -> list[str]:
    inside = text.strip().removeprefix("{").removesuffix("}")
    return [word.strip().strip("\"'`") for word in re.split(r"[;,]", inside)]
