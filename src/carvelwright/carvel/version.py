"""Package versions: semver, ordered as Carvel orders them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

_NUMBER = r"0|[1-9][0-9]*"
_SEMVER = re.compile(
    rf"(?P<core>(?:{_NUMBER})\.(?:{_NUMBER})\.(?:{_NUMBER}))"
    rf"(?:-(?P<pre>(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

# Carvel's semver keeps numbers in 64 bits and refuses larger ones.
_TOO_LARGE = 2**64
_LONGEST_TAG = 128

_Identifier = tuple[int, int | str]


@total_ordering
@dataclass(frozen=True, slots=True)
class PackageVersion:
    """A version such as `0.9.4+vmware.1-tkg.1`.

    Carvel's semver orders build metadata too, by the rules of a pre-release: identifiers between dots, numbers by
    value and below words, words by bytes (so `vmware.10-tkg.1` sorts BELOW `vmware.9-tkg.1`). Source: the semver
    library that kapp-controller and vendir use.
    """

    core: tuple[int, int, int]
    pre: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> PackageVersion:
        """Read a semver; ValueError says what was found and expected."""
        if len(text) > _LONGEST_TAG and _SEMVER.fullmatch(text):
            raise ValueError(
                f"a version of {len(text)} characters: {text!r} (expected {_LONGEST_TAG} at most, as in tags)"
            )
        return cls.read(text)

    @classmethod
    def read(cls, text: str) -> PackageVersion:
        """Read a semver that is no package's own, of any length; ValueError says what was found and expected."""
        match = _SEMVER.fullmatch(text)
        if match is None:
            raise ValueError(f"not a semantic version: {text!r} (expected MAJOR.MINOR.PATCH[-PRE][+BUILD])")
        major, minor, patch = (int(number) for number in match["core"].split("."))
        pre, build = (tuple(match[part].split(".")) if match[part] else () for part in ("pre", "build"))
        version = cls((major, minor, patch), pre, build)
        numbers = [*version.core, *(int(part) for part in (*pre, *build) if part.isdigit())]
        if any(number >= _TOO_LARGE for number in numbers):
            raise ValueError(f"too large a number in a version: {text!r} (expected numbers below 2^64)")
        return version

    @property
    def tag(self) -> str:
        """The version as an image tag, where `+` is not allowed."""
        return str(self).replace("+", "_")

    def equals(self, other: PackageVersion) -> bool:
        """Tell whether Carvel takes two versions for the same, as it does with +01 and +1."""
        return self._key()[:-1] == other._key()[:-1]

    def __str__(self) -> str:
        pre = f"-{'.'.join(self.pre)}" if self.pre else ""
        build = f"+{'.'.join(self.build)}" if self.build else ""
        return f"{'.'.join(map(str, self.core))}{pre}{build}"

    def __lt__(self, other: PackageVersion) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        pre, build = ([_identifier(part) for part in parts] for parts in (self.pre, self.build))
        # A release is above its pre-releases; build metadata is above none. What Carvel takes for equal (+01 and +1)
        # is ordered by its text, so that the order is total.
        return (self.core, not pre, pre, build, self.build)


def _identifier(text: str) -> _Identifier:
    # Carvel reads digits as a number, leading zeros and all, and puts numbers below words.
    return (0, int(text)) if text.isdigit() else (1, text)
