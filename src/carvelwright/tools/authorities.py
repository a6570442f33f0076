"""Lets tools trust a registry's own CA, beside those of this machine."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LARGEST = 1 << 20
# Where Go looks for the system's CAs, in this order; SSL_CERT_FILE takes the place of all.
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_VARIABLE = "SSL_CERT_FILE"
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def read(path: Path) -> str:
    """Return the certificates of a PEM file; ValueError says why it holds none that can be used.

    FilesystemError where it cannot be read.
    """
    content = files.read_bytes(path, _LARGEST)
    blocks = [f"{block.partition(_END)[0]}{_END}" for block in content.decode("latin-1").split(_BEGIN)[1:]]
    if not blocks:
        raise ValueError(f"{path} holds no certificate (expected PEM: {_BEGIN})")
    for number, block in enumerate(blocks, 1):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=f"{_BEGIN}{block}\n")
        except (ssl.SSLError, ValueError, UnicodeError):
            raise ValueError(
                f"certificate {number} of {path} cannot be read (expected a CA certificate in PEM)"
            ) from None
    # Nothing else of the file: a key that lies beside the certificates is copied nowhere.
    return "".join(f"{_BEGIN}{block}\n" for block in blocks)


@contextlib.contextmanager
def trusting(environment: Mapping[str, str], certificates: str) -> Iterator[dict[str, str]]:
    """Yield the environment in which tools trust these CAs, too, while the block runs. FilesystemError."""
    # All of them are Go programs, or heed the variable as these do: one file is for all.
    named = environment.get(_VARIABLE)
    system = ""
    for path in [named] if named else _SYSTEM:
        with contextlib.suppress(OSError):
            system = Path(path).read_text(encoding="latin-1")
            break
    with files.reporting_file_errors("write"):
        scratch = tempfile.TemporaryDirectory(prefix="carvelwright-", dir=environment.get("TMPDIR") or None)
    with scratch as directory:
        bundle = Path(directory) / "cas.pem"
        with files.reporting_file_errors("write"):
            bundle.write_text(f"{system}\n{certificates}", encoding="latin-1")
        yield {**environment, _VARIABLE: str(bundle)}
