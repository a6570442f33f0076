"""Facts of one version of a source, and changes between two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# In the order in which they are reported.
KINDS = ("go", "crd files", "crds", "rights", "flags", "environment", "images", "values")


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that differs: `old` is None where it is new, `new` where it is gone."""

    kind: str
    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a source says: by kind and key, a text; `unread` are the files that could not be read as YAML."""

    found: dict[str, dict[str, set[str]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    unread: list[str] = field(default_factory=list)

    def add(self, kind: str, key: str, *texts: str) -> None:
        """Add to a fact: what is said in several places is one fact with all that is said."""
        self.found[kind].setdefault(key, set()).update(texts)

    def text(self, kind: str, key: str) -> str | None:
        """Return a fact's text, sorted; None where there is none."""
        texts = self.found[kind].get(key)
        return None if texts is None else ", ".join(sorted(texts))


def compare(old: Facts, new: Facts) -> tuple[Change, ...]:
    """Return what differs, kind by kind and sorted by key."""
    return tuple(_changes(old, new))


def _changes(old: Facts, new: Facts) -> Iterator[Change]:
    for kind in KINDS:
        for key in sorted({*old.found[kind], *new.found[kind]}):
            before, after = old.text(kind, key), new.text(kind, key)
            if before != after:
                yield Change(kind, key, before, after)
