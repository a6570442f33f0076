"""carvelwright diff."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.compare import words
from carvelwright.errors import DifferenceError, ExitCode
from carvelwright.uses.diff import Request, diff

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.cli.options import Context
    from carvelwright.compare.comparison import Comparison


@options.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@options.package
@options.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=options.existing_file,
    help="Render with this data values file as well; may be repeated, each is rendered by itself.  [default: those of "
    "package/renders]",
)
@options.registry_timeout
@options.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="text for a terminal, json for scripts, markdown for a release page or a pull request.",
)
@options.option(
    "--fail-on",
    type=click.Choice(["breaking", "change"]),
    help="End with exit code 10 after the report: for a breaking change of the values, or for any change.",
)
@click.pass_obj
def command(
    context: Context,
    old: str,
    new: str,
    package: str | None,
    files: tuple[Path, ...],
    registry_timeout: float,
    form: str,
    fail_on: str | None,
) -> int:
    """Compare two versions: values schema, images, rendered manifests, rights.

    OLD and NEW are each one of: VERSION, a release of package/releases, with the project's files as they are now;
    git:REVISION, the project as git has it; registry:REGISTRY/PATH[@VERSION], a published package repository; or a
    path: a project, a dist/ directory, an archive, a Package or a values schema.

    Each change of the values is judged compatible or breaking. Manifests and rights are compared as rendered with the
    default values, and with each values file: those of package/renders, or those given with --file.
    """
    request = Request(old, new, package, files, registry_timeout)
    comparison = diff(context.root, request, context.environment, progress.reporter(context, quiet=True))
    sys.stdout.buffer.write(_written(comparison, form).encode(errors="replace"))
    if not fail_on or not (comparison.breaking if fail_on == "breaking" else not comparison.empty):
        return ExitCode.OK
    # Reported here: with --format json the document is the report, and no second one follows it.
    return failures.report(failures.explain(_difference(old, new, breaking=comparison.breaking)))


def _difference(old: str, new: str, *, breaking: bool) -> DifferenceError:
    return DifferenceError(
        f"{new} has breaking changes of the values" if breaking else f"{new} differs from {old}",
        hint="read the report, and release what is meant under a version that admits it",
    )


def _written(comparison: Comparison, form: str) -> str:
    match form:
        case "json":
            return json.dumps(comparison.document(), indent=2, ensure_ascii=False) + "\n"
        case "markdown":
            return words.markdown(comparison)
        case _:
            return words.text(comparison)
