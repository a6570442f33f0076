"""Upstream's own end-to-end tests as an outside judge: its specs, each run on the package as it was installed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster import binaries, images, layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster
    from tests.cluster.walk import Package

OVERLAPPING = (
    'OverlappingRangeIPReservation when a second net-attach-definition with "enable_overlapping_ranges": {} is created'
)
# As upstream groups them.
GROUPS = {
    "Single pod tests": (
        "allocates a single pod with a single interface",
        "allocates a single pod with multiple interfaces",
    ),
    "DualStack IPRanges configuration only": ("allocates a single pod within the correct IP ranges",),
    "DualStack IPRanges along with old range": ("allocates a single pod within the correct IP ranges",),
    "Replicaset tests": ("allocates each IP pool entry with a unique pod IP",),
    "stateful set tests regular sized network": ("IPPools feature allocations",),
    "stateful set tests regular sized network stateful sets scale up / down": (
        "scale up then down 5 replicas",
        "scale up then down 10 replicas",
        "scale up then down 20 replicas",
        "scale down then up 5 replicas",
        "scale down then up 10 replicas",
        "scale down then up 20 replicas",
    ),
    "stateful set tests network with very few IPs": ("IPPool is exhausted",),
    "stateful set tests network with very few IPs deleting a pod from the statefulset": (
        "can recover from an exhausted IP pool",
    ),
    "stateful set tests reclaim previously allocated IP": ("can reclaim the previously allocated IPs",),
    OVERLAPPING.format("true"): ("allocates the correct IP address to the second pod",),
    OVERLAPPING.format("false"): ("allocates the correct IP address to the second pod",),
    "Named ranges test": ("allocates the same IP to the Pods as they are in different address collision domains",),
    "Pod cleanup controller": ("verifies that the pod cleanup controller deletes an orphaned allocation",),
    "Reconciler conformance": ("verifies that the whereabouts-reconciler deployment is available",),
}
SPECS = [f"{group} {name}" for group, names in GROUPS.items() for name in names]
# Those with more replicas do the same as those with 5, more often. The last one looks for an allocation of the pod
# each half second, and panics between the former one and the next; test_6_addresses.py has what it is about.
LEFT_OUT = (" 10 replicas", " 20 replicas", "can recover from an exhausted IP pool")
# With allocation per node the others fail by what they are: they look for allocations in the pool that all nodes share
# alone, or want pods of two nodes to have the first address of a range.
PER_NODE = [
    f"{group} {name}"
    for group, names in GROUPS.items()
    for name in names
    if group.startswith("DualStack") or group in {OVERLAPPING.format("true"), "Reconciler conformance"}
] + ["stateful set tests network with very few IPs IPPool is exhausted"]
SETTINGS = {"NUMBER_OF_COMPUTE_NODES": "2", "FILL_PERCENT_CAPACITY": "5", "NUMBER_OF_THRASH_ITER": "1"}
# Its limits are a few seconds, whatever else the machine has to do.
ATTEMPTS = 3
SUCCESS = re.compile(r"^SUCCESS! -- 1 Passed \| 0 Failed \|", re.MULTILINE)
SPEC_SECONDS = 600
TEST_IMAGE = re.compile(r'^const testImage = "([^/"]+)/([^"]+)"$', re.MULTILINE)
NAME = re.compile(r"^Whereabouts functionality (?:Test setup )?(.+) \n  (.+)\n", re.MULTILINE)


@pytest.fixture(scope="module")
def suite() -> Path:
    """Give the directory with the compiled tests."""
    return binaries.ensure_set(binaries.UPSTREAM_SUITE)


@pytest.fixture
def with_test_image(installed_package: Package, suite: Path) -> Iterator[Cluster]:
    """Give the cluster with the package; its nodes find the image of the tests' pods in the cluster's registry."""
    cluster = installed_package.cluster
    found = TEST_IMAGE.search((suite / "generators.go").read_text())
    assert found is not None
    host, name = found.groups()
    archive = images.ensure(cluster.binaries).busybox
    cluster.run_on_network(["crane", "push", "--insecure", str(archive), f"{cluster.registry}/{name}"])
    for node in cluster.nodes:
        node.trust_registry(cluster.registry, stands_for=host)
    yield cluster
    # What a spec that failed may have left.
    cluster.kubectl("delete", "statefulsets,replicasets,pods,net-attach-def", "--all", "--namespace=default")


def test_these_are_all_its_specs(suite: Path) -> None:
    printed = _run(suite, "-ginkgo.dryRun", "-ginkgo.v", env={})
    assert [f"{group} {name}" for group, name in NAME.findall(printed)] == SPECS


@pytest.mark.parametrize("spec", [pytest.param(spec, id=spec) for spec in SPECS if not spec.endswith(LEFT_OUT)])
def test_upstream_passes(with_test_image: Cluster, suite: Path, spec: str) -> None:
    _pass(with_test_image, suite, spec)


@pytest.fixture(scope="module")
def per_node(installed_package: Package) -> Iterator[None]:
    """Have the nodes allocate on their own, until the last test of this file."""
    installed_package.install(values="whereabouts: {config: {allocation: per-node}}\n")
    yield
    installed_package.restore()


@pytest.mark.parametrize("spec", [pytest.param(spec, id=spec) for spec in PER_NODE])
def test_upstream_passes_where_nodes_allocate_on_their_own(
    per_node: None, with_test_image: Cluster, suite: Path, spec: str
) -> None:
    _pass(with_test_image, suite, spec)


def _pass(cluster: Cluster, suite: Path, spec: str) -> None:
    environment = {**cluster.environment(), **SETTINGS}
    focus = ("-ginkgo.focus", f"{re.escape(spec)}$", "-ginkgo.flakeAttempts", str(ATTEMPTS))
    printed = _run(suite, *focus, env=environment, prefix=cluster.control_plane.machine.on_network([]))
    assert SUCCESS.search(printed), printed


def _run(suite: Path, *arguments: str, env: dict[str, str], prefix: list[str] | None = None) -> str:
    argv = [*(prefix or []), str(suite / "e2e.test"), "-ginkgo.noColor", *arguments]
    done = subprocess.run(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SPEC_SECONDS, check=False
    )
    layout.LOGS.mkdir(parents=True, exist_ok=True)
    with (layout.LOGS / "upstream-suite.log").open("a") as log:
        log.write(done.stdout)
    return done.stdout
