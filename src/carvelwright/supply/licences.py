"""The licenses of what is linked into an image: which files are their texts, what they come to, what is allowed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.digest import Digest
from carvelwright.supply.modules import Module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Of the index, and of the directory of texts beside it.
INDEX, TEXTS = "index.json", "texts"
_SCHEMA_VERSION = 1
# Of the digest of a text, in the name of its file.
_NAME_DIGITS = 32
# How people name such files: LICENSE, license.md, LICENSE.libyaml, MIT-LICENSE.txt, COPYING.LESSER.
_LICENCE = re.compile(r"(^|[-_.])(licen[cs]es?|copying|unlicen[cs]e)([-_.]|$)", re.IGNORECASE)
_NOTICE = re.compile(r"(^|[-_.])(notices?|patents|copyright)([-_.]|$)", re.IGNORECASE)
_NO_TEXT = (
    ".go",
    ".h",
    ".html",
    ".js",
    ".json",
    ".mod",
    ".proto",
    ".py",
    ".sh",
    ".sum",
    ".tmpl",
    ".toml",
    ".yaml",
    ".yml",
)
_NOT_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9.-]+")


def file_name(content: bytes) -> str:
    """Return the name of the file of a text, which equal texts share."""
    return f"{Digest.of_bytes(content).hex[:_NAME_DIGITS]}.txt"


def is_licence(name: str) -> bool:
    """Tell whether a file of this name holds the terms of a license."""
    return bool(_LICENCE.search(name)) and not name.lower().endswith(_NO_TEXT)


def is_text(name: str) -> bool:
    """Tell whether a file of this name has to go with the code: terms of a license, or a notice."""
    return is_licence(name) or (bool(_NOTICE.search(name)) and not name.lower().endswith(_NO_TEXT))


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a module: its path there, and its file's name among the texts, which equal texts share."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a module comes under: an SPDX expression, None where it is not known, and its texts.

    `reason` is why a person said so. `unrecognised` names the texts in which no license was recognised.
    """

    module: Module
    expression: str | None
    texts: tuple[Text, ...]
    reason: str | None = None
    unrecognised: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as the index has it."""
        named = {"module": self.module.path, "version": self.module.version, "sum": self.module.sum}
        return {
            **{key: value for key, value in named.items() if value},
            "licenses": self.expression,
            **({"reason": self.reason} if self.reason else {}),
            **({"unrecognised": list(self.unrecognised)} if self.unrecognised else {}),
            "texts": [{"name": text.name, "file": f"{TEXTS}/{text.file}"} for text in self.texts],
        }


@dataclass(frozen=True, slots=True)
class Index:
    """The licenses of an image: of our own code, of Go, and of every module, in this order."""

    entries: tuple[Entry, ...]

    def expressions(self) -> dict[Module, str]:
        """Return the expression of each module for which there is one."""
        return {entry.module: entry.expression for entry in self.entries if entry.expression}

    def text(self) -> str:
        """Return it as the image carries it."""
        document = {"schemaVersion": _SCHEMA_VERSION, "modules": [entry.document() for entry in self.entries]}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def parse(cls, text: bytes) -> Index:
        """Read one; ValueError for anything else."""
        try:
            document = jsondoc.parse(text)
            if document["schemaVersion"] != _SCHEMA_VERSION:
                raise ValueError(f"schemaVersion is {document['schemaVersion']}, expected {_SCHEMA_VERSION}")
            return cls(tuple(_entry(each) for each in document["modules"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an index of licenses: {type(error).__name__}: {error}") from None


def _entry(each: Mapping[str, Any]) -> Entry:
    module = Module(each["module"], each.get("version", ""), each.get("sum", ""))
    texts = tuple(Text(text["name"], text["file"].removeprefix(f"{TEXTS}/")) for text in each["texts"])
    return Entry(module, each["licenses"], texts, each.get("reason"), tuple(each.get("unrecognised", ())))


@dataclass(frozen=True, slots=True)
class Carried:
    """The licenses that an image carries: what is wrong with them, and the modules that they are of."""

    problems: tuple[str, ...]
    modules: frozenset[Module]

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Carried:
        """Read the files below an image's /usr/share/licenses/, by their names there."""
        problems: list[str] = []
        modules: set[Module] = set()
        for name in sorted(name for name in files if name.endswith(f"/{INDEX}")):
            try:
                entries = Index.parse(files[name]).entries
            except ValueError as error:
                problems.append(f"{name} cannot be read: {error}")
                continue
            modules |= {entry.module for entry in entries}
            problems += [each for entry in entries for each in _problems(entry, files, name.removesuffix(INDEX))]
        return cls(tuple(problems), frozenset(modules))


def _problems(entry: Entry, files: Mapping[str, bytes], directory: str) -> Iterator[str]:
    # Of our own code, which has no version, whoever publishes it decides.
    if entry.module.version and not entry.expression:
        yield f"no license is named for {entry.module}"
    elif entry.module.version and not entry.texts and not entry.reason:
        yield f"there is no text for {entry.module}"
    for text in entry.texts:
        name = f"{directory}{TEXTS}/{text.file}"
        if name not in files:
            yield f"{name}, a text of {entry.module}, is missing"
        elif file_name(files[name]) != text.file:
            yield f"{name}, a text of {entry.module}, is not what its name says"


def expression(recognised: Mapping[str, Sequence[str]]) -> str | None:
    """Return what the license texts of a module come to, by what was recognised in each: all of it has to be kept.

    None where there is no text, or one in which nothing was recognised.
    """
    if not recognised or not all(recognised.values()):
        return None
    return " AND ".join(sorted({identifier for found in recognised.values() for identifier in found}))


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return the SPDX identifier for each of the classifier's names; LicenseRef-NAME for what SPDX lacks."""
    # Half a second to import, as in project/formats.py.
    from license_expression import ExpressionError, get_spdx_licensing  # noqa: PLC0415

    licensing = get_spdx_licensing()

    def identifier(name: str) -> str:
        try:
            parsed = licensing.parse(name)
        except ExpressionError:
            parsed = None
        if parsed is not None and not licensing.unknown_license_keys(parsed):
            # A name that SPDX gave up stands for another.
            return str(parsed.render())
        return f"LicenseRef-{_NOT_IN_IDENTIFIER.sub('-', name.removeprefix('LicenseRef-'))}"

    return {name: identifier(name) for name in names}


def refused(expressions: Iterable[str], allowed: Iterable[str]) -> set[str]:
    """Return the expressions that cannot be kept with these licenses: AND asks for all that it joins, OR for one."""
    from license_expression import AND, OR, get_spdx_licensing  # noqa: PLC0415

    licensing, names = get_spdx_licensing(), {name.lower() for name in allowed}

    def holds(node: Any) -> bool:
        if isinstance(node, AND):
            return all(map(holds, node.args))
        if isinstance(node, OR):
            return any(map(holds, node.args))
        return node.render().lower() in names

    return {expression for expression in set(expressions) if not holds(licensing.parse(expression))}
