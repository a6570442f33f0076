"""One run of the reconciler against etcd and an API server on loopback, for `make bench-reconcile`; needs no root."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout, versions
from tests.cluster.binaries import ETCD, WHEREABOUTS, Binaries, ensure_sets
from tests.cluster.errors import ClusterError
from tests.cluster.machine import tail
from tests.cluster.pki import Authority, signing_key
from tests.cluster.progress import say
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = layout.ROOT / "payload" / "v0.9.4"
GO = str(Path(sys.prefix) / "bin" / "go")
ENVIRONMENT = {
    **os.environ,
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
}


def main() -> int:
    """Raise the API server, run the benchmark, and take all down; return the benchmark's exit code."""
    try:
        binaries = ensure_sets(versions.chosen(os.environ), (ETCD,))
        with tempfile.TemporaryDirectory(prefix="bench-reconcile-") as scratch, contextlib.ExitStack() as running:
            kubeconfig = running.enter_context(_api_server(binaries, Path(scratch)))
            _kubectl(binaries, kubeconfig, "apply", *(f"--filename={each}" for each in _crds()))
            _kubectl(binaries, kubeconfig, "wait", "--for=condition=Established", "crd", "--all")
            say("seeding and running: about two minutes")
            argv = [GO, "test", "-run=^$", "-bench=^BenchmarkReconcile$", "-benchtime=1x", "-timeout=20m", "."]
            environment = {**ENVIRONMENT, "RECONCILE_KUBECONFIG": str(kubeconfig)}
            return subprocess.run(argv, cwd=MODULE, env=environment, check=False).returncode
    except ClusterError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


@contextlib.contextmanager
def _api_server(binaries: Binaries, directory: Path) -> Iterator[Path]:
    """Run etcd and an API server; the value is an administrator's kubeconfig."""
    client, peer, secure = (_free_port() for _ in range(3))
    ca = Authority.create(directory / "pki")
    ca.issue("apiserver", "/CN=kube-apiserver", server=("IP:127.0.0.1",))
    ca.issue("admin", "/O=system:masters/CN=admin")
    signing_key(ca.directory, "service-accounts")
    kubeconfig = ca.kubeconfig("admin", directory / "admin.conf", f"https://127.0.0.1:{secure}")
    with contextlib.ExitStack() as running:
        running.enter_context(_daemon(directory, _etcd(binaries, directory, client, peer)))
        api = running.enter_context(_daemon(directory, _apiserver(binaries, ca, client, secure)))

        def ready() -> bool:
            if api.poll() is not None:
                raise RuntimeError(f"kube-apiserver ended:\n{tail(directory / 'kube-apiserver.log')}")
            return "ok" in _kubectl(binaries, kubeconfig, "get", "--raw=/readyz")

        wait_until("the API server is ready", ready, interval=0.5)
        yield kubeconfig


@contextlib.contextmanager
def _daemon(directory: Path, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the context is left."""
    with (directory / f"{Path(argv[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _etcd(binaries: Binaries, directory: Path, client: int, peer: int) -> list[str]:
    peers = f"http://127.0.0.1:{peer}"
    return [
        str(binaries.path("etcd")),
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(binaries: Binaries, ca: Authority, client: int, secure: int) -> list[str]:
    pki = ca.directory
    return [
        str(binaries.path("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={secure}",
        f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
        f"--tls-cert-file={ca.crt('apiserver')}",
        f"--tls-private-key-file={ca.key('apiserver')}",
        f"--client-ca-file={ca.crt()}",
        "--authorization-mode=RBAC",
        # No controller makes service accounts here.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
    ]


def _kubectl(binaries: Binaries, kubeconfig: Path, *arguments: str) -> str:
    argv = [str(binaries.path("kubectl")), f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout


def _crds() -> list[Path]:
    argv = [GO, "list", "-m", "-f", "{{.Dir}}", WHEREABOUTS]
    done = subprocess.run(argv, cwd=MODULE, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip() or 'the module is not downloaded'}")
    # Other manifests lie beside them.
    return sorted((Path(done.stdout.strip()) / "doc" / "crds").glob("whereabouts.cni.cncf.io_*.yaml"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
