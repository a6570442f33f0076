"""Checks a package project: every problem at once, as far as its files can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import rules
from carvelwright.errors import CarvelwrightError, ConfigError
from carvelwright.project import config, paths
from carvelwright.rules.values_schema import schema_problems
from carvelwright.session import lone_search, open_sessions
from carvelwright.store import Store
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.errors import Problem
    from carvelwright.report import Reporter


def check(root: Path, environment: Mapping[str, str], reporter: Reporter, names: Sequence[str] = ()) -> list[Problem]:
    """Return every problem of a workspace's packages, or of the named ones; without an error they can be built."""
    paths.require_project(root)
    with Store(paths.workspace_root(root)).in_use():
        try:
            sessions = open_sessions(root, environment, reporter, names)
        except ConfigError as error:
            return [*error.problems, *_values_schemas_alone(root, environment)]
        try:
            tools = sessions[0].tools()
        except ConfigError as error:
            return list(error.problems)
        return [problem for session in sessions for problem in rules.problems(session, tools)]


def _values_schemas_alone(root: Path, environment: Mapping[str, str]) -> list[Problem]:
    """Check the values schemas of packages that are wrong elsewhere, as far as they and the tools are there."""
    directories = [each for each in paths.directories(root) if (each / config.VALUES_SCHEMA).is_file()]
    store = paths.workspace_root(root)
    try:
        tools = toolchain.find(lone_search(root, environment)) if directories else None
    except CarvelwrightError:
        return []
    return [problem for each in directories if tools for problem in schema_problems(each, store, tools)]
