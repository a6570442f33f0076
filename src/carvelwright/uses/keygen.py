"""Makes a key pair, for people who have none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import UsageError
from carvelwright.supply import keys

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a key pair, and what people know the key by."""

    private: Path
    public: Path
    key_id: str


def keygen(output: Path, passphrase: bytes | None) -> KeyPair:
    """Write OUTPUT.key and OUTPUT.pub; the private key is encrypted where there is a passphrase.

    UsageError where one of the files exists or their directory does not, FilesystemError where they cannot be written;
    nothing is overwritten.
    """
    if output.name in ("", "..") or not output.parent.is_dir():
        raise UsageError(
            f"cannot write a key pair as {output}: it is no name in an existing directory",
            hint="name one with --output NAME",
        )
    private, public = (output.with_name(f"{output.name}.{kind}") for kind in ("key", "pub"))
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists", hint="name another with --output NAME: a key is never overwritten")
    key = keys.generate()
    with files.reporting_file_errors("write", private):
        # Nobody else may read it at any moment, and of two who write at once one fails.
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key.pem(passphrase))
    files.write_atomic(public, key.public().pem())
    return KeyPair(private, public, key.public().key_id)
