"""Compares the rights that Roles and ClusterRoles of two versions hold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from carvelwright.compare.manifests import Manifest

_ROLES = ("Role", "ClusterRole")
_ANY = "*"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource of one group, of one name or of any (""), in a role; or on one URL."""

    role: str
    group: str
    resource: str
    name: str
    verb: str

    def covers(self, other: Right) -> bool:
        """Tell whether who has this right has the other as well."""
        return (
            self.role == other.role
            and self.group in (_ANY, other.group)
            and _covers_resource(self.resource, other.resource)
            and self.name in ("", other.name)
            and self.verb in (_ANY, other.verb)
        )


@dataclass(frozen=True, slots=True)
class RightsChange:
    """Verbs that a role has more (`added`) or no longer (`removed`): on a resource or URL, perhaps by name."""

    kind: str
    role: str
    group: str
    resource: str
    name: str
    verbs: tuple[str, ...]

    def __str__(self) -> str:
        of = f" of {self.group}" if self.group else ""
        return f"{self.role}: {', '.join(self.verbs)} on {self.resource}{of}{f' {self.name!r}' if self.name else ''}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "kind": self.kind,
            "role": self.role,
            "group": self.group,
            "resource": self.resource,
            "resourceName": self.name or None,
            "verbs": list(self.verbs),
        }


def rights_changes(old: Iterable[Manifest], new: Iterable[Manifest]) -> tuple[RightsChange, ...]:
    """Return the rights that came and went, by role; a right that another one covers is none that came or went."""
    before, after = set(_rights(old)), set(_rights(new))
    return (*_grouped("added", _uncovered(after, before)), *_grouped("removed", _uncovered(before, after)))


def _uncovered(rights: set[Right], others: set[Right]) -> list[Right]:
    of_role: dict[str, list[Right]] = defaultdict(list)
    for other in others:
        of_role[other.role].append(other)
    return [right for right in rights - others if not any(other.covers(right) for other in of_role[right.role])]


def _grouped(kind: str, rights: Iterable[Right]) -> Iterator[RightsChange]:
    verbs: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for right in sorted(rights):
        verbs[right.role, right.group, right.resource, right.name].append(right.verb)
    for key, found in verbs.items():
        yield RightsChange(kind, *key, tuple(found))


def _rights(objects: Iterable[Manifest]) -> Iterator[Right]:
    for manifest in objects:
        rules = manifest.get("rules")
        if manifest.get("kind") in _ROLES and isinstance(rules, list):
            metadata = manifest.get("metadata")
            names = metadata if isinstance(metadata, dict) else {}
            place = f"{names['namespace']}/" if names.get("namespace") else ""
            role = f"{manifest['kind']} {place}{names.get('name', '')}"
            for rule in rules:
                if isinstance(rule, dict):
                    yield from _of_rule(role, rule)


def _of_rule(role: str, rule: Mapping[str, Any]) -> Iterator[Right]:
    for verb in _texts(rule, "verbs"):
        for url in _texts(rule, "nonResourceURLs"):
            yield Right(role, "", url, "", verb)
        for group in _texts(rule, "apiGroups"):
            for resource in _texts(rule, "resources"):
                for name in _texts(rule, "resourceNames") or [""]:
                    yield Right(role, group, resource, name, verb)


def _texts(rule: Mapping[str, Any], key: str) -> list[str]:
    found = rule.get(key)
    return [str(item) for item in found] if isinstance(found, list) else []


def _covers_resource(wide: str, other: str) -> bool:
    """Tell it for a resource, a subresource of any resource (`*/scale`), or a URL that ends with `*`."""
    if other.startswith("/") or wide.startswith("/"):
        return wide == other or (wide.startswith("/") and wide.endswith(_ANY) and other.startswith(wide[:-1]))
    return wide in (_ANY, other) or (wide.startswith("*/") and other.partition("/")[2] == wide[2:] != "")
