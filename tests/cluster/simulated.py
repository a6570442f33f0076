"""Nodes that are a directory each, as the installer leaves it, and the plugin, called on them as a runtime does."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster import plugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NAMESPACE = "default"
INTERFACE = "net1"


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, and the directory with whereabouts.conf, whereabouts.kubeconfig and nodename."""

    name: str
    directory: Path

    @classmethod
    def make(cls, name: str, directory: Path, conf: dict[str, Any], server: dict[str, str], token: str) -> Node:
        """Write a node's directory. `server` is the cluster's part of the kubeconfig."""
        directory.mkdir(parents=True)
        kubeconfig = directory / "whereabouts.kubeconfig"
        context = {"cluster": "local", "user": "whereabouts", "namespace": "kube-system"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": server}],
            "users": [{"name": "whereabouts", "user": {"token": token}}],
            "contexts": [{"name": "whereabouts-context", "context": context}],
            "current-context": "whereabouts-context",
        }
        kubeconfig.write_text(json.dumps(document))
        paths = {"configuration_path": str(directory), "kubernetes": {"kubeconfig": str(kubeconfig)}}
        (directory / "whereabouts.conf").write_text(json.dumps({**conf, **paths}))
        (directory / "nodename").write_text(name)
        return cls(name, directory)


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a pod on a node, for which the plugin is called."""

    node: Node
    pod: str

    @property
    def pod_reference(self) -> str:
        """Return NAMESPACE/NAME of the pod."""
        return f"{NAMESPACE}/{self.pod}"

    @property
    def container(self) -> str:
        """Return the ID of the pod's sandbox, as long as real ones."""
        return self.pod.encode().hex().rjust(64, "0")[-64:]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call went: the seconds that the runtime waited, the addresses of an ADD, and the error if it failed."""

    interface: Interface
    seconds: float
    addresses: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The calls of a round by queue, and the seconds from the first one's start to the last one's end."""

    queues: list[list[Answer]]
    seconds: float

    @property
    def answers(self) -> list[Answer]:
        """Return the answers of all queues."""
        return [answer for queue in self.queues for answer in queue]


def call(program: Path, command: str, interface: Interface, pool_range: str) -> Answer:
    """Call a plugin: one process, the network's configuration on its standard input."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": interface.container,
        "CNI_IFNAME": INTERFACE,
        # An IPAM plugin has nothing to do in the pod's network.
        "CNI_NETNS": "/proc/self/ns/net",
        "CNI_NETNS_OVERRIDE": "true",
        "CNI_PATH": str(program.parent),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={interface.pod}",
    }
    conf = plugin.conf(pool_range, version="1.0.0", conf_file=str(interface.node.directory / "whereabouts.conf"))
    began = time.perf_counter()
    done = plugin.execute([str(program)], conf, environment)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        return Answer(
            interface, seconds, (), done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}"
        )
    found = json.loads(done.stdout)["ips"] if command == "ADD" else []
    return Answer(interface, seconds, tuple(each["address"].partition("/")[0] for each in found), "")


def play(
    program: Path, command: str, queues: Sequence[Iterable[Interface]], pool_range: str, *, limit: float = sys.maxsize
) -> Outcome:
    """Work off queues at the same time, each in sequence. After `limit` seconds no further call begins."""
    start, stopped = threading.Barrier(len(queues) + 1), threading.Event()

    def work(queue: Iterable[Interface]) -> list[Answer]:
        start.wait()
        end = time.perf_counter() + limit
        answers = []
        for interface in queue:
            if stopped.is_set() or time.perf_counter() > end:
                break
            answers.append(call(program, command, interface, pool_range))
        return answers

    with ThreadPoolExecutor(len(queues)) as pool:
        try:
            running = [pool.submit(work, queue) for queue in queues]
            start.wait()
            began = time.perf_counter()
            answers = [each.result() for each in running]
            return Outcome(answers, time.perf_counter() - began)
        except BaseException:
            # The pool ends only when its threads do.
            stopped.set()
            start.abort()
            raise
