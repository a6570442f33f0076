"""A fast stream of calls of the installed plugin on every node, and what of it failed.

Pods come and go about once a second, too seldom to meet a file that is half-written for some milliseconds. So this
calls the plugin itself, as a container runtime does: in the node's namespaces, for the node's pod of the stream.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from carvelwright.errors import CarvelwrightError
from tests.cluster import invariants, plugin
from tests.cluster.errors import ClusterError
from tests.cluster.tokens import token_of
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.cluster.workload import Workload

# An execution costs some 15 ms of a CPU, and a program of 45 MB takes longer than this pause to write.
EXECUTION_PAUSE = 0.03
ADD_PAUSE = 0.1
TOKEN_PAUSE = 0.2
INTERFACE = "net1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installer puts the plugin and its files, as the node names the directories."""

    bin_dir: str = "/opt/cni/bin"
    conf_dir: str = "/etc/cni/net.d"

    @property
    def plugin(self) -> str:
        """The plugin's path."""
        return f"{self.bin_dir}/whereabouts"

    @property
    def conf(self) -> str:
        """The path of the plugin's configuration."""
        return f"{self.conf_dir}/whereabouts.d/whereabouts.conf"

    @property
    def kubeconfig(self) -> str:
        """The path of the plugin's kubeconfig."""
        return f"{self.conf_dir}/whereabouts.d/whereabouts.kubeconfig"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the plugin, or one look at its token: on which node, what for, and what was wrong with it ("")."""

    node: str
    kind: str
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.kind} on {self.node}: {self.problem or 'well'}"


class Stream:
    """A context manager: within it, each node executes the plugin, adds and deletes an address, and minds the token.

    The addresses are of `pool_range`; who holds them are pods of `workload`, one on each node, without a network of
    their own. On leaving it all calls are at their end and no address is held.
    """

    def __init__(self, workload: Workload, pool_range: str, place: Place | None = None) -> None:
        self._cluster = workload.cluster
        self._place = place or Place()
        self._range = pool_range
        self._pods = {node.name: f"{workload.name}-{node.name}" for node in self._cluster.nodes}
        self._calls: list[Call] = []
        self._errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(turn, node, pause), name=f"stream-{node.name}")
            for node in self._cluster.nodes
            for turn, pause in (
                (self._execute, EXECUTION_PAUSE),
                (self._add_and_delete, ADD_PAUSE),
                (self._look_at_token, TOKEN_PAUSE),
            )
        ]
        for node in self._cluster.nodes:
            workload.start(self._pods[node.name], node=node.index)
        workload.wait_running(*self._pods.values())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error is not None:
            return
        if self._errors:
            raise self._errors[0]
        # What a failed DEL left is not for others to find.
        wait_until("the stream's addresses are given back", self._all_given_back, interval=1)

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many calls ended so far, by node and kind."""
        return Counter((call.node, call.kind) for call in tuple(self._calls))

    def failures(self) -> list[Call]:
        """Return what failed so far."""
        return [call for call in tuple(self._calls) if call.problem]

    def wait_for_calls(self, number: int = 2) -> None:
        """Wait until each kind of call has ended on each node at least `number` times more."""
        before = self.counts()
        kinds = {(node.name, kind) for node in self._cluster.nodes for kind in ("VERSION", "ADD", "DEL", "token")}

        def called() -> bool:
            if self._errors:
                raise self._errors[0]
            now = self.counts()
            return all(now[key] >= before[key] + number for key in kinds)

        wait_until("the plugin is called on each node", called)

    def _repeat(self, turn: Any, node: Node, pause: float) -> None:
        try:
            while not self._stop.is_set():
                turn(node)
                self._stop.wait(pause)
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            self._errors.append(error)

    def _note(self, node: Node, kind: str, problem: str = "") -> None:
        self._calls.append(Call(node.name, kind, problem))

    def _execute(self, node: Node) -> None:
        answer = self._call(node, "VERSION", {"cniVersion": "0.3.1"})
        self._note(node, "VERSION", answer if "supportedVersions" not in answer else "")

    def _add_and_delete(self, node: Node) -> None:
        conf = self._conf()
        answer = self._call(node, "ADD", conf)
        self._note(node, "ADD", answer if '"ips"' not in answer else "")
        answer = self._call(node, "DEL", conf)
        # Upstream's DEL reports success whatever happens: what counts is that the address is free.
        held = self._held(node)
        self._note(node, "DEL", answer or (f"{', '.join(held)} is still allocated" if held else ""))

    def _look_at_token(self, node: Node) -> None:
        """See to whom the plugin's token is bound: once that pod is gone, the API server refuses it with 401.

        The server remembers a good token for 10 s, so that calls alone would not meet a gap that is shorter.
        """
        kubeconfig = node.directory / self._place.kubeconfig.lstrip("/")
        try:
            bound = _bound_to(kubeconfig)
            # Looked at again: between the two questions the token may have been replaced in good time.
            dead = not self._lives(*bound) and _bound_to(kubeconfig) == bound
        except (CarvelwrightError, LookupError, OSError, ValueError, TypeError) as error:
            self._note(node, "token", f"the kubeconfig cannot be read: {error}")
        else:
            self._note(node, "token", f"it is bound to the pod {bound[0]}, which is gone" if dead else "")

    def _lives(self, pod: str, uid: str) -> bool:
        found = self._cluster.api.find("pods", pod, namespace="kube-system")
        return found is not None and found["metadata"]["uid"] == uid

    def _call(self, node: Node, command: str, conf: dict[str, Any]) -> str:
        """Call the plugin; return what it printed when it ended well, else what went wrong."""
        pod = self._pods[node.name]
        done = plugin.Attachment(node, pod, pod, INTERFACE, self._place.bin_dir).call(command, conf)
        if done.returncode == 0:
            return done.stdout
        return f"exit code {done.returncode}: {(done.stdout.strip() + ' ' + done.stderr.strip()).strip()[-500:]}"

    def _conf(self) -> dict[str, Any]:
        return plugin.conf(self._range, conf_file=self._place.conf)

    def _held(self, node: Node) -> list[str]:
        pod = f"default/{self._pods[node.name]}"
        return [address.ip for _, address in invariants.allocations(self._cluster.api) if address.pod == pod]

    def _all_given_back(self) -> bool:
        for node in self._cluster.nodes:
            if self._held(node):
                raise ClusterError(f"{node.name}: {self._call(node, 'DEL', self._conf()) or self._held(node)}")
        return True


def digests(cluster: Cluster, place: Place | None = None) -> dict[str, str]:
    """Return the sha256 of the plugin that each node has."""
    argv = ["sha256sum", (place or Place()).plugin]
    return {node.name: node.machine.run(argv).split()[0] for node in cluster.nodes}


def wait_installed(cluster: Cluster, place: Place) -> None:
    """Wait until each node has the plugin and its kubeconfig in `place`."""

    def installed(node: Node) -> bool:
        node.machine.run(["test", "-s", place.kubeconfig, "-a", "-x", place.plugin])
        return True

    for node in cluster.nodes:
        wait_until(f"the plugin is on {node.name}", partial(installed, node))


def _bound_to(kubeconfig: Path) -> tuple[str, str]:
    """Return name and UID of the pod that a kubeconfig's token belongs to."""
    claims = token_of(kubeconfig).split(".")[1]
    pod = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["kubernetes.io"]["pod"]
    return pod["name"], pod["uid"]
