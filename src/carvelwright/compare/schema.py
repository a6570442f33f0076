"""Compares two values schemas option by option, and judges what values that users have would meet.

The judgement is strict: a change is compatible only if no values document that the old schema allows is refused by the
new one, neither as it stands nor with the defaults of the options that it does not give. What cannot be judged is
breaking. `docs/how-to/compare-versions.md` has the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.compare import defaults, keywords, nodes, renames
from carvelwright.compare.changes import Change, Judgement, Kind, path_text
from carvelwright.compare.defaults import Missing
from carvelwright.compare.nodes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.compare.nodes import Node

_At = tuple[str, ...]
_NO_SCHEMA: Mapping[str, Any] = {}


def schema_changes(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, *, patterns: bool = False
) -> tuple[Change, ...]:
    """Return the changes from one values schema to another, sorted by path; none for equal ones.

    A schema is what a Package has under spec.valuesSchema.openAPIv3, None where it has none, or a JSON Schema of the
    same values. `patterns` evaluates regular expressions where defaults have to match one: only for schemas whose
    expressions can be trusted to end. ValueError says which part of a schema has not the shape of one.
    """
    if (old is None) is not (new is None):
        return (_without_schema(gone=new is None),)
    before, after = nodes.checked(old or _NO_SCHEMA), nodes.checked(new or _NO_SCHEMA)
    comparison = _Comparison(patterns, same_whole=nodes.same(nodes.bare(before), nodes.bare(after)))
    found = list(comparison.node((), before, after))
    return tuple(sorted(renames.joined(found, comparison.removed, comparison.added), key=_order))


def _order(change: Change) -> tuple[str, str, str]:
    return change.path, change.kind, change.reason


def _without_schema(*, gone: bool) -> Change:
    word = "the Package has no values schema any more" if gone else "the Package had no values schema before"
    return Change(Kind.UNJUDGED, "", Judgement.BREAKING, f"{word}: what it does to existing values is not judged")


@dataclass(slots=True)
class _Comparison:
    """One walk through two schemas; collects what was removed and added, for renames."""

    patterns: bool
    same_whole: bool
    removed: list[tuple[_At, Node]] = field(default_factory=list)
    added: list[tuple[_At, Node]] = field(default_factory=list)

    def node(self, at: _At, old: Node, new: Node, *, is_option: bool = False) -> Iterator[Change]:
        """Yield what changed in a node and below; an option, unlike an item, has a default that counts."""
        followed = nodes.holds(new, nodes.REFERENCES) and not self.same_whole
        if nodes.same(old, new) and not followed:
            return
        yield from _documentation(at, old, new)
        opaque = list(self._unjudged(at, old, new))
        if opaque:
            yield from opaque
            return
        found = list(_types(at, old, new))
        if nodes.types(old) & nodes.types(new):
            found += [_rule(at, *rule) for rule in keywords.compared(old, new)]
            found += [*self._map(at, old, new), *self._items(at, old, new)]
        if is_option:
            found += self._default(at, old, new, found)
        yield from found

    def _unjudged(self, at: _At, old: Node, new: Node) -> Iterator[Change]:
        """Yield what is not compared: keywords such as anyOf, and what is below a node that is allowed as a whole."""
        before, after = nodes.unjudged(old), nodes.unjudged(new)
        differing = sorted(key for key in {*before, *after} if not _equal(before, after, key))
        if differing:
            yield _change(Kind.UNJUDGED, at, f"{', '.join(differing)} changed, which is not judged")
            return
        if nodes.holds(after, nodes.REFERENCES) and not self.same_whole:
            yield _change(Kind.UNJUDGED, at, "what it refers to may have changed, which is not judged")
            return
        whole = [*after, *_whole_values(old, new)]
        filled = any(key in node for node in (old, new) for key in ("properties", "items"))
        if whole and filled and not nodes.same(nodes.bare(old), nodes.bare(new)):
            yield _change(Kind.UNJUDGED, at, f"a change together with {', '.join(whole)}, which is not judged")

    def _map(self, at: _At, old: Node, new: Node) -> Iterator[Change]:
        if "object" not in nodes.types(old) & nodes.types(new):
            return
        before, after = nodes.children(old), nodes.children(new)
        for name in sorted({*before, *after}):
            if name not in after:
                self.removed.append(((*at, name), before[name]))
                yield _removed((*at, name), before[name])
            elif name in before:
                yield from self.node((*at, name), before[name], after[name], is_option=True)
            else:
                self.added.append(((*at, name), after[name]))
                yield self._added((*at, name), old, new)
        yield from self._free_keys(at, nodes.free_keys(old), nodes.free_keys(new))
        yield from _required(at, old, new)

    def _added(self, at: _At, old: Node, new: Node) -> Change:
        """Judge an option that is new: it must not be needed, and no value that could be there may be refused."""
        name, node = at[-1], nodes.children(new)[at[-1]]
        default = defaults.default_of(node)
        text = f"new option, {nodes.type_text(node)}"
        if name in new.get("required", []):
            return _change(Kind.ADDED, at, f"{text}, which every user has to give")
        if default is not Missing.KEY:
            text += f", by default {shown(default)}"
            allowed = defaults.allows(node, default, patterns=self.patterns)
            if allowed is None:
                return _change(Kind.ADDED, at, f"{text}; whether the schema allows that is not judged")
            if not allowed:
                return _change(Kind.ADDED, at, f"{text}, which the schema refuses: every user has to give another")
            if "maxProperties" in new:
                return _change(Kind.ADDED, at, f"{text}; it counts among the keys, of which there is a greatest number")
        if (free := nodes.free_keys(old)) is not None:
            inner = _Comparison(self.patterns, self.same_whole)
            if any(change.breaking for change in inner.node(at, free, node)):
                return _change(
                    Kind.ADDED, at, f"{text}; values may have any key here, also this one with another value"
                )
        return _change(Kind.ADDED, at, text, compatible=True)

    def _free_keys(self, at: _At, old: Node | None, new: Node | None) -> Iterator[Change]:
        if old is None and new is not None:
            yield _change(Kind.LOOSENED, at, "keys that are no options are allowed as well", compatible=True)
        elif old is not None and new is None:
            yield _change(Kind.TIGHTENED, at, "keys that are no options are refused now")
        elif old is not None and new is not None:
            yield from self.node((*at, "*"), old, new)

    def _items(self, at: _At, old: Node, new: Node) -> Iterator[Change]:
        if "array" in nodes.types(old) & nodes.types(new):
            yield from self.node((*at, "[]"), nodes.items(old), nodes.items(new))

    def _default(self, at: _At, old: Node, new: Node, within: list[Change]) -> Iterator[Change]:
        """Judge what users get who do not give the option; what already broke `within` it is not told again."""
        before, after = defaults.default_of(old), defaults.default_of(new)
        changed = _kind_of_default(old) != _kind_of_default(new)
        text = f"default {_default_text(before)} → {_default_text(after)}" if changed else _default_text(after)
        fine = after is Missing.KEY or defaults.allows(new, after, patterns=self.patterns)
        was_fine = before is Missing.KEY or defaults.allows(old, before, patterns=self.patterns) is not False
        if not fine and was_fine and (changed or not any(change.breaking for change in within)):
            why = "whether the schema allows it is not judged" if fine is None else "the schema refuses the default"
            yield _change(
                Kind.DEFAULT, at, f"{text}: {why}{'' if fine is None else ', every user has to give another'}"
            )
        elif changed:
            yield _change(Kind.DEFAULT, at, f"{text}: for users who do not set it", compatible=True)


def _kind_of_default(node: Node) -> tuple[str, bool, bool]:
    """Return what tells defaults apart but for those of the options within, which are compared by themselves."""
    default = defaults.default_of(node)
    own = nodes.canonical(node["default"]) if "default" in node else ""
    return own, default is Missing.KEY, default is None


def _default_text(default: Any) -> str:
    return "none" if default is Missing.KEY else shown(default)


def _equal(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    return key in before and key in after and nodes.same(before[key], after[key])


def _whole_values(old: Node, new: Node) -> list[str]:
    """Return `enum` where it lists maps or arrays, which are compared as a whole."""
    listed = [value for node in (old, new) for value in node.get("enum", [])]
    return ["enum"] if any(isinstance(value, dict | list) for value in listed) else []


def _types(at: _At, old: Node, new: Node) -> Iterator[Change]:
    before, after = nodes.types(old), nodes.types(new)
    if before == after:
        return
    text = f"{nodes.type_text(old)} → {nodes.type_text(new)}"
    lost = before - after
    if not lost:
        yield _change(Kind.TYPE, at, f"{text}: every former value is still allowed", compatible=True)
    elif lost == {"number"}:
        yield _change(Kind.TYPE, at, f"{text}: numbers with a fraction are refused")
    else:
        names = sorted(lost - {"integer"} if "number" in lost else lost)
        yield _change(Kind.TYPE, at, f"{text}: values of type {' or '.join(names)} are refused")


def _rule(at: _At, tighter: bool, text: str) -> Change:  # noqa: FBT001 - as keywords.compared yields it
    if tighter:
        return _change(Kind.TIGHTENED, at, f"{text}: values that were valid may be refused")
    return _change(Kind.LOOSENED, at, text, compatible=True)


def _required(at: _At, old: Node, new: Node) -> Iterator[Change]:
    before, after = set(old.get("required", [])), set(new.get("required", []))
    for name in sorted(after):
        known = name in nodes.children(old) or name not in nodes.children(new)
        if name not in before and known:
            yield _change(Kind.TIGHTENED, (*at, name), "every user has to give it now")
        elif name in before and _lost_default(old, new, name):
            yield _change(Kind.TIGHTENED, (*at, name), "every user has to give it now: it has no default any more")
    for name in sorted((before - after) & nodes.children(new).keys()):
        yield _change(Kind.LOOSENED, (*at, name), "no longer has to be given", compatible=True)
    yield from _numbers_of_keys(at, old, new)


def _numbers_of_keys(at: _At, old: Node, new: Node) -> Iterator[Change]:
    """Judge limits of how many keys a map has where other keys than before have a default."""
    common = nodes.children(old).keys() & nodes.children(new).keys()
    if new.get("minProperties") and any(_lost_default(old, new, name) for name in common):
        yield _change(Kind.TIGHTENED, at, "fewer keys have a default, and the map needs a number of keys")
    if "maxProperties" in new and any(_lost_default(new, old, name) for name in common):
        yield _change(
            Kind.TIGHTENED, at, "more keys have a default, and the map may have no more than a number of keys"
        )


def _lost_default(old: Node, new: Node, name: str) -> bool:
    """Tell whether an option of both had a default and has none."""
    before, after = nodes.children(old).get(name), nodes.children(new).get(name)
    if before is None or after is None:
        return False
    return defaults.default_of(before) is not Missing.KEY and defaults.default_of(after) is Missing.KEY


def _removed(at: _At, node: Node) -> Change:
    announced = "; it was marked as deprecated" if node.get("deprecated") else ""
    return _change(Kind.REMOVED, at, f"{nodes.type_text(node)}: values that give it are refused{announced}")


def _documentation(at: _At, old: Node, new: Node) -> Iterator[Change]:
    before, after = nodes.for_people(old), nodes.for_people(new)
    if bool(before.get("deprecated")) is not bool(after.get("deprecated")):
        word = "deprecated now: plan its removal" if after.get("deprecated") else "no longer deprecated"
        yield _change(Kind.DOCUMENTATION, at, word, compatible=True)
    keys = sorted(key for key in {*before, *after} - {"deprecated"} if not _equal(before, after, key))
    if keys:
        yield _change(Kind.DOCUMENTATION, at, f"{', '.join(keys)} changed", compatible=True)


def _change(kind: Kind, at: _At, reason: str, *, compatible: bool = False) -> Change:
    return Change(kind, path_text(at), Judgement.COMPATIBLE if compatible else Judgement.BREAKING, reason)
