"""What commands share: options, each of which an environment variable sets, too, and those that every command takes."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from carvelwright import __version__
from carvelwright.cli import completion
from carvelwright.names import INSTALL_NAMESPACE
from carvelwright.process import with_home
from carvelwright.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carvelwright.supply.keys import PrivateKey

_PREFIX = "CARVELWRIGHT_"
_PASSPHRASE = "CARVELWRIGHT_SIGN_KEY_PASSPHRASE"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class Context:
    """What every command gets: the project's directory, the environment, and how much it reports.

    `sign_key` signs what is published, and `passphrase` is that of such a key, each where one is set. The passphrase is
    not in the environment: no program gets it.
    """

    root: Path
    environment: Mapping[str, str]
    quiet: bool = False
    verbose: bool = False
    passphrase: bytes | None = field(default=None, repr=False)
    sign_key: PrivateKey | None = field(default=None, repr=False)


def current(ctx: click.Context) -> Context:
    """Return what has been read so far of the options that every command takes."""
    if found := ctx.find_object(Context):
        return found
    environment = with_home(os.environ)
    passphrase = os.fsencode(environment.pop(_PASSPHRASE, ""))
    return Context(Path(), environment, passphrase=passphrase or None)


class Option(click.Option):
    """An option that an environment variable sets, too: CARVELWRIGHT_ and the option's name. An empty one is none."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        name = next(name for name in self.opts if name.startswith("--"))
        self.envvar = _PREFIX + name.removeprefix("--").replace("-", "_").upper()
        self.show_envvar = True

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name what the wrong value came from."""
        if ctx is not None and ctx.get_parameter_source(self.name) is ParameterSource.ENVIRONMENT:
            return f"the environment variable {self.envvar}"
        return click.Parameter.get_error_hint(self, ctx)


option = functools.partial(click.option, cls=Option)


class _Everywhere(Option):
    """An option that stands before the command or after it. After it, only the command line counts: it is nearer."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Read the variable once, for the root command."""
        return super().value_from_envvar(ctx) if ctx.parent is None else None


def _everywhere() -> list[click.Parameter]:
    def remember(**given: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
            if ctx.get_parameter_source(param.name) is not ParameterSource.DEFAULT:
                ctx.obj = replace(current(ctx), **{name: change(value) for name, change in given.items()})

        return callback

    def show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
        if value and not ctx.resilient_parsing:
            click.echo(f"carvelwright {__version__}")
            ctx.exit()

    directory = click.Path(path_type=Path, file_okay=False)
    shared = {"expose_value": False, "is_flag": True}
    return [
        _Everywhere(
            ["-C", "--project"],
            type=directory,
            metavar="DIR",
            expose_value=False,
            callback=remember(root=Path),
            help="The package project's directory.  [default: the current directory]",
        ),
        _Everywhere(
            ["-q", "--quiet"],
            callback=remember(quiet=bool, verbose=lambda _value: False),
            help="Print only results and errors, no progress and no summary.",
            **shared,
        ),
        _Everywhere(
            ["-v", "--verbose"],
            callback=remember(verbose=bool, quiet=lambda _value: False),
            help="Print the steps of every command and the tools of a build.",
            **shared,
        ),
        # Read by run(), which also sees errors that come before any command.
        _Everywhere(["--debug"], help="Show the traceback of an error.", **shared),
        click.Option(
            ["-V", "--version"], is_eager=True, callback=show_version, help="Show the version and exit.", **shared
        ),
    ]


class _Common:
    """Adds the options that every command takes, and lists them after the command's own."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._common = _everywhere()
        self.params: list[click.Parameter] = [*getattr(self, "params", []), *self._common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write two lists: the command's own options, and the common ones."""
        own = [param for param in self.params if param not in self._common]
        common = [*self._common, *([helped] if (helped := self.get_help_option(ctx)) else [])]  # type: ignore[attr-defined]
        for title, params in (("Options", own), ("Common options, before or after the command", common)):
            records = [record for param in params if (record := param.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class Command(_Common, click.Command):
    """A command with the common options."""


class Group(_Common, click.Group):
    """A group of commands with the common options, which suggests the command that was meant."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none of this name, say which one is like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command with the common options."""
    return click.command(name, cls=Command)


def group(name: str) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a group of commands with the common options."""
    return click.group(name, cls=Group)


class Parsed(click.ParamType[Any]):
    """A value type with a `parse` that raises ValueError with a message for people."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; a default is parsed already."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def seconds(text: str) -> float:
    """Read a number of seconds, one or more; neither nan nor inf is one."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1 <= number < math.inf:
        raise ValueError(f"not a number of seconds: {text!r} (expected 1 or more)")
    return number


existing_file = click.Path(path_type=Path, exists=True, dir_okay=False)
values_files = option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=existing_file,
    help="A data values file, as for `tanzu package install --values-file`; may be repeated, later files override.",
)
target = click.argument("target", metavar="REGISTRY/PATH", type=Parsed("REGISTRY/PATH", Repository.parse))
single = option(
    "--single",
    is_flag=True,
    help="Put everything into the one OCI repository REGISTRY/PATH, for registries without nested names.",
)
packages = click.argument("names", metavar="[PACKAGE]...", nargs=-1, shell_complete=completion.packages)
package = option(
    "--package",
    metavar="NAME",
    shell_complete=completion.packages,
    help="The package of a workspace, by the first segment of its refName or the whole.  [default: the one in the "
    "directory]",
)
release = option(
    "--release",
    metavar="VERSION",
    shell_complete=completion.releases,
    help="The release.  [default: the newest in package/releases]",
)
registry_timeout = option(
    "--registry-timeout",
    type=Parsed("SECONDS", seconds),
    default=900.0,
    show_default=True,
    help="Fail if one registry operation takes longer.",
)


def _trust(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Let the tools of this command trust the CAs of a file; everything is checked before any work."""
    if value is None or ctx.resilient_parsing:
        return
    from carvelwright.tools import authorities  # noqa: PLC0415 - seldom needed

    try:
        certificates = authorities.read(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    context = current(ctx)
    environment = ctx.with_resource(authorities.trusting(context.environment, certificates))
    ctx.obj = replace(context, environment=environment)


registry_ca_cert = option(
    "--registry-ca-cert",
    metavar="FILE",
    type=existing_file,
    expose_value=False,
    callback=_trust,
    help="Trust the CAs in this PEM file as well: for a registry whose certificate a private CA signed.",
)
namespace = option(
    "-n", "--namespace", default=INSTALL_NAMESPACE, show_default=True, help="The PackageInstall's namespace."
)
output_format = option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Format of results and errors: text, or one JSON document.",
)


def of_registry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what all have that exchange something with a registry: timeout, CAs, the form of results."""
    return registry_timeout(registry_ca_cert(output_format(function)))


def package_repository(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what all have that work with a package repository as a whole: where it is, and `of_registry`."""
    return single(of_registry(function))
