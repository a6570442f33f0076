"""Checks a package project: every problem at once, as far as its files can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import rules
from carvelwright.errors import CarvelwrightError, ConfigError
from carvelwright.project import config, paths
from carvelwright.rules.values_schema import schema_problems
from carvelwright.session import lone_search, open_session
from carvelwright.store import Store
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.errors import Problem
    from carvelwright.report import Reporter


def check(root: Path, environment: Mapping[str, str], reporter: Reporter) -> list[Problem]:
    """Return every problem of a package project; without an error among them, it can be built and published."""
    paths.require_project(root)
    with Store(root).in_use():
        try:
            session = open_session(root, environment, reporter)
        except ConfigError as error:
            return [*error.problems, *_values_schema_alone(root, environment)]
        try:
            tools = session.tools()
        except ConfigError as error:
            return list(error.problems)
        return rules.problems(session, tools)


def _values_schema_alone(root: Path, environment: Mapping[str, str]) -> list[Problem]:
    """Check the values schema of a project that is wrong elsewhere, as far as it and its tools are there."""
    if not (root / config.VALUES_SCHEMA).is_file():
        return []
    try:
        tools = toolchain.find(lone_search(root, environment))
    except CarvelwrightError:
        return []
    return schema_problems(root, tools)
