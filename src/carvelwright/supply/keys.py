"""Key files: ECDSA on P-256, as cosign, openssl and `carvelwright keygen` write them. Nothing else is a key here.

`cryptography` is imported where it is used: it takes tenths of a second, and most commands sign nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

PASSPHRASE_VARIABLE = "CARVELWRIGHT_SIGN_KEY_PASSPHRASE"  # noqa: S105 - a name
_LARGEST = 64 << 10
_ID_DIGITS = 16
_MAKE_HINT = "make a key with `carvelwright keygen`, or name another file"
_COSIGN = (b"BEGIN ENCRYPTED SIGSTORE PRIVATE KEY", b"BEGIN ENCRYPTED COSIGN PRIVATE KEY")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies: `der` is its SubjectPublicKeyInfo."""

    der: bytes
    _key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def key_id(self) -> str:
        """What people know it by: the beginning of the SHA-256 digest of its DER form."""
        return hashlib.sha256(self.der).hexdigest()[:_ID_DIGITS]

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether a signature, in DER, is one of this key on some data."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        try:
            self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """Return it as a file has it."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs; nothing of it is shown."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature in DER: ECDSA with SHA-256, equal for equal data (RFC 6979)."""
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def public(self) -> PublicKey:
        """Return the key that verifies what this one signs."""
        return _public(self._key.public_key())

    def pem(self, passphrase: bytes | None) -> bytes:
        """Return it as a file has it: PKCS#8, encrypted where there is a passphrase."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def generate() -> PrivateKey:
    """Make a new key."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))


def read_private(path: Path, passphrase: bytes | None) -> PrivateKey:
    """Read a key that signs. UsageError says why a file is none; it shows nothing of the file.

    A passphrase that the key does not need is not used.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    content = files.read_bytes(path, _LARGEST)
    _refuse_other_formats(path, content)
    encrypted = b"ENCRYPTED" in content
    if encrypted and not passphrase:
        raise UsageError(
            f"{path} is encrypted, and no passphrase is set", hint=f"set {PASSPHRASE_VARIABLE} to its passphrase"
        )
    try:
        key = serialization.load_pem_private_key(content, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise UsageError(
                f"{path} cannot be decrypted with the passphrase in {PASSPHRASE_VARIABLE}",
                hint="set the passphrase of this key; if it is right, the file is damaged",
            ) from None
        raise _no_key(path, "a private key", "no private key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(path, "a private key", _kind(key))
    return PrivateKey(key)


def read_public(path: Path) -> PublicKey:
    """Read a key that verifies. UsageError says why a file is none; it shows nothing of the file."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    content = files.read_bytes(path, _LARGEST)
    if b"PRIVATE KEY-----" in content:
        raise UsageError(
            f"{path} holds a private key", hint="name the public key with --key: `carvelwright keygen` writes both"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "a public key", "no public key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(path, "a public key", _kind(key))
    return _public(key)


def _public(key: ec.EllipticCurvePublicKey) -> PublicKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return PublicKey(key.public_bytes(serialization.Encoding.DER, form), key)


def _refuse_other_formats(path: Path, content: bytes) -> None:
    if any(label in content for label in _COSIGN):
        raise UsageError(
            f"{path} is a key in cosign's own format, which only cosign reads",
            hint="sign with it by `carvelwright sign --signer cosign --cosign-key FILE`, or make a key with "
            "`carvelwright keygen`",
        )
    if b"BEGIN PUBLIC KEY" in content:
        raise UsageError(f"{path} holds a public key, which cannot sign", hint="name the private key")
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        raise _no_key(path, "a private key", "a key of OpenSSH")
    if b"BEGIN CERTIFICATE" in content and b"PRIVATE KEY" not in content:
        raise _no_key(path, "a private key", "a certificate")


def _no_key(path: Path, what: str, found: str) -> UsageError:
    return UsageError(
        f"{path} cannot be used as {what}",
        details=f"found: {found}\nexpected: {what} for ECDSA on the curve P-256, in PEM",
        hint=_MAKE_HINT,
    )


def _kind(key: Any) -> str:
    curve = getattr(key, "curve", None)
    if curve is not None:
        return f"a key on the curve {curve.name}"
    name = type(key).__name__.lower()
    known = ("rsa", "dsa", "ed25519", "ed448", "x25519", "x448", "dh")
    return next(
        (f"a key for {each.upper()}" for each in known if name.startswith(f"_{each}") or each in name),
        "another kind of key",
    )
