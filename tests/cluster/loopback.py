"""etcd and an API server on loopback, for benchmarks that need no nodes: without root, and with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.api import Api
from tests.cluster.cluster import terminated_like_interrupted
from tests.cluster.errors import ClusterError
from tests.cluster.machine import tail
from tests.cluster.pki import Authority, signing_key
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.binaries import Binaries

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A running API server: its address, an administrator's kubeconfig, and the processes that do its work."""

    binaries: Binaries
    directory: Path
    ca: Authority
    url: str
    kubeconfig: Path
    processes: tuple[int, ...]

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as administrator and return what it prints; raise `ClusterError` where it fails."""
        return _run([str(self.binaries.path("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments])

    @contextlib.contextmanager
    def api(self) -> Iterator[Api]:
        """Give the API as administrator."""
        path = self.directory / "api.sock"
        argv = [str(self.binaries.path("kubectl")), f"--kubeconfig={self.kubeconfig}", "proxy", f"--unix-socket={path}"]
        with _daemon(self.directory, argv):
            api = Api(path)
            wait_until("kubectl proxy serves the API", api.ready)
            yield api

    def cpu_seconds(self) -> float:
        """Return the CPU time that API server and etcd have used so far."""
        return sum(_cpu_seconds(each) for each in self.processes)


@contextlib.contextmanager
def api_server(binaries: Binaries, directory: Path, *flags: str) -> Iterator[Server]:
    """Run etcd and an API server, with further flags, until the context is left. Their files lie in `directory`."""
    client, peer, secure = (_free_port() for _ in range(3))
    ca = Authority.create(directory / "pki")
    ca.issue("apiserver", "/CN=kube-apiserver", server=("IP:127.0.0.1",))
    ca.issue("admin", "/O=system:masters/CN=admin")
    signing_key(ca.directory, "service-accounts")
    url = f"https://127.0.0.1:{secure}"
    kubeconfig = ca.kubeconfig("admin", directory / "admin.conf", url)
    with terminated_like_interrupted(), contextlib.ExitStack() as running:
        etcd = running.enter_context(_daemon(directory, _etcd(binaries, directory, client, peer)))
        argv = [*_apiserver(binaries, ca, client, secure), *flags]
        api = running.enter_context(_daemon(directory, argv))
        server = Server(binaries, directory, ca, url, kubeconfig, (etcd.pid, api.pid))

        def ready() -> bool:
            if api.poll() is not None:
                raise RuntimeError(f"kube-apiserver ended:\n{tail(directory / 'kube-apiserver.log')}")
            return "ok" in server.kubectl("get", "--raw=/readyz")

        wait_until("the API server is ready", ready, interval=0.5)
        yield server


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


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout


def _cpu_seconds(process: int) -> float:
    # The program's name, in parentheses, may hold anything.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
