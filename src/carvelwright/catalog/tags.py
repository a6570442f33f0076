"""The tags of a package repository: records, which are named by their content, and revisions, which clients follow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

LATEST = "latest"
_KEY_LENGTH = 16
_RECORD = re.compile(r"(?:r|m)\.([0-9a-f]{16})\.(?:([1-9][0-9]{0,8})\.)?([0-9a-f]{64})")
# As vendir, and so kapp-controller, reads a tag as a version; it leaves out pre-releases unless it is asked for them.
_REVISION = re.compile(r"v?(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})")
# A revision's last number ends with so many hexadecimal digits of its content's digest (28 bits), in that many decimal
# places.
_CHECK_DIGITS, _CHECK_PLACES = 7, 10**9


@dataclass(frozen=True, slots=True)
class RecordTag:
    """The tag of a record. `key` stands for refName and version, `content` is the digest of its manifest.

    `number` is 0 for a release, and counts from 1 for the marks of that version: of two marks the higher counts.
    """

    key: str
    number: int
    content: Digest

    @classmethod
    def parse(cls, tag: str) -> RecordTag | None:
        """Read a tag; None where it is no record's."""
        match = _RECORD.fullmatch(tag)
        if match is None or (tag[0] == "r") != (match[2] is None):
            return None
        return cls(match[1], int(match[2] or 0), Digest(match[3]))

    def __str__(self) -> str:
        number = f"{self.number}." if self.number else ""
        return f"{'m' if self.number else 'r'}.{self.key}.{number}{self.content.hex}"


def key_of(ref_name: str, version: str) -> str:
    """Return what stands for one version of a package in the tags of its records."""
    return Digest.of_bytes(f"{ref_name}\n{version}".encode()).hex[:_KEY_LENGTH]


@dataclass(frozen=True, slots=True, order=True)
class Revision:
    """A tag that is a semantic version, as clients that follow the repository compare them."""

    major: int
    minor: int
    patch: int
    tag: str

    @classmethod
    def parse(cls, tag: str) -> Revision | None:
        """Read a tag; None where it is no version, or a pre-release, which clients leave out."""
        match = _REVISION.fullmatch(tag)
        return cls(int(match[1]), int(match[2]), int(match[3]), tag) if match else None

    @classmethod
    def highest(cls, tags: Iterable[str]) -> Revision | None:
        """Return the version among some tags that clients take; None where there is none."""
        return max((revision for tag in tags if (revision := cls.parse(tag))), default=None)

    @classmethod
    def after(cls, highest: Revision | None, known: int, content: Digest) -> Revision:
        """Return the revision above the highest one, of a publisher that knows of so many records and revisions.

        Of two publishers, the one that looked later saw no lower a revision, and knows of more if there was more to
        know. So a publisher that has not seen a record stays below one that has, however late it writes.
        """
        major, minor = (highest.major, highest.minor + 1) if highest else (0, 1)
        patch = known * _CHECK_PLACES + int(content.hex[:_CHECK_DIGITS], 16)
        return cls(major, minor, patch, f"{major}.{minor}.{patch}")
