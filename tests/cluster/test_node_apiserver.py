"""The API server goes away in the middle of ADDs and DELs, and comes back: all pods come up, and no address is lost."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from tests.cluster import invariants, kapp_controller, lease, pods, recorder, walk
from tests.cluster.recorder import Recorder
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

COMING, GOING = 10, 6
# A DEL tries for a minute, an ADD for two, and then the kubelet tries again.
RECOVERY_SECONDS = 300
UNREACHABLE = "connection refused"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_adds_recover_from_a_restart_of_the_api_server(cluster: Cluster, package: walk.Package) -> None:
    package.reconcile_often()
    coming, going = ([f"{what}{index}" for index in range(n)] for what, n in (("comes", COMING), ("goes", GOING)))
    with Recorder(cluster) as calls, Workload(cluster, "apiserver") as workload:
        for name, pool_range in (("api-a", "192.168.93.0/24"), ("api-b", "192.168.94.0/24")):
            workload.add_network(recorder.network(name, range=pool_range))
        for index, name in enumerate((*going, "stays1", "stays2")):
            workload.start(name, "api-a", "api-b", node=1 + index % 2)
        workload.wait_running(*going, "stays1", "stays2")
        steady = {each for each in workload.addresses() if "stays" in each.pod}

        with lease.held(cluster.api):
            for name in going:
                cluster.api.delete("pods", name, namespace="default")
            for index, name in enumerate(coming):
                workload.start(name, "api-a", "api-b", node=1 + index % 2)
            wait_until("addresses are to be given out and given back", lambda: _crowded(calls))
            stopped = time.time()
            with _no_api_server(cluster):
                wait_until("a node misses the API server", lambda: _missed(cluster, calls, stopped))
        # Otherwise the test came too early or too late.
        assert {call.command for call in calls.calls() if call.began < stopped < (call.ended or inf)} == {"ADD", "DEL"}

        workload.wait_running(*coming, "stays1", "stays2", timeout=RECOVERY_SECONDS)
        pods.wait_gone(cluster.api, names=going, timeout=RECOVERY_SECONDS)
        calls.wait_idle()
        _wait_components(cluster)
        invariants.check(cluster.api)
        assert steady <= workload.addresses()
        assert len(set(workload.ips())) == len(workload.ips()) == 2 * (COMING + 2)
        workload.ping("stays1", workload.ips("stays2")[0])


@contextmanager
def _no_api_server(cluster: Cluster) -> Iterator[None]:
    """Kill it, so that no connection ends well, and start it again at the end."""
    control_plane = cluster.control_plane
    control_plane.machine.stop("kube-apiserver", sig=signal.SIGKILL)
    try:
        yield
    finally:
        control_plane.start_apiserver()
        control_plane.wait_ready()


def _crowded(calls: Recorder) -> bool:
    running = Counter(call.command for call in calls.calls() if call.running)
    return running["ADD"] > 1 and running["DEL"] > 1


def _missed(cluster: Cluster, calls: Recorder, since: float) -> bool:
    """Tell whether Multus or the plugin has found nobody at the API server's address since a time.

    What Multus says comes to the runtime's log.
    """
    if any(UNREACHABLE in call.said for call in calls.calls() if (call.ended or inf) > since):
        return True
    stamp = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return any(
        UNREACHABLE in line and (at := STAMP.search(line)) is not None and at[0] > stamp
        for node in cluster.nodes
        for line in node.machine.log("containerd").read_text(errors="replace").splitlines()
    )


def _wait_components(cluster: Cluster) -> None:
    kapp_controller.wait_ready(cluster)
    for workload in (f"daemonset/{walk.DAEMON_SET}", *(f"deployment/{name}" for name in walk.DEPLOYMENTS)):
        cluster.kubectl.wait_rollout(workload, namespace=walk.COMPONENTS)
