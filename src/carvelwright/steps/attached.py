"""Artefacts that belong to an image by the name of a tag, such as its signatures: read, and added to.

No registry offers compare-and-swap for tags. So a writer looks again after it has pushed, until what it added is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.errors import RegistryError
from carvelwright.oci import artifact
from carvelwright.tools import artifacts, crane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carvelwright.oci.artifact import ArtifactLayer
    from carvelwright.reference import Reference
    from carvelwright.store import Store
    from carvelwright.tools.artifacts import Artifact
    from carvelwright.tools.tool import Tool

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Attaching:
    """How it is done: with crane, a place for scratch files, and what every exchange with the registry is told.

    `timeout` is in seconds for each exchange.
    """

    crane: Tool
    store: Store
    step: str
    timeout: float
    note: Callable[[str], None]

    def how(self) -> dict[str, Any]:
        """Return what every exchange with the registry is told."""
        return {"step": self.step, "timeout": self.timeout, "note": self.note}


def read(attaching: Attaching, tag: Reference) -> Artifact | None:
    """Return what is attached under a tag, None where nothing is; RegistryError where something else lies there."""
    try:
        return artifacts.pull(attaching.crane, tag, **attaching.how())
    except ValueError as error:
        raise RegistryError(
            f"{tag} cannot be read as an attachment",
            registry=tag.repository.registry,
            reference=str(tag),
            details=f"found under {tag.tag}: {error}",
            hint="remove this tag from the registry if nothing else needs it",
            step=attaching.step,
        ) from None


def add(
    attaching: Attaching,
    tag: Reference,
    layers: Sequence[ArtifactLayer],
    outdated: Callable[[ArtifactLayer], bool] = lambda _: False,
) -> bool:
    """Attach layers under a tag, beside what others attached there; False where they are there already.

    Of what is there, layers that are `outdated` go. RegistryError where others overwrite the tag all the time.
    """
    wanted, pushed = {layer.key for layer in layers}, False
    for _ in range(_ATTEMPTS):
        found = read(attaching, tag)
        there = found.layers if found else ()
        kept = [layer for layer in there if not outdated(layer) or layer.key in wanted]
        if len(kept) == len(there) and wanted <= {layer.key for layer in there}:
            return pushed
        with attaching.store.scratch("attach") as scratch:
            layout = artifact.write_artifact(artifact.in_order([*kept, *layers]), scratch / "layout")
            crane.push_layout(attaching.crane, layout, tag, **attaching.how())
        pushed = True
    raise RegistryError(
        f"others overwrite {tag} at the same time",
        registry=tag.repository.registry,
        reference=str(tag),
        hint="run the same command again once they are done",
        step=attaching.step,
    )


def carry(attaching: Attaching, source: Reference, tag: str) -> None:
    """Attach, under a tag, what lies beside it by digest already: as it is, or beside what is attached there.

    RegistryError as `add`, and where the source is no artefact.
    """
    target = source.repository.tagged(tag)
    found = read(attaching, target)
    if found is None:
        crane.put_tag(attaching.crane, source, tag, **attaching.how())
    elif found.digest != source.digest and (carried := read(attaching, source)):
        add(attaching, target, carried.layers)
