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
    """An interface of a pod (of the namespace default) on a node; the plugin's files lie where the node has them.

    `as_node` is the name that the plugin takes for its node's, in place of the one that the installer wrote.
    """

    node: Node
    pod: str
    container: str
    interface: str = "net1"
    bin_directory: str = BIN_DIRECTORY
    as_node: str = ""

    def call(self, command: str, conf: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Call the plugin and return its end, whatever it was."""
        return execute(self._argv(), conf, self._environment(command))

    def begin(self, command: str, conf: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a call of the plugin, in a process of its own number, and return it while it runs."""
        process = subprocess.Popen(
            self._argv(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment(command),
        )
        if process.stdin is None:
            raise RuntimeError("a pipe was asked for")
        process.stdin.write(json.dumps(conf))
        process.stdin.close()
        process.stdin = None
        return process

    def _argv(self) -> list[str]:
        machine, plugin = self.node.machine, f"{self.bin_directory}/whereabouts"
        return ["nsenter", "--target", str(machine.pid), "--mount", "--uts", "--net", "--", plugin]

    def _environment(self, command: str) -> dict[str, str]:
        named = {"NODENAME": self.as_node} if self.as_node else {}
        return {
            **named,
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
