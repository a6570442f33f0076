"""Verifies what vouches for published packages: signatures, attestations, and that these say what the content is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.catalog import survey
from carvelwright.errors import CarvelwrightError, ToolMissingError
from carvelwright.reference import Reference
from carvelwright.steps import attached, binaries
from carvelwright.supply import attestation, components, licences, provenance, signature
from carvelwright.supply.attestation import Attestation, Predicate
from carvelwright.supply.vex import Stated
from carvelwright.uses import repository
from carvelwright.uses.verify import Finding, KnownOf, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.digest import Digest
    from carvelwright.oci.artifact import ArtifactLayer
    from carvelwright.steps.binaries import Content
    from carvelwright.supply.attestation import Statement
    from carvelwright.supply.keys import PublicKey
    from carvelwright.supply.modules import Module
    from carvelwright.tools.tool import Tool
    from carvelwright.uses.remote import Opened

_SHOWN = 5
_READERS: Mapping[Predicate, Callable[[Any], set[Module]]] = {
    Predicate.CYCLONEDX: components.of_cyclonedx,
    Predicate.SPDX: components.of_spdx,
}
Said = dict[Predicate, "Statement"]


@dataclass(slots=True)
class Evidence:
    """Looks at what vouches for versions, bundles and images; `findings` is what is wrong.

    With keys, only what one of them has signed counts. Without, nothing is known of who says it. `locked` is what each
    bundle locks, as far as it could be read, `known` what is attested of vulnerabilities, `made` the provenance of each
    version that has one.
    """

    opened: Opened
    keys: Sequence[PublicKey]
    find_go: Callable[[], Tool]
    locked: Mapping[Reference, tuple[Digest, ...]]
    findings: list[Finding] = field(default_factory=list)
    known: list[KnownOf] = field(default_factory=list)
    made: dict[tuple[str, str], Statement] = field(default_factory=dict)
    _done: set[Reference] = field(default_factory=set)

    def version(self, held: Held, catalog: Catalog) -> None:
        """Verify one version: its bundle, the images that its build made, and that its Package is the attested one."""
        about = f"{held.ref_name} {held.version}"
        if held.bundle is None:
            return
        with self._finding(about):
            said = self.bundle(about, repository.place_of(self.opened, Reference.parse(held.bundle)))
            made = said.get(Predicate.PROVENANCE)
            if made is None:
                return
            self.made[held.ref_name, held.version] = made
            document = survey.package_document(held, survey.package_text(catalog.files, held))
            name, digest = provenance.package_subject(document)
            if made.subjects.get(name) != digest:
                self._find(about, "its Package is not the one that the provenance of its bundle names")

    def revision(self, reference: Reference) -> None:
        """Verify that a revision of the package repository is signed."""
        with self._finding(str(reference)):
            self._signature(str(reference), "the revision", reference)

    def bundle(self, about: str, bundle: Reference) -> Said:
        """Verify a bundle, and the images that its build made; returns what is attested of it."""
        said: Said = {}
        with self._finding(f"{about}: bundle {bundle}"):
            self._signature(about, f"bundle {bundle}", bundle)
            said = self._attested(about, f"bundle {bundle}", bundle)
            locked = self.locked.get(bundle, ())
            self._names_images(about, said, locked)
            made = said.get(Predicate.PROVENANCE)
            for digest in locked:
                if made is not None and digest in made.subjects.values():
                    self.image(about, bundle.repository.at(digest))
        return said

    def image(self, about: str, image: Reference) -> None:
        """Verify an image: signature, attestations, and SBOMs against the binaries in it."""
        if image in self._done:
            return
        self._done.add(image)
        with self._finding(f"{about}: image {image}"):
            self._signature(about, f"image {image}", image)
            said = self._attested(about, f"image {image}", image)
            self._vulnerabilities(about, image, said)
            reading = binaries.Reading(self.opened.attaching, self.find_go, self.opened.scratch)
            found = binaries.read(reading, image)
            self._compare(about, image, said, found)
            self._licences(about, image, found)

    def _signature(self, about: str, what: str, reference: Reference) -> None:
        """Find what is wrong with the signature of a digest."""
        digest = reference.digest
        if digest is None or not self.keys:
            return
        found = attached.read(self.opened.attaching, reference.repository.tagged(signature.tag_of(digest)))
        layers = found.layers if found else ()
        own = [layer.data for layer in layers if self._is_signed(layer)]
        problems = [signature.problem(data, digest) for data in own]
        if not layers:
            self._find(about, f"{what} is not signed")
        elif not own:
            self._find(about, f"{what} is signed, but with none of these keys")
        elif None not in problems:
            self._find(about, f"{what}: {problems[0]}")

    def _is_signed(self, layer: ArtifactLayer) -> bool:
        return any(signature.is_of(key, layer.data, layer.annotations) for key in self.keys)

    def _attested(self, about: str, what: str, reference: Reference) -> Said:
        """Return what is attested of a digest, by kind; find what is missing, or not about it."""
        digest = reference.digest
        if digest is None:
            return {}
        found = attached.read(self.opened.attaching, reference.repository.tagged(attestation.tag_of(digest)))
        if found is None:
            self._find(about, f"nothing is attested of {what}")
            return {}
        said: Said = {}
        wrong: dict[Predicate, str] = {}
        for layer in found.layers:
            try:
                each = Attestation.parse(layer.data)
                kind = Predicate(each.statement.predicate_type)
            except ValueError:
                continue
            if self.keys and not any(map(each.is_of, self.keys)):
                wrong.setdefault(kind, "is signed with none of these keys")
            elif digest not in each.statement.subjects.values():
                subjects = ", ".join(map(str, each.statement.subjects.values()))
                wrong[kind] = f"is about something else: {subjects or 'nothing'}"
            elif kind not in said or each.statement.supersedes(said[kind]):
                said[kind] = each.statement
        for kind in Predicate:
            if kind not in said and (kind in wrong or not kind.is_optional):
                self._find(about, f"the {kind.words} of {what} {wrong.get(kind, 'is missing')}")
        return said

    def _names_images(self, about: str, said: Said, locked: Sequence[Digest]) -> None:
        """Find images that the SBOMs of a package do not name."""
        for kind in _READERS:
            if kind not in said:
                continue
            named = components.digests(said[kind].predicate)
            for digest in locked:
                if digest.hex not in named:
                    self._find(about, f"the {kind.words} of its bundle does not name the image {digest}")

    def _vulnerabilities(self, about: str, image: Reference, said: Said) -> None:
        """Note what is attested of known vulnerabilities; find what is about another product."""
        if Predicate.VEX not in said or image.digest is None:
            return
        try:
            stated = Stated.parse(said[Predicate.VEX].predicate)
        except ValueError as error:
            self._find(about, f"the VEX of image {image}: {error}")
            return
        if others := stated.others(image.digest):
            self._find(about, f"the VEX of image {image} is about another product: {_listed(others)}")
        else:
            self.known.append(KnownOf(about, str(image), stated.timestamp, stated.statuses))

    def _licences(self, about: str, image: Reference, found: Mapping[str, Content]) -> None:
        """Find what is wrong with the licenses that an image carries, and modules that they do not cover."""
        wrong: dict[str, list[str]] = {}
        for platform, content in found.items():
            for problem in _problems_of_licences(content):
                wrong.setdefault(problem, []).append(platform)
        for problem, platforms in wrong.items():
            where = f" for {', '.join(platforms)}" if len(platforms) < len(found) else ""
            self._find(about, f"the licenses of image {image}{where}: {problem}")

    def _compare(self, about: str, image: Reference, said: Said, found: Mapping[str, Content]) -> None:
        """Compare the SBOMs of an image with what its binaries say of themselves."""
        linked = {
            (module.path, module.version): f"{path} for {platform}" if platform else path
            for platform, content in sorted(found.items())
            for path, info in sorted(content.binaries.items())
            for module in (*info.modules, info.standard_library)
        }
        for kind, read in _READERS.items():
            if kind not in said:
                continue
            named = {(module.path, module.version) for module in read(said[kind].predicate)}
            what = f"the {kind.words} of image {image}"
            missing = [
                f"{path}@{version} (in {linked[path, version]})" for path, version in sorted(linked.keys() - named)
            ]
            extra = [f"{path}@{version}" for path, version in sorted(named - linked.keys())]
            if missing:
                self._find(about, f"{what} does not name what its binaries hold: {_listed(missing)}")
            if extra:
                self._find(about, f"{what} names what no binary in it holds: {_listed(extra)}")

    def _find(self, about: str, message: str) -> None:
        self.findings.append(Finding(about, message))

    @contextlib.contextmanager
    def _finding(self, about: str) -> Iterator[None]:
        """Note what cannot be read, and go on."""
        try:
            yield
        except ToolMissingError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, CarvelwrightError) as error:
            self._find(about, words(error))


def _problems_of_licences(content: Content) -> Iterator[str]:
    linked = {module for info in content.binaries.values() for module in (*info.modules, info.standard_library)}
    if not linked:
        return
    if not any(name.endswith(f"/{licences.INDEX}") for name in content.licences):
        yield "there are none below /usr/share/licenses/"
        return
    carried = licences.Carried.read(content.licences)
    yield from carried.problems
    named = {(module.path, module.version) for module in carried.modules}
    missing = sorted(str(module) for module in linked if (module.path, module.version) not in named)
    # What cannot be read says nothing of any module.
    if missing and carried.modules:
        yield f"they do not cover what its binaries hold: {_listed(missing)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
