"""A stream of new pods, one each second, and which interfaces each of them had when it was ready."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.cluster import pods
from tests.cluster.api import ApiError
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until
from tests.cluster.workload import LABEL

if TYPE_CHECKING:
    from types import TracebackType

    from tests.cluster.workload import Workload

PERIOD_SECONDS = 1.0
LOOK_SECONDS = 0.3
# Of each node. More than a node can start would only wait.
MOST_PENDING = 10
INTERFACE = "net1"


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod that was ready: its name and node, and its interfaces as the annotation tells and as the kernel has them.

    `created` and `ready` are seconds of the monotonic clock; `ready` is when it was noticed.
    """

    name: str
    node: str
    announced: frozenset[str]
    configured: frozenset[str]
    created: float
    ready: float

    @property
    def attached(self) -> bool:
        """Tell whether it has the further interface, and says so."""
        return INTERFACE in self.announced and INTERFACE in self.configured

    def __str__(self) -> str:
        configured, announced = (", ".join(sorted(each)) for each in (self.configured, self.announced))
        return f"{self.name} on {self.node} has {configured}, and announces {announced or 'nothing'}"


class PodStream:
    """A context manager: within it a pod is created each second, on the nodes in turns, and deleted once it was ready.

    Each has `networks`. While the API server does not answer nothing is created. On leaving it every pod that was
    created has been ready, or the context raises.
    """

    def __init__(self, workload: Workload, *networks: str) -> None:
        self._workload = workload
        self._networks = networks
        self._created: dict[str, float] = {}
        self._seen: dict[str, Seen] = {}
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._create, PERIOD_SECONDS), name="creator"),
            threading.Thread(target=self._repeat, args=(self._look, LOOK_SECONDS), name="observer"),
        ]

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
        if self._error is not None:
            raise self._error
        wait_until("every pod of the stream has been ready", self._all_seen, interval=LOOK_SECONDS)

    def seen(self) -> list[Seen]:
        """Return the pods that have been ready so far, in the order in which they were created."""
        return sorted(self._seen.values(), key=lambda each: each.created)

    def missed(self) -> list[str]:
        """Return which pods were ready without the further interface, a line each."""
        return [str(each) for each in self.seen() if not each.attached]

    def wait_for_pods(self, number: int = 2) -> None:
        """Wait until on each node that many pods have been ready that were created after now."""
        began = time.monotonic()
        nodes = self._workload.cluster.nodes

        def come() -> bool:
            if self._error is not None:
                raise self._error
            count = Counter(each.node for each in self.seen() if each.created > began)
            if any(count[node.name] < number for node in nodes):
                raise ClusterError(f"so far {dict(count)}; pending: {', '.join(self._pending()) or 'none'}")
            return True

        wait_until("pods have been ready", come, interval=LOOK_SECONDS)

    def _pending(self) -> list[str]:
        return [name for name in tuple(self._created) if name not in self._seen]

    def _repeat(self, turn: Any, pause: float) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                turn()
                self._stop.wait(max(0, began + pause - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            self._error = error

    def _create(self) -> None:
        number, nodes = len(self._created), self._workload.cluster.nodes
        if len(self._pending()) >= MOST_PENDING * len(nodes):
            return
        name, node = f"{self._workload.name}-{number}", nodes[number % len(nodes)].name
        document = pods.pod(name, *self._networks, labels={LABEL: self._workload.name})
        # Named at once, so that no scheduler has a part in it.
        document["spec"]["nodeName"] = node
        try:
            self._workload.cluster.api.apply("pods", document)
        except ApiError:
            # Nobody can create one now.
            return
        self._created[name] = time.monotonic()

    def _look(self) -> None:
        try:
            found = self._workload.documents()
        except ApiError:
            return
        for each in found:
            name = each["metadata"]["name"]
            if name in self._created and name not in self._seen and pods.running(each):
                self._note(name, each)

    def _note(self, name: str, document: dict[str, Any]) -> None:
        try:
            links = json.loads(pods.run_on_network(document, ["ip", "-json", "link", "show"]))
            self._workload.cluster.api.delete("pods", name, namespace="default")
        except ClusterError:
            # Its node went down, or the API server: it is looked at again.
            return
        self._seen[name] = Seen(
            name,
            document["spec"]["nodeName"],
            frozenset(entry["interface"] for entry in pods.network_status(document) if not entry.get("default")),
            frozenset(link["ifname"] for link in links) - {"lo", "eth0"},
            self._created[name],
            time.monotonic(),
        )

    def _all_seen(self) -> bool:
        self._look()
        if pending := self._pending():
            raise ClusterError(f"not ready: {', '.join(pending[:5])}")
        return True


def network(name: str) -> dict[str, Any]:
    """Return a macvlan network with addresses of each node's own, which need nobody but the node."""
    return pods.network(name, {"type": "host-local", "ranges": [[{"subnet": "10.250.0.0/16"}]]})
