"""Step 7: another version while pods come and go, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import packages, pods, walk
from tests.cluster.churn import Churn
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def test_upgrade_and_back_while_pods_come_and_go(cluster: Cluster, package: walk.Package) -> None:
    with Workload(cluster, "upgrade") as workload:
        networks = [
            workload.network("upgrade-a", range="192.168.71.0/24"),
            workload.network("upgrade-b", range="192.168.72.0/24"),
        ]
        for node in (1, 2):
            workload.run(f"steady{node}", *networks, node=node)
        steady, images = workload.addresses(), package.images()
        with Churn(workload, *networks) as churn:
            turns = [churn.turns]
            assert package.install(walk.NEXT)["status"]["version"] == walk.NEXT
            turns.append(churn.turns)
            assert package.images().isdisjoint(images)
            package.request(walk.RELEASED)
            with pytest.raises(packages.ReconcileError, match=walk.DOWNGRADABLE):
                package.wait()
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
    with Workload(cluster, "broken") as workload:
        network = workload.network("broken", range="192.168.73.0/24")
        workload.run("steady", network, node=1)
        with Churn(workload, network) as churn:
            cluster.api.apply("network-attachment-definitions", pods.network(network, {"type": "absent"}))
            try:
                seen = wait_until("a failed ADD is noticed", churn.problems, timeout=60)
            finally:
                workload.network(network, range="192.168.73.0/24")
        assert any('failed to find plugin "absent"' in problem for problem in seen)
