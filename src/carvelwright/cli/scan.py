"""carvelwright scan."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.errors import ExitCode, VulnerableError
from carvelwright.supply.vulnerabilities import Reach
from carvelwright.uses.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.cli.options import Context
    from carvelwright.supply.vulnerabilities import Judged
    from carvelwright.uses.scan import Scan, ScannedImage

_WORDS = {Reach.CALLED: "called", Reach.IMPORTED: "imported, not called", Reach.REQUIRED: "not imported"}


@options.command("scan")
@options.packages
@options.release
@options.option(
    "--max-age",
    metavar="DAYS",
    type=click.IntRange(min=0),
    default=90,
    show_default=True,
    help="Fail if the vulnerability database is older.",
)
@options.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "openvex"]),
    default="text",
    show_default=True,
    help="text for people, json for scripts, openvex for other scanners.",
)
@click.pass_obj
def command(context: Context, names: tuple[str, ...], release: str | None, max_age: int, form: str) -> int:
    """Look for known vulnerabilities in the Go modules of each image.

    PACKAGE names packages of a workspace; without any, all are scanned. The sources are analyzed for calls that reach
    vulnerable code, for every platform of the package. The database is the pinned module golang.org/x/vulndb;
    no service is asked. What was decided about a finding stands in package/vulnerabilities.yaml. A vulnerability that
    is reached and not accepted ends in exit code 11. What is known against the images in dist/ is kept there as
    OpenVEX, and `publish --sign-key` attests it.
    """
    now = dt.datetime.now(dt.UTC)
    reporter = progress.reporter(context)
    found = scan(context.root, context.environment, reporter, names, version=release, now=now, max_age=max_age)
    if form == "json":
        click.echo(json.dumps(_document(found), indent=2))
    elif form == "openvex":
        click.echo(found.openvex(), nl=False)
    else:
        click.echo("\n".join(_lines(found)))
    if reached := found.open_findings():
        return failures.report(failures.explain(_failure(reached)))
    return ExitCode.OK


def _failure(reached: list[Judged]) -> VulnerableError:
    count = f"{len(reached)} known vulnerabilit{'y is' if len(reached) == 1 else 'ies are'} reached and not accepted"
    mends = {f"{each.finding.module.path}@{each.finding.mended}" for each in reached if each.finding.mended}
    hint = f"update the modules: go get {' '.join(sorted(mends))}; or " if mends else ""
    return VulnerableError(count, hint=f"{hint}record what you decide in package/vulnerabilities.yaml")


def _document(found: Scan) -> dict[str, object]:
    return {
        "database": {"version": found.database.version, "ageDays": found.age} if found.database else None,
        "images": [
            {
                "package": image.package,
                "version": image.version,
                "image": image.image,
                "platforms": list(image.platforms),
                "vex": image.vex,
                "findings": None if image.findings is None else [_finding(judged) for judged in image.findings],
            }
            for image in found.images
        ],
    }


def _finding(judged: Judged) -> dict[str, object]:
    accepted = judged.acceptance
    said = {"reason": accepted.reason, "date": str(accepted.accepted)} if accepted else None
    return {**judged.finding.document(), "open": judged.is_open, "accepted": said}


def _lines(found: Scan) -> Iterator[str]:
    for image in found.images:
        yield from _of_image(image)
    if found.database is None:
        yield "no image is built from Go: nothing to scan"
        return
    days = "1 day" if found.age == 1 else f"{found.age} days"
    yield f"database: golang.org/x/vulndb {found.database.version}, {days} old"


def _of_image(image: ScannedImage) -> Iterator[str]:
    if image.findings is None:
        yield f"{image.image}, an existing image of {image.package}: not scanned"
        return
    summary = "" if image.findings else ": nothing known"
    yield f"{image.image} of {image.package} {image.version}, {', '.join(image.platforms)}{summary}"
    for judged in image.findings:
        finding, known = judged.finding, judged.finding.vulnerability
        names = f"{known.identifier} ({', '.join(known.aliases)})" if known.aliases else known.identifier
        mend = f"mended in {finding.mended}" if finding.mended else "no version mends it"
        where = f" on {', '.join(finding.platforms)}" if finding.platforms != image.platforms else ""
        yield f"  {names}  {finding.module}, {mend}: {_WORDS[finding.reach]}{where}"
        yield f"    {known.summary}"
        if finding.trace:
            yield f"    {' > '.join(finding.trace)}"
        if judged.acceptance:
            yield f"    accepted on {judged.acceptance.accepted}: {judged.acceptance.reason}"
    if image.vex:
        yield f"  stated in dist/{image.vex}"
    elif image.findings:
        yield "  not stated in dist/: it does not hold what these sources give; build, then scan again"
