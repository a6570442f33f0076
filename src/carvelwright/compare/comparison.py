"""The whole of a comparison, as a value, and as the JSON document that a script reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.compare.changes import Judgement, breaking

if TYPE_CHECKING:
    from carvelwright.compare.changes import Change
    from carvelwright.compare.images import ImageChange
    from carvelwright.compare.manifests import ObjectChange
    from carvelwright.compare.rights import RightsChange

# Raised when a reader of an older document could take it for something else.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the two: what it is as the user named it, and its version, None where it has none (a schema alone)."""

    source: str
    version: str | None

    def __str__(self) -> str:
        if self.version is None or self.version in self.source:
            return self.source
        return f"{self.version} ({self.source})"


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that was not compared, and why."""

    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two versions of a package. A part is None where it was not compared: `gaps` say why.

    `values` are the changes of the values schema, and of the samples that the new version refuses.
    """

    package: str | None
    old: Compared
    new: Compared
    values: tuple[Change, ...] | None
    images: tuple[ImageChange, ...] | None
    manifests: tuple[ObjectChange, ...] | None
    rights: tuple[RightsChange, ...] | None
    gaps: tuple[Gap, ...] = ()

    @property
    def breaking(self) -> bool:
        """Whether the new version refuses, or may refuse, values that the old one took."""
        return bool(breaking(self.values or ()))

    @property
    def empty(self) -> bool:
        """Whether nothing differs in all that was compared."""
        return not any((self.values, self.images, self.manifests, self.rights))

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        parts = {"values": self.values, "images": self.images, "manifests": self.manifests, "rights": self.rights}
        return {
            "schemaVersion": SCHEMA_VERSION,
            "package": self.package,
            "old": {"source": self.old.source, "version": self.old.version},
            "new": {"source": self.new.source, "version": self.new.version},
            "judgement": str(Judgement.BREAKING if self.breaking else Judgement.COMPATIBLE),
            **{name: None if part is None else [change.document() for change in part] for name, part in parts.items()},
            "notCompared": [{"part": gap.part, "reason": gap.reason} for gap in self.gaps],
        }
