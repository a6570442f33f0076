"""Key files: what is one, what is none, and that nothing of a key is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, UsageError
from carvelwright.supply import keys
from carvelwright.uses.keygen import keygen
from tests.helpers.keys import PASSPHRASE, ed25519_key, other_curve, rsa_key, traditional, write_pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_equal_data_gets_equal_signatures_that_only_its_key_verifies(tmp_path: Path) -> None:
    key, other = (keys.read_private(write_pair(tmp_path, name), None) for name in ("a", "b"))
    signature = key.sign(b"data")
    assert signature == key.sign(b"data") != other.sign(b"data")
    public = keys.read_public(tmp_path / "a.pub")
    assert public == key.public()
    assert public.verifies(signature, b"data")
    for wrong in (b"", b"x", signature[:-1], other.sign(b"data")):
        assert not public.verifies(wrong, b"data")
    assert not public.verifies(signature, b"date")


def test_an_encrypted_key_takes_its_passphrase_only(tmp_path: Path) -> None:
    path = write_pair(tmp_path, passphrase=PASSPHRASE)
    assert keys.read_private(path, PASSPHRASE.encode()).public() == keys.read_public(path.with_suffix(".pub"))
    for wrong in (b"wrong", PASSPHRASE.encode()[:-1]):
        with pytest.raises(UsageError, match="cannot be decrypted with the passphrase in CARVELWRIGHT_SIGN_KEY_PASS"):
            keys.read_private(path, wrong)
    for none in (None, b""):
        with pytest.raises(UsageError, match="is encrypted, and no passphrase is set"):
            keys.read_private(path, none)


def test_a_passphrase_that_a_key_does_not_need_is_not_used(tmp_path: Path) -> None:
    assert keys.read_private(write_pair(tmp_path), b"unneeded").sign(b"")


def test_a_key_as_openssl_writes_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(traditional())
    assert keys.read_private(path, None).sign(b"")


NO_PRIVATE_KEYS: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"", "no private key that can be read"),
    (lambda: b"\x00\xff" * 100, "no private key that can be read"),
    (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key that can be read"),
    (lambda: b"-----BEGIN PRIVATE KEY-----\n\xff\n-----END PRIVATE KEY-----\n", "no private key that can be read"),
    (lambda: b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "a key of OpenSSH"),
    (lambda: b"-----BEGIN CERTIFICATE-----\n", "a certificate"),
    (rsa_key, "a key for RSA"),
    (ed25519_key, "a key for ED25519"),
    (other_curve, "a key on the curve secp384r1"),
]


@pytest.mark.parametrize(("make", "found"), NO_PRIVATE_KEYS)
def test_what_is_no_key_is_named_with_what_was_found(make: Callable[[], bytes], found: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(make())
    with pytest.raises(UsageError) as raised:
        keys.read_private(path, None)
    words = "\n".join(raised.value.lines())
    assert f"{path} cannot be used as a private key" in words
    assert f"found: {found}\n" in words
    assert "expected: a private key for ECDSA on the curve P-256, in PEM" in words
    assert "hint: make a key with `carvelwright keygen`" in words


def test_keys_of_other_formats_have_words_of_their_own(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    with pytest.raises(UsageError, match="holds a public key, which cannot sign"):
        keys.read_private(path.with_suffix(".pub"), None)
    with pytest.raises(UsageError, match="holds a private key"):
        keys.read_public(path)
    path.write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="in cosign's own format, which only cosign reads"):
        keys.read_private(path, b"x")


def test_a_damaged_encrypted_key_shows_nothing_of_it(tmp_path: Path) -> None:
    path = write_pair(tmp_path, passphrase=PASSPHRASE)
    text = path.read_text()
    path.write_text(text.replace(text.splitlines()[2], text.splitlines()[2][::-1]))
    with pytest.raises(UsageError) as raised:
        keys.read_private(path, PASSPHRASE.encode())
    words = "\n".join(raised.value.lines())
    assert PASSPHRASE not in words
    assert not any(line in words for line in text.splitlines()[1:-1])


@pytest.mark.parametrize("make", [lambda: b"", rsa_key, other_curve, lambda: b"x" * 100_000])
def test_what_is_no_public_key_is_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(make())
    with pytest.raises(CarvelwrightError, match=r"cannot be used as a public key|private key|larger than 65536 bytes"):
        keys.read_public(path)


def test_nothing_of_a_key_is_in_its_representation(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    assert re.fullmatch(r"PrivateKey\(\)", repr(keys.read_private(path, None)))


def test_keygen_writes_a_pair_that_nobody_else_reads_and_overwrites_nothing(tmp_path: Path) -> None:
    made = keygen(tmp_path / "release.v1", PASSPHRASE.encode())
    assert (made.private, made.public) == (tmp_path / "release.v1.key", tmp_path / "release.v1.pub")
    assert (made.private.stat().st_mode & 0o777, made.public.stat().st_mode & 0o777) == (0o600, 0o644)
    assert keys.read_private(made.private, PASSPHRASE.encode()).public().key_id == made.key_id
    before = made.private.read_bytes()
    with pytest.raises(UsageError, match=r"release\.v1\.key exists"):
        keygen(tmp_path / "release.v1", None)
    assert made.private.read_bytes() == before
    (tmp_path / "other.pub").symlink_to("/nowhere")
    with pytest.raises(UsageError, match=r"other\.pub exists"):
        keygen(tmp_path / "other", None)
    assert not (tmp_path / "other.key").exists()
    for wrong in (tmp_path / "missing/k", tmp_path / ".."):
        with pytest.raises(UsageError, match="it is no name in an existing directory"):
            keygen(wrong, None)


def test_openssl_reads_a_key_of_keygen(tmp_path: Path) -> None:
    made = keygen(tmp_path / "k", b"secret")
    argv = ["openssl", "pkey", "-in", str(made.private), "-passin", "pass:secret", "-pubout"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout == made.public.read_bytes()


def test_starting_imports_no_cryptography_and_no_library_of_sboms() -> None:
    slow = ["cryptography", "cyclonedx", "license_expression"]
    code = (
        "import sys, carvelwright.cli.main, importlib\n"
        "for name in carvelwright.cli.main._COMMANDS: importlib.import_module(f'carvelwright.cli.{name}')\n"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
