"""Rights: what the accounts of the packages and those that install them were granted is what they used.

The last tests of a run look back on it: on the audit log that the API server wrote all along.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import ipaddress
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from tests.cluster import components, layout, packages, pods, pools, walk
from tests.cluster.rights import API_SERVER, Review, Right, granted, requests
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cluster.cluster import Cluster
    from tests.cluster.workload import Workload

TABLE = Path(__file__).with_name("rights.yaml")
PAGE = layout.ROOT / "docs" / "explanation" / "security.md"
INSTALLER = f"{walk.NAMESPACE}/whereabouts-installer"
MULTUS_INSTALLER = f"{walk.NAMESPACE}/multus-cni-installer"
SLICED = {"type": "whereabouts", "node_slice_size": "/26"}
SLICES = "node_slice_controller: {enabled: true}\n"
# Every object that the package can bring.
EVERYTHING = f"""\
{SLICES}network_policy: {{enabled: true}}
ip_reconciler: {{config: {{metrics: {{enabled: true}}}}}}
labels: {{example.com/owner: first}}
"""


# --- what some rights are for -----------------------------------------------------------------------------------------


def test_a_range_is_divided_among_the_nodes(cluster: Cluster, package: walk.Package, workload: Workload) -> None:
    """What the node-slice controller is there for."""
    package.install(values=EVERYTHING)
    try:
        _refused_without_finalizers(cluster, _sliced("192.168.60.0/24"))
        # As docs/how-to/troubleshooting.md has it: to the controller networks without a name are one.
        workload.network("plain", range="192.168.67.0/24")
        unnamed = pods.network("unnamed", {**SLICED, "range": "192.168.68.0/24"}, namespace=walk.COMPONENTS)
        cluster.api.apply("network-attachment-definitions", unnamed)
        wait_until("the controller complains", lambda: _logged(cluster, "IPAM conf mismatch"))
        assert cluster.api.find("nodeslicepools", "unnamed", namespace=walk.COMPONENTS) is None
        for node in (1, 2):
            _wait_slice(cluster, f"node{node}")
            workload.run(f"slice{node}", "kube-system/sliced", node=node)
        for node in (1, 2):
            (ip,) = workload.ips(f"slice{node}")
            assert ipaddress.ip_address(ip) in ipaddress.ip_network(_wait_slice(cluster, f"node{node}"))
        workload.ping("slice1", *workload.ips("slice2"))
        workload.delete_all()
        cluster.api.apply("network-attachment-definitions", _sliced("192.168.61.0/24"))
        wait_until("the slices follow", lambda: _wait_slice(cluster, "node1").startswith("192.168.61."))
    finally:
        workload.delete_all()
        for name in ("sliced", "unnamed"):
            cluster.api.delete("network-attachment-definitions", name, namespace=walk.COMPONENTS)
    wait_until(
        "the slices go",
        lambda: cluster.api.find("nodeslicepools", "sliced", namespace=walk.COMPONENTS) is None,
    )


def test_what_is_switched_off_may_be_removed_with_the_rights_for_it(cluster: Cluster, package: walk.Package) -> None:
    before = set(package.objects())
    package.install(values=EVERYTHING)
    assert {name for _, name in set(package.objects()) - before} == {"whereabouts-controller"}
    # Every object changes.
    package.install(values=EVERYTHING.replace("first", "second"))
    package.install(values=SLICES)
    shown = cluster.kubectl("get", "networkpolicies", f"--namespace={walk.COMPONENTS}", "--output=json")
    assert json.loads(shown)["items"] == []
    # The rights for the new values alone are not enough to remove what only the old ones brought.
    secret, _ = walk.wanted()
    example = secret["stringData"]["values.yaml"]
    cluster.kubectl.apply(*package.project.rights(walk.RELEASED, example))
    package.request()
    with pytest.raises(packages.ReconcileError, match=r'"whereabouts-controller" is forbidden'):
        package.wait()
    package.install(values=f"{example}# the same again, for kapp-controller to try at once\n")
    assert set(package.objects()) == before


def test_a_pod_that_is_starting_keeps_its_address(cluster: Cluster, package: walk.Package) -> None:
    """The reconciler frees what belongs to nobody; upstream's gives a pod that is pending less than a second."""
    holders = {"5": "default/pending", "6": "default/gone"}
    allocations = {offset: {"id": "none", "podref": podref} for offset, podref in holders.items()}
    # Without an allocation; before one goes its pod is read once more.
    reserved = {"192.168.66.7": "default/gone", "192.168.66.8": "default/pending"}
    pool_range = "192.168.66.0/24"
    package.reconcile_often()
    try:
        # No node fits, so it stays pending.
        cluster.api.apply("pods", pods.pod("pending", node="none"))
        cluster.api.apply("ippools", pools.document(pool_range, allocations))
        for name, podref in reserved.items():
            cluster.api.apply("overlappingrangeipreservations", _reservation(name, podref))
        wait_until("the reservation is gone", lambda: not _reserved(cluster, "192.168.66.7"))
        assert _reserved(cluster, "192.168.66.8")
        wait_until("what nobody has is given back", lambda: list(pools.allocations(cluster.api, pool_range)) == ["5"])
    finally:
        cluster.api.delete("pods", "pending", namespace="default")
        pools.delete(cluster.api, pool_range)
        for name in reserved:
            cluster.api.delete("overlappingrangeipreservations", name, namespace=walk.COMPONENTS)


def _reservation(name: str, podref: str) -> dict[str, Any]:
    return {
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1",
        "kind": "OverlappingRangeIPReservation",
        "metadata": {"name": name, "namespace": walk.COMPONENTS},
        "spec": {"podref": podref, "ifname": "net1"},
    }


def _reserved(cluster: Cluster, name: str) -> bool:
    return cluster.api.find("overlappingrangeipreservations", name, namespace=walk.COMPONENTS) is not None


def _refused_without_finalizers(cluster: Cluster, network: dict[str, Any]) -> None:
    """Create a network while the controller may not name it as the owner of its slices; give it the right again."""
    role = "whereabouts-controller"
    rules = cluster.api.get("clusterroles", role)["rules"]
    poorer = [rule for rule in rules if "network-attachment-definitions/finalizers" not in rule["resources"]]
    assert len(poorer) == len(rules) - 1

    def allow(which: list[dict[str, Any]]) -> None:
        cluster.api.merge("clusterroles", role, {"rules": which})

    allow(poorer)
    try:
        cluster.api.apply("network-attachment-definitions", network)
        refusal = "cannot set blockOwnerDeletion"
        wait_until("the controller is refused", lambda: _logged(cluster, refusal))
    finally:
        allow(rules)


def _logged(cluster: Cluster, words: str) -> bool:
    argv = ("logs", f"--namespace={walk.COMPONENTS}", "deployment/whereabouts-controller", "--tail=-1")
    return words in cluster.kubectl(*argv)


def _sliced(addresses: str) -> dict[str, Any]:
    return pods.network("sliced", {**SLICED, "range": addresses, "network_name": "sliced"}, namespace=walk.COMPONENTS)


def _wait_slice(cluster: Cluster, node: str) -> str:
    """Wait until a node has its part of the range, and return it."""

    def given() -> str | None:
        found = cluster.api.find("nodeslicepools", "sliced", namespace="kube-system") or {}
        parts = found.get("status", {}).get("allocations", [])
        return next((part["sliceRange"] for part in parts if part.get("nodeName") == node), None)

    return wait_until(f"{node} has a slice", given)


# --- the look back ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """The table beside this file: right, as text, to the reason why it may be as it is; of refused ones patterns."""

    unused: dict[str, str]
    rare: dict[str, str]
    wide: dict[str, str]
    refused: dict[str, str]

    @classmethod
    def read(cls) -> Explained:
        found = yamldoc.load(TABLE).data
        return cls(
            **{
                kind: {
                    f"{account}: {right}": str(why)
                    for account, rights in accounts.items()
                    for right, why in rights.items()
                }
                for kind, accounts in found.items()
            }
        )


@pytest.fixture(scope="module")
def explained() -> Explained:
    return Explained.read()


@pytest.fixture(scope="module")
def package_rights(published: walk.Package) -> set[Right]:
    """Give what the packages grant with any values, and the examples for cleanup and preflight."""
    project = published.project
    rendered = [project.render(""), project.render(EVERYTHING), project.render("", walk.MULTUS)]
    examples = (walk.example("cleanup.yaml"), walk.example("preflight.yaml", walk.MULTUS))
    return set().union(*map(granted, [*rendered, *examples]))


@pytest.fixture(scope="module")
def review(published: walk.Package, package_rights: set[Right]) -> Review:
    project = published.project
    printed = [
        project.rights(walk.RELEASED, ""),
        project.rights(walk.RELEASED, EVERYTHING),
        project.rights(walk.RELEASED, "", replacing=EVERYTHING),
        project.rights(walk.MULTUS.released, "", product=walk.MULTUS),
    ]
    return Review(frozenset(package_rights.union(*map(granted, printed))), frozenset(requests(components.AUDIT_LOG)))


def told(rights: Iterable[Right]) -> set[str]:
    return {f"{right.account}: {right}" for right in rights}


@pytest.mark.last
def test_every_account_is_recorded(review: Review) -> None:
    policy = yamldoc.load(components.AUDIT_POLICY).data
    accounts = {user.removeprefix("system:serviceaccount:").replace(":", "/") for user in policy["rules"][0]["users"]}
    assert components.AUDIT_LOG.read_text().count(f'"username":"{API_SERVER}"') > 0
    assert accounts == {right.account for right in review.granted}
    # The API server would write nothing without a word if it did not like the policy's names.
    asked = {each.right.account for each in review.requests}
    assert {f"{walk.COMPONENTS}/whereabouts", f"{walk.COMPONENTS}/multus-cni", INSTALLER, MULTUS_INSTALLER} <= asked


@pytest.mark.last
def test_every_request_was_allowed(review: Review, explained: Explained) -> None:
    refused = {f"{right.account}: {right}": words for right, words in review.refused().items()}
    wanted = "|".join(map(fnmatch.translate, explained.refused)) or "$."
    assert {right: words for right, words in refused.items() if not re.match(wanted, right)} == {}


@pytest.mark.last
def test_every_request_was_allowed_by_what_was_granted(review: Review) -> None:
    assert review.beyond() == []


@pytest.mark.last
def test_every_right_was_used_or_is_explained(
    review: Review, explained: Explained, package_rights: set[Right], not_run: str
) -> None:
    if not_run:
        pytest.skip(f"what is never used only a whole run can tell; {not_run}")
    # Nobody can grant what they do not hold.
    held = {
        dataclasses.replace(right, account=account)
        for right in package_rights
        for account in (INSTALLER, MULTUS_INSTALLER)
    }
    assert told(review.unused() - held) - set(explained.rare) == set(explained.unused)
    assert set(explained.rare) <= told(review.granted)
    wide = {right for right, where in review.needed_in_one_namespace_only().items() if where == walk.COMPONENTS}
    assert told(wide - held) == set(explained.wide)
    refused = told(review.refused())
    assert [pattern for pattern in explained.refused if not fnmatch.filter(refused, pattern)] == []


@pytest.mark.last
def test_the_page_tells_the_rights(package_rights: set[Right], explained: Explained) -> None:
    page = " ".join(PAGE.read_text().split())
    missing = [line for line in rows(package_rights, explained) if " ".join(line.split()) not in page]
    assert "\n".join(missing) == ""
    reasons = {**explained.unused, **explained.rare, **explained.wide}
    assert [why for why in reasons.values() if " ".join(why.split()) not in page] == []


def rows(rights: Iterable[Right], explained: Explained) -> list[str]:
    """Return the lines of the page's table: by account and resource the verbs, those that are not used in brackets."""
    verbs: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for right in sorted(rights):
        used = f"{right.account}: {right}" not in {**explained.unused, **explained.rare}
        verb = right.verb if used else f"({right.verb})"
        account = right.account.partition("/")[2]
        verbs[account, right.namespace or "the cluster", right.resource, right.name].append(verb)
    names: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for (account, where, resource, name), found in sorted(verbs.items()):
        names[account, where, resource, ", ".join(found)].append(f"`{name}`" if name else "")
    return [
        f"| `{account}` | {where} | {' '.join((resource, ', '.join(found))).strip()} | {granted_verbs} |"
        for (account, where, resource, granted_verbs), found in names.items()
    ]


# --- the review can fail ----------------------------------------------------------------------------------------------

ROLE = {
    "kind": "Role",
    "metadata": {"name": "r", "namespace": "home"},
    "rules": [
        {"apiGroups": ["example.org"], "resources": ["pools"], "verbs": ["get", "create"]},
        {"apiGroups": ["example.org"], "resources": ["pools"], "verbs": ["get"], "resourceNames": ["one"]},
    ],
}
CLUSTER_ROLE = {
    "kind": "ClusterRole",
    "metadata": {"name": "c"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}],
}
SUBJECTS = [{"kind": "ServiceAccount", "name": "a", "namespace": "home"}]
BINDINGS = [
    {
        "kind": f"{kind}Binding",
        "metadata": {"name": "b"} | ({"namespace": "home"} if kind == "Role" else {}),
        "roleRef": {"kind": kind, "name": name},
        "subjects": SUBJECTS,
    }
    for kind, name in (("Role", "r"), ("ClusterRole", "c"))
]
GRANTED = granted([ROLE, CLUSTER_ROLE, *BINDINGS])


def event(
    verb: str,
    resource: str,
    name: str = "",
    namespace: str = "home",
    *,
    role: str = "r",
    group: str = "example.org",
    user: str = "system:serviceaccount:home:a",
    second: int = 0,
) -> str:
    reference = {"resource": resource, "namespace": namespace, "name": name, "apiGroup": group}
    reason = f'RBAC: allowed by RoleBinding "b/home" of Role "{role}" to ServiceAccount "a/home"'
    decision = {
        "authorization.k8s.io/decision": "allow" if role else "forbid",
        "authorization.k8s.io/reason": reason,
    }
    return json.dumps(
        {
            "verb": verb,
            "user": {"username": user},
            "requestReceivedTimestamp": f"2026-11-23T12:00:{second:02}.000000Z",
            "objectRef": {key: value for key, value in reference.items() if value},
            "annotations": decision,
            "responseStatus": {"code": 200 if role else 403},
        }
    )


def reviewed(directory: Path, *lines: str) -> Review:
    log = directory / "log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return Review(frozenset(GRANTED), frozenset(requests(log)))


def test_a_right_counts_as_used_by_the_narrowest_that_fits(tmp_path: Path) -> None:
    review = reviewed(tmp_path, event("get", "pools", "one"), event("create", "pools", "two"))
    assert {str(right) for right in review.unused()} == {"get pools.example.org in home", "list pods", "delete pods"}
    review = reviewed(tmp_path, event("get", "pools", "two"))
    assert "get pools.example.org one in home" in {str(right) for right in review.unused()}


def test_what_is_refused_or_granted_by_others_is_seen(tmp_path: Path) -> None:
    review = reviewed(
        tmp_path,
        event("get", "secrets", "x", role=""),
        event("get", "secrets", "y", role="admin"),
        event("get", "pools/status", "one", role="admin"),
        event("create", "selfsubjectreviews", role="system:basic-user", namespace=""),
        '{"verb": "get", "cut off',
        event("get", "secrets", "z", role="", user="system:apiserver", second=35),
        '{"verb": "get", "requestURI": "/api", "user": {"username": "system:serviceaccount:home:a"}, '
        '"requestReceivedTimestamp": "2026-11-23T12:00:00.000000Z"}',
    )
    assert [str(right) for right in review.refused()] == ["get secrets.example.org x in home"]
    assert [str(right) for right in review.beyond()] == [
        "get pools.example.org/status one in home",
        "get secrets.example.org y in home",
    ]


def test_what_an_api_server_refuses_that_starts_is_left_out(tmp_path: Path) -> None:
    def refused(second: int) -> list[str]:
        start = event("get", "clusterroles", "cluster-admin", user="system:apiserver", second=20)
        review = reviewed(tmp_path, event("get", "secrets", "x", role="", second=second), start)
        return [str(right) for right in review.refused()]

    assert [second for second in (5, 15, 20, 35, 45) if refused(second)] == [5, 45]


def test_what_is_granted_for_all_namespaces_and_used_in_one_is_seen(tmp_path: Path) -> None:
    lines = [event("list", "pods", namespace="", group=""), event("delete", "pods", "p", group="")]
    wide = reviewed(tmp_path, *lines).needed_in_one_namespace_only()
    assert {str(right): where for right, where in wide.items()} == {"delete pods": "home"}
    lines.append(event("delete", "pods", "p", "away", group=""))
    assert reviewed(tmp_path, *lines).needed_in_one_namespace_only() == {}
