"""The rules that a package has to keep: the project's own, the server's and the client's.

A rule looks at one thing and returns every problem that it finds there. What the JSON Schemas of the project's files
say is checked before, when the project is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright.rules import images, manifests, modules, pins, project, values_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.errors import Problem
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain

    Rule = Callable[[Session, Toolchain], list[Problem]]

# The cheap ones first; the last two run ytt, and what they render needs the Go modules.
RULES: tuple[Rule, ...] = (
    project.release_order,
    project.equal_releases,
    project.server_names,
    project.package_template,
    project.advice,
    modules.go_modules,
    pins.upstream_pins,
    images.entrypoints,
    images.links,
    images.go_packages,
    values_schema.values_schema,
    manifests.manifests,
)


def problems(session: Session, tools: Toolchain) -> list[Problem]:
    """Return every problem that any of the rules finds; without an error among them, the package can be published."""
    # Two rules may come upon the same.
    return list(dict.fromkeys(problem for rule in RULES for problem in rule(session, tools)))
