"""A node: a machine with containerd, kubelet and kube-proxy, joined to the control plane's bridge."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.cluster import components, host, layout
from tests.cluster.api import holds
from tests.cluster.control_plane import BRIDGE
from tests.cluster.errors import ClusterError
from tests.cluster.machine import PATH, Machine
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.cluster.control_plane import ControlPlane

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
# Below these, all that is mounted belongs to containers and pods.
VOLATILE = (Path("/run"), Path("/var/lib/containerd"), Path("/var/lib/kubelet"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "macvlan", "portmap")


class Node:
    """A context manager: on leaving it, no process, mount, network device or cgroup of the node is left."""

    def __init__(self, index: int, control_plane: ControlPlane, machine: Machine | None = None) -> None:
        self.index = index
        self.name = f"node{index}"
        self.address = layout.node_ip(index)
        self.control_plane = control_plane
        self.directory = layout.RUN / self.name
        self._machine = machine

    @property
    def machine(self) -> Machine:
        """The machine, which exists within the context."""
        if self._machine is None:
            raise RuntimeError(f"{self.name} is not up")
        return self._machine

    def __enter__(self) -> Self:
        self.control_plane.ca.issue(
            self.name, f"/O=system:nodes/CN=system:node:{self.name}", server=(f"IP:{self.address}", f"DNS:{self.name}")
        )
        self._machine = Machine.create(self.name, self.control_plane.binaries.path("pause"))
        host.make_cgroup(self.name)
        self._join_network()
        self._write_files()
        self._mount()
        self.start_containerd()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.destroy()
        self._machine = None
        host.remove_cgroups(self.name)

    def power_off(self) -> None:
        """Take the node down at one stroke, with all that a machine forgets: processes, mounts, /run, its network.

        Kept are its own namespaces with the link to the others, and what lies on its disk: images, what the kubelet and
        the CNI plugins note, the pods' directories. `power_on` is the way back.
        """
        self.machine.stop_all()
        host.remove_cgroups(self.name)
        for mount in reversed(self.machine.mounts()):
            if any(volatile in mount.parents for volatile in VOLATILE) and layout.BUILD not in (mount, *mount.parents):
                self.machine.run(["umount", "--lazy", str(mount)])
        self.machine.run(["find", "/run", "-xdev", "-mindepth", "1", "-delete"])
        self.machine.run(["nft", "flush", "ruleset"])
        for link in json.loads(self.machine.run(["ip", "-json", "link", "show"])):
            if link["ifname"] not in {"lo", "eth0"}:
                self.machine.run(["ip", "link", "delete", link["ifname"]])

    def power_on(self) -> None:
        """Start what `power_off` took down; the API server may not have noticed that the node was gone."""
        host.make_cgroup(self.name)
        self.start_containerd()
        self.start_kubelet()

    def start_containerd(self) -> None:
        """Start containerd; containers of an earlier one live on."""
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        self.machine.start(
            "containerd",
            [_host_command("containerd"), "--config", "/etc/containerd/config.toml"],
            env={"TMPDIR": str(temporary)},
        )

    def start_kubelet(self) -> None:
        """Start kubelet and kube-proxy, once containerd answers."""
        wait_until(f"containerd of {self.name} answers", self._containerd_answers)
        binaries, run = self.control_plane.binaries, layout.RUN
        kubeconfig = self.control_plane.ca.kubeconfig(self.name, run / f"{self.name}.conf")
        config = self.directory / "kubelet.json"
        config.write_text(
            components.kubelet_config(self.name, self.control_plane.ca, f"{layout.CGROUP_PREFIX}{self.name}")
        )
        self.machine.start("kubelet", components.kubelet(binaries, self.name, self.address, config, kubeconfig))
        config = self.directory / "kube-proxy.json"
        config.write_text(components.kube_proxy_config(self.name, run / "kube-proxy.conf", binaries.kubernetes))
        self.machine.start("kube-proxy", components.kube_proxy(binaries, config))

    def wait_ready(self) -> None:
        """Wait until the API server calls the node ready."""

        def ready() -> bool:
            self.machine.check()
            return holds(self.control_plane.api.get("nodes", self.name), "Ready")

        wait_until(f"{self.name} is ready", ready)

    def load_image(self, archive: Path) -> None:
        """Put a docker archive into the node's image store."""
        wait_until(f"containerd of {self.name} answers", self._containerd_answers)
        self.ctr("images", "import", str(archive))

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client, in the namespace that kubelet uses."""
        return self.machine.run([_host_command("ctr"), "--address", CONTAINERD_SOCKET, "-n", "k8s.io", *arguments])

    def trust_registry(self, registry: str, *, stands_for: str | None = None) -> None:
        """Let the node pull from `registry` over plain HTTP, for its own name or for the host `stands_for`."""
        directory = self.directory / "etc/containerd/certs.d" / (stands_for or registry)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(components.registry_hosts(registry))

    def _containerd_answers(self) -> bool:
        self.machine.check()
        self.ctr("version")
        return True

    def _join_network(self) -> None:
        machine, hub = self.machine, self.control_plane.machine
        link = ["ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid)]
        # On the network alone: the number of the node's process is the host's, which another PID namespace cannot see.
        done = subprocess.run(hub.on_network(link), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{self.name}: {' '.join(link)}: {done.stderr.strip()}")
        hub.run(["ip", "link", "set", self.name, "master", BRIDGE, "up"])
        machine.run(["ip", "address", "add", f"{self.address}/{layout.NODE_PREFIX}", "dev", "eth0"])
        machine.run(["ip", "link", "set", "eth0", "up"])
        machine.run(["ip", "route", "add", "default", "via", layout.CONTROL_PLANE_IP])
        machine.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        # Pods of other nodes are reached through the hub, which knows where each range is.
        hub.run(["ip", "route", "replace", layout.pod_cidr(self.index), "via", self.address])

    def _write_files(self) -> None:
        for leaf in ("etc", "etc.work", "containerd", "kubelet", "cni-bin", "log/pods", "log/containers"):
            (self.directory / leaf).mkdir(parents=True, exist_ok=True)
        etc = self.directory / "etc"
        for leaf in ("containerd", "cni/net.d"):
            (etc / leaf).mkdir(parents=True)
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "containerd/config.toml").write_text(components.containerd_config())
        conf = etc / "cni/net.d" / components.DEFAULT_NETWORK
        conf.write_text(components.default_network(layout.pod_cidr(self.index)))
        registry = f"{layout.CONTROL_PLANE_IP}:{layout.REGISTRY_PORT}"
        self.trust_registry(registry)
        for plugin in CNI_PLUGINS:
            # Copies: what is installed on a node may be written over, what was built may not.
            shutil.copy(self.control_plane.binaries.path(plugin), self.directory / "cni-bin" / plugin)
        for key, value in components.KUBELET_SYSCTLS.items():
            file = self.directory / "sysctl" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")

    def _mount(self) -> None:
        fstab = self.directory / "fstab"
        fstab.write_text(components.node_mounts(self.name, self.directory))
        self.machine.run(["mount", "--all", "--no-mtab", "--fstab", str(fstab)])
        # Containers see what the node mounts later, such as the network namespaces of pods.
        self.machine.run(["mount", "--make-rshared", "/"])


def _host_command(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise ClusterError(f"{name} is not here")
    return found
