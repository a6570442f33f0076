"""Finds options that were renamed: one that is gone and one that is new, which are the same but for the name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from carvelwright.compare import nodes
from carvelwright.compare.changes import Judgement, Kind, path_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carvelwright.compare.changes import Change
    from carvelwright.compare.nodes import Node

    At = tuple[str, ...]

# How alike two names are, from 0 to 1, that alone make a rename of options of one type, default and rules.
_ALIKE = 0.6
# Above that many options of the same kind, names are not compared one with the other.
_MANY = 50


def joined(
    changes: Iterable[Change], removed: Sequence[tuple[At, Node]], added: Sequence[tuple[At, Node]]
) -> Iterator[Change]:
    """Yield the changes, with a removed and an added option as one where the option was renamed.

    It was where type, default and rules are equal, and the description as well, or the last key, or the keys are alike;
    and where that is true of no other pair of the two. To values a rename is a removal.
    """
    found = {path_text(new): (path_text(old), why) for old, new, why in _pairs(removed, added)}
    gone = {old for old, _ in found.values()}
    for change in changes:
        if change.kind is Kind.REMOVED and change.path in gone:
            continue
        if change.kind is Kind.ADDED and change.path in found:
            old, why = found[change.path]
            reason = f"was {old}, with the same {why}: values that give the former key are refused"
            yield replace(change, kind=Kind.RENAMED, judgement=Judgement.BREAKING, reason=reason, old_path=old)
        else:
            yield change


def _pairs(removed: Sequence[tuple[At, Node]], added: Sequence[tuple[At, Node]]) -> Iterator[tuple[At, At, str]]:
    alike: dict[str, tuple[list[tuple[At, Node]], list[tuple[At, Node]]]] = defaultdict(lambda: ([], []))
    for side, options in enumerate((removed, added)):
        for at, node in options:
            alike[nodes.canonical(nodes.bare(node))][side].append((at, node))
    for gone, come in alike.values():
        if len(gone) * len(come) > _MANY**2:
            continue
        likely = [(old, new, why) for old, one in gone for new, other in come if (why := _why(old, one, new, other))]
        for old, new, why in likely:
            if sum(pair[0] == old for pair in likely) == 1 and sum(pair[1] == new for pair in likely) == 1:
                yield old, new, why


def _why(old: At, one: Node, new: At, other: Node) -> str | None:
    """Say what two options of one type, default and rules have in common as well; None for nothing."""
    words = one.get("description")
    if words and words == other.get("description"):
        return "type, default and description"
    if old[-1] == new[-1]:
        return "key, type and default"
    ratio = SequenceMatcher(None, old[-1].lower(), new[-1].lower()).ratio()
    return "type and default, and a key like it" if ratio >= _ALIKE else None
