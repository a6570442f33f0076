"""Steps 3 to 5: installed with the least rights, refused with bad values, and pods that reach each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import packages, pods, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

PODS = ("pod0", "pod1", "pod2")


@pytest.fixture
def example_pods(cluster: Cluster, package: walk.Package) -> Iterator[dict[str, walk.Document]]:
    """Apply the network and the three pods of the examples; give the pods by name once they run."""
    with walk.example_pods(cluster) as found:
        yield found


def test_everything_is_ready_on_every_node(cluster: Cluster, package: walk.Package) -> None:
    install = cluster.api.get("packageinstalls", "whereabouts", namespace=walk.NAMESPACE)
    assert install["status"]["version"] == walk.RELEASED
    status = cluster.api.get("daemonsets", walk.DAEMON_SET, namespace=walk.COMPONENTS)["status"]
    assert status["desiredNumberScheduled"] == status["updatedNumberScheduled"] == len(cluster.nodes)
    assert status["numberReady"] == len(cluster.nodes)
    for name in walk.DEPLOYMENTS:
        assert cluster.api.get("deployments", name, namespace=walk.COMPONENTS)["status"]["readyReplicas"] == 1


def test_what_installs_may_do_nothing_else(cluster: Cluster, package: walk.Package) -> None:
    account = f"--as=system:serviceaccount:{walk.NAMESPACE}:whereabouts-installer"

    def may(*request: str) -> bool:
        return cluster.kubectl.try_run("auth", "can-i", *request, account).returncode == 0

    assert may("update", "daemonsets/whereabouts", f"--namespace={walk.COMPONENTS}")
    assert not may("update", "daemonsets/kube-proxy", f"--namespace={walk.COMPONENTS}")
    assert not may("create", "daemonsets", "--namespace=default")
    assert not may("get", "secrets", f"--namespace={walk.NAMESPACE}")
    assert not may("get", "secrets", f"--namespace={walk.COMPONENTS}")
    assert not may("update", "clusterroles/cluster-admin")
    # Without its CRDs a cluster forgets what is in use.
    assert not may("delete", "customresourcedefinitions/ippools.whereabouts.cni.cncf.io")
    for verb in ("escalate", "bind", "impersonate"):
        assert not may(verb, "clusterroles")


def test_without_one_of_the_rights_it_does_not_install(cluster: Cluster, package: walk.Package) -> None:
    """What is granted is not just enough by accident of something else that grants more."""
    roles = [each for each in package.project.rights(walk.RELEASED, "") if each["kind"] == "Role"]
    (role,) = (each for each in roles if each["metadata"]["namespace"] == walk.COMPONENTS)
    poorer = {**role, "rules": [rule for rule in role["rules"] if "daemonsets" not in rule["resources"]]}
    package.remove()
    cluster.kubectl.apply(poorer)
    package.request()
    with pytest.raises(packages.ReconcileError, match=r"daemonsets.* is forbidden"):
        package.wait()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("namespace: default", ["namespace", 'must be: "kube-system"', 'found: "default"']),
        (
            'ip_reconciler: {config: {schedule: "*/5 * * *"}}',
            ["schedule", "must be: five cron fields", "found: 4 fields"],
        ),
        (
            "whereabouts: {config: {log_lvl: debug}}",
            ["found: log_lvl", "expected: a key declared in map", 'did you mean "log_level"?'],
        ),
        ("whereabouts: {config: {resources: {limits: {memory: 1}}}}", ["memory", "found: integer", "expected: string"]),
        (
            "whereabouts: {config: {cni: {bin_dir: opt/cni}}}",
            ["whereabouts.config.cni.bin_dir", "must be: an absolute path", 'found: "opt/cni"'],
        ),
    ],
    ids=["namespace", "schedule", "unknown-key", "type", "directory"],
)
def test_bad_values_are_refused_by_key_and_change_nothing(package: walk.Package, values: str, said: list[str]) -> None:
    before = package.objects()
    package.request(values=f"{values}\n")
    with pytest.raises(packages.ReconcileError) as refused:
        package.wait()
    assert [part for part in said if part not in str(refused.value)] == [], str(refused.value)
    assert package.objects() == before


def test_the_example_pods_have_the_address_that_is_announced(
    cluster: Cluster, example_pods: dict[str, walk.Document]
) -> None:
    nodes = {name: document["spec"]["nodeName"] for name, document in example_pods.items()}
    assert nodes["pod0"] == nodes["pod1"] != nodes["pod2"]
    for name, document in example_pods.items():
        shown = cluster.kubectl.execute(name, "ls", "/sys/class/net").split()
        assert sorted(shown) == ["eth0", "lo", "net1"]
        (entry,) = (each for each in pods.network_status(document) if each.get("interface") == "net1")
        assert entry["name"] == "default/macvlan-conf"
        (ip,) = entry["ips"]
        assert f"inet {ip}/24 " in cluster.kubectl.execute(name, "ip", "a", "show", "dev", "net1")
        assert 10 <= int(ip.removeprefix("192.168.20.")) <= 100


def test_the_example_pods_reach_each_other_over_net1(cluster: Cluster, example_pods: dict[str, walk.Document]) -> None:
    for name in ("pod1", "pod2"):
        pods.ping(cluster.kubectl, "pod0", walk.address(example_pods[name]))
