"""Keys of tests, and what openssl and cosign write that is no key of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from carvelwright.supply import keys

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "correct horse ÄÖ"  # noqa: S105 - of a test
_PKCS8 = serialization.PrivateFormat.PKCS8
_PEM, _PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()


def write_pair(directory: Path, name: str = "k", passphrase: str | None = None) -> Path:
    """Write NAME.key and NAME.pub; returns the first."""
    key = keys.generate()
    path = directory / f"{name}.key"
    path.write_bytes(key.pem(passphrase.encode() if passphrase else None))
    path.with_suffix(".pub").write_bytes(key.public().pem())
    return path


def rsa_key() -> bytes:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(_PEM, _PKCS8, _PLAIN)


def ed25519_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(_PEM, _PKCS8, _PLAIN)


def other_curve() -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(_PEM, _PKCS8, _PLAIN)


def traditional() -> bytes:
    """Return a key as `openssl ecparam -genkey` writes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(_PEM, serialization.PrivateFormat.TraditionalOpenSSL, _PLAIN)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key without a passphrase; its public key lies beside it, as .pub."""
    directory = tmp_path / "keys"
    directory.mkdir()
    return write_pair(directory)
