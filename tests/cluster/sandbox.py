"""The node's CNI configuration called by hand, as a container runtime does, for a network namespace of our own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.cluster import plugin
from tests.cluster.machine import PATH

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.node import Node

CONF_DIRECTORY = "etc/cni/net.d"
INTERFACE = "eth0"


@dataclass(slots=True)
class Sandbox:
    """A context manager: a network namespace on a node that stands for one of a pod of the namespace default.

    The pod must exist; its own network is not touched. `container` is the ID by which the plugins know the sandbox.
    """

    node: Node
    pod: str
    container: str
    _holder: subprocess.Popen[str] | None = field(default=None, init=False)
    _pid: str = field(default="", init=False)

    def __enter__(self) -> Self:
        # The number is that of the node's own PID namespace.
        hold = "echo $$; exec unshare --net sleep infinity"
        self._holder = subprocess.Popen(
            self.node.machine.inside(["sh", "-c", hold]), env={"PATH": PATH}, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        self._pid = self._holder.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._holder is not None:
            self.node.machine.run(["kill", "-KILL", self._pid])
            self._holder.communicate()

    def call(self, command: str, conf: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Call the plugin of a configuration (default: the node's) and return its end, whatever it was."""
        conf = configuration(self.node) if conf is None else conf
        return plugin.execute(self.argv(conf), conf, self.environment(command))

    def argv(self, conf: dict[str, Any]) -> list[str]:
        """Return the command line of a configuration's plugin, which reads the configuration."""
        return self.node.machine.inside([f"{plugin.BIN_DIRECTORY}/{conf['type']}"])

    def environment(self, command: str) -> dict[str, str]:
        """Return what tells a plugin what to do."""
        pod = {"NAMESPACE": "default", "NAME": self.pod, "INFRA_CONTAINER_ID": self.container}
        return {
            "PATH": PATH,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_IFNAME": INTERFACE,
            "CNI_NETNS": f"/proc/{self._pid}/ns/net",
            "CNI_PATH": plugin.BIN_DIRECTORY,
            "CNI_ARGS": ";".join(["IgnoreUnknown=1", *(f"K8S_POD_{key}={value}" for key, value in pod.items())]),
        }

    def interfaces(self) -> set[str]:
        """Return the names of the interfaces that the sandbox has."""
        argv = ["nsenter", f"--net=/proc/{self._pid}/ns/net", "ip", "-json", "link", "show"]
        return {link["ifname"] for link in json.loads(self.node.machine.run(argv))} - {"lo"}


def configuration(node: Node) -> dict[str, Any]:
    """Return what the runtime of a node would take: the first configuration by name."""
    found: dict[str, Any] = json.loads(configuration_file(node).read_text())
    return found


def configuration_file(node: Node) -> Path:
    """Return the file that the runtime of a node takes."""
    directory = node.directory / CONF_DIRECTORY
    return min(path for path in directory.iterdir() if path.suffix in {".conf", ".conflist", ".json"})
