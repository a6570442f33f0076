"""`carvelwright verify`: what is wrong with signatures, attestations and content is found, with the right words."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.digest import Digest
from carvelwright.oci import artifact
from carvelwright.oci.artifact import ArtifactLayer
from carvelwright.oci.bundle import write_bundle
from carvelwright.supply import attestation, keys, signature
from carvelwright.supply.attestation import Attestation, Predicate, Statement
from tests.conftest import copy_hello, free_address, registry_at
from tests.helpers.builds import call, pulled_repository
from tests.helpers.keys import rsa_key, write_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import Outcome, PackageProject

NAME, VERSION, TAG = "hello.packages.example.com", "1.0.0+build.1", "1.0.0_build.1"


@dataclass(frozen=True)
class Vendor:
    """A built project in git, a registry of its own with its files, and a key."""

    project: PackageProject
    toolset: Toolchain
    registry: str
    storage: Path
    key: Path
    target: str = ""

    @property
    def public(self) -> Path:
        return self.key.with_suffix(".pub")

    def publish(self, name: str) -> Vendor:
        """Publish to a place of its own."""
        target = f"{self.registry}/{name}"
        self.project.run("publish", target, "--sign-key", str(self.key)).ok()
        return replace(self, target=target)

    def crane(self, *arguments: str | Path) -> str:
        return call(self.toolset.crane.path, *map(str, arguments)).decode().strip()

    @property
    def content(self) -> str:
        """The OCI repository of the bundle and its images."""
        return f"{self.target}/{NAME}"

    @property
    def packages(self) -> str:
        return f"{self.target}/package-repository"

    def digest(self, reference: str) -> Digest:
        return Digest.parse(self.crane("digest", reference))

    @property
    def bundle(self) -> str:
        return f"{self.content}@{self.digest(f'{self.content}:{TAG}')}"

    @property
    def image(self) -> str:
        return f"{self.content}@{self.digest(f'{self.target}/hello:{TAG}')}"

    @property
    def revision(self) -> str:
        return f"{self.packages}@{self.digest(f'{self.packages}:latest')}"

    def verify(self, *arguments: str, code: int) -> list[str]:
        """Verify all that was published; returns the findings as lines."""
        outcome = self.project.run("verify", self.target, "--key", str(self.public), *arguments, "-q")
        assert outcome.code == code, outcome
        return outcome.out.splitlines()

    def attach(self, reference: str, statement: Statement, key: Path | None = None) -> None:
        """Attest something in the place of what is attested of a kind."""
        place, _, text = reference.partition("@")
        digest = Digest.parse(text)
        tag = f"{place}:{attestation.tag_of(digest)}"
        kept = [
            layer
            for layer in self.layers(tag)
            if Attestation.parse(layer.data).statement.predicate_type != statement.predicate_type
        ]
        data = statement.sealed(keys.read_private(key or self.key, None))
        made = ArtifactLayer(attestation.MEDIA_TYPE, data, statement.annotations())
        self.push([*kept, made], tag)

    def layers(self, tag: str) -> list[ArtifactLayer]:
        place = tag.rpartition(":")[0]
        return [
            ArtifactLayer(
                layer["mediaType"],
                call(self.toolset.crane.path, "blob", f"{place}@{layer['digest']}"),
                layer["annotations"],
            )
            for layer in json.loads(self.crane("manifest", tag))["layers"]
        ]

    def push(self, layers: list[ArtifactLayer], tag: str) -> None:
        scratch = self.storage.parent / f"layout-{len(list(self.storage.parent.glob('layout-*')))}"
        artifact.write_artifact(layers, scratch)
        self.crane("push", scratch, tag)

    def statement(self, reference: str, kind: Predicate) -> Statement:
        place, _, text = reference.partition("@")
        tag = f"{place}:{attestation.tag_of(Digest.parse(text))}"
        found = [Attestation.parse(layer.data).statement for layer in self.layers(tag)]
        return next(each for each in found if each.predicate_type == kind)


@pytest.fixture(scope="module")
def vendor(
    toolset: Toolchain, tool_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Vendor]:
    root = tmp_path_factory.mktemp("vendor")
    project = copy_hello(root / "hello", tool_environment)
    project.run("build").ok()
    (project.root / ".gitignore").write_text("/build/\n/dist/\n*.tar\n")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        git = ["git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com", *arguments]
        subprocess.run(git, cwd=project.root, check=True)
    with registry_at(toolset, free_address(), root / "storage") as address:
        yield Vendor(project, toolset, address, root / "storage", write_pair(root))


def test_what_was_published_and_signed_is_found_right(vendor: Vendor) -> None:
    place = vendor.publish("right")
    outcome = place.project.run("verify", place.target, "--key", str(place.public)).ok()
    key_id = keys.read_public(place.public).key_id
    assert outcome.out == f"1 versions, 2 bundles and images read, keys {key_id}: nothing wrong\n"
    outcome = place.project.run("verify", place.target, "--key", str(place.public), "--format", "json").ok()
    assert json.loads(outcome.out) == {
        "versions": 1,
        "images": 2,
        "findings": [],
        "vulnerabilities": [],
        "rebuilt": [],
        "keys": [key_id],
    }
    for reference in (place.bundle, place.image, place.revision, f"{place.target}/hello:{TAG}"):
        outcome = place.project.run("verify", reference, "--key", str(place.public)).ok()
        assert outcome.out.endswith("nothing wrong\n")
    assert place.verify(f"{NAME}/{VERSION}", code=0) == []
    without = place.project.run("verify", place.target).ok()
    assert without.out.endswith("no key: no signature was verified: nothing wrong\n")


def removed_signature_of_the_bundle(place: Vendor) -> list[str]:
    place.crane("delete", f"{place.content}:{signature.tag_of(place.digest(place.bundle))}")
    return [f"{NAME} {VERSION}: bundle {place.bundle} is not signed"]


def removed_signature_of_the_image(place: Vendor) -> list[str]:
    place.crane("delete", f"{place.content}:{signature.tag_of(place.digest(place.image))}")
    return [f"{NAME} {VERSION}: image {place.image} is not signed"]


def removed_signature_of_the_revision(place: Vendor) -> list[str]:
    place.crane("delete", f"{place.packages}:{signature.tag_of(place.digest(place.revision))}")
    return [f"{place.revision}: the revision is not signed"]


def signature_of_something_else(place: Vendor) -> list[str]:
    tags = [f"{place.content}:{signature.tag_of(place.digest(each))}" for each in (place.bundle, place.image)]
    place.push(place.layers(tags[0]), tags[1])
    other = place.digest(place.bundle)
    return [f"{NAME} {VERSION}: image {place.image}: the signature is of {other}"]


def signature_of_another_key(place: Vendor) -> list[str]:
    other = write_pair(place.storage.parent, "other")
    place.crane("delete", f"{place.content}:{signature.tag_of(place.digest(place.bundle))}")
    place.project.run("sign", place.bundle, "--sign-key", str(other)).ok()
    return [f"{NAME} {VERSION}: bundle {place.bundle} is signed, but with none of these keys"]


def something_else_than_a_signature(place: Vendor) -> list[str]:
    tag = signature.tag_of(place.digest(place.bundle))
    place.crane("index", "append", "-t", f"{place.content}:{tag}", "-m", place.image)
    why = f"it is no artefact, whose manifest lists layers: {KeyError('layers')!r}"
    return [f"{NAME} {VERSION}: bundle {place.bundle}: found under {tag}: {why}"]


def nothing_attested_of_the_image(place: Vendor) -> list[str]:
    place.crane("delete", f"{place.content}:{attestation.tag_of(place.digest(place.image))}")
    return [f"{NAME} {VERSION}: nothing is attested of image {place.image}"]


def no_provenance(place: Vendor) -> list[str]:
    tag = f"{place.content}:{attestation.tag_of(place.digest(place.bundle))}"
    kept = [each for each in place.layers(tag) if each.annotations["predicateType"] != Predicate.PROVENANCE]
    place.push(kept, tag)
    return [f"{NAME} {VERSION}: the provenance of bundle {place.bundle} is missing"]


def attestations_of_something_else(place: Vendor) -> list[str]:
    tags = [f"{place.content}:{attestation.tag_of(place.digest(each))}" for each in (place.bundle, place.image)]
    place.push(place.layers(tags[0]), tags[1])
    # The provenance is about both.
    about, found = f"{NAME} {VERSION}", f"of image {place.image} is about something else: {place.digest(place.bundle)}"
    return [f"{about}: the {kind.words} {found}" for kind in (Predicate.CYCLONEDX, Predicate.SPDX)]


def attestation_of_another_key(place: Vendor) -> list[str]:
    other = write_pair(place.storage.parent, "another")
    place.attach(place.image, place.statement(place.image, Predicate.SPDX), other)
    return [f"{NAME} {VERSION}: the SPDX SBOM of image {place.image} is signed with none of these keys"]


def sbom_that_is_not_of_the_binaries(place: Vendor) -> list[str]:
    found = place.statement(place.image, Predicate.CYCLONEDX)
    text = json.dumps(found.predicate).replace("pkg:golang/stdlib@1.27.3", "pkg:golang/stdlib@1.0.0")
    place.attach(place.image, Statement(found.subjects, found.predicate_type, json.loads(text)))
    about = f"{NAME} {VERSION}: the CycloneDX SBOM of image {place.image}"
    return [
        f"{about} does not name what its binaries hold: stdlib@1.27.3 (in /usr/local/bin/hello for linux/arm64)",
        f"{about} names what no binary in it holds: stdlib@1.0.0",
    ]


def sbom_that_is_none(place: Vendor) -> list[str]:
    found = place.statement(place.image, Predicate.SPDX)
    place.attach(place.image, Statement(found.subjects, found.predicate_type, {"packages": []}))
    return [f"{NAME} {VERSION}: image {place.image}: it is no SPDX document"]


def sbom_without_the_image(place: Vendor) -> list[str]:
    found = place.statement(place.bundle, Predicate.CYCLONEDX)
    text = json.dumps(found.predicate).replace(place.digest(place.image).hex, "0" * 64)
    place.attach(place.bundle, Statement(found.subjects, found.predicate_type, json.loads(text)))
    digest = place.digest(place.image)
    return [f"{NAME} {VERSION}: the CycloneDX SBOM of its bundle does not name the image {digest}"]


def vex_of_another_product(place: Vendor) -> list[str]:
    other = f"pkg:oci/hello@{place.digest(place.bundle)}"
    place.attach(place.image, vex(place.digest(place.image), other))
    return [f"{NAME} {VERSION}: the VEX of image {place.image} is about another product: {other}"]


def vex_without_a_digest(place: Vendor) -> list[str]:
    other = "pkg:oci/hello?tag=1.0.0_build.1"
    place.attach(place.image, vex(place.digest(place.image), other))
    return [f"{NAME} {VERSION}: the VEX of image {place.image} is about another product: {other}"]


def vex_of_another_digest(place: Vendor) -> list[str]:
    other = place.digest(place.bundle)
    place.attach(place.image, vex(other, f"pkg:oci/hello@{other}"))
    return [f"{NAME} {VERSION}: the VEX of image {place.image} is about something else: {other}"]


def vex_of_another_key(place: Vendor) -> list[str]:
    other, digest = write_pair(place.storage.parent, "for-vex"), place.digest(place.image)
    place.attach(place.image, vex(digest, f"pkg:oci/hello@{digest}"), other)
    return [f"{NAME} {VERSION}: the VEX of image {place.image} is signed with none of these keys"]


def vex_that_is_none(place: Vendor) -> list[str]:
    place.attach(place.image, Statement({"hello": place.digest(place.image)}, Predicate.VEX, {"statements": []}))
    return [f"{NAME} {VERSION}: the VEX of image {place.image}: it is no OpenVEX document"]


def vex(digest: Digest, product: str) -> Statement:
    stated = {"vulnerability": {"name": "GO-2026-1"}, "products": [{"@id": product}], "status": "affected"}
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "timestamp": "2026-11-01T00:00:00Z",
        "statements": [stated],
    }
    return Statement({"hello": digest}, Predicate.VEX, document)


def another_package(place: Vendor) -> list[str]:
    """Push a revision whose Package installs with other rights, as somebody can who may push."""
    scratch = place.storage.parent / "other-package"
    files = pulled_repository(place.toolset.imgpkg.path, place.revision, scratch / "pulled")
    name = f"packages/{NAME}/{VERSION}.yml"
    document = yamldoc.parse(files[name].decode(), scratch).data
    document["spec"]["template"]["spec"]["deploy"] = [{"kapp": {"rawOptions": ["--yes"]}}]
    files[name] = yamldoc.dump(document).encode()
    write_bundle(files, scratch / "layout")
    place.crane("push", scratch / "layout", f"{place.packages}:9.0.0")
    place.crane("tag", f"{place.packages}:9.0.0", "latest")
    return [
        f"{NAME} {VERSION}: its Package is not the one that the provenance of its bundle names",
        f"{place.revision}: the revision is not signed",
    ]


DAMAGES = [
    removed_signature_of_the_bundle,
    removed_signature_of_the_image,
    removed_signature_of_the_revision,
    signature_of_something_else,
    signature_of_another_key,
    something_else_than_a_signature,
    nothing_attested_of_the_image,
    no_provenance,
    attestations_of_something_else,
    attestation_of_another_key,
    sbom_that_is_not_of_the_binaries,
    sbom_that_is_none,
    sbom_without_the_image,
    vex_of_another_product,
    vex_without_a_digest,
    vex_of_another_digest,
    vex_of_another_key,
    vex_that_is_none,
    another_package,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_what_is_wrong_is_found(damage: Callable[[Vendor], list[str]], vendor: Vendor) -> None:
    place = vendor.publish(damage.__name__.replace("_", "-"))
    expected = damage(place)
    assert place.verify(code=12) == sorted(expected)


def test_what_another_key_signed_is_found_piece_by_piece(vendor: Vendor) -> None:
    place = vendor.publish("wrong-key")
    wrong = write_pair(place.storage.parent, "wrong").with_suffix(".pub")
    outcome = place.project.run("verify", place.target, "--key", str(wrong), "--format", "json")
    assert outcome.code == 12
    messages = {each["message"] for each in json.loads(outcome.out)["findings"]}
    assert messages == {
        f"bundle {place.bundle} is signed, but with none of these keys",
        "the revision is signed, but with none of these keys",
        *(
            f"the {kind.words} of bundle {place.bundle} is signed with none of these keys"
            for kind in Predicate
            if not kind.is_optional
        ),
    }
    # One of several keys suffices.
    assert place.verify("--key", str(wrong), code=0) == []


def no_licenses(_index: bytes) -> tuple[dict[str, bytes], str]:
    return {".wh.hello": b""}, "there are none below /usr/share/licenses/"


def no_index(_index: bytes) -> tuple[dict[str, bytes], str]:
    return {
        "hello/index.json": b"{}"
    }, "hello/index.json cannot be read: not an index of licenses: KeyError: 'schemaVersion'"


def no_text(index: bytes) -> tuple[dict[str, bytes], str]:
    name = text_of(index)
    return {f"hello/texts/.wh.{name}": b""}, f"hello/texts/{name}, a text of stdlib@1.27.3, is missing"


def another_text(index: bytes) -> tuple[dict[str, bytes], str]:
    name = text_of(index)
    return {f"hello/texts/{name}": b"none"}, f"hello/texts/{name}, a text of stdlib@1.27.3, is not what its name says"


def another_go(index: bytes) -> tuple[dict[str, bytes], str]:
    changed = index.replace(b"1.27.3", b"1.0.0")
    return {"hello/index.json": changed}, "they do not cover what its binaries hold: stdlib@1.27.3"


def no_license_named(index: bytes) -> tuple[dict[str, bytes], str]:
    changed = index.replace(b'"BSD-3-Clause"', b"null")
    return {"hello/index.json": changed}, "no license is named for stdlib@1.27.3"


def text_of(index: bytes) -> str:
    """Return the file of a text of Go."""
    entry = next(each for each in json.loads(index)["modules"] if each["module"] == "stdlib")
    return str(entry["texts"][0]["file"].removeprefix("texts/"))


def _with_layer(place: Vendor, files: dict[str, bytes], tmp_path: Path) -> str:
    """Put a layer over the image for one platform, below its licenses; returns the new image."""
    with tarfile.open(tmp_path / "layer.tar", "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"usr/share/licenses/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    first = json.loads(place.crane("manifest", place.image))["manifests"][0]["digest"]
    changed = f"{place.target}/changed:{TAG}"
    place.crane("append", "-b", f"{place.content}@{first}", "-f", tmp_path / "layer.tar", "-t", changed)
    return changed


@pytest.mark.parametrize(
    "change",
    [no_licenses, no_index, no_text, another_text, another_go, no_license_named],
    ids=lambda each: each.__name__,
)
def test_wrong_licenses_in_an_image_are_found(
    change: Callable[[bytes], tuple[dict[str, bytes], str]], vendor: Vendor, tmp_path: Path
) -> None:
    place = vendor.publish(f"licenses-{change.__name__.replace('_', '-')}")
    (made,) = (place.project.root / "build/licences").glob("*/index.json")
    files, message = change(made.read_bytes())
    changed = _with_layer(place, files, tmp_path)
    outcome = place.project.run("verify", changed, "-q")
    assert outcome.code == 12
    pinned = f"{changed.rpartition(':')[0]}@{place.digest(changed)}"
    assert [line for line in outcome.out.splitlines() if "the licenses of" in line] == [
        f"{changed}: the licenses of image {pinned}: {message}"
    ]


def test_a_changed_layer_is_found(vendor: Vendor) -> None:
    place = vendor.publish("changed-layer")
    index = json.loads(place.crane("manifest", place.image))
    manifest = json.loads(place.crane("manifest", f"{place.content}@{index['manifests'][0]['digest']}"))
    blob = next(place.storage.rglob(manifest["layers"][0]["digest"].removeprefix("sha256:")))
    content = blob.read_bytes()
    with _changed(blob, content[:-1] + bytes([content[-1] ^ 1])):
        found = place.verify(code=12)
    assert found
    assert all(line.startswith(f"{NAME} {VERSION}: image {place.image}: ") for line in found), found
    assert place.verify(code=0) == []


@contextlib.contextmanager
def _changed(path: Path, content: bytes) -> Iterator[None]:
    former = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(former)


def test_an_archive_and_a_site_are_verified_as_the_registry_is(vendor: Vendor, tmp_path: Path) -> None:
    place = vendor.publish("archived")
    archive, own = tmp_path / "a.tar", write_pair(tmp_path, "site")
    place.project.run("archive", place.target, NAME, "--output", str(archive)).ok()

    def verify(subject: str | Path, *arguments: str) -> Outcome:
        return place.project.run("verify", str(subject), "--key", str(place.public), *arguments, "-q")

    assert verify(archive).ok().out == ""
    site = f"{place.registry}/site"
    place.project.run("relocate", str(archive), site).ok()
    # The site's own revision is signed by nobody yet.
    assert "the revision is not signed" in verify(site).out
    assert verify(site, NAME).ok().out == ""
    place.project.run("relocate", str(archive), site, "--sign-key", str(own)).ok()
    assert verify(site, "--key", str(own.with_suffix(".pub"))).ok().out == ""


def test_an_archive_without_signatures_is_found(vendor: Vendor) -> None:
    (archive,) = (vendor.project.root / "dist").glob("*.tar")
    outcome = vendor.project.run("verify", str(archive), "--key", str(vendor.public), "-q")
    assert outcome.code == 12
    bundle = vendor.publish("unsigned").bundle.rpartition("@")[2]
    assert outcome.out.splitlines() == [
        f"{NAME} {VERSION}: bundle {bundle} is not signed",
        f"{NAME} {VERSION}: nothing is attested of bundle {bundle}",
    ]


def test_a_tampered_archive_is_refused(vendor: Vendor, tmp_path: Path) -> None:
    place = vendor.publish("tampered")
    place.project.run("archive", place.target, NAME, "--output", str(tmp_path / "a.tar")).ok()
    with tarfile.open(tmp_path / "a.tar") as source, tarfile.open(tmp_path / "b.tar", "w") as target:
        largest = max(source.getmembers(), key=lambda member: member.size)
        for member in source:
            stream = source.extractfile(member)
            data = bytearray(stream.read() if stream else b"")
            if member is largest:
                data[-1] ^= 1
            target.addfile(member, io.BytesIO(bytes(data)))
    outcome = place.project.run("verify", str(tmp_path / "b.tar"), "--key", str(place.public))
    assert outcome.code == 3
    assert f"{tmp_path / 'b.tar'} is incomplete or corrupt" in outcome.err


NONSENSE: list[tuple[tuple[str, ...], str]] = [
    (("/nowhere",), "there is no file /nowhere, and it is not an image reference"),
    (("nonsense",), "there is no file nonsense, and it is not an image reference"),
    (("REGISTRY/p:x",), "nothing to verify: REGISTRY/p:x is not in the registry"),
    (("REGISTRY/p:x", "a/1"), "is one bundle or image, which has no versions in it"),
    (("REGISTRY/right-names", "other.example.com"), "no package other.example.com in the repository"),
    (("REGISTRY/right-names", f"{NAME}/9"), f"{NAME}/9 is not in the repository"),
    (("REGISTRY/p", "--key", "KEY"), "holds a private key"),
    (("REGISTRY/p", "--key", "RSA"), "cannot be used as a public key"),
    (("REGISTRY/p", "--key", "/nowhere"), "does not exist"),
]


def test_nonsense_is_refused(vendor: Vendor, tmp_path: Path) -> None:
    vendor.publish("right-names")
    (tmp_path / "rsa").write_bytes(rsa_key().replace(b"PRIVATE", b"PUBLIC"))
    for arguments, message in NONSENSE:
        given: list[Any] = [
            each.replace("REGISTRY", vendor.registry)
            .replace("KEY", str(vendor.key))
            .replace("RSA", str(tmp_path / "rsa"))
            for each in arguments
        ]
        outcome = vendor.project.run("verify", *given)
        assert outcome.code == 2, outcome
        assert message.replace("REGISTRY", vendor.registry) in outcome.err
    empty = vendor.project.run("verify", f"{vendor.registry}/empty", "-q")
    assert empty.code == 12
    assert "has no revision that clients can follow" in empty.out
