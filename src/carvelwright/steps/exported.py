"""What ytt says of a values schema: its export, and the default data values, which the export does not always tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files, probe, recipe, yamldoc
from carvelwright.digest import Digest
from carvelwright.process import in_parallel
from carvelwright.store import Store, content_key
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_STEP = "export values schema"

# Data values, and what the schema's own validations refuse of them: pairs of a path and a rule.
Defaults = tuple[dict[str, Any], list[tuple[str, str]]]
# An OpenAPI schema; by path of keys, the keywords of JSON Schema that it cannot say; the data values without a values
# file, then those with each map given as {} that is null in the ones before, and so on until none is left.
Exported = tuple[dict[str, Any], "Mapping[probe.Pointer, Mapping[str, Any]]", list[Defaults]]


@dataclass(frozen=True, slots=True)
class Sources:
    """A values schema and what it loads: `files` by name from where ytt starts, `place` returns where each stands."""

    schema: Path
    files: Mapping[str, bytes]
    place: Callable[[str], Path]


def project_schema(root: Path, tool: Tool, sources: Sources) -> Exported:
    """Export a project's values schema. Kept by content."""
    contents = {name: Digest.of_bytes(content).hex for name, content in sources.files.items()}
    key = content_key(contents, tool.version, recipe.of("schema"))

    def compute() -> list[Any]:
        with Store(root).scratch("schema") as scratch:
            openapi, keywords, defaults = schema_in(scratch, tool, sources)
        return [openapi, [[list(at), found] for at, found in keywords.items()], defaults]

    openapi, keywords, defaults = Store(root).remember("schema", key, compute)
    return openapi, {tuple(at): found for at, found in keywords}, defaults


def schema_in(scratch: Path, tool: Tool, sources: Sources) -> Exported:
    """Export a values schema by way of an empty directory."""
    copies = {"schema": sources.files}
    if probe.has_keywords(sources.files):
        copies["keywords"] = probe.with_keywords(sources.files, sources.place)
    for kind, content in copies.items():
        for name, text in content.items():
            files.write_file(scratch / kind / name, text)
    first, openapi, *rest = in_parallel(
        lambda: _data_values(tool, scratch / "schema", None),
        *[lambda kind=kind: ytt.values_schema(tool, scratch / kind, sources.schema, step=_STEP) for kind in copies],
    )
    defaults = [first, *_filled(tool, scratch, openapi, first)]
    return openapi, probe.read_keywords(rest[0]) if rest else {}, defaults


def _data_values(tool: Tool, directory: Path, given: Path | None) -> Defaults:
    found = ytt.data_values(tool, directory, [given] if given else [], step=_STEP)
    return found.values, list(found.refused)


def _filled(tool: Tool, scratch: Path, openapi: Mapping[str, Any], before: Defaults) -> Iterator[Defaults]:
    """Yield the data values with each map given that was null, level by level."""
    given: dict[str, Any] | None = {}
    while (following := _maps_to_fill(openapi, before[0])) not in (None, given):
        given = following
        path = scratch / "given.yaml"
        files.write_file(path, yamldoc.dump(given).encode())
        before = _data_values(tool, scratch / "schema", path)
        yield before


def _maps_to_fill(openapi: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return values that give as {} each map that is null in `values`; None where there is none."""
    if not any(_null_maps(openapi, values)):
        return None
    return _skeleton(openapi, values)


def _null_maps(node: Mapping[str, Any], values: Any) -> Iterator[bool]:
    """Yield for each map with keys of its own, as far as the values reach, whether it is null."""
    for name, child in node.get("properties", {}).items():
        if child.get("properties"):
            yield values.get(name) is None
            if values.get(name) is not None:
                yield from _null_maps(child, values[name])


def _skeleton(node: Mapping[str, Any], values: Mapping[str, Any] | None) -> dict[str, Any]:
    children = node.get("properties", {}) if values is not None else {}
    return {
        name: _skeleton(child, (values or {}).get(name)) for name, child in children.items() if child.get("properties")
    }
