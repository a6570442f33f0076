"""One cluster for all tests; after each test the invariants are checked, and a failure shows the ends of all logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import host, invariants, layout
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.machine import tail

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

OWN = "own_cluster"
CLUSTER = pytest.StashKey[Cluster]()
# What a failure shows of the cluster, and how.
SHOWN = {
    "pods": "wide",
    "events": "custom-columns=AT:.lastTimestamp,TYPE:.type,OF:.involvedObject.name,REASON:.reason,MESSAGE:.message",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{OWN}: raises clusters of its own, so it runs before the shared one is up")


def pytest_sessionstart(session: pytest.Session) -> None:
    try:
        host.check()
    except ClusterError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A machine holds one cluster at a time.
    items.sort(key=lambda item: item.get_closest_marker(OWN) is None)


@pytest.fixture(scope="session")
def raised_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with Cluster() as cluster:
        pytestconfig.stash[CLUSTER] = cluster
        yield cluster
        del pytestconfig.stash[CLUSTER]


@pytest.fixture
def cluster(raised_cluster: Cluster) -> Iterator[Cluster]:
    """Give the shared cluster; fail the test when it leaves a broken invariant or a dead daemon behind."""
    yield raised_cluster
    raised_cluster.check()
    invariants.check(raised_cluster.api)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.get_closest_marker(OWN) is None:
        if (cluster := item.config.stash.get(CLUSTER, None)) is not None:
            for what, output in SHOWN.items():
                shown = cluster.kubectl.try_run("get", what, "--all-namespaces", f"--output={output}")
                report.sections.append((f"kubectl get {what}", shown.stdout + shown.stderr))
        report.sections.extend((str(log), tail(log)) for log in sorted(layout.LOGS.glob("*.log")))
    return report
