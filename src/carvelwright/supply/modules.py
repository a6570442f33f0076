"""The Go modules of a binary, from its own build information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The Go project's own code in every binary. No module of it exists; this is the name that Go's vulnerability database
# and package URLs have for it.
STANDARD_LIBRARY = "stdlib"
# What Go writes as the version of a directory.
_DIRECTORY = "(devel)"


@dataclass(frozen=True, slots=True, order=True)
class Module:
    """A Go module at one version.

    `sum` is its checksum as go.sum has it, such as h1:…; empty where a directory replaces the module.
    """

    path: str
    version: str
    sum: str = ""

    def __str__(self) -> str:
        return f"{self.path}@{self.version}" if self.version else self.path


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What Go wrote into a binary: its version such as 1.27.3, the package, the main module, and all other modules.

    A module that is replaced stands here as what replaces it.
    """

    go: str
    package: str
    main: str
    modules: tuple[Module, ...]

    @classmethod
    def parse(cls, text: bytes | str) -> BuildInfo:
        """Read what `go version -m -json` prints of one binary; ValueError for anything else."""
        try:
            document = jsondoc.parse(text)
            go, package, main = document["GoVersion"], document["Path"], document["Main"]["Path"]
            modules = tuple(sorted(_built(each) for each in document.get("Deps") or ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the build information of a Go binary: {type(error).__name__}: {error}") from None
        if not all(isinstance(each, str) and each for each in (go, package, main)):
            raise ValueError("not the build information of a Go binary: it names no version, package or module")
        # Of an experiment or a fork more words follow.
        return cls(go.removeprefix("go").partition(" ")[0], package, main, modules)

    @property
    def standard_library(self) -> Module:
        """The standard library, as a module."""
        return Module(STANDARD_LIBRARY, self.go)


def _built(dependency: Mapping[str, Any]) -> Module:
    replaced = dependency.get("Replace") or dependency
    path, version, checksum = replaced["Path"], replaced.get("Version", ""), replaced.get("Sum", "")
    if version in ("", _DIRECTORY):
        # A directory: its own name says nothing to anyone else.
        path, version = dependency["Path"], dependency["Version"]
    if not all(isinstance(each, str) for each in (path, version, checksum)) or not path:
        raise ValueError(f"not a Go module: {replaced}")
    return Module(path, version, checksum)


def union(infos: Iterable[BuildInfo]) -> tuple[Module, ...]:
    """Return every module of some binaries, sorted, the standard library left out."""
    return tuple(sorted({module for info in infos for module in info.modules}))
