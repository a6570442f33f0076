"""carvelwright values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from carvelwright import bounds, client, files, values, valuesdoc
from carvelwright.cli import options, progress
from carvelwright.client import Client
from carvelwright.session import at_work, lone_search
from carvelwright.steps.render import export_file, export_schema
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.cli.options import Context
    from carvelwright.values import ValuesSchema

_schema_option = options.option(
    "--schema",
    type=options.existing_file,
    help="An OpenAPI v3 schema, JSON or YAML, as under valuesSchema.openAPIv3 of a Package; or a values schema as ytt "
    "reads it, which may load files from beside it.  [default: this project's]",
)


@options.group("values")
def command() -> None:
    """Print what clients, people and editors see of the data values."""


@command.command("defaults")
@options.package
@_schema_option
@options.option(
    "--client",
    "dialect",
    type=click.Choice([str(client) for client in Client]),
    default=str(Client.KCTRL_0_46),
    show_default=True,
    help="The client whose output to print: kctrl-0.45 and older (tanzu CLI of framework 0.28), kctrl-0.46 and newer.",
)
@click.pass_obj
def defaults(context: Context, package: str | None, schema: Path | None, dialect: str) -> None:
    """Print what `package available get --default-values-file-output` writes, byte for byte."""
    _write(client.default_values_file(_openapi(context, package, schema), Client(dialect)))


@command.command("annotated")
@options.package
@click.pass_obj
def annotated(context: Context, package: str | None) -> None:
    """Print the default values with title, description, type and allowed values as comments."""
    title, schema = _own(context, package)
    _write(valuesdoc.annotated(schema, title))


@command.command("markdown")
@options.package
@click.pass_obj
def markdown(context: Context, package: str | None) -> None:
    """Print a page with every option: description, type, default, allowed values."""
    title, schema = _own(context, package)
    _write(valuesdoc.markdown(schema, title))


@command.command("jsonschema")
@options.package
@click.pass_obj
def jsonschema(context: Context, package: str | None) -> None:
    """Print a JSON Schema for editors."""
    title, schema = _own(context, package)
    _write(values.json_schema(schema, title))


@command.command("table")
@options.package
@_schema_option
@options.option(
    "--format",
    "form",
    type=click.Choice(["json", "text"]),
    default="json",
    show_default=True,
    help="Format of the table: as the client prints it with --json, or on a terminal.",
)
@click.pass_obj
def table(context: Context, package: str | None, schema: Path | None, form: str) -> None:
    """Print what `package available get --values-schema` shows, byte for byte."""
    rows = client.schema_table(_openapi(context, package, schema))
    _write(client.table_json(rows) if form == "json" else client.table_text(rows))


def _openapi(context: Context, package: str | None, schema: Path | None) -> Mapping[str, Any]:
    if schema is None:
        return _own(context, package)[1].openapi
    content = files.read_bytes(schema, bounds.FILE.size)
    if not values.is_ytt_schema(content):
        return client.load_schema(content, schema)
    search = lone_search(context.root, context.environment)
    toolchain.install(search, progress.reporter(context, quiet=True))
    return export_file(schema, content, toolchain.find(search)).openapi


def _own(context: Context, package: str | None) -> tuple[str, ValuesSchema]:
    with at_work(context.root, context.environment, progress.reporter(context, quiet=True), package) as session:
        release = session.project.release(None)
        schema = export_schema(session.project.root, session.project.workspace.root, session.tools())
    return f"Data values of {session.project.ref_name} {release.version}", schema


def _write(text: str) -> None:
    # Bytes: what clients write is UTF-8 with plain line ends, whatever the terminal's locale says.
    sys.stdout.buffer.write(text.encode())
