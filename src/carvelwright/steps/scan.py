"""Looks for known vulnerabilities in what the programs of an image are linked from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.errors import ToolError
from carvelwright.project import paths
from carvelwright.stepnames import scan_step
from carvelwright.store import content_key
from carvelwright.supply import vulnerabilities
from carvelwright.supply.vulnerabilities import Finding
from carvelwright.tools import govulncheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.platform import Platform
    from carvelwright.project.config import Release
    from carvelwright.project.images import GoImage, GoModule
    from carvelwright.session import Session
    from carvelwright.tools.govulncheck import Database


def of_image(
    session: Session, release: Release, image: GoImage, platforms: Sequence[Platform], known: Database
) -> tuple[Finding, ...]:
    """Return what is known against an image's programs, from their sources: looked up once for each state of them.

    Of a vulnerability in several programs, or for several platforms, the farthest reach.
    """
    name = scan_step(image.name)
    with session.reporter.step(name) as step:
        here = [
            replace(finding, platforms=(str(platform),))
            for platform in platforms
            for module in image.modules
            for finding in _of_module(session, release, module, platform, known, name)
        ]
        found = vulnerabilities.farthest(here)
        step.describe(f"{len(found)} known" if found else "none known")
    return found


def _of_module(
    session: Session, release: Release, module: GoModule, platform: Platform, known: Database, step: str
) -> list[Finding]:
    directory = session.project.root / release.fill(module.directory)
    sources = files.tree_digest(directory, paths.source_files(directory))
    go = session.project.workspace.go
    chosen = [module.binaries, module.tags]
    key = content_key(sources, go, str(platform), chosen, known.version, recipe.of("scanned"))

    def look() -> list[dict[str, object]]:
        tool, packages = session.find_govulncheck(), dict.fromkeys(module.binaries.values())
        programs = govulncheck.Programs(directory, tuple(packages), module.tags, platform)
        text = govulncheck.report(tool, session.find_go(), programs, known, step=step)
        try:
            return [finding.document() for finding in vulnerabilities.findings(text)]
        except ValueError as error:
            raise ToolError(f"step {step}: {error}", hint="run `carvelwright doctor`", step=step) from None

    return [Finding.parse(each) for each in session.store.remember("scanned", key, look)]
