"""What a comparison of two values schemas finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Judgement(StrEnum):
    """What a change does to the values that users have: a compatible one refuses none of them."""

    COMPATIBLE = "compatible"
    BREAKING = "breaking"


class Kind(StrEnum):
    """What happened to an option."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    TYPE = "type"
    DEFAULT = "default"
    TIGHTENED = "tightened"
    LOOSENED = "loosened"
    DOCUMENTATION = "documentation"
    UNJUDGED = "unjudged"
    # Sample values that were rendered before, and that templates or rules refuse now.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a values schema.

    `path` is the option as people write it (`a.b`, `a[].b` for the items of an array, `a.*` for the values of a map
    with free keys, empty for the values as a whole), in the new schema unless the option was removed. `reason` says
    what changed, and why it was judged so. `old_path` is set where the option was renamed.
    """

    kind: Kind
    path: str
    judgement: Judgement
    reason: str
    old_path: str | None = None

    @property
    def breaking(self) -> bool:
        """Whether values that were valid before are refused now, or may be."""
        return self.judgement is Judgement.BREAKING

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        document = {"kind": str(self.kind), "path": self.path, "judgement": str(self.judgement), "reason": self.reason}
        return document | ({"oldPath": self.old_path} if self.old_path is not None else {})


def breaking(changes: Iterable[Change]) -> list[Change]:
    """Return the breaking changes among these."""
    return [change for change in changes if change.breaking]


def path_text(at: Sequence[str]) -> str:
    """Write a path of keys as people do; `[]` and `*` stand for items and for free keys, a key with a dot in quotes."""
    text = ""
    for part in at:
        name = f'"{part}"' if part != "*" and (not part or set(part) & set('."* []')) and part != "[]" else part
        text += name if name == "[]" else f".{name}"
    return text.removeprefix(".")
