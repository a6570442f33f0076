"""Step 8: the package goes and comes back while pods run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster import invariants, pods, walk
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def test_allocations_outlive_the_package(cluster: Cluster, package: walk.Package) -> None:
    with Workload(cluster, "reinstall") as workload:
        network = workload.network("reinstall", range="192.168.81.0/24")
        for name, node in (("stays1", 1), ("stays2", 2), ("goes", 2)):
            workload.run(name, network, node=node)
        before = workload.addresses()
        kinds = {name for kind, name in package.objects() if kind == "CustomResourceDefinition"}
        assert len(kinds) == 3

        package.remove()
        assert package.objects() == {}
        assert kinds <= {each["metadata"]["name"] for each in cluster.api.list("customresourcedefinitions")}
        assert invariants.broken(cluster.api) == []
        assert pods.configured(workload.documents()) == before
        workload.ping("stays1", *workload.ips("stays2"))
        # No plugin can give its address back now: the reconciler has to, when it is there again.
        (left,) = workload.ips("goes")
        cluster.api.delete("pods", "goes", namespace="default")

        package.install(values=walk.RECONCILED_OFTEN)
        for name, node in (("new1", 1), ("new2", 2)):
            workload.run(name, network, node=node)
        living = [each for each in workload.documents() if each["metadata"]["name"] != "goes"]
        assert pods.configured(living) == pods.announced(living) > {each for each in before if each.ip != left}
        assert len({each.ip for each in pods.announced(living)}) == len(living) == 4
        workload.ping("new1", *workload.ips("stays2"))
        # The plugin tries for a minute to tell the API server, which does not know it any more.
        pods.wait_gone(cluster.api, names=["goes"])
        wait_until("the lost address is free", lambda: _held_by(cluster, left) != "default/goes")


def _held_by(cluster: Cluster, ip: str) -> str | None:
    return next((address.pod for _, address in invariants.allocations(cluster.api) if address.ip == ip), None)
