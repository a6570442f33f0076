"""The installed plugin, called by hand as a container runtime does: in the node's namespaces, for one of its pods."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.machine import PATH

if TYPE_CHECKING:
    from tests.cluster.node import Node

# Upstream gives up an ADD after two minutes.
CALL_SECONDS = 150
BIN_DIRECTORY = "/opt/cni/bin"
CONF = "/etc/cni/net.d/whereabouts.d/whereabouts.conf"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface of a pod (of the namespace default) on a node; the plugin's files lie where the node has them."""

    node: Node
    pod: str
    container: str
    interface: str = "net1"
    bin_directory: str = BIN_DIRECTORY

    def call(self, command: str, conf: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Call the plugin and return its end, whatever it was."""
        environment = {
            "PATH": PATH,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_IFNAME": self.interface,
            # An IPAM plugin has nothing to do in the pod's network, so the node's does for it.
            "CNI_NETNS": "/proc/self/ns/net",
            "CNI_NETNS_OVERRIDE": "true",
            "CNI_PATH": self.bin_directory,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.pod}",
        }
        machine, plugin = self.node.machine, f"{self.bin_directory}/whereabouts"
        return execute(
            ["nsenter", "--target", str(machine.pid), "--mount", "--uts", "--net", "--", plugin], conf, environment
        )


def execute(argv: list[str], conf: dict[str, Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a plugin with a configuration, as a runtime does, and return its end, whatever it was."""
    return subprocess.run(
        argv,
        input=json.dumps(conf),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CALL_SECONDS,
        check=False,
        env=environment,
    )


def conf(pool_range: str, *, version: str = "0.3.1", conf_file: str = CONF, **ipam: Any) -> dict[str, Any]:
    """Return the configuration of a network with that range, as the runtime hands it to the plugin."""
    section = {"type": "whereabouts", "range": pool_range, "configuration_path": conf_file, **ipam}
    return {"cniVersion": version, "name": "by-hand", "type": "macvlan", "ipam": section}
