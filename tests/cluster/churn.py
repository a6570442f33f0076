"""A stream of pods that come and go in the background, and what went wrong with them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Self

from tests.cluster import invariants, pods

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.cluster.pods import Address
    from tests.cluster.recorder import Recorder
    from tests.cluster.workload import Workload

# How many pods live at a time: each turn makes one, and deletes the oldest once it has run.
LIVING = 6


class Churn:
    """A context manager: pods come and go on all nodes within it; on leaving it the last ones are waited for.

    `workload` holds the pods that stay, whose addresses must be allocated at any time. The kubelet tries again, so each
    pod comes and goes in the end: only the calls of the plugin, which `recorder` has, tell whether one of them failed.
    """

    def __init__(self, workload: Workload, recorder: Recorder, *networks: str) -> None:
        self._workload = workload
        self._recorder = recorder
        self._networks = networks
        self._steady = workload.addresses()
        self._names: list[str] = []
        self._seen: dict[str, None] = {}
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

    @property
    def turns(self) -> int:
        """How many pods have been made so far."""
        return len(self._names)

    def problems(self) -> list[str]:
        """Return what went wrong, a line each; an empty list when no call failed and nothing was doubled or lost."""
        return list(self._seen | dict.fromkeys(self._recorder.problems()))

    def _run(self) -> None:
        living: deque[str] = deque()
        try:
            while not self._stop.is_set():
                living.append(self._next())
                if len(living) > LIVING:
                    self._end(living.popleft())
            while living:
                self._end(living.popleft())
            pods.wait_gone(self._workload.cluster.api, names=self._names)
            self._recorder.wait_idle()
        except Exception as error:  # noqa: BLE001 - it is raised again in the thread that waits
            self._error = error

    def _next(self) -> str:
        cluster, name = self._workload.cluster, f"{self._workload.name}-{self.turns}"
        self._workload.start(name, *self._networks, node=1 + self.turns % len(cluster.nodes))
        self._names.append(name)
        return name

    def _end(self, name: str) -> None:
        self._workload.wait_running(name)
        self._look()
        self._workload.cluster.api.delete("pods", name, namespace="default")

    def _look(self) -> None:
        api = self._workload.cluster.api
        # The address of a pod that is on its way out may be another's already.
        living = [each for each in self._workload.documents() if "deletionTimestamp" not in each["metadata"]]
        self._note(f"{ip} announced by {pods}" for ip, pods in _doubled(pods.announced(living)))
        lost = self._steady - {address for _, address in invariants.allocations(api)}
        self._note(f"no longer allocated: {address}" for address in sorted(lost))
        # At each turn, for the control loop would put right what a DEL has left.
        self._note(self._recorder.problems())

    def _note(self, problems: Iterable[str]) -> None:
        self._seen |= dict.fromkeys(problems)


def _doubled(addresses: Iterable[Address]) -> list[tuple[str, list[str]]]:
    addresses = list(addresses)
    count = Counter(address.ip for address in addresses)
    return [(ip, [each.pod for each in addresses if each.ip == ip]) for ip, number in count.items() if number > 1]
