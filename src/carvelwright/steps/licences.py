"""Collects the licenses of what is linked into an image: the texts, what they come to, and what the project allows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, recipe
from carvelwright.digest import Digest
from carvelwright.errors import ToolError
from carvelwright.stepnames import licences_step
from carvelwright.steps import linked
from carvelwright.store import content_key
from carvelwright.supply import licences
from carvelwright.supply.licences import Entry, Index, Text
from carvelwright.supply.modules import STANDARD_LIBRARY, Module
from carvelwright.tools import classifier, golist

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from carvelwright.platform import Platform
    from carvelwright.project.images import GoImage
    from carvelwright.report import Step
    from carvelwright.session import Session
    from carvelwright.steps.linked import Linked

# Of Go, whose license is that of its own libraries.
_GO = "BSD-3-Clause"
_VENDORED = "src/vendor"
# No license is as long as this, in bytes.
_LIMIT = 1 << 20
_SKIPPED = ("testdata", "vendor", "node_modules")


@dataclass(frozen=True, slots=True)
class Licences:
    """The licenses of an image: the index, and the directory that holds it and the texts; `key` names the content."""

    index: Index
    directory: Path
    key: str


def collect(
    session: Session,
    image: GoImage,
    sources: Sequence[Linked],
    platforms: Sequence[Platform],
    *,
    step: Step | None = None,
) -> Licences:
    """Collect the licenses of an image, or reuse them where modules, Go and overrides are the same.

    `step` is told when they are reused.
    """
    project, name = session.project, licences_step(image.name)
    maker = _Maker(session, image, tuple(sources), tuple(platforms), name)
    own = maker.own_texts()
    modules = sorted({module for source in sources for module in source.modules})
    said = [project.workspace.licences.override(module.path, module.version) for module in modules]
    key = content_key(
        [(path.name, str(Digest.of_file(path))) for path in own],
        [(str(module), module.sum or maker.digest_of(module)) for module in modules],
        [(each.expression, each.reason) if each else None for each in said],
        image.name,
        image.licenses,
        project.workspace.go,
        recipe.of("licences"),
    )
    made = session.store.product("licences", key, step, lambda target: maker.make(target, own, modules))
    return Licences(Index.parse((made / licences.INDEX).read_bytes()), made, key)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the directory of an image's licenses."""

    session: Session
    image: GoImage
    sources: tuple[Linked, ...]
    platforms: tuple[Platform, ...]
    step: str

    @property
    def root(self) -> Path:
        """The workspace's directory: texts above it are not taken for ours."""
        return self.session.project.workspace.root.resolve()

    def own_texts(self) -> list[Path]:
        """Return the texts of our own code: of each module in the nearest directory that has some."""
        found = [path for source in self.sources for path in _nearest(source.directory.resolve(), self.root)]
        return list(dict.fromkeys(found))

    def digest_of(self, module: Module) -> str:
        """Return the digest of a module's texts, of one that no checksum names."""
        found = _texts_of(module, self.places()[module], self.root)
        return content_key([(name, str(Digest.of_file(path))) for name, path in found])

    def places(self) -> dict[Module, Path]:
        """Return where the files of every module lie."""
        found: dict[Module, Path] = {}
        for source in self.sources:
            tool = self.session.find_go()
            found |= linked.places(tool, source.directory, source.module, self.platforms, step=self.step)
        return found

    def make(self, target: Path, own: Sequence[Path], modules: Sequence[Module]) -> None:
        """Write the index and the texts."""
        places = self.places() if modules else {}
        if lost := [str(module) for module in modules if module not in places]:
            raise ToolError(
                f"step {self.step}: the binaries hold modules that Go does not list: {', '.join(lost)}",
                hint="remove build/payload, then run the same command again",
                step=self.step,
            )
        texts = _Texts(target / licences.TEXTS)
        of_own = Entry(Module(self.image.name, ""), self.image.licenses, texts.add((path.name, path) for path in own))
        go = self.session.find_go()
        vendored = golist.root(go, step=self.step) / _VENDORED
        of_go = Entry(Module(STANDARD_LIBRARY, go.version), _GO, texts.add(_go_texts(vendored)))
        named = {module: texts.add(_texts_of(module, places[module], self.root)) for module in modules}
        recognised = self._recognise(texts, named.values())
        entries = [self._entry(module, named[module], recognised) for module in modules]
        (target / licences.INDEX).write_text(Index((of_own, of_go, *entries)).text())

    def _recognise(self, texts: _Texts, named: Iterable[Sequence[Text]]) -> Mapping[str, list[str]]:
        """Return the SPDX identifiers in each text that holds terms, by its file."""
        wanted = sorted({text.file for each in named for text in each if _has_terms(text)})
        if not wanted:
            return {}
        tool = self.session.find_classifier()
        found = classifier.classify(tool, [texts.directory / file for file in wanted], step=self.step)
        known = licences.identifiers({name for names in found.values() for name in names})
        return {path.name: sorted({known[name] for name in names}) for path, names in found.items()}

    def _entry(self, module: Module, texts: tuple[Text, ...], recognised: Mapping[str, list[str]]) -> Entry:
        override = self.session.project.workspace.licences.override(module.path, module.version)
        if override is not None:
            return Entry(module, override.expression, texts, override.reason)
        terms = {text.name: recognised[text.file] for text in texts if _has_terms(text)}
        unrecognised = tuple(name for name, found in terms.items() if not found)
        return Entry(module, licences.expression(terms), texts, unrecognised=unrecognised)


@dataclass(frozen=True, slots=True)
class _Texts:
    """A directory of texts by digest: equal ones once."""

    directory: Path

    def add(self, found: Iterable[tuple[str, Path]]) -> tuple[Text, ...]:
        """Copy texts there; returns them by the names that their module has for them."""
        added = []
        for name, path in found:
            content = files.read_bytes(path, _LIMIT)
            file = licences.file_name(content)
            files.write_file(self.directory / file, content)
            added.append(Text(name, file))
        return tuple(added)


def _has_terms(text: Text) -> bool:
    return licences.is_licence(text.name.rpartition("/")[2])


def _texts_of(module: Module, place: Path, root: Path) -> list[tuple[str, Path]]:
    """Return the texts of a module; one from a directory of the workspace may come under those above it."""
    found = list(_texts_in(place))
    if found or module.sum or not place.resolve().is_relative_to(root):
        return found
    return [(path.name, path) for path in _nearest(place.resolve(), root)]


def _nearest(directory: Path, root: Path) -> list[Path]:
    """Return the texts in the nearest directory that has some: this one, or one above it up to `root`."""
    for place in (directory, *directory.parents):
        texts = [path for path in sorted(place.iterdir()) if licences.is_text(path.name) and path.is_file()]
        if texts or place == root:
            return texts
    return []


def _texts_in(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield every text of a module: also those beside code that it took from elsewhere."""
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(name for name in directories if name not in _SKIPPED and name[0] not in "._")
        for name in sorted(names):
            path = Path(parent, name)
            if licences.is_text(name) and path.is_file():
                yield path.relative_to(directory).as_posix(), path


def _go_texts(vendored: Path) -> Iterator[tuple[str, Path]]:
    """Yield Go's own texts. Some distributions leave LICENSE out; the same lies beside what Go has vendored."""
    for name, path in _texts_in(vendored):
        yield f"{_VENDORED}/{name}", path
