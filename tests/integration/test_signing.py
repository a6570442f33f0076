"""Signatures of what is published: made before anybody sees it, carried along, and beside those of others."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from carvelwright.digest import Digest
from carvelwright.reference import Reference
from carvelwright.supply import keys, signature
from tests.conftest import free_address, registry_at
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import call, content_of
from tests.helpers.keys import PASSPHRASE, ed25519_key, rsa_key, write_pair
from tests.helpers.keys import key as key  # noqa: PLC0414 - a fixture
from tests.helpers.proxy import Manners, Proxy
from tests.helpers.published import NAME, OTHER, Published
from tests.helpers.published import published as published  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import PackageProject

HELLO = "hello.packages.example.com"


@pytest.fixture
def site(published: Published, tmp_path: Path) -> Iterator[Published]:
    """Another registry."""
    with registry_at(published.toolset, free_address(), tmp_path / "site-storage") as address:
        yield Published(address, published.project, published.toolset, f"{address}/site")


def signers(crane: Path, reference: str, *pairs: Path) -> list[str]:
    """Return which of some keys, by name, have signed what a reference names."""
    digest = Digest.parse(call(crane, "digest", reference).decode().strip())
    place = Reference.parse(reference).repository
    tag = f"{place}:{signature.tag_of(digest)}"
    if signature.tag_of(digest) not in call(crane, "ls", str(place)).decode().split():
        return []
    found = []
    for layer in json.loads(call(crane, "manifest", tag))["layers"]:
        data = call(crane, "blob", f"{place}@{layer['digest']}")
        assert signature.problem(data, digest) is None
        found += [
            pair.stem
            for pair in pairs
            if signature.is_of(keys.read_public(pair.with_suffix(".pub")), data, layer["annotations"])
        ]
    return sorted(found)


def test_everything_that_is_published_is_signed_and_publishing_again_changes_nothing(
    built: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    to = f"{registry}/p"
    first = built.run("publish", to, "--sign-key", str(key), "--format", "json").ok()
    signed = json.loads(first.out)["signed"]
    (package,) = json.loads(first.out)["packages"]
    bundle, image = (text.rpartition("@")[2] for text in (package["bundle"], package["images"][0]))
    revision = json.loads(first.out)["repository"].rpartition("@")[2]
    assert signed == [
        f"{to}/{HELLO}@{bundle}",
        f"{to}/{HELLO}@{image}",
        f"{to}/hello@{image}",
        f"{to}/package-repository@{revision}",
    ]
    for reference in signed:
        assert signers(crane, reference, key) == ["k"]
    # What is signed names where it was published.
    (layer,) = json.loads(call(crane, "manifest", f"{to}/hello:{signature.tag_of(Digest.parse(image))}"))["layers"]
    payload = json.loads(call(crane, "blob", f"{to}/hello@{layer['digest']}"))
    assert payload["critical"]["identity"]["docker-reference"] == f"{to}/hello"
    before = content_of(crane, registry)
    again = built.run("publish", to, "--sign-key", str(key)).ok()
    assert again.out.startswith("already there: nothing was changed")
    assert content_of(crane, registry) == before


def test_a_signature_that_is_lost_is_made_again_byte_for_byte(
    built: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    built.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    before = content_of(crane, registry)
    lost = [name for name in before if name.endswith(".sig")]
    assert len(lost) == 4
    for name in lost:
        call(crane, "delete", name)
    assert content_of(crane, registry).keys() == before.keys() - lost
    built.run("publish", f"{registry}/p", "--sign-key", str(key)).ok()
    assert content_of(crane, registry) == before


def test_a_dry_run_names_the_signatures_and_pushes_none(
    built: PackageProject, registry: str, crane: Path, key: Path
) -> None:
    out = built.run("publish", f"{registry}/p", "--sign-key", str(key), "--dry-run").ok().out
    assert len(re.findall(rf"^signature {re.escape(registry)}/p/\S+@sha256:\S{{64}}$", out, re.MULTILINE)) == 4
    assert content_of(crane, registry) == {}


def test_nothing_is_seen_before_it_is_signed(built: PackageProject, registry: str, key: Path) -> None:
    with Proxy(registry) as proxy:
        built.run("publish", f"{proxy.address}/p", "--sign-key", str(key)).ok()
        order = [entry.path.partition("?")[0] for entry in proxy.requests("PUT", "/manifests/")]
    tags = [path.removeprefix("/v2/p/").replace("/manifests/", ":") for path in order]

    def first(pattern: str) -> int:
        return next(number for number, tag in enumerate(tags) if re.fullmatch(pattern, tag))

    content = max(number for number, tag in enumerate(tags) if re.fullmatch(rf"{HELLO}:.*\.sig", tag))
    assert content < first(r"package-repository:r\..*")
    assert first(r"package-repository:.*\.sig") < first(r"package-repository:0\.1\.\d+")
    assert first(r"hello:.*\.sig") < first(r"hello:1\.0\.0_build\.1")


def test_a_revision_of_a_publisher_without_the_key_is_signed_by_the_next_one_with_it(
    published: Published, key: Path
) -> None:
    published.release("1.0.0")
    crane = published.toolset.crane.path
    assert signers(crane, f"{published.packages}:latest", key) == []
    outcome = published.project.run("repository", "repair", published.target, "--sign-key", str(key)).ok()
    assert outcome.out.startswith("unchanged: ")
    assert signers(crane, f"{published.packages}:latest", key) == ["k"]
    for action in (["deprecate"], ["deprecate", "--undo"], ["withdraw", "--yes"], ["withdraw", "--undo"]):
        arguments = ["repository", *action, published.target, f"{NAME}/1.0.0", "--reason", "x", "--sign-key", str(key)]
        published.project.run(*arguments).ok()
        assert signers(crane, f"{published.packages}:latest", key) == ["k"], action
    published.project.run("repository", "deprecate", published.target, f"{NAME}/1.0.0", "--reason", "x").ok()
    assert signers(crane, f"{published.packages}:latest", key) == []


def test_keys_sign_beside_each_other(published: Published, key: Path) -> None:
    bundle, other = published.release("1.0.0"), write_pair(key.parent, "other")
    crane = published.toolset.crane.path
    for pair, word in ((key, "signed"), (other, "signed"), (key, "signed already"), (other, "signed already")):
        outcome = published.project.run("sign", bundle, "--sign-key", str(pair)).ok()
        assert outcome.out == f"{bundle}  {word}\n"
    assert signers(crane, bundle, key, other) == ["k", "other"]
    # In whatever order they came.
    tag = signature.tag_of(Digest.parse(bundle.rpartition("@")[2]))
    place = bundle.rpartition("@")[0]
    first = published.crane("digest", f"{place}:{tag}")
    published.crane("delete", f"{place}:{tag}")
    for pair in (other, key):
        published.project.run("sign", bundle, "--sign-key", str(pair)).ok()
    assert published.crane("digest", f"{place}:{tag}") == first


def test_published_things_are_signed_by_tag_or_digest(published: Published, key: Path) -> None:
    bundle = published.release("1.0.0")
    digest, place = published.crane("digest", f"{published.packages}:latest"), f"{published.target}/{NAME}"
    published.crane("tag", f"{place}:image", "v1")
    image = published.crane("digest", f"{place}:v1")
    found = published.json("sign", f"{published.packages}:latest", f"{place}:v1", bundle, "--sign-key", str(key))
    assert found == {
        "signed": [
            {"reference": f"{published.packages}:latest@{digest}", "added": True},
            {"reference": f"{place}:v1@{image}", "added": True},
            {"reference": bundle, "added": True},
        ]
    }
    for reference in (f"{published.packages}:latest", f"{place}:v1", bundle):
        assert signers(published.toolset.crane.path, reference, key) == ["k"]


def test_what_cannot_be_signed_is_an_error_and_then_nothing_is(published: Published, key: Path) -> None:
    bundle = published.release("1.0.0")
    run = published.project.run
    cases = [
        ((bundle,), "nothing says with which key", "--sign-key FILE"),
        ((f"{published.packages}", "--sign-key", str(key)), "names neither a tag nor a digest", ":TAG"),
        ((bundle, f"{published.packages}:9", "--sign-key", str(key)), "nothing to sign:", "by tag or digest"),
        ((bundle, "--cosign-key", "k"), "--cosign-key needs --signer cosign", "--sign-key FILE"),
        ((bundle, "--signer", "cosign", "--sign-key", str(key)), "exclude each other", "--cosign-key KEY"),
        ((bundle, "--signer", "gpg", "--sign-key", str(key)), "'gpg' is not one of 'key', 'cosign'", "Usage"),
        (("nonsense", "--sign-key", str(key)), "not an image reference", "Usage"),
        ((bundle, "--sign-key", str(key.with_suffix(".pub"))), "holds a public key, which cannot sign", "private key"),
        ((bundle, "--sign-key", "/nowhere"), "does not exist", "Usage"),
        (("--sign-key", str(key)), "Missing argument", "Usage"),
    ]
    for arguments, message, more in cases:
        outcome = run("sign", *arguments)
        assert outcome.code == 2, outcome
        assert message in outcome.err
        assert more in outcome.err
    assert signers(published.toolset.crane.path, bundle, key) == []


def test_without_cosign_on_path_the_error_says_so(published: Published) -> None:
    bundle = published.release("1.0.0")
    path = os.pathsep.join(
        each
        for each in published.project.environment["PATH"].split(os.pathsep)
        if not shutil.which("cosign", path=each)
    )
    outcome = published.project.run("sign", bundle, "--signer", "cosign", environment={"PATH": path})
    assert outcome.code == 4
    assert "cosign is not on PATH" in outcome.err
    assert "or sign with a key file: --sign-key FILE" in outcome.err


@pytest.mark.parametrize("make", [rsa_key, ed25519_key, lambda: b"nonsense"])
def test_a_wrong_key_is_refused_before_anything_is_pushed(
    make: object, built: PackageProject, registry: str, crane: Path, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.key"
    path.write_bytes(make())  # type: ignore[operator]
    outcome = built.run("publish", f"{registry}/p", "--sign-key", str(path))
    assert outcome.code == 2
    assert f"{path} cannot be used as a private key" in outcome.err
    assert content_of(crane, registry) == {}


def test_no_program_gets_the_passphrase_and_no_word_shows_it(
    built: PackageProject, registry: str, tmp_path: Path
) -> None:
    pair = write_pair(tmp_path, passphrase=PASSPHRASE)
    seen, directory = tmp_path / "seen", tmp_path / "wrapped"
    directory.mkdir()
    for tool in ("crane", "imgpkg"):
        real = shutil.which(tool, path=built.environment["PATH"])
        script = f'#!/bin/sh\nenv >> {seen}\nprintf \'%s\\n\' "$@" >> {seen}\nexec {real} "$@"\n'
        (directory / tool).write_text(script)
        (directory / tool).chmod(0o755)
    path = os.pathsep.join([str(directory), built.environment["PATH"]])
    environment = {"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": PASSPHRASE, "PATH": path}
    arguments = ("publish", f"{registry}/p", "--sign-key", str(pair))
    outcome = built.run(*arguments, environment=environment).ok()
    wrong = built.run(*arguments, environment={**environment, "CARVELWRIGHT_SIGN_KEY_PASSPHRASE": "wrong secret"})
    assert wrong.code == 2
    text = seen.read_text()
    assert "--to-repo" in text
    assert "PATH=" in text
    for written in (text, outcome.out, outcome.err, wrong.out, wrong.err):
        assert PASSPHRASE not in written
        assert "wrong secret" not in written
        assert not any(line in written for line in pair.read_text().splitlines()[1:-1])


def test_the_key_of_the_environment_signs(built: PackageProject, registry: str, crane: Path, key: Path) -> None:
    built.run("publish", f"{registry}/p", environment={"CARVELWRIGHT_SIGN_KEY": str(key)}).ok()
    assert signers(crane, f"{registry}/p/hello:1.0.0_build.1", key) == ["k"]


def test_something_else_under_the_tag_of_a_signature_is_an_error(published: Published, key: Path) -> None:
    bundle = published.release("1.0.0")
    place, _, digest = bundle.rpartition("@")
    index = published.scratch / "index"
    index.mkdir()
    tag = signature.tag_of(Digest.parse(digest))
    published.crane("index", "append", "-t", f"{place}:{tag}", "-m", f"{place}:image")
    outcome = published.project.run("sign", bundle, "--sign-key", str(key))
    assert outcome.code == 6
    assert f"{place}:{tag} cannot be read as an attachment" in outcome.err
    assert "hint: remove this tag" in outcome.err


def test_a_registry_with_immutable_tags_takes_a_signature_once(published: Published, key: Path) -> None:
    bundle, other = published.release("1.0.0"), write_pair(key.parent, "other")
    with Proxy(published.registry, manners=Manners(immutable="harbor")) as proxy:
        there = bundle.replace(published.registry, proxy.address)
        for word in ("signed", "signed already"):
            assert published.project.run("sign", there, "--sign-key", str(key)).ok().out == f"{there}  {word}\n"
        outcome = published.project.run("sign", there, "--sign-key", str(other))
        assert outcome.code == 6
        assert "immutab" in outcome.err


def test_signatures_are_archived_and_relocated_beside_those_of_the_site(
    published: Published, site: Published, key: Path
) -> None:
    own, crane = write_pair(key.parent, "site"), published.toolset.crane.path
    bundle = published.release("1.0.0")
    image = published.crane("digest", f"{published.target}/{NAME}:image")
    for reference in (bundle, f"{published.target}/{NAME}@{image}"):
        published.project.run("sign", reference, "--sign-key", str(key)).ok()
    published.release("2.0.0", OTHER)
    for wanted in ([NAME], ["--all"]):
        published.project.run("archive", published.target, *wanted, "--output", "a.tar").ok()
        site.project.run("relocate", "a.tar", site.target, "--sign-key", str(own)).ok()
        there = f"{site.packages}@{bundle.rpartition('@')[2]}"
        assert signers(crane, there, key, own) == ["k", "site"]
        assert signers(crane, f"{site.packages}@{image}", key, own) == ["k"]
        assert signers(crane, f"{site.packages}:latest", key, own) == ["site"]
        assert site.json("repository", "verify", site.target)["findings"] == []
    before = content_of(crane, site.registry)
    site.project.run("relocate", "a.tar", site.target, "--sign-key", str(own)).ok()
    assert content_of(crane, site.registry) == before


def test_imgpkg_alone_carries_the_signatures(published: Published, site: Published, key: Path, imgpkg: Path) -> None:
    bundle = published.release("1.0.0")
    published.project.run("sign", bundle, "--sign-key", str(key)).ok()
    source = f"{published.packages}:latest"
    call(imgpkg, "copy", "-b", source, "--to-repo", f"{site.target}/x", "--cosign-signatures", "--tty=false")
    there = f"{site.target}/x@{bundle.rpartition('@')[2]}"
    assert signers(published.toolset.crane.path, there, key) == ["k"]
    call(imgpkg, "copy", "-b", source, "--to-tar", published.scratch / "i.tar", "--cosign-signatures", "--tty=false")
    # An archive that imgpkg made is relocated, too.
    site.project.run("relocate", str(published.scratch / "i.tar"), site.target).ok()
    assert signers(published.toolset.crane.path, f"{site.packages}@{bundle.rpartition('@')[2]}", key) == ["k"]


def test_keygen_wants_a_passphrase_or_an_explicit_no(published: Published) -> None:
    run, variable = published.project.run, {"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": "x"}
    without = run("keygen", "-o", "k", environment={"CARVELWRIGHT_SIGN_KEY_PASSPHRASE": ""})
    assert without.code == 2
    assert "no passphrase for the private key" in without.err
    both = run("keygen", "-o", "k", "--no-passphrase", environment=variable)
    assert both.code == 2
    assert "exclude each other" in both.err
    assert list(published.project.root.iterdir()) == []
    assert run("keygen", "-o", "k", "--no-passphrase").ok().out.startswith("k.key  private key, keep it secret\nk.pub")
    assert "ENCRYPTED" not in (published.project.root / "k.key").read_text()
    run("keygen", "-o", "e", environment=variable).ok()
    assert "ENCRYPTED" in (published.project.root / "e.key").read_text()
