"""A record: what one publisher adds to a package repository. It is a bundle of its own, and is never changed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc, yamldoc
from carvelwright.carvel import locks
from carvelwright.carvel.locks import ImagesLock, LockEntry
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.tags import RecordTag, key_of
from carvelwright.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.digest import Digest

# Beside packages/, which is all that kapp-controller reads of a repository.
INDEX = "carvelwright.json"
PACKAGES = "packages"
# What a withdrawn version was is kept where kapp-controller does not look.
_WITHDRAWN = "withdrawn"
_SCHEMA_VERSION = 1
_REF_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")


class Action(StrEnum):
    """What a record does to its version."""

    RELEASE = "release"
    METADATA = "metadata"
    DEPRECATE = "deprecate"
    WITHDRAW = "withdraw"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Record:
    """What is added for one version of a package.

    `package` is the file of the Package as it is from now on, of a withdrawal as it was; `metadata` that of the
    PackageMetadata, where there is one. `bundle` is what the Package fetches by digest, None where it does not.
    `number` is 0 for a release, and counts the marks of the version from 1. `released_at` is the Package's releasedAt,
    `reason` why the record was made; both are for people.
    """

    ref_name: str
    version: str
    action: Action
    number: int
    package: bytes | None
    metadata: bytes | None
    bundle: Reference | None
    released_at: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no record: ValueError says why."""
        if not _REF_NAME.fullmatch(self.ref_name):
            raise ValueError(f"{self.ref_name!r} is not a refName")
        PackageVersion.parse(self.version)
        if self.number < 0 or (self.number == 0) != (self.action is Action.RELEASE):
            raise ValueError(f"{self.action} has the number {self.number}")
        if (self.package is None) != (self.action is Action.METADATA):
            raise ValueError(f"{self.action} {'without a' if self.package is None else 'with a'} Package")
        # Others publish Packages without metadata, and they are relocated as they are.
        if self.metadata is None and self.action is Action.METADATA:
            raise ValueError("metadata without metadata")
        if self.metadata is not None and self.action not in (Action.RELEASE, Action.METADATA):
            raise ValueError(f"{self.action} with metadata")

    @property
    def key(self) -> str:
        """What stands for the version in the record's tag."""
        return key_of(self.ref_name, self.version)

    def tag(self, content: Digest) -> RecordTag:
        """Return the tag of the record whose bundle has this digest."""
        return RecordTag(self.key, self.number, content)

    def files(self) -> dict[str, bytes]:
        """Return the content of the record's bundle."""
        bundle = str(self.bundle) if self.bundle else None
        document = {
            "schemaVersion": _SCHEMA_VERSION,
            "record": {
                "refName": self.ref_name,
                "version": self.version,
                "action": str(self.action),
                "number": self.number,
                "bundle": bundle,
                "releasedAt": self.released_at,
                "reason": self.reason,
            },
        }
        lock = ImagesLock((LockEntry(self.bundle, bundle),) if self.bundle and bundle else ())
        files = {
            locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode(),
            INDEX: (json.dumps(document, indent=2) + "\n").encode(),
        }
        if self.package is not None:
            files[_place(self.ref_name, self.version, self.action)] = self.package
        if self.metadata is not None:
            files[metadata_file(self.ref_name)] = self.metadata
        return files

    @classmethod
    def parse(cls, files: Mapping[str, bytes]) -> Record:
        """Read the content of a record's bundle; ValueError says what is wrong in it."""
        document = _object(jsondoc.parse(files.get(INDEX, b"null")), INDEX)
        if document.get("schemaVersion") != _SCHEMA_VERSION:
            raise ValueError(f"{INDEX} has schemaVersion {document.get('schemaVersion')!r}, expected {_SCHEMA_VERSION}")
        said = _object(document.get("record"), "record")
        ref_name, version, reason = (_text(said, name) for name in ("refName", "version", "reason"))
        action, number = Action(_text(said, "action")), said.get("number")
        if type(number) is not int:
            raise ValueError(f"number is {number!r}")
        record = cls(
            ref_name,
            version,
            action,
            number,
            files.get(_place(ref_name, version, action)),
            files.get(metadata_file(ref_name)),
            None if said.get("bundle") is None else Reference.parse(_text(said, "bundle")),
            _text(said, "releasedAt"),
            reason,
        )
        if record.files().keys() != files.keys():
            raise ValueError(f"it holds other files than a record of {ref_name} {version}: {', '.join(sorted(files))}")
        return record


def package_file(ref_name: str, version: str) -> str:
    """Return the file of a Package in a repository's bundle."""
    return f"{PACKAGES}/{ref_name}/{version}.yml"


def metadata_file(ref_name: str) -> str:
    """Return the file of a PackageMetadata in a repository's bundle."""
    return f"{PACKAGES}/{ref_name}/metadata.yml"


def _place(ref_name: str, version: str, action: Action) -> str:
    if action is Action.WITHDRAW:
        return f"{_WITHDRAWN}/{ref_name}/{version}.yml"
    return package_file(ref_name, version)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004 - the file's, not the caller's
    return value


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}")  # noqa: TRY004 - the file's, not the caller's
    return value
