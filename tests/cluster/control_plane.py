"""The machine of the control plane: a bridge that joins the nodes, etcd, Kubernetes' control plane and the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.cluster import layout
from tests.cluster.api import Api
from tests.cluster.components import ControlPlaneFlags
from tests.cluster.machine import Machine
from tests.cluster.pki import Authority, signing_key
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.binaries import Binaries

NAME = "control-plane"
BRIDGE = "nodes"


class ControlPlane:
    """A context manager: on leaving it, nothing of the machine is left."""

    def __init__(self, binaries: Binaries, machine: Machine | None = None) -> None:
        self.binaries = binaries
        self.ca = Authority(layout.RUN / "pki")
        self.front_proxy = Authority(layout.RUN / "pki", "front-proxy-ca")
        self.flags = ControlPlaneFlags(binaries, self.ca, self.front_proxy, layout.RUN / NAME)
        self.kubeconfig = layout.RUN / "admin.conf"
        self.api = Api(layout.RUN / NAME / "api.sock")
        self._machine = machine

    @property
    def machine(self) -> Machine:
        """The machine, which exists within the context."""
        if self._machine is None:
            raise RuntimeError("the control plane is not up")
        return self._machine

    def __enter__(self) -> Self:
        layout.RUN.mkdir(parents=True, exist_ok=True)
        self._issue()
        self._machine = Machine.create(NAME, self.binaries.path("pause"))
        machine = self.machine
        # Nobody asks who listens to which multicast group, so the bridge must not go by what it was told.
        machine.run(["ip", "link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0"])
        machine.run(["ip", "address", "add", f"{layout.CONTROL_PLANE_IP}/{layout.NODE_PREFIX}", "dev", BRIDGE])
        machine.run(["ip", "link", "set", BRIDGE, "up"])
        machine.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        machine.start("etcd", self.flags.etcd())
        self.start_apiserver()
        machine.start("api-socket", self.flags.api_socket(self.kubeconfig, self.api.path))
        self.start_registry()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.destroy()
        self._machine = None

    def start_apiserver(self) -> None:
        """Start the API server, for the first time or after `machine.stop("kube-apiserver")`."""
        self.machine.start("kube-apiserver", self.flags.apiserver())

    def start_controllers(self) -> None:
        """Wait for the API server and start what needs it."""
        self.wait_ready()
        run = layout.RUN
        self.machine.start("kube-controller-manager", self.flags.controller_manager(run / "controller-manager.conf"))
        self.machine.start("kube-scheduler", self.flags.scheduler(run / "scheduler.conf"))

    def wait_ready(self) -> None:
        """Wait until the API server is ready."""

        def ready() -> bool:
            self.machine.check()
            return self.api.ready()

        wait_until("the API server is ready", ready)

    def start_registry(self, port: int = layout.REGISTRY_PORT, storage: Path | None = None) -> str:
        """Start a registry on `port` and return its address; images lie in `storage` (default: its own)."""
        address = f"{layout.CONTROL_PLANE_IP}:{port}"
        storage = storage or layout.RUN / f"registry-{port}"
        storage.mkdir(parents=True, exist_ok=True)
        self.machine.start(f"registry-{port}", self.flags.registry(address, storage))
        return address

    def kubeconfig_for(self, name: str, subject: str) -> Path:
        """Return a kubeconfig for a new client certificate with the given subject."""
        self.ca.issue(name, subject)
        return self.ca.kubeconfig(name, layout.RUN / f"{name}.conf")

    def _issue(self) -> None:
        ca, front_proxy = (Authority.create(layout.RUN / "pki", name) for name in ("ca", "front-proxy-ca"))
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        addresses = ("127.0.0.1", layout.CONTROL_PLANE_IP, layout.SERVICE_IP)
        server = (*(f"IP:{address}" for address in addresses), *(f"DNS:{name}" for name in names))
        ca.issue("apiserver", "/CN=kube-apiserver", server=server)
        ca.issue("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
        front_proxy.issue("front-proxy-client", "/CN=front-proxy-client")
        signing_key(layout.RUN / "pki", "service-accounts")
        self.kubeconfig_for("admin", "/O=system:masters/CN=admin")
        self.kubeconfig_for("controller-manager", "/CN=system:kube-controller-manager")
        self.kubeconfig_for("scheduler", "/CN=system:kube-scheduler")
        self.kubeconfig_for("kube-proxy", "/CN=system:kube-proxy")
