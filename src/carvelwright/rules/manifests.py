"""Rules about what a package renders to with its default values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import config
from carvelwright.errors import CarvelwrightError, Location, Problem
from carvelwright.rules.values_schema import refusal
from carvelwright.steps import bundle
from carvelwright.steps.render import render

if TYPE_CHECKING:
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain


def manifests(session: Session, tools: Toolchain) -> list[Problem]:
    """Find what ytt refuses with the default values, and images that are not built or not used."""
    try:
        return bundle.image_problems(session.project, render(session, tools))
    except CarvelwrightError as error:
        return refusal(error, Location(session.project.root / config.BUNDLE_CONFIG))
