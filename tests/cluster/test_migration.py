"""From another packaging to ours by the commands of docs/how-to/migrate.md, with pods that run all the time."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import components, invariants, layout, packages, packagings, pods, shell_installer, walk
from tests.cluster.plugin_stream import Place, Stream, wait_installed
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

Document = dict[str, Any]

PAGE = layout.ROOT / "docs/how-to/migrate.md"
SECTION = re.compile(r"^## (?P<title>.*?)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE, AFTER = "Before you start", "Afterwards"
PATIENCE_SECONDS = 600
LEFT = "secrets,daemonsets,deployments,configmaps,serviceaccounts,clusterroles,clusterrolebindings"


@pytest.fixture
def crds(package: walk.Package) -> list[Document]:
    """Give the CRDs of the package, after everything of it but the nodes' files has gone; it is back after the test."""
    found = [each for each in package.project.render("") if each["kind"] == "CustomResourceDefinition"]
    archive = shell_installer.ensure_archive()
    for node in package.cluster.nodes:
        node.load_image(archive)
    package.remove()
    _forget(package.cluster, found)
    for node in package.cluster.nodes:
        node.machine.run(["rm", "-rf", Place().plugin, f"{Place().conf_dir}/whereabouts.d"])
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Give the directory in which an operator works: a clone's examples are there."""
    (tmp_path / "examples").symlink_to(layout.ROOT / "examples")
    return tmp_path


def test_from_the_community_package(cluster: Cluster, package: walk.Package, crds: list[Document], site: Path) -> None:
    cluster.kubectl.apply(*packagings.community(crds))
    packages.wait_installed(cluster.api, "whereabouts", namespace=walk.NAMESPACE)
    wait_installed(cluster, Place())
    try:
        with Workload(cluster, "from-community") as workload, _kept(cluster, workload, "192.168.61.0/24"):
            # As a cluster of that time has them: nothing names the interface.
            assert {address.interface for _, address in invariants.allocations(cluster.api)} == {""}
            _follow(cluster, site, "From the community package")
            install = package.wait()
            assert (install["spec"]["packageRef"]["refName"], install["status"]["version"]) == (
                walk.REF_NAME,
                walk.RELEASED,
            )
            _check_ours(cluster, package)
            assert cluster.kubectl("get", "cronjobs", f"--namespace={walk.COMPONENTS}") == ""
    finally:
        package.remove()
        cluster.kubectl(
            "delete", "package", f"{packagings.COMMUNITY}.{packagings.COMMUNITY_VERSION}", "-n", "my-packages"
        )


def test_from_the_manifests_of_upstream(
    cluster: Cluster, package: walk.Package, crds: list[Document], site: Path
) -> None:
    cluster.kubectl.apply(*packagings.upstream(crds))
    _wait_theirs(cluster, "whereabouts")
    package.grant()
    recorded = components.AUDIT_LOG.stat().st_size
    with Workload(cluster, "from-upstream") as workload, _kept(cluster, workload, "192.168.62.0/24"):
        with Stream(workload, "192.168.63.0/24") as stream:
            stream.wait_for_calls()
            _follow(cluster, site, "From upstream's manifests")
            stream.wait_for_calls(5)
        assert [str(call) for call in stream.failures()] == []
        package.wait()
        _check_ours(cluster, package)
    # What the plugin does by upstream's ClusterRole it must be allowed by our RoleBinding before ours replaces that.
    asked = _asked(recorded)
    assert asked.index("create rolebindings whereabouts-cni") < asked.index("update clusterroles whereabouts-cni")


@pytest.mark.parametrize("name", ["whereabouts", "net-whereabouts-chart"])
def test_from_the_chart_of_upstream(
    cluster: Cluster, package: walk.Package, crds: list[Document], site: Path, name: str
) -> None:
    cluster.kubectl.apply(*packagings.chart(crds, name, "net"))
    _wait_theirs(cluster, name)
    package.grant()
    with Workload(cluster, f"from-{name}") as workload, _kept(cluster, workload, "192.168.64.0/24"):
        _follow(cluster, site, "From upstream's Helm chart")
        package.wait()
        _check_ours(cluster, package)
        left = cluster.kubectl("get", LEFT, "--all-namespaces", "--output=name").split()
        # Ours has no chart in its name, and no ClusterRole with the account's name.
        assert [each for each in left if "chart" in each or "helm" in each] == []
        assert cluster.api.find("clusterroles", "whereabouts") is None


def _forget(cluster: Cluster, crds: list[Document]) -> None:
    assert invariants.allocations(cluster.api) == []
    names = [each["metadata"]["name"] for each in crds]
    cluster.kubectl("delete", "customresourcedefinitions", *names, "--ignore-not-found")


def _asked(start: int) -> list[str]:
    """Return what the installing account asked for, in order, as the audit log tells it from a byte on."""
    with components.AUDIT_LOG.open() as log:
        log.seek(start)
        events = [json.loads(line) for line in log]
    mine = [
        each for each in events if each["user"]["username"].endswith(":whereabouts-installer") and "objectRef" in each
    ]
    mine.sort(key=lambda event: event["requestReceivedTimestamp"])
    return [f"{each['verb']} {each['objectRef']['resource']} {each['objectRef'].get('name', '')}" for each in mine]


def _wait_theirs(cluster: Cluster, name: str) -> None:
    cluster.kubectl.wait_rollout(f"daemonset/{name}", namespace=walk.COMPONENTS)
    cluster.kubectl.wait_rollout(f"deployment/{name}-reconciler", namespace=walk.COMPONENTS)
    wait_installed(cluster, Place())


@contextmanager
def _kept(cluster: Cluster, workload: Workload, pool_range: str) -> Iterator[None]:
    """Run pods, and see that they go on through the context with what they had; then more come and some go."""
    network = workload.network(workload.name, range=pool_range)
    for name, node in (("kept1", 1), ("kept2", 2), ("goes", 2)):
        workload.run(name, network, node=node)
    before, runs = workload.ips(), _runs(workload)
    held = _held(cluster, network=pool_range)
    yield
    assert runs <= _runs(workload)
    assert workload.ips() == before == _kernel(workload)
    assert _held(cluster, network=pool_range) == held
    workload.ping("kept1", *workload.ips("kept2"))
    (freed,) = workload.ips("goes")
    workload.delete("goes")
    wait_until("the address is free", lambda: ("default/goes", freed) not in _held(cluster, network=pool_range))
    for name, node in (("new1", 1), ("new2", 2)):
        workload.run(name, network, node=node)
    assert workload.ips() == sorted(set(workload.ips())) == _kernel(workload)
    assert freed in workload.ips("new1")
    workload.ping("new2", *workload.ips("kept1"))


def _runs(workload: Workload) -> set[tuple[str, str, int]]:
    """Return of each pod who it is and how often it began."""
    return {
        (each["metadata"]["name"], each["metadata"]["uid"], each["status"]["containerStatuses"][0]["restartCount"])
        for each in workload.documents()
    }


def _kernel(workload: Workload) -> list[str]:
    return sorted(address.ip for address in pods.configured(workload.documents()))


def _held(cluster: Cluster, network: str) -> set[tuple[str, str]]:
    """Return the allocations without the interface's name, which those of older versions lack."""
    prefix = network.rpartition(".")[0] + "."
    return {(each.pod, each.ip) for _, each in invariants.allocations(cluster.api) if each.ip.startswith(prefix)}


def _check_ours(cluster: Cluster, package: walk.Package) -> None:
    """See that what runs is ours and nothing else, and that nothing is left that was made for the migration."""

    def images() -> set[str]:
        running = cluster.api.list("pods", namespace=walk.COMPONENTS)
        return {container["image"] for pod in running for container in pod["spec"]["containers"]}

    ours = package.images()
    wait_until("nothing else runs than the package", lambda: images() == ours)
    for kind in ("clusterroles", "rolebindings"):
        assert "whereabouts-migration" not in cluster.kubectl("get", kind, "--all-namespaces", "--output=name")


def _follow(cluster: Cluster, site: Path, title: str) -> str:
    """Run the commands of a section of the page, with those before and after it, in one shell as an operator does."""
    sections = {each["title"]: each["text"] for each in SECTION.finditer(PAGE.read_text())}
    blocks = [block for each in (BEFORE, title, AFTER) for block in BLOCK.findall(sections[each])]
    script = "\n".join([f"cd {site}", *blocks])
    return cluster.run_on_network(["bash", "-euxo", "pipefail", "-c", script], timeout=PATIENCE_SECONDS)
