"""Attestations as documents: what is signed, what is read back, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from carvelwright.carvel import resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.digest import Digest
from carvelwright.reference import Reference
from carvelwright.steps import attachments
from carvelwright.supply import components, dsse, keys, provenance
from carvelwright.supply.attestation import Attestation, Predicate, Statement
from carvelwright.supply.modules import Module
from tests.helpers import hostile

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE, TWO = Digest("1" * 64), Digest("2" * 64)
STATEMENT = Statement({"a": ONE, "b": TWO}, Predicate.PROVENANCE, {"x": [1, "ä"]})


def package(bundle: str = f"r.example.com/aa@{ONE}", notes: str = "n") -> dict[str, Any]:
    return resources.package(
        "hello.example.com",
        PackageVersion.parse("1.0.0"),
        released_at="d",
        release_notes=notes,
        static={},
        values_schema={"type": "object"},
        bundle=Reference.parse(bundle),
    )


def test_what_is_signed_is_encoded_as_dsse_says() -> None:
    # The example of the specification.
    encoded = dsse._encoded("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_attestation_is_read_back_and_is_of_its_key_only() -> None:
    key, other = keys.generate(), keys.generate()
    data = STATEMENT.sealed(key)
    assert data == STATEMENT.sealed(key)
    found = Attestation.parse(data)
    assert found.statement == STATEMENT
    assert found.is_of(key.public())
    assert not found.is_of(other.public())


@pytest.mark.parametrize("part", ["payload", "payloadType"])
def test_a_changed_envelope_is_of_no_key(part: str) -> None:
    key = keys.generate()
    document = json.loads(STATEMENT.sealed(key))
    changed = Statement({"a": TWO}, Predicate.PROVENANCE, {}).document()
    document[part] = base64.b64encode(changed).decode() if part == "payload" else "application/json"
    assert not dsse.Envelope.parse(json.dumps(document).encode()).is_of(key.public())


ENVELOPE: dict[str, Any] = json.loads(STATEMENT.sealed(keys.generate()))


@hostile.QUICK
@given(hostile.mutated(ENVELOPE).map(hostile.as_json) | hostile.texts)
def test_any_envelope_is_read_or_refused(data: bytes) -> None:
    hostile.answer(lambda: Attestation.parse(data), ValueError)


@hostile.QUICK
@given(hostile.mutated(json.loads(STATEMENT.document())).map(hostile.as_json) | hostile.texts)
def test_any_statement_is_read_or_refused(data: bytes) -> None:
    hostile.answer(lambda: Statement.parse(data), ValueError)


@pytest.mark.parametrize(
    "other",
    [
        package(f"s.example.com/bb@{ONE}"),
        resources.deprecated(package(), "it leaks"),
        resources.with_bundle(resources.deprecated(package(), "x"), Reference.parse(f"s.example.com/bb@{ONE}")),
    ],
)
def test_a_package_keeps_its_digest_where_it_is_relocated_or_deprecated(other: dict[str, Any]) -> None:
    name, digest = provenance.package_subject(package())
    assert name == "Package hello.example.com.1.0.0"
    assert provenance.package_subject(other) == (name, digest)


@pytest.mark.parametrize(
    "other", [package(notes="other"), package(f"r.example.com/aa@{TWO}"), {**package(), "status": {}}]
)
def test_a_package_that_says_something_else_has_another_digest(other: dict[str, Any]) -> None:
    assert provenance.package_subject(other)[1] != provenance.package_subject(package())[1]


def test_provenance_names_what_was_built_from_what() -> None:
    empty = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    modules = [Module("example.com/a", "v1.0.0", empty), Module("example.com/b", "v2.0.0", "h1:nonsense")]
    source = provenance.Source("c0ffee", "git+https://example.com/x", dirty=True)
    build = provenance.Build(
        "x.example.com",
        "1.0.0",
        ["linux/amd64"],
        "r.example.com/p",
        source,
        "17",
        {"go": "1", "ytt": "1.0.0"},
        {"ytt": Module("carvel.dev/ytt", "v1.0.0", empty)},
        modules,
        {"redis": ONE},
    )
    found = provenance.predicate(build)["buildDefinition"]
    assert found["externalParameters"]["source"] == {
        "uri": "git+https://example.com/x",
        "digest": {"gitCommit": "c0ffee"},
    }
    assert found["internalParameters"] == {"tools": {"go": "1", "ytt": "1.0.0"}, "SOURCE_DATE_EPOCH": "17"}
    commit, first, second, tool, image = found["resolvedDependencies"]
    assert commit["annotations"] == {"dirty": True}
    # The example of in-toto's specification of digests.
    dir_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert first == {"uri": "pkg:golang/example.com/a@v1.0.0", "digest": {"dirHash": dir_hash}}
    assert second == {"uri": "pkg:golang/example.com/b@v2.0.0"}
    assert tool == {"name": "ytt", "uri": "pkg:golang/carvel.dev/ytt@v1.0.0", "digest": {"dirHash": dir_hash}}
    assert image == {"name": "redis", "digest": {"sha256": ONE.hex}}


def test_an_attachments_bundle_is_read_back() -> None:
    tag, reference = f"sha256-{TWO.hex}.att", Reference.parse(f"r.example.com/aa@{ONE}")
    content = attachments.bundle({tag: reference})
    assert attachments.carried_in([{"README": b""}, content]) == {tag: ONE}


def _listing(**change: object) -> bytes:
    tag = f"sha256-{TWO.hex}.att"
    return json.dumps({"schemaVersion": 1, "attachments": [{"tag": tag, "digest": str(ONE)}], **change}).encode()


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"nonsense", "lists no attachments"),
        (b"[]", "lists no attachments"),
        (_listing(schemaVersion=2), r"has the schemaVersion 2 \(expected 1\)"),
        (_listing(attachments=[{"tag": "latest", "digest": str(ONE)}]), "'latest', which is no tag of an attestation"),
        (_listing(attachments=[{"tag": f"sha256-{TWO.hex}.att", "digest": str(TWO)}]), "which the lock beside it does"),
        (_listing(attachments=[{"tag": f"sha256-{TWO.hex}.att", "digest": "sha256:1"}]), "lists no attachments"),
    ],
)
def test_a_wrong_attachments_bundle_is_refused(index: bytes, words: str) -> None:
    content: Mapping[str, bytes] = attachments.bundle(
        {f"sha256-{TWO.hex}.att": Reference.parse(f"r.example.com/aa@{ONE}")}
    )
    with pytest.raises(ValueError, match=words):
        attachments.carried_in([{**content, attachments.INDEX: index}])


@pytest.mark.parametrize("document", [None, [], {}, {"bomFormat": "CycloneDX", "components": 1}, {"spdxVersion": "x"}])
def test_what_is_no_sbom_is_refused(document: object) -> None:
    for read in (components.of_cyclonedx, components.of_spdx):
        with pytest.raises(ValueError, match=r"it is no (CycloneDX|SPDX) document"):
            read(document)
