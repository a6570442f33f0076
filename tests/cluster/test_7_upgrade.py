"""Step 7: another version while pods come and go, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import packages, pools, recorder, walk
from tests.cluster.churn import Churn
from tests.cluster.recorder import Recorder
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def test_upgrade_and_back_while_pods_come_and_go(cluster: Cluster, package: walk.Package) -> None:
    ranges = {"upgrade-a": "192.168.71.0/24", "upgrade-b": "192.168.72.0/24"}
    with Recorder(cluster) as calls, Workload(cluster, "upgrade") as workload:
        networks = list(ranges)
        for name, pool_range in ranges.items():
            workload.add_network(recorder.network(name, range=pool_range))
        for node in (1, 2):
            workload.run(f"steady{node}", *networks, node=node)
        steady, images = workload.addresses(), package.images()
        with Churn(workload, calls, *networks) as churn:
            turns = [churn.turns]
            assert package.install(walk.NEXT)["status"]["version"] == walk.NEXT
            turns.append(churn.turns)
            assert package.images().isdisjoint(images)
            package.request(walk.RELEASED)
            with pytest.raises(packages.ReconcileError, match=walk.DOWNGRADABLE):
                package.wait()
            # That may take less time than a pod.
            wait_until("a pod came meanwhile", lambda: churn.turns > turns[-1])
            turns.append(churn.turns)
            assert package.install(walk.RELEASED, downgrade=True)["status"]["version"] == walk.RELEASED
            turns.append(churn.turns)
            assert package.images() == images
        assert churn.problems() == []
        # Pods came all the time: what was not tried could not fail.
        assert turns == sorted(set(turns))
        assert steady <= workload.addresses()


def test_the_stream_of_pods_sees_an_add_that_fails(cluster: Cluster, package: walk.Package) -> None:
    """Without this the test above could not fail."""
    whole = recorder.network("broken", range="192.168.73.0/24")
    with Recorder(cluster) as calls, Workload(cluster, "broken") as workload:
        workload.add_network(whole)
        workload.run("steady", "broken", node=1)
        with Churn(workload, calls, "broken") as churn:
            workload.add_network(recorder.network("broken", type="absent"))
            try:
                wait_until("a failed ADD is noticed", lambda: any(map(_is_failed_add, churn.problems())))
            finally:
                workload.add_network(whole)


def _is_failed_add(problem: str) -> bool:
    return problem.startswith("ADD of default/broken-") and 'failed to find plugin "absent"' in problem


def test_a_del_that_gives_nothing_back_is_noticed(cluster: Cluster, package: walk.Package) -> None:
    """It reports success in any case, and the control loop would put it right before long."""
    pool_range = "192.168.75.0/24"
    with Recorder(cluster) as calls, Workload(cluster, "leak") as workload:
        workload.add_network(recorder.network("leak", range=pool_range))
        workload.run("goes", "leak", node=1)
        held = pools.allocations(cluster.api, pool_range)
        workload.delete("goes")
        calls.wait_idle()
        assert calls.problems() == []
        pools.allocate(cluster.api, pool_range, held)
        seen = calls.problems()
        pools.allocate(cluster.api, pool_range, dict.fromkeys(held))
        assert set(seen) == {"DEL of default/goes net1 on node1: still allocated"}
