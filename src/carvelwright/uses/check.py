"""Checks a package project: every problem at once, as far as its files can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import rules, yamldoc
from carvelwright.errors import CarvelwrightError, ConfigError
from carvelwright.project import config
from carvelwright.rules.values_schema import schema_problems
from carvelwright.session import open_session
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.errors import Problem
    from carvelwright.report import Reporter


def check(root: Path, environment: Mapping[str, str], reporter: Reporter) -> list[Problem]:
    """Return every problem of a package project; without an error among them, it can be built and published."""
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
        build = yamldoc.load(root / config.BUILD_FILE).data
        modules = tuple(build["tools"]) if "tools" in build else None
        tools = toolchain.find(Search(root, modules, str(build.get("go", config.DEFAULT_GO)), environment))
    except (CarvelwrightError, AttributeError, TypeError):
        return []
    return schema_problems(root, tools)
