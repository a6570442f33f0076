"""Certificates and kubeconfigs of the cluster, by openssl with elliptic curve keys, which take milliseconds."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

DAYS = "30"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """A directory of certificates that one authority signed; `NAME.crt` and `NAME.key` lie in `directory`."""

    directory: Path
    name: str = "ca"

    @classmethod
    def create(cls, directory: Path, name: str = "ca") -> Authority:
        """Make a new authority called `name`."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = cls(directory, name)
        extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
        authority.request(name, f"/CN={name}", extensions)
        return authority

    def crt(self, name: str | None = None) -> Path:
        """Return the path of a certificate; the authority's own by default."""
        return self.directory / f"{name or self.name}.crt"

    def key(self, name: str | None = None) -> Path:
        """Return the path of a private key; the authority's own by default."""
        return self.directory / f"{name or self.name}.key"

    def issue(self, name: str, subject: str, *, server: tuple[str, ...] = ()) -> None:
        """Sign a client certificate, which serves for the names in `server` too (`IP:…`, `DNS:…`)."""
        usages = "clientAuth,serverAuth" if server else "clientAuth"
        extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
        extensions.append(f"extendedKeyUsage={usages}")
        if server:
            extensions.append(f"subjectAltName={','.join(server)}")
        signer = ("-CA", str(self.crt()), "-CAkey", str(self.key()))
        self.request(name, subject, extensions, signer)

    def request(
        self, name: str, subject: str, extensions: tuple[str, ...] | list[str], signer: tuple[str, ...] = ()
    ) -> None:
        """Make key and certificate in one step: signed by itself, or by `signer`."""
        argv = ["openssl", "req", "-x509", "-new", *NEW_KEY, "-days", DAYS, "-subj", subject, *signer]
        argv += ["-keyout", str(self.key(name)), "-out", str(self.crt(name))]
        for extension in extensions:
            argv += ["-addext", extension]
        _openssl(argv)

    def kubeconfig(self, name: str, target: Path, server: str = "") -> Path:
        """Write a kubeconfig in which the user is the holder of the certificate `name`; `server` is the cluster's."""
        cluster = {
            "server": server or f"https://{layout.CONTROL_PLANE_IP}:{layout.API_PORT}",
            "certificate-authority-data": _base64(self.crt()),
        }
        user = {"client-certificate-data": _base64(self.crt(name)), "client-key-data": _base64(self.key(name))}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": name}}],
            "current-context": "cluster",
        }
        target.touch(mode=0o600)
        target.write_text(json.dumps(document, indent=2))
        return target


def signing_key(directory: Path, name: str) -> None:
    """Make the pair with which service account tokens are signed: `name.key` and `name.pub`."""
    key = directory / f"{name}.key"
    _openssl(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", str(key)])
    _openssl(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(directory / f"{name}.pub")])


def _openssl(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip()}")


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
