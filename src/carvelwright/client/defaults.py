"""The file that `--default-values-file-output` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carvelwright.client import goyaml
from carvelwright.client.view import Node, client_error, client_view, join, read_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.errors import CarvelwrightError


class Client(StrEnum):
    """The dialects of the client: each name stands for all versions up to the next."""

    KCTRL_0_45 = "kctrl-0.45"
    KCTRL_0_46 = "kctrl-0.46"


@dataclass(frozen=True, slots=True)
class Panic:
    """A default that the client cannot copy: its option, the place in the default, the type that it stumbles over."""

    path: str
    place: str
    go_type: str


def default_values_file(schema: Mapping[str, Any], client: Client) -> str:
    """Return the text of the file that `--default-values-file-output` writes.

    A Schema is taken by its text; any other mapping as the API server would serve it. Where the client panics or
    reports an error and writes no file: ClientError.
    """
    root = read_node(client_view(schema), "")
    if client is Client.KCTRL_0_46 and not root.properties:
        says = "Package does not have any user configurable values"
        raise client_error(
            "", "it has no properties", says, "add properties to the schema, or remove it from the Package"
        )
    panics: list[Panic] = []
    values = default_values(root, client, panics)
    if panics:
        raise panic_error(panics[0])
    return _file_text(values, client)


def _file_text(values: dict[str, Any], client: Client) -> str:
    lines = goyaml.dump_v3(values).removesuffix("\n").split("\n")
    if client is Client.KCTRL_0_46:
        lines = [line.replace(": {}", ":", 1) for line in lines]
    return "".join(f"# {line}\n" for line in lines)


def panic_error(panic: Panic) -> CarvelwrightError:
    """Return the error of a client that panics on a default."""
    where = f" at {panic.place}" if panic.place else ""
    return client_error(
        panic.path,
        f"its default holds an integer{where}",
        f"panic: cannot deep copy {panic.go_type}",
        "use an integer only as the default of an integer option: make the integers text, split an object into "
        "properties with defaults of their own, or give an array the default [] and name the value in its description",
    )


def default_values(root: Node, client: Client, panics: list[Panic]) -> dict[str, Any]:
    """Return the values that the client fills in; adds to `panics` each default that it cannot copy."""
    values: dict[str, Any] = {}
    _fill(values, root, "", client, panics)
    return values


def _fill(values: dict[str, Any], node: Node, path: str, client: Client, panics: list[Panic]) -> None:
    for key, child in node.properties.items():
        default = child.default
        if default is None:
            if not _is_wanted(child, client) and not _is_required(node, key, client):
                continue
            default = {}
        if key not in values or (values[key] is None and not child.nullable):
            values[key] = _copied(default, join(path, key), panics)
    for key, value in values.items():
        known = node.properties.get(key)
        if known is not None and isinstance(value, dict):
            _fill(value, known, join(path, key), client, panics)


def _is_required(node: Node, key: str, client: Client) -> bool:
    return client is not Client.KCTRL_0_45 and key in node.required


def _is_wanted(node: Node, client: Client) -> bool:
    """Tell whether the client enters an object for the sake of its descendants."""
    return any(
        _is_wanted(child, client)
        if child.type == "object" and child.default is None and child.properties
        else child.type != "object" and (child.default is not None or _is_required(node, key, client))
        for key, child in node.properties.items()
    )


def _copied(default: object, path: str, panics: list[Panic]) -> object:
    if isinstance(default, int) and not isinstance(default, bool):
        if default >= 2**63:
            panics.append(Panic(path, "", "uint64"))
        return default
    panics.extend(Panic(path, place, _go_int(number)) for place, number in _integers(default, ""))
    return json.loads(json.dumps(default)) if isinstance(default, dict | list) else default


def _integers(value: object, place: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _integers(value[key], f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _integers(item, f"{place}[{i}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place, value


def _go_int(number: int) -> str:
    return "uint64" if number >= 2**63 else "int"
