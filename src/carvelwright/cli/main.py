"""The root command, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from carvelwright.cli import failures, streams
from carvelwright.cli.options import Group, current
from carvelwright.errors import ExitCode
from carvelwright.process import stopping_children

if TYPE_CHECKING:
    from collections.abc import Sequence

# Set by the shell that asks for completions.
_COMPLETING = "_CARVELWRIGHT_COMPLETE"
_COMMANDS = {
    "new": "Start a package: write files that pass check and build as they are.",
    "check": "Check the project and report every problem with its place.",
    "render": "Print the manifests as the server renders them, with your values files.",
    "diff": "Compare two versions: values, images, manifests, rights.",
    "build": "Build image, bundle, package repository, archive and values files into dist/.",
    "publish": "Publish what was built to a package repository.",
    "repository": "Look at a published package repository, verify and repair it, mark versions in it.",
    "verify": "Verify signatures and attestations of what is published, or of an archive.",
    "sign": "Sign images and bundles that are published.",
    "keygen": "Make a key pair for signing.",
    "archive": "Write published versions, with all of their images, into one file.",
    "relocate": "Publish what an archive holds to another registry.",
    "serve": "Serve dist/ from a registry on loopback.",
    "bump": "Raise the packaged Go module's version, and report what changed upstream.",
    "images": "List the package's images, or update the lock of the existing ones.",
    "licenses": "List the licenses of the Go modules in each image.",
    "scan": "Look for known vulnerabilities in the Go modules of each image.",
    "vendor": "Fetch what vendir.yml names, and record every file of it.",
    "values": "Print default values, annotated values, a JSON Schema or the table of the data values.",
    "ci": "Write a CI configuration for GitHub or GitLab.",
    "rbac": "Print the least rights that a service account needs to install the package.",
    "doctor": "List the tools and their versions; --install builds the missing ones.",
    "clean": "Remove what builds made in build/ and dist/.",
}


class _LazyGroup(Group):
    """Imports a command's module when the command is used: start-up time is most of a run that has nothing to do."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. click answers a Ctrl-C with an empty line, which a log has no use for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise click.Abort from interrupt

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
@click.pass_context
def root(ctx: click.Context) -> None:
    """Build Carvel packages from source to a published package repository."""
    ctx.obj = current(ctx)


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code, which tells what became of the work.

    A reader that goes away ends nothing. A stream that cannot be written otherwise is a failure of its own, told when
    the work is done.
    """
    with streams.guarded() as standard:
        code = _run(arguments)
        unwritten = standard.failure()
        if code == ExitCode.OK and unwritten is not None:
            code = failures.report(failures.explain(unwritten))
        sys.stderr.flush()
    return int(code)


def _run(arguments: Sequence[str]) -> int:
    try:
        _import_commands(arguments)
        with stopping_children():
            status = root.main(list(arguments), prog_name="carvelwright", standalone_mode=False)
    except SystemExit as finished:
        # How click ends after it has answered a shell that asks for completions.
        return ExitCode.USAGE if finished.code else ExitCode.OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes words
        return _report(error, arguments)
    # click returns the status of --help and --version; commands return nothing, or the code of what they reported.
    return int(status or ExitCode.OK)


def _report(error: BaseException, arguments: Sequence[str]) -> int:
    failure = failures.explain(error)
    if _COMPLETING in os.environ:
        # Whoever presses Tab has asked for no words.
        # What it cannot read is no fault of ours, but of the script that asks.
        internal = failure.exit_code is ExitCode.INTERNAL
        return int(ExitCode.USAGE if internal else failure.exit_code)
    if _asked_for(arguments, "format", "json"):
        click.echo(failures.as_json(failure))
    if _asked_for(arguments, "debug"):
        import traceback  # noqa: PLC0415 - slow to import, almost never needed

        traceback.print_exception(error)
    return failures.report(failure)


def _asked_for(arguments: Sequence[str], name: str, value: str | None = None) -> bool:
    """Tell whether an option is set, also where the command line is wrong and click has read none."""
    variable = os.environ.get(f"CARVELWRIGHT_{name.upper()}", "").lower()
    if value is None:
        return f"--{name}" in arguments or variable in ("1", "true", "t", "yes", "y", "on")
    given = [after for option, after in itertools.pairwise(arguments) if option == f"--{name}"]
    given += [text.partition("=")[2] for text in arguments if text.startswith(f"--{name}=")]
    return value == (given[-1] if given else variable)


def _import_commands(arguments: Sequence[str]) -> None:
    """Import what is asked for while a signal still ends the process at once: an import is no place to raise in."""
    for name in dict.fromkeys(arguments):
        if name in _COMMANDS:
            importlib.import_module(f"carvelwright.cli.{name}")
