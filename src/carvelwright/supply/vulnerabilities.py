"""Known vulnerabilities of what is linked into an image: what was found, and what of it was accepted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carvelwright.supply.modules import STANDARD_LIBRARY, Module

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class Reach(StrEnum):
    """How far a program gets to what is vulnerable: it calls it, imports its package, or only has its module."""

    CALLED = "called"
    IMPORTED = "imported"
    REQUIRED = "required"


_ORDER = tuple(Reach)


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """An entry of Go's vulnerability database: its ID such as GO-2026-1234, other names, one line."""

    identifier: str
    aliases: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A vulnerability in a module that programs are linked from.

    `mended` is the version that mends it, None where there is none. `trace` are the functions from the program's own to
    the vulnerable one, where that is called. `platforms` are those on which it reaches this far.
    """

    vulnerability: Vulnerability
    module: Module
    mended: str | None
    reach: Reach
    trace: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "id": self.vulnerability.identifier,
            "aliases": list(self.vulnerability.aliases),
            "summary": self.vulnerability.summary,
            "module": self.module.path,
            "version": self.module.version,
            "mended": self.mended,
            "reach": self.reach.value,
            "trace": list(self.trace),
            "platforms": list(self.platforms),
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Finding:
        """Read what `document` gave."""
        return cls(
            Vulnerability(document["id"], tuple(document["aliases"]), document["summary"]),
            Module(document["module"], document["version"]),
            document["mended"],
            Reach(document["reach"]),
            tuple(document["trace"]),
            tuple(document["platforms"]),
        )


def findings(report: str) -> tuple[Finding, ...]:
    """Read what `govulncheck -format json` prints; of each vulnerability of a module the farthest reach.

    ValueError for anything else.
    """
    entries: dict[str, Vulnerability] = {}
    try:
        documents = list(_documents(report))
        if not any("config" in document for document in documents):
            raise ValueError("not a report of govulncheck: it has no configuration")
        for document in documents:
            if entry := document.get("osv"):
                known = Vulnerability(entry["id"], tuple(entry.get("aliases", ())), entry.get("summary", "").strip())
                entries[known.identifier] = known
        found = [_finding(each["finding"], entries) for each in documents if "finding" in each]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a report of govulncheck: {type(error).__name__}: {error}") from None
    return farthest(found)


def farthest(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return of each vulnerability of a module the finding with the farthest reach; what is called comes first.

    Its platforms are all on which it reaches as far.
    """
    first: dict[tuple[str, Module], Finding] = {}
    for finding in sorted(found, key=_sorted_by):
        key = finding.vulnerability.identifier, finding.module
        known = first.setdefault(key, finding)
        if known.reach is finding.reach:
            first[key] = replace(known, platforms=tuple(dict.fromkeys([*known.platforms, *finding.platforms])))
    return tuple(first.values())


def _sorted_by(finding: Finding) -> tuple[int, str, str]:
    return _ORDER.index(finding.reach), finding.module.path, finding.vulnerability.identifier


def _finding(one: Mapping[str, Any], entries: Mapping[str, Vulnerability]) -> Finding:
    trace: Sequence[Mapping[str, Any]] = one["trace"]
    first = trace[0]
    reach = Reach.CALLED if "function" in first else Reach.IMPORTED if "package" in first else Reach.REQUIRED
    path, version = first["module"], first.get("version", "")
    if path == STANDARD_LIBRARY:
        version = version.removeprefix("v")
    names = tuple(_function(frame) for frame in reversed(trace)) if reach is Reach.CALLED else ()
    return Finding(entries[one["osv"]], Module(path, version), one.get("fixed_version") or None, reach, names)


def _function(frame: Mapping[str, Any]) -> str:
    receiver = f"{frame['receiver'].lstrip('*')}." if frame.get("receiver") else ""
    return f"{frame.get('package', '')}.{receiver}{frame.get('function', '')}"


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Read JSON documents that follow each other."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield document


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What somebody decided about a vulnerability: since when, and for how long (None: for good).

    `justification` is one of OpenVEX: the package is not affected; without one it is, and that is accepted. `module` is
    None for every module.
    """

    identifier: str
    module: str | None
    reason: str
    accepted: dt.date
    until: dt.date | None
    justification: str | None

    def holds_for(self, finding: Finding, today: dt.date) -> bool:
        """Tell whether it is about a finding, and still holds."""
        named = (finding.vulnerability.identifier, *finding.vulnerability.aliases)
        about = self.identifier in named and self.module in (None, finding.module.path)
        return about and (self.until is None or today <= self.until)


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and what was decided about it."""

    finding: Finding
    acceptance: Acceptance | None

    @property
    def is_open(self) -> bool:
        """Whether a program reaches what is vulnerable and nobody accepted it."""
        return self.finding.reach is Reach.CALLED and self.acceptance is None


def judge(found: Iterable[Finding], accepted: Sequence[Acceptance], today: dt.date) -> tuple[Judged, ...]:
    """Say of each finding what was decided about it."""
    return tuple(
        Judged(finding, next((each for each in accepted if each.holds_for(finding, today)), None)) for finding in found
    )
