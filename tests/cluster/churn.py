"""A stream of pods that come and go in the background, and what it saw go wrong."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Self

from tests.cluster import invariants, pods

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.cluster.pods import Address
    from tests.cluster.workload import Workload

# How many pods live at a time: each turn makes one, and deletes the oldest once it has run.
LIVING = 6
# The kubelet tries again, so a pod comes or goes in the end: only its events tell that a call of the plugin failed.
FAILURES = {"FailedCreatePodSandBox", "FailedKillPod"}
# Multus gives the API server little time to tell it of the pod, too little on a busy machine; no plugin was called yet.
BEFORE_ANY_PLUGIN = "error waiting for pod"


class Churn:
    """A context manager: pods come and go on all nodes within it; on leaving it the last ones are waited for.

    `workload` holds the pods that stay, whose addresses must be allocated at any time.
    """

    def __init__(self, workload: Workload, *networks: str) -> None:
        self.turns = 0
        self._workload = workload
        self._networks = networks
        self._steady = workload.addresses()
        self._seen: list[str] = []
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="churn")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def problems(self) -> list[str]:
        """Return what went wrong, a line each; an empty list when no call failed and nothing was doubled or lost."""
        events = self._workload.cluster.api.list("events", namespace="default")
        return self._seen + [f"{_name(event)}: {event['message']}" for event in events if self._is_failure(event)]

    def _run(self) -> None:
        living: deque[str] = deque()
        try:
            while not self._stop.is_set():
                living.append(self._next())
                if len(living) > LIVING:
                    self._end(living.popleft())
            while living:
                self._end(living.popleft())
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            self._error = error

    def _next(self) -> str:
        cluster, name = self._workload.cluster, f"{self._workload.name}-{self.turns}"
        self._workload.start(name, *self._networks, node=1 + self.turns % len(cluster.nodes))
        self.turns += 1
        return name

    def _end(self, name: str) -> None:
        self._workload.wait_running(name)
        self._look()
        self._workload.cluster.api.delete("pods", name, namespace="default")

    def _look(self) -> None:
        api = self._workload.cluster.api
        # The address of a pod that is on its way out may be another's already.
        living = [each for each in self._workload.documents() if "deletionTimestamp" not in each["metadata"]]
        self._seen += [f"{ip} announced by {pods}" for ip, pods in _doubled(pods.announced(living))]
        lost = self._steady - {address for _, address in invariants.allocations(api)}
        self._seen += [f"no longer allocated: {address}" for address in sorted(lost)]

    def _is_failure(self, event: dict[str, Any]) -> bool:
        if event.get("reason") not in FAILURES or BEFORE_ANY_PLUGIN in event["message"]:
            return False
        return _name(event).startswith(f"{self._workload.name}-")


def _name(event: dict[str, Any]) -> str:
    return str(event["involvedObject"].get("name", ""))


def _doubled(addresses: Iterable[Address]) -> list[tuple[str, list[str]]]:
    addresses = list(addresses)
    count = Counter(address.ip for address in addresses)
    return [(ip, [each.pod for each in addresses if each.ip == ip]) for ip, number in count.items() if number > 1]
