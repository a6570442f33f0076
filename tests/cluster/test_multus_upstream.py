"""Multus as upstream deploys it: the stream sees which pods it misses, and one leaves it without missing another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import cleanup, howto, pod_stream, pods, upstream_multus, walk
from tests.cluster.pod_stream import PodStream
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

PAGE = "migrate-multus.md"
# Each of them misses some; which is chance.
MOST_ROLLS = 4
MANIFESTS = {"thick": upstream_multus.thick, "thin": upstream_multus.thin}


@pytest.fixture
def image(multus: walk.Package) -> str:
    """Give the image of the installed package."""
    (found,) = multus.images()
    return found


@pytest.fixture
def no_multus(cluster: Cluster, multus: walk.Package, image: str) -> Iterator[walk.Package]:
    """Give the package when nothing of it is on the nodes; in the end nothing of upstream's is there."""
    multus.remove()
    pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector="name=multus-cni")
    assert cleanup.run(cluster, image, product=walk.MULTUS).complete == len(cluster.nodes)
    yield multus
    upstream_multus.remove(cluster)


@pytest.mark.parametrize("kind", MANIFESTS)
def test_upstreams_way_misses_pods_and_is_left_without_missing_one(
    cluster: Cluster, no_multus: walk.Package, image: str, kind: str
) -> None:
    """Without the first half the tests of ours could not fail."""
    upstream_multus.install(cluster, MANIFESTS[kind]())
    assert upstream_multus.NAME in _preflight(cluster, image)
    with Workload(cluster, f"from-{kind}") as workload, Workload(cluster, f"kept-{kind}") as kept:
        workload.add_network(pod_stream.network(workload.name))
        for index in (1, 2):
            kept.run(f"kept{index}", workload.name, node=index)
        before = _runs(kept)
        with PodStream(workload, workload.name) as stream:
            stream.wait_for_pods(1)
            for roll in range(1, MOST_ROLLS + 1):
                upstream_multus.apply(cluster, MANIFESTS[kind](roll=roll))
                stream.wait_for_pods(1)
                if stream.missed():
                    break
            missed = stream.missed()
            assert missed != []
            no_multus.grant()
            howto.follow(cluster, PAGE, "Install the package", "Remove upstream's Multus")
            for node in cluster.nodes:
                node.machine.run(["sh", "-euxc", howto.commands(PAGE, "Clean the nodes up")])
            stream.wait_for_pods(2)
        assert stream.missed() == missed
        assert _runs(kept) == before
        for node in cluster.nodes:
            left = cleanup.listing(node, without="multus-cni")
            assert [line for line in left.splitlines() if "multus" in line and not line.endswith("/multus")] == []


def _preflight(cluster: Cluster, image: str) -> str:
    """Run the example's job to its end, which must be a good one, and return what it says."""
    text = (walk.MULTUS.examples / "preflight.yaml").read_text().replace("image: IMAGE", f"image: {image}")
    cluster.kubectl("apply", "-f", "-", stdin=text)
    try:
        job = ("job/multus-cni-preflight", f"--namespace={walk.COMPONENTS}")
        cluster.kubectl("wait", "--for=condition=complete", "--timeout=2m", *job)
        return cluster.kubectl("logs", *job)
    finally:
        cluster.kubectl("delete", "-f", "-", stdin=text)


def _runs(workload: Workload) -> dict[str, tuple[str, int, frozenset[str]]]:
    """Return of each pod who it is, how often it began, and its interfaces."""
    return {
        each["metadata"]["name"]: (
            each["metadata"]["uid"],
            each["status"]["containerStatuses"][0]["restartCount"],
            frozenset(address.interface for address in pods.configured([each])),
        )
        for each in workload.documents()
    }
