"""Compares what two versions render to, object by object, and the rights that they grant."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Manifest = dict[str, Any]
# Objects with more lines than that are not compared line by line, which takes their product of time.
_LINES = 20_000


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """What an object is known by. The version of its API is none of it; `number` counts those that are equal else."""

    kind: str
    namespace: str
    name: str
    group: str
    number: int = 0

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        name = f" {place}{self.name}" if self.name else ""
        return f"{self.kind}{name}{f' #{self.number + 1}' if self.number else ''}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"group": self.group, "kind": self.kind, "namespace": self.namespace or None, "name": self.name}


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """An object that was `added`, `removed` or `changed`, with which samples, and how, as a unified diff."""

    kind: str
    id: ObjectId
    diff: str
    samples: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"kind": self.kind, "object": self.id.document(), "samples": list(self.samples), "diff": self.diff}


def object_changes(
    samples: Mapping[str, tuple[Sequence[Manifest], Sequence[Manifest]]],
) -> tuple[ObjectChange, ...]:
    """Return what differs between the objects of two versions, sorted; a change that several samples show is one.

    `samples` holds the old and the new objects by the name of the values that they are rendered with.
    """
    found: dict[tuple[str, ObjectId, str], list[str]] = defaultdict(list)
    for sample, (old, new) in samples.items():
        for kind, identity, diff in _changes(_by_id(old), _by_id(new)):
            found[kind, identity, diff].append(sample)
    changes = (ObjectChange(*key, tuple(names)) for key, names in found.items())
    return tuple(sorted(changes, key=lambda change: (change.id, change.kind, change.samples)))


def _changes(old: Mapping[ObjectId, Manifest], new: Mapping[ObjectId, Manifest]) -> Iterable[tuple[str, ObjectId, str]]:
    for identity in {**old, **new}:
        before, after = old.get(identity), new.get(identity)
        if before == after:
            continue
        kind = "added" if before is None else "removed" if after is None else "changed"
        yield kind, identity, _diff(before, after)


def _by_id(objects: Iterable[Manifest]) -> dict[ObjectId, Manifest]:
    seen: Counter[ObjectId] = Counter()
    found = {}
    for manifest in objects:
        identity = _id(manifest)
        found[ObjectId(identity.kind, identity.namespace, identity.name, identity.group, seen[identity])] = manifest
        seen[identity] += 1
    return found


def _id(manifest: Manifest) -> ObjectId:
    metadata = manifest.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    group = str(manifest.get("apiVersion", "")).rpartition("/")[0]
    kind = str(manifest.get("kind", "no object"))
    return ObjectId(kind, str(names.get("namespace") or ""), str(names.get("name") or ""), group)


def _diff(before: Manifest | None, after: Manifest | None) -> str:
    old, new = _lines(before), _lines(_in_order_of(before, after))
    if len(old) + len(new) > _LINES:
        return f"{len(old)} lines → {len(new)} lines: too long to be compared line by line\n"
    lines = difflib.unified_diff(old, new, "old", "new", lineterm="")
    return "".join(f"{line}\n" for line in list(lines)[2:])


def _lines(manifest: Manifest | None) -> list[str]:
    return [] if manifest is None else yamldoc.dump(manifest).removeprefix("---\n").splitlines()


def _in_order_of(old: Any, new: Any) -> Any:
    """Return the new content with its keys in the order of the old ones: order has no meaning, and hides what has."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*(key for key in old if key in new), *(key for key in new if key not in old)]
        return {key: _in_order_of(old.get(key), new[key]) for key in keys}
    if isinstance(old, list) and isinstance(new, list):
        others = [*old, *[None] * len(new)]
        return [_in_order_of(others[index], item) for index, item in enumerate(new)]
    return new
