"""What a build leaves for the next command to read: dist/release.json and build/state.json, read strictly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

# What release.json holds, as far as commands read it; further keys are carried along.
_SHAPE = {
    "package": str,
    "refName": str,
    "version": str,
    "registry": {"address": str, "embedded": bool},
    "images": [
        {"name": str, "reference": str, "platforms": [{"platform": str, "digest": str, "compressedBytes": int}]}
    ],
    "bundle": str,
    "repository": str,
    "archive": str,
    "defaultValues": str,
    "files": [{"name": str, "size": int}],
}


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """dist/release.json: `document` is its content; the references are pinned by digest, `archive` is a file's name."""

    document: Mapping[str, Any]
    repository: Reference
    bundle: Reference
    images: tuple[Reference, ...]
    archive: str

    @classmethod
    def parse(cls, data: bytes) -> ReleaseRecord:
        """Read one; ValueError says what is wrong in it."""
        document = jsondoc.parse(data)
        _check(document, _SHAPE, "release")
        archive = document["archive"]
        if "/" in archive or archive not in {file["name"] for file in document["files"]}:
            raise ValueError(f"release.archive is no file of dist/: {archive!r}")
        return cls(
            document,
            _pinned(document["repository"]),
            _pinned(document["bundle"]),
            tuple(_pinned(image["reference"]) for image in document["images"]),
            archive,
        )


@dataclass(frozen=True, slots=True)
class BuildState:
    """build/state.json: the key of the inputs that dist/ was made from, and the directories that were part of it."""

    key: str
    inputs: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes) -> BuildState:
        """Read one; ValueError says what is wrong in it."""
        document = jsondoc.parse(data)
        _check(document, {"key": str, "inputs": [str]}, "state")
        return cls(document["key"], tuple(document["inputs"]))

    def text(self) -> str:
        """Return it as it is kept."""
        return json.dumps({"key": self.key, "inputs": self.inputs})


def _check(value: Any, shape: Any, at: str) -> None:
    """Compare a value with a shape: a type, a list of one shape, or a map of keys that have to be there."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _wrong(at, "object")
        for key, inner in shape.items():
            if key not in value:
                raise ValueError(f"{at} has no key {key!r}")
            _check(value[key], inner, f"{at}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(at, "list")
        for index, item in enumerate(value):
            _check(item, shape[0], f"{at}[{index}]")
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise _wrong(at, shape.__name__)


def _wrong(at: str, expected: str) -> ValueError:
    return ValueError(f"{at} is no {expected}")


def _pinned(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is None:
        raise ValueError(f"not pinned by digest: {text}")
    return reference
