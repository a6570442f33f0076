"""What an image in a registry says of itself, read from its layers: its Go binaries, and the licenses beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files, jsondoc
from carvelwright.digest import Digest
from carvelwright.oci import rootfs
from carvelwright.steps import layer as layers
from carvelwright.supply.modules import BuildInfo
from carvelwright.tools import artifacts, buildinfo, crane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.reference import Reference
    from carvelwright.steps.attached import Attaching
    from carvelwright.tools.tool import Tool

_ELF = b"\x7fELF"
_LICENCES = f"{layers.LICENCES}/"
# Of one platform of an image: layers as they are sent, and unpacked.
_PACKED, _UNPACKED = 512 << 20, 2 << 30
_LAYERS = 128


@dataclass(frozen=True, slots=True)
class Reading:
    """How images are read: from a registry, with Go for what its binaries say, and a scratch directory."""

    attaching: Attaching
    find_go: Callable[[], Tool]
    scratch: Path


@dataclass(frozen=True, slots=True)
class Content:
    """What an image holds for a platform: what its Go binaries say, by path, and the files below /usr/share/licenses/.

    The latter by their names below it.
    """

    binaries: Mapping[str, BuildInfo]
    licences: Mapping[str, bytes]


def read(reading: Reading, image: Reference) -> dict[str, Content]:
    """Return what an image holds for each platform, by its name, which is empty where there is but one.

    ValueError says what cannot be read, or is not what its digest says.
    """
    found = {}
    for platform, manifest in _manifests(reading, image):
        held: dict[str, bytes] = {}
        for layer in _layers(manifest):
            place = image.repository.at(Digest.parse(layer["digest"]))
            data = artifacts.blob(reading.attaching.crane, place, layer["size"], **reading.attaching.how())
            _apply(held, data)
        programs = {path: data for path, data in held.items() if data.startswith(_ELF)}
        infos = {path: info for path, data in programs.items() if (info := _info(reading, data))}
        texts = {path.removeprefix(_LICENCES): data for path, data in held.items() if path.startswith(_LICENCES)}
        found[platform] = Content(infos, texts)
    return found


def _apply(held: dict[str, bytes], layer: bytes) -> None:
    """Put the programs and licenses of a layer over those of lower ones."""
    for path, data in rootfs.files_of(layer, _UNPACKED):
        if data is None:
            # What removes a directory removes all below it.
            for below in [each for each in held if each.startswith(f"{path.removesuffix('/')}/")]:
                del held[below]
        if data is not None and (data.startswith(_ELF) or path.startswith(_LICENCES)):
            held[path] = data
        else:
            held.pop(path, None)


def _info(reading: Reading, binary: bytes) -> BuildInfo | None:
    """Return what a binary says of itself; None where Go has not built it."""
    with files.temporary_directory(reading.scratch, "binary.") as directory:
        files.write_file(directory / "binary", binary, mode=0o755)
        text = buildinfo.build_info_or_none(reading.find_go(), directory / "binary", step=reading.attaching.step)
    return BuildInfo.parse(text) if text else None


def _manifests(reading: Reading, image: Reference) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the manifest of each platform, by the platform's name; those of something else are left out."""
    document = _manifest(reading, image)
    if "manifests" not in document:
        yield "", document
        return
    for entry in document["manifests"]:
        platform = entry.get("platform") or {}
        name = f"{platform.get('os')}/{platform.get('architecture')}"
        # Where builders put attestations of their own.
        if name != "unknown/unknown":
            yield name, _manifest(reading, image.repository.at(Digest.parse(entry["digest"])))


def _manifest(reading: Reading, reference: Reference) -> Mapping[str, Any]:
    found = crane.manifest(reading.attaching.crane, reference, **reading.attaching.how())
    if found is None or Digest.of_bytes(found) != reference.digest:
        raise ValueError(f"{reference} is missing, or is not what its digest says")
    document = jsondoc.parse(found)
    if not isinstance(document, dict):
        raise ValueError(f"{reference} is no manifest")  # noqa: TRY004 - of a registry, not of a caller
    return document


def _layers(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    layers: list[Mapping[str, Any]] = manifest.get("layers") or []
    sizes = [layer["size"] for layer in layers]
    if len(layers) > _LAYERS or sum(sizes) > _PACKED:
        raise ValueError(f"it is larger than {_LAYERS} layers or {_PACKED} bytes")
    return layers
