"""carvelwright bump."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.report import printable
from carvelwright.upstream.facts import KINDS
from carvelwright.uses import bump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.cli.options import Context
    from carvelwright.upstream import Change
    from carvelwright.uses.bump import Outcome

_LONGEST = 100


@options.command("bump")
@click.argument("target", metavar="[VERSION]", required=False, type=options.Parsed("VERSION", bump.parse_version))
@options.package
@options.option("--revision", help="The new release's revision.  [default: the last one's, its numbers set to 1]")
@options.option("--dry-run", is_flag=True, help="Do all but the writing.")
@options.output_format
@click.pass_obj
def command(
    context: Context, target: str | None, package: str | None, revision: str | None, form: str, *, dry_run: bool
) -> None:
    """Raise the packaged Go module's version: pin it, tidy, begin a release, and report what changed upstream.

    VERSION is the upstream version; without it, the newest one that the Go proxy lists and that is no pre-release.

    The report is read from the sources of both versions: the Go that is needed, CRDs by schema path, rights, flags,
    environment variables, images and charts' values. Nothing of them runs. After a failure nothing is changed.
    """
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT00:00:00Z")
    wanted = bump.Wanted(today, target, revision, dry_run)
    done = bump.bump(context.root, context.environment, progress.reporter(context), wanted, package=package)
    if form == "json":
        click.echo(json.dumps(asdict(done), indent=2))
        return
    for line in _lines(done, dry_run=dry_run):
        click.echo(printable(line))
    if done.release and not context.quiet and not dry_run:
        click.echo(f"next: complete the notes in {done.file}, then {failures.program()} check")


def _lines(done: Outcome, *, dry_run: bool) -> Iterator[str]:
    if done.release is None:
        yield f"{done.module} {done.old}: the Go proxy lists nothing newer"
        return
    yield f"{done.module} {done.old} -> {done.new}"
    for kind, changes in groupby(done.changes, key=lambda change: change.kind):
        yield f"{kind}:"
        yield from map(_change_line, changes)
    if not done.changes:
        yield f"no change found: {', '.join(KINDS)}"
    for note in done.notes:
        yield f"note: {note}"
    raised = [name for name in done.raised if name.removesuffix("/go.mod") not in done.copied]
    for name in (*done.copied, *raised, done.file):
        yield f"{'would write' if dry_run else 'wrote'} {name}"


def _change_line(change: Change) -> str:
    if change.old is None:
        return f"  added    {change.key}: {_short(change.new)}"
    if change.new is None:
        return f"  removed  {change.key}: {_short(change.old)}"
    return f"  changed  {change.key}: {_short(change.old)} -> {_short(change.new)}"


def _short(text: str | None) -> str:
    words = text or ""
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
