"""The root command, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright import __version__
from carvelwright.cli import INTERRUPTED, streams
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.files import file_error
from carvelwright.process import stopping_children

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMANDS = {
    "build": "Build the package from source: image, bundle, repository, archive, values files.",
    "check": "Check project, releases, metadata and values schema; report every problem with its place.",
    "render": "Render the manifests as the server does, with values files of your own.",
    "values": "Print default values, annotated values, JSON Schema or the table of the data values.",
    "rbac": "Print the least rights that a service account needs to install the package.",
    "serve": "Serve what was built from a registry on loopback.",
    "doctor": "List the tools and their versions; --install builds the missing ones.",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What every command gets: the project's directory and the environment."""

    root: Path
    environment: Mapping[str, str]


class _LazyGroup(click.Group):
    """Imports a command's module when the command is used: start-up time is most of a run that has nothing to do."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"carvelwright.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="carvelwright", message="%(prog)s %(version)s")
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="the current directory",
    help="The package project's directory.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def root(ctx: click.Context, project: Path, *, debug: bool) -> None:
    """Build Carvel packages from source to a published package repository."""
    del debug  # read by run(), which also sees errors outside this function
    ctx.obj = Context(project, dict(os.environ))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code, which tells what became of the work.

    A reader that goes away ends nothing. A stream that cannot be written otherwise is a failure of its own, told when
    the work is done.
    """
    with streams.guarded() as standard:
        code = _run(arguments)
        unwritten = standard.failure()
        if code == ExitCode.OK and unwritten is not None:
            _tell(unwritten.lines())
            code = unwritten.exit_code
        sys.stderr.flush()
    return int(code)


def _run(arguments: Sequence[str]) -> int:
    try:
        _import_commands(arguments)
        with stopping_children():
            status = root.main(list(arguments), prog_name="carvelwright", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes words
        lines, code = _explain(error)
        # What was written before stands before.
        sys.stdout.flush()
        if "--debug" in arguments:
            import traceback  # noqa: PLC0415 - slow to import, almost never needed

            traceback.print_exception(error)
        _tell(lines)
        return code
    # click returns the status of --help and --version; commands return nothing.
    return int(status or ExitCode.OK)


def _import_commands(arguments: Sequence[str]) -> None:
    """Import what is asked for while a signal still ends the process at once: an import is no place to raise in."""
    for name in dict.fromkeys(arguments):
        if name in _COMMANDS:
            importlib.import_module(f"carvelwright.cli.{name}")


def _tell(lines: Sequence[str]) -> None:
    click.echo("error: " + "\n".join(lines), err=True)


def _explain(error: BaseException) -> tuple[Sequence[str], ExitCode]:
    match error:
        case CarvelwrightError():
            told: tuple[Sequence[str], ExitCode] = error.lines(), error.exit_code
        case KeyboardInterrupt() | click.Abort():
            told = [INTERRUPTED], ExitCode.INTERRUPTED
        case click.UsageError():
            usage = error.ctx.get_usage() if error.ctx else ""
            told = [error.format_message(), f"    {usage}"], ExitCode.USAGE
        case click.ClickException():
            told = [error.format_message()], ExitCode.USAGE
        case OSError():
            told = file_error(error, "read or write").lines(), ExitCode.FILESYSTEM
        case _:
            what = f"internal error: {type(error).__name__}: {error}"
            told = [what, "    hint: please report it, with the output of --debug"], ExitCode.INTERNAL
    return told
