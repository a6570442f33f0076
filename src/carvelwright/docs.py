"""The pages of docs/reference, made from the sources they describe."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import click

from carvelwright import values
from carvelwright.cli.main import root
from carvelwright.errors import ExitCode
from carvelwright.schema import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.values import ValuesSchema

_NOTE = "<!-- Made by `make docs`; do not edit. -->\n"
_SCHEMAS = ("build", "release", "metadata", "package")


def pages(schema: ValuesSchema) -> dict[str, str]:
    """Return file name and text of each page."""
    return {
        "command-line.md": _NOTE + "\n# Command line\n\n" + "\n".join(_commands(root, "carvelwright")),
        "exit-codes.md": _NOTE + "\n# Exit codes\n\n" + _exit_codes(),
        "project-files.md": _NOTE + "\n# Files of a package project\n\n" + "\n".join(map(_project_file, _SCHEMAS)),
        "data-values.md": _NOTE + "\n# Data values\n\n" + "\n".join(_values(schema)),
    }


def _commands(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=100,
        help_option_names=root.context_settings["help_option_names"],
    )
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None:
                yield from _commands(child, child_name, context)


def _exit_codes() -> str:
    rows = [f"| {int(code)} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows]) + "\n"


def _project_file(name: str) -> str:
    text = resources.files("carvelwright").joinpath("schemas", f"{name}.json").read_text("utf-8")
    schema = json.loads(text)
    rows = [f"| `{dotted(path)}` | {kind} | {about} |" for path, kind, about in _keys(schema, schema, [])]
    return "\n".join([f"## {schema['title']}\n", "| key | type | about |", "| --- | --- | --- |", *rows]) + "\n"


def _keys(node: Mapping[str, Any], whole: Mapping[str, Any], at: list[str]) -> Iterator[tuple[list[str], str, str]]:
    for name, child in node.get("properties", {}).items():
        resolved = _resolve(child, whole)
        needed = "" if name in node.get("required", []) else " (optional)"
        about = [child.get("description") or resolved.get("description", "")]
        about += [f"matches `{resolved['pattern']}`"] if "pattern" in resolved else []
        cell = "; ".join(part for part in about if part).replace("|", "\\|")
        yield [*at, name], f"{resolved.get('type', 'any')}{needed}", cell
        items = _resolve(resolved.get("items", {}), whole)
        yield from _keys(resolved, whole, [*at, name])
        yield from _keys(items, whole, [*at, f"{name}[]"])


def _resolve(node: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Mapping[str, Any] = whole["$defs"][reference.rpartition("/")[2]]
    return found


def _values(schema: ValuesSchema) -> Iterator[str]:
    yield "Unknown keys and wrong types are refused. Every default is a safe one; an empty values file is valid.\n"
    for path, node in _leaves(schema.openapi, ()):
        title = f": {node['title']}" if "title" in node else ""
        allowed = values.allowed(node, schema.extras.get(path, {}))
        default = json.dumps(values.default_of(node), ensure_ascii=False)
        facts = [
            f"type {values.type_name(node)}",
            f"default `{default}`",
            *([f"allowed: {allowed}"] if allowed else []),
        ]
        yield f"### `{dotted(path)}`{title}\n\n{node.get('description', '')}\n\n{'; '.join(facts)}.\n"


def _leaves(node: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        if child.get("properties"):
            yield from _leaves(child, (*at, name))
        else:
            yield (*at, name), child
