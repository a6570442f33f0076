"""The table of `--values-schema`, as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.client import gojson, goyaml
from carvelwright.client.view import client_error, client_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_HEADER = {"default": "Default", "description": "Description", "key": "Key", "type": "Type"}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One value of a package as `--values-schema` lists it; each field is the text of a column."""

    key: str
    default: str
    type: str
    description: str


def schema_table(schema: Mapping[str, Any]) -> tuple[TableRow, ...]:
    """Return the rows of `--values-schema`, by key as plain text; only leaves have one.

    ClientError where the client reports an error.
    """
    view = client_view(schema)
    properties = view.get("properties")
    if "properties" not in view or not isinstance(properties, dict | None):
        says = "unable to parse the value schema, the value of key named 'properties' has unsupported type"
        raise client_error("", "its `properties` is not a map", says, "add `properties` to the schema")
    if not properties:
        raw = list(gojson.to_go_json(view["default"]).encode()) if "default" in view else None
        return (TableRow(key="", default=_cell(raw), type="", description=""),)
    rows = _rows(properties, "")
    return tuple(sorted(rows, key=lambda row: row.key))


def _rows(properties: Mapping[str, Any], path: str) -> Iterator[TableRow]:
    for key, schema in properties.items():
        if not isinstance(schema, dict):
            continue
        # Not _join: the client joins an empty key with its dot.
        name = f"{path}{key}"
        inner = schema.get("properties")
        if isinstance(inner, dict) and inner:
            yield from _rows(inner, f"{name}.")
        elif "properties" not in schema or isinstance(inner, dict):
            texts = (schema.get("type"), schema.get("description"))
            kind, description = (text if isinstance(text, str) else "" for text in texts)
            yield TableRow(key=name, default=_cell(schema.get("default")), type=kind, description=description)


def _cell(default: object) -> str:
    if default in (None, [], {}):
        return ""
    return goyaml.trim_space(goyaml.dump_v2(_as_floats(default)))


def _as_floats(value: object) -> object:
    """Return `value` with every number as the float64 that encoding/json makes of it."""
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def table_json(rows: Sequence[TableRow]) -> str:
    """Return the rows as the client prints them with `--json`; like there, no newline at the end."""
    cells = [{name: getattr(row, name) for name in _HEADER} for row in rows]
    table = {"Content": "", "Header": _HEADER, "Rows": cells, "Notes": None}
    return _indented({"Tables": [table], "Blocks": None, "Lines": None}, "\n")


def _indented(value: object, newline: str) -> str:
    inner = newline + "    "
    if isinstance(value, dict) and value:
        members = (f"{gojson.json_string(key)}: {_indented(item, inner)}" for key, item in value.items())
        return "{" + inner + f",{inner}".join(members) + newline + "}"
    if isinstance(value, list) and value:
        return "[" + inner + f",{inner}".join(_indented(item, inner) for item in value) + newline + "]"
    return gojson.to_go_json(value)


def table_text(rows: Sequence[TableRow]) -> str:
    """Return the rows as the client prints them on a terminal, without its title line."""
    table = [("Key", "Default", "Type", "Description")]
    last: str | None = None
    for row in rows:
        # The client blanks a repeated first column.
        table.append(("^" if row.key == last else row.key, row.default, row.type, row.description))
        last = row.key
    cells = [[_cell_lines(text) for text in line] for line in table]
    # Widths are in bytes there, so columns stand askew beside text that is not ASCII.
    widths = [max(len(text.encode()) for line in cells for text in line[i]) for i in range(4)]
    return "".join(_table_line(line, widths) for line in cells)


def _cell_lines(text: str) -> list[str]:
    return (text.replace("\r", "") or "-").split("\n")


def _table_line(cells: list[list[str]], widths: list[int]) -> str:
    out = ""
    for i in range(max(map(len, cells))):
        texts = [column[i] if i < len(column) else "" for column in cells]
        padded = [text + " " * (width - len(text.encode())) for text, width in zip(texts, widths, strict=True)]
        out += "  ".join([*padded[:-1], texts[-1]]) + "  \n"
    return out
