"""One cluster for all tests; after each test the invariants are checked, and a failure shows the ends of all logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster import cleanup, host, invariants, layout, versions, walk
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.machine import tail
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

OWN = "own_cluster"
LAST = "last"
SINCE = "since"
CLUSTER = pytest.StashKey[Cluster]()
KUBERNETES = pytest.StashKey[str]()
DESELECTED = pytest.StashKey[int]()
# What a failure shows of the cluster, and how.
SHOWN = {
    "pods": "wide",
    "events": "custom-columns=AT:.lastTimestamp,TYPE:.type,OF:.involvedObject.name,REASON:.reason,MESSAGE:.message",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{OWN}: raises clusters of its own, so it runs before the shared one is up")
    config.addinivalue_line("markers", f"{LAST}: looks back on what all others did, so it runs after them")
    config.addinivalue_line("markers", f"{SINCE}(version): needs this Kubernetes or a newer one")


def pytest_sessionstart(session: pytest.Session) -> None:
    try:
        host.check()
        session.config.stash[KUBERNETES] = versions.chosen(os.environ)
    except ClusterError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        _skip_on_older(item, config.stash[KUBERNETES])
    # A machine holds one cluster at a time.
    items.sort(key=lambda item: (item.get_closest_marker(OWN) is None, item.get_closest_marker(LAST) is not None))


def _skip_on_older(item: pytest.Item, version: str) -> None:
    marker = item.get_closest_marker(SINCE)
    if marker is None or versions.numbers(version) >= versions.numbers(marker.args[0]):
        return
    # Otherwise nobody would notice that no run has the test.
    if version == versions.DEFAULT:
        raise pytest.UsageError(f"{item.nodeid} needs Kubernetes {marker.args[0]}: every test runs on the default")
    item.add_marker(pytest.mark.skip(reason=f"needs Kubernetes {marker.args[0]} or newer; this is {version}"))


def pytest_deselected(items: list[pytest.Item]) -> None:
    if items:
        stash = items[0].config.stash
        stash[DESELECTED] = stash.get(DESELECTED, 0) + len(items)


@pytest.fixture
def not_run(request: pytest.FixtureRequest) -> str:
    """Say what of the cluster tests this run leaves out or has seen fail; an empty text when it is a whole one."""
    session, config = request.session, request.config
    collected = {item.path for item in session.items}
    missing = sorted(path.name for path in Path(__file__).parent.glob("test_*.py") if path not in collected)
    parts = [argument for argument in config.args if "::" in argument]
    older = [item for item in session.items if item.get_closest_marker("skip") and item.get_closest_marker(SINCE)]
    said = {
        "not collected: " + ", ".join(missing): missing,
        "only parts collected: " + ", ".join(parts): parts,
        f"skipped on Kubernetes {config.stash[KUBERNETES]}: {len(older)} tests": older,
        f"deselected: {config.stash.get(DESELECTED, 0)} tests": config.stash.get(DESELECTED, 0),
        f"failed: {session.testsfailed} tests": session.testsfailed,
    }
    return "; ".join(text for text, true in said.items() if true)


@pytest.fixture(scope="session")
def bare_nodes(raised_cluster: Cluster) -> dict[str, str]:
    """Give by node what its CNI directories hold before a package was ever installed."""
    return {node.name: cleanup.listing(node) for node in raised_cluster.nodes}


@pytest.fixture(scope="session")
def raised_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    with Cluster(pytestconfig.stash[KUBERNETES]) as cluster:
        pytestconfig.stash[CLUSTER] = cluster
        yield cluster
        del pytestconfig.stash[CLUSTER]


@pytest.fixture(scope="session")
def project(raised_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> walk.Project:
    """Publish both versions of both packages to the cluster's registry, one after the other, as an author does."""
    staged = walk.Project.stage(tmp_path_factory.mktemp("project"))
    for product in (walk.MULTUS, walk.WHEREABOUTS):
        for version in (product.released, product.further):
            staged.publish(raised_cluster, version, product)
    return staged


@pytest.fixture(scope="session")
def published(raised_cluster: Cluster, project: walk.Project) -> walk.Package:
    """Give the package as it is listed: its repository is known to the cluster, and nothing is installed."""
    listed = walk.Package(raised_cluster, project)
    listed.add_repository(project.repository(walk.NEXT))
    return listed


@pytest.fixture(scope="session")
def installed_multus(published: walk.Package, bare_nodes: dict[str, str]) -> walk.Package:
    found = walk.Package(published.cluster, published.project, walk.MULTUS)
    found.install()
    return found


@pytest.fixture(scope="session")
def installed_package(published: walk.Package, installed_multus: walk.Package) -> walk.Package:
    published.install()
    return published


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a broken invariant or a dead daemon behind."""
    yield
    if (cluster := request.config.stash.get(CLUSTER, None)) is not None:
        cluster.check()
        invariants.check(cluster.api)


@pytest.fixture
def cluster(raised_cluster: Cluster) -> Cluster:
    """Give the shared cluster."""
    return raised_cluster


@pytest.fixture
def multus(installed_multus: walk.Package) -> Iterator[walk.Package]:
    """Give Multus as it is installed; whatever the test makes of it, the next one finds it as the examples have it."""
    yield installed_multus
    installed_multus.restore()


@pytest.fixture
def package(installed_package: walk.Package) -> Iterator[walk.Package]:
    """Give the installed package; whatever the test makes of it, the next one finds it as the examples have it."""
    yield installed_package
    installed_package.restore()


@pytest.fixture
def workload(installed_package: walk.Package, request: pytest.FixtureRequest) -> Iterator[Workload]:
    """Give pods and networks of the test's own, with the package installed; they are gone before the next test."""
    # What fits into a label.
    with Workload(installed_package.cluster, request.node.name.partition("[")[0][-63:].strip("_")) as workload:
        yield workload


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
