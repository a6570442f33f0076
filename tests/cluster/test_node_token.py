"""The plugin's token is rotated every few seconds and each former one made void, while pods come and go."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import pods, recorder
from tests.cluster.churn import Churn
from tests.cluster.errors import ClusterError
from tests.cluster.projection import Projection, pod_uid, projections
from tests.cluster.recorder import Recorder
from tests.cluster.tokens import is_void
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster import walk
    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

RANGE = "192.168.95.0/24"
ROTATIONS = 5
# How long a token is good after its successor was projected. The kubelet asks for a successor when a fifth of the
# lifetime is left: two minutes of the ten that are the least.
OVERLAP_SECONDS = 15
LIMIT_SECONDS = 10


def test_no_call_fails_while_tokens_are_rotated_and_void(cluster: Cluster, package: walk.Package) -> None:
    with (
        Recorder(cluster) as calls,
        Workload(cluster, "token") as workload,
        projections(cluster) as tokens,
    ):
        workload.add_network(recorder.network("token", range=RANGE))
        for node in (1, 2):
            workload.run(f"steady{node}", "token", node=node)
        with Churn(workload, calls, "token") as churn:
            for _ in range(ROTATIONS):
                began = time.time()
                for each in tokens:
                    each.rotate()
                wait_until("pods come and go", partial(_both_since, calls, began))
                for each in tokens:
                    _revoke_due(each, calls)
            for each in tokens:
                wait_until("the former tokens are due", partial(_revoke_due, each, calls))
                for token in each.issued[:-1]:
                    wait_until(f"{token.secret} is void", partial(is_void, cluster.api, token.text))
            wait_until("pods come and go", partial(_both_since, calls, time.time()))
        assert churn.problems() == []
        assert [str(call) for call in calls.calls() if call.refused] == []
        for each in tokens:
            each.wait_taken_over()


def test_calls_fail_when_nobody_takes_the_token_over(cluster: Cluster, package: walk.Package) -> None:
    """Without this the test above could not fail."""
    with (
        Recorder(cluster, limit=LIMIT_SECONDS) as calls,
        Workload(cluster, "stale") as workload,
        projections(cluster) as tokens,
    ):
        workload.add_network(recorder.network("stale", range=RANGE))
        workload.run("goes", "stale", node=1)
        rotated = next(each for each in tokens if each.node.index == 1)
        rotated.rotate()
        rotated.wait_taken_over()
        assert calls.problems() == []
        with _stopped(_refresher(cluster, rotated.node)):
            rotated.rotate()
            (former,) = rotated.issued[:-1]
            rotated.revoke([former])
            wait_until(f"{former.secret} is void", partial(is_void, cluster.api, former.text))
            workload.start("comes", "stale", node=1)
            cluster.api.delete("pods", "goes", namespace="default")
            wait_until("an ADD and a DEL are refused", partial(_refused, calls))
        workload.wait_running("comes")


def _revoke_due(projection: Projection, calls: Recorder) -> bool:
    """Make the tokens void whose time is over, by the clock and for each call that began within it.

    Tell whether that was all but the last.
    """
    # Before the calls are read, so that none which began in time is missing among them.
    now = time.time()
    began = [call.began for call in calls.calls() if call.running and call.node == projection.node.name]
    ends = {token: at + OVERLAP_SECONDS for token, at in projection.superseded.items()}
    projection.revoke([token for token, end in ends.items() if end < now and not any(at < end for at in began)])
    return not projection.superseded


def _both_since(calls: Recorder, began: float) -> bool:
    """Tell whether an ADD and a DEL that began after a time have ended."""
    return {call.command for call in calls.calls() if call.began > began and not call.running} == {"ADD", "DEL"}


def _refused(calls: Recorder) -> bool:
    """Tell whether an ADD and a DEL have failed because of the token; raise with what all calls say if not."""
    if {call.command for call in calls.calls() if call.refused and call.problem()} != {"ADD", "DEL"}:
        raise ClusterError("; ".join(f"{call}: {call.code}: {call.last_words()}" for call in calls.calls()))
    return True


def _refresher(cluster: Cluster, node: Node) -> int:
    """Return the process that takes tokens over, by its number on the host."""
    wanted = pod_uid(cluster, node)
    for processes in (each for uid, group in pods.cgroups() if uid == wanted for each in group.glob("*/cgroup.procs")):
        for pid in processes.read_text().split():
            if b"refresh" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
    raise ClusterError(f"no refresher runs on {node.name}")


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # The kubelet replaces it in the end, for it does not answer.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
