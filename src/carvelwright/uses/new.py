"""Starts a package: writes the files of one that passes `check` and `build` as it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import FilesystemError
from carvelwright.names import DNS_LABEL, is_dns_label, is_dns_subdomain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

DEFAULT_REGISTRY = "127.0.0.1:5055/packages"
_DOMAIN = "packages.example.com"
# Segments of a refName beside the first.
_FURTHER = 2


class Kind(StrEnum):
    """What a package is made of."""

    YAML = "yaml"
    GO = "go"
    HELM = "helm"


@dataclass(frozen=True, slots=True)
class Start:
    """A package to start: `registry` is None in a workspace, `released_at` UTC text such as 2026-11-23T00:00:00Z."""

    ref_name: str
    kind: Kind
    registry: str | None
    released_at: str

    @property
    def short_name(self) -> str:
        """The first segment of the refName."""
        return self.ref_name.partition(".")[0]


def ref_name(name: str) -> str:
    """Return the refName for a name: a whole one, or a first segment; ValueError for what is neither."""
    first, *others = name.split(".")
    # The first segment is also a file's and an image's name.
    if is_dns_label(first) and not others:
        return f"{name}.{_DOMAIN}"
    if is_dns_label(first) and is_dns_subdomain(name) and len(others) >= _FURTHER:
        return name
    raise ValueError(
        f"not a package's name: {name!r} (expected {DNS_LABEL}, or a whole refName of three or more segments)"
    )


def new(directory: Path, start: Start) -> list[str]:
    """Write the files of a package into a directory that does not exist yet or is empty; return their names.

    CarvelwrightError where there is something already. All files are written, or none.
    """
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise FilesystemError(
            f"{directory} exists already",
            path=directory,
            details="expected: no such file, or an empty directory",
            hint="name another directory with --directory DIR",
        )
    with files.reporting_file_errors("write"):
        directory.parent.mkdir(parents=True, exist_ok=True)
    words = {
        "@REF_NAME@": start.ref_name,
        "@NAME@": start.short_name,
        "@TITLE@": start.short_name.replace("-", " ").capitalize(),
        "@RELEASED_AT@": start.released_at,
        "@REGISTRY@": f"registry: {start.registry}\n" if start.registry else "",
    }
    content = {name: _filled(text, words) for name, text in sorted(_templates(start.kind).items())}
    with files.new_directory(directory) as staging:
        for name, text in content.items():
            files.write_atomic(staging / name, text)
    return list(content)


def _filled(text: str, words: dict[str, str]) -> str:
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _templates(kind: Kind) -> dict[str, str]:
    # A wheel would leave out a file whose name begins with a dot, and git would heed it.
    templates = resources.files("carvelwright").joinpath("templates")
    found = {name: text for part in ("common", kind.value) for name, text in _walk(templates.joinpath(part), "")}
    return {".gitignore" if name == "gitignore" else name: text for name, text in found.items()}


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_text("utf-8")
