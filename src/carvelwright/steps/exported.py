"""What ytt exports of a values schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files, probe, recipe
from carvelwright.digest import Digest
from carvelwright.process import in_parallel
from carvelwright.store import Store, content_key
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from carvelwright.tools.tool import Tool

_STEP = "export values schema"

# An OpenAPI schema and, by path of keys, the keywords of JSON Schema that it cannot say.
Exported = tuple[dict[str, Any], "Mapping[probe.Pointer, Mapping[str, Any]]"]


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
            openapi, keywords = schema_in(scratch, tool, sources)
        return [openapi, [[list(at), found] for at, found in keywords.items()]]

    openapi, keywords = Store(root).remember("schema", key, compute)
    return openapi, {tuple(at): found for at, found in keywords}


def schema_in(scratch: Path, tool: Tool, sources: Sources) -> Exported:
    """Export a values schema by way of an empty directory."""
    copies = {"schema": sources.files}
    if probe.has_keywords(sources.files):
        copies["keywords"] = probe.with_keywords(sources.files, sources.place)
    for kind, content in copies.items():
        for name, text in content.items():
            files.write_file(scratch / kind / name, text)
    openapi, *rest = in_parallel(
        *[lambda kind=kind: ytt.values_schema(tool, scratch / kind, sources.schema, step=_STEP) for kind in copies]
    )
    return openapi, probe.read_keywords(rest[0]) if rest else {}
