from __future__ import annotations

from typing import Any

import pytest

from carvelwright import names
from carvelwright.carvel import rbac
from carvelwright.errors import CarvelwrightError, ExitCode

INSTALLER = rbac.Installer("installer", "my-packages")


def manifest(kind: str, name: str, *, namespace: str | None = None, **more: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | more.pop("metadata", {})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}


def may(documents: list[dict[str, Any]], scope: str, resource: str) -> dict[str, list[str]]:
    """Return the verbs that a scope ("" for the cluster) grants for a resource, by the name they are limited to."""
    return {
        name: rule["verbs"]
        for document in documents
        if document["kind"] in {"Role", "ClusterRole"} and document["metadata"].get("namespace", "") == scope
        for rule in document["rules"]
        if resource in rule.get("resources", [])
        for name in rule.get("resourceNames", [""])
    }


def test_objects_are_granted_by_name_in_their_namespace() -> None:
    granted = rbac.manifests([manifest("ConfigMap", "conf", namespace="kube-system")], INSTALLER)
    assert may(granted, "kube-system", "configmaps") == {"": ["create", "list"], "conf": ["delete", "get", "update"]}
    assert may(granted, "", "configmaps") == {}


def test_what_outlives_the_package_cannot_be_deleted() -> None:
    kept = {"annotations": {"kapp.k14s.io/delete-strategy": "orphan"}}
    crds = [manifest("CustomResourceDefinition", "a.example.org", metadata=kept)]
    crds += [manifest("CustomResourceDefinition", "b.example.org")]
    assert may(rbac.manifests(crds, INSTALLER), "", "customresourcedefinitions") == {
        "": ["create", "list"],
        "a.example.org": ["get", "patch", "update"],
        "b.example.org": ["delete", "get", "update"],
    }


def test_what_the_package_grants_the_installer_holds() -> None:
    rule = {"apiGroups": ["example.org"], "resources": ["pools"], "verbs": ["patch", "get"]}
    granted = rbac.manifests([manifest("Role", "plugin", namespace="kube-system", rules=[rule])], INSTALLER)
    assert may(granted, "kube-system", "pools") == {"": ["get", "patch"]}
    assert may(granted, "", "pools") == {}


def test_rights_on_urls_are_held_too() -> None:
    rules = [{"nonResourceURLs": ["/metrics", "/healthz"], "verbs": ["get"]}]
    rules += [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    granted = rbac.manifests([manifest("ClusterRole", "scraper", rules=rules)], INSTALLER)
    (role,) = (each for each in granted if each["kind"] == "ClusterRole")
    assert [rule for rule in role["rules"] if "nonResourceURLs" in rule] == [
        {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]
    assert may(granted, "", "pods") == {"": ["list"]}


@pytest.mark.parametrize(
    "document",
    [
        {"foo": "bar"},
        ["a"],
        "text",
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": 3},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 3}},
        {"apiVersion": 1, "kind": "ConfigMap", "metadata": {"name": "a"}},
    ],
)
@pytest.mark.parametrize("replaced", [False, True])
def test_what_is_no_object_is_told(document: Any, replaced: bool) -> None:
    with pytest.raises(CarvelwrightError, match="not a Kubernetes object") as told:
        rbac.manifests([] if replaced else [document], INSTALLER, [document] if replaced else ())
    assert told.value.exit_code is ExitCode.CONFIG
    assert "expected: apiVersion, kind and metadata.name" in str(told.value.details)


def test_pods_of_workloads_are_looked_at_where_they_run() -> None:
    granted = rbac.manifests([manifest("Deployment", "controller", namespace="kube-system")], INSTALLER)
    assert may(granted, "kube-system", "pods") == {"": ["get", "list", "watch"]}
    assert may(granted, "kube-system", "replicasets") == {"": ["get", "list"]}
    assert may(granted, "", "pods") == {}


@pytest.mark.parametrize("annotations", [{"kapp.k14s.io/owned-for-deletion": ""}, {"other": "x"}, None, 3])
@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment"])
def test_pods_that_kapp_deletes_itself_may_be_deleted(kind: str, annotations: Any) -> None:
    spec = {"template": {"metadata": {"annotations": annotations}}}
    workload = manifest(kind, "agent", namespace="kube-system", spec=spec)
    wanted = ["delete"] if isinstance(annotations, dict) and "other" not in annotations else []
    for granted in (rbac.manifests([workload], INSTALLER), rbac.manifests([], INSTALLER, [workload])):
        assert may(granted, "kube-system", "pods") == {"": [*wanted, "get", "list", "watch"]}


def test_kapps_own_configuration_takes_no_right_and_its_wait_rules_take_some_away() -> None:
    matcher = {"apiVersionKindMatcher": {"apiVersion": "apps/v1", "kind": "Deployment"}}
    config = {
        "apiVersion": "kapp.k14s.io/v1alpha1",
        "kind": "Config",
        "waitRules": [{"resourceMatchers": [matcher, {"allMatcher": {}}]}],
    }
    deployment = manifest("Deployment", "controller", namespace="kube-system")
    granted = rbac.manifests([deployment, config], INSTALLER, [config])
    assert may(granted, "kube-system", "replicasets") == {}
    assert may(granted, "kube-system", "pods") == {"": ["get", "list", "watch"]}


def test_kblds_configuration_takes_no_right() -> None:
    config = {"apiVersion": "kbld.k14s.io/v1alpha1", "kind": "Config", "searchRules": []}
    account = manifest("ServiceAccount", "plugin", namespace="kube-system")
    assert rbac.manifests([account, config], INSTALLER) == rbac.manifests([account], INSTALLER)


def test_every_role_is_bound_to_the_account_of_the_install() -> None:
    granted = rbac.manifests([manifest("ServiceAccount", "plugin", namespace="kube-system")], INSTALLER)
    assert granted[0]["metadata"] == {"name": "installer", "namespace": "my-packages"}
    roles = {each["metadata"]["namespace"] for each in granted if each["kind"] == "Role"}
    bindings = [each for each in granted if each["kind"] == "RoleBinding"]
    assert roles == {each["metadata"]["namespace"] for each in bindings} == {"kube-system", "my-packages"}
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "installer", "namespace": "my-packages"}]


def test_an_unknown_kind_is_named_and_not_guessed() -> None:
    with pytest.raises(CarvelwrightError) as refused:
        rbac.manifests([manifest("Gadget", "one")], INSTALLER)
    assert refused.value.exit_code is ExitCode.CONFIG
    assert "Gadget" in str(refused.value)


def test_what_the_replaced_values_brought_may_be_deleted_and_no_more() -> None:
    kept, rule = (
        manifest("ConfigMap", "kept", namespace="kube-system"),
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    )
    gone = [
        manifest("Deployment", "controller", namespace="kube-system"),
        manifest("ClusterRole", "controller", rules=[rule]),
    ]
    granted = rbac.manifests([kept], INSTALLER, [kept, *gone])
    assert may(granted, "kube-system", "deployments") == {"": ["list"], "controller": ["delete", "get"]}
    assert may(granted, "kube-system", "pods") == {"": ["get", "list", "watch"]}
    assert may(granted, "", "clusterroles") == {"": ["list"], "controller": ["delete", "get"]}
    assert may(granted, "", "nodes") == {}
    assert may(granted, "kube-system", "configmaps") == may(
        rbac.manifests([kept], INSTALLER), "kube-system", "configmaps"
    )


def test_replacing_the_same_grants_nothing_more() -> None:
    documents = [manifest("Deployment", "controller", namespace="kube-system")]
    assert rbac.manifests(documents, INSTALLER, documents) == rbac.manifests(documents, INSTALLER)


def test_what_is_granted_everywhere_is_not_granted_again_in_a_namespace() -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    named = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["one"]}
    documents = [
        manifest("Deployment", "controller", namespace="kube-system"),
        manifest("ClusterRole", "controller", rules=[rule, named]),
    ]
    granted = rbac.manifests(documents, INSTALLER)
    assert may(granted, "", "pods") == {"": ["list", "watch"], "one": ["get"]}
    assert may(granted, "kube-system", "pods") == {"": ["get"]}


@pytest.mark.parametrize(
    ("name", "namespace", "wrong"),
    [
        ("Web", "default", ["name: found 'Web'"]),
        ("", "default", ["name: found ''"]),
        ("a" * 254, "default", ["name: found"]),
        ("web", "a.b", ["namespace: found 'a.b'"]),
        ("web", "a" * 64, ["namespace: found"]),
        ("-f", "kube system", ["name: found '-f'", "namespace: found 'kube system'"]),
    ],
)
def test_names_that_the_server_refuses_are_refused(name: str, namespace: str, wrong: list[str]) -> None:
    with pytest.raises(CarvelwrightError) as caught:
        rbac.Installer(name, namespace)
    assert caught.value.exit_code is ExitCode.USAGE
    lines = str(caught.value.details).splitlines()
    assert len(lines) == len(wrong)
    assert all(line.startswith(start) for line, start in zip(lines, wrong, strict=True))


def test_names_with_dots_are_fine_for_a_service_account() -> None:
    assert rbac.Installer("web.installer", "my-packages").name == "web.installer"


KINDS = {
    "ClusterRole": ("rbac.authorization.k8s.io", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io", "clusterrolebindings", False),
    "ConfigMap": ("", "configmaps", True),
    "CustomResourceDefinition": ("apiextensions.k8s.io", "customresourcedefinitions", False),
    "DaemonSet": ("apps", "daemonsets", True),
    "Deployment": ("apps", "deployments", True),
    "NetworkPolicy": ("networking.k8s.io", "networkpolicies", True),
    "PodDisruptionBudget": ("policy", "poddisruptionbudgets", True),
    "Role": ("rbac.authorization.k8s.io", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io", "rolebindings", True),
    "Secret": ("", "secrets", True),
    "Service": ("", "services", True),
    "ServiceAccount": ("", "serviceaccounts", True),
}


def rules(documents: list[dict[str, Any]], scope: str) -> list[dict[str, Any]]:
    """Return the rules of the role of a scope, "" for the cluster."""
    found = [each for each in documents if "rules" in each and each["metadata"].get("namespace", "") == scope]
    return found[0]["rules"] if found else []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_group_and_plural(kind: str) -> None:
    group, plural, namespaced = KINDS[kind]
    granted = rbac.manifests([manifest(kind, "b", namespace="ns"), manifest(kind, "a", namespace="ns")], INSTALLER)
    assert [rule for rule in rules(granted, "ns" if namespaced else "") if rule["resources"] == [plural]] == [
        {"apiGroups": [group], "resources": [plural], "verbs": ["create", "list"]},
        {
            "apiGroups": [group],
            "resources": [plural],
            "verbs": ["delete", "get", "update"],
            "resourceNames": ["a", "b"],
        },
    ]


def test_the_documents_are_those_of_the_api_server() -> None:
    role = manifest("ClusterRole", "plugin", rules=None)
    assert rbac.manifests([role], INSTALLER) == [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "installer", "namespace": "my-packages"},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "installer"},
            "rules": [
                {
                    "apiGroups": ["rbac.authorization.k8s.io"],
                    "resources": ["clusterroles"],
                    "verbs": ["create", "list"],
                },
                {
                    "apiGroups": ["rbac.authorization.k8s.io"],
                    "resources": ["clusterroles"],
                    "verbs": ["delete", "get", "update"],
                    "resourceNames": ["plugin"],
                },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "installer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "installer"},
            "subjects": [{"kind": "ServiceAccount", "name": "installer", "namespace": "my-packages"}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "installer", "namespace": "my-packages"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "verbs": ["create", "delete", "get", "list", "update"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "installer", "namespace": "my-packages"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "installer"},
            "subjects": [{"kind": "ServiceAccount", "name": "installer", "namespace": "my-packages"}],
        },
    ]


def test_what_names_no_namespace_is_granted_in_all_of_them() -> None:
    documents = [manifest("Secret", "a"), manifest("Secret", "b", namespace="c")]
    granted = rbac.manifests(documents, INSTALLER)
    assert may(granted, "", "secrets") == {"": ["create", "list"], "a": ["delete", "get", "update"]}
    assert may(granted, "c", "secrets") == {"b": ["delete", "get", "update"]}


def test_scopes_are_sorted() -> None:
    documents = [manifest("Secret", "a", namespace=name) for name in ("z", "a")] + [manifest("ClusterRole", "x")]
    granted = rbac.manifests(documents, INSTALLER)
    scopes = [each["metadata"].get("namespace") for each in granted if "rules" in each]
    assert scopes == [None, "a", "my-packages", "z"]


def test_a_daemon_set_needs_no_replica_sets() -> None:
    granted = rbac.manifests([manifest("DaemonSet", "node", namespace="kube-system")], INSTALLER)
    assert may(granted, "kube-system", "pods") == {"": ["get", "list", "watch"]}
    assert may(granted, "kube-system", "replicasets") == {}
    other = rbac.manifests([manifest("Service", "node", namespace="kube-system")], INSTALLER)
    assert may(other, "kube-system", "pods") == {}


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"waitRules": None},
        {"waitRules": [{}, {"resourceMatchers": None}]},
        {"waitRules": [{"resourceMatchers": [{"apiVersionKindMatcher": {"kind": "Job"}}]}]},
    ],
)
def test_wait_rules_for_others_take_nothing_away(configuration: dict[str, Any]) -> None:
    config = {"apiVersion": "kapp.k14s.io/v1alpha1", "kind": "Config", **configuration}
    granted = rbac.manifests([manifest("Deployment", "a", namespace="b"), config], INSTALLER)
    assert may(granted, "b", "replicasets") == {"": ["get", "list"]}


def test_wait_rules_of_the_replaced_do_not_count() -> None:
    matcher = {"apiVersionKindMatcher": {"apiVersion": "apps/v1", "kind": "Deployment"}}
    config = {"apiVersion": "kapp.k14s.io/v1alpha1", "kind": "Config", "waitRules": [{"resourceMatchers": [matcher]}]}
    granted = rbac.manifests([manifest("Deployment", "a", namespace="b")], INSTALLER, [config])
    assert may(granted, "b", "replicasets") == {"": ["get", "list"]}


def test_an_annotation_of_another_value_keeps_nothing() -> None:
    for other in ({"kapp.k14s.io/delete-strategy": "x"}, {"other": "orphan"}, None):
        secret = manifest("Secret", "a", namespace="b", metadata={"annotations": other})
        granted = rbac.manifests([secret], INSTALLER)
        assert may(granted, "b", "secrets")["a"] == ["delete", "get", "update"]


def test_what_moved_to_another_namespace_is_gone_from_the_first() -> None:
    before, now = (manifest("Secret", "a", namespace=name) for name in ("old", "new"))
    granted = rbac.manifests([now], INSTALLER, [before])
    assert may(granted, "old", "secrets") == {"": ["list"], "a": ["delete", "get"]}
    assert may(granted, "new", "secrets") == {"": ["create", "list"], "a": ["delete", "get", "update"]}


def test_rights_that_a_package_grants_are_merged() -> None:
    given = [
        {"apiGroups": ["", "apps"], "resources": ["pods", "nodes"], "verbs": ["watch", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["b", "a"]},
        {"nonResourceURLs": ["/a"], "verbs": ["get"]},
        {"nonResourceURLs": ["/a"], "verbs": ["post", "head"]},
        {"apiGroups": None, "resources": None, "nonResourceURLs": None, "resourceNames": None, "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["x"], "verbs": ["get"], "resourceNames": []},
    ]
    granted = rbac.manifests([manifest("ClusterRole", "a", rules=given)], INSTALLER)
    own = [rule for rule in rules(granted, "") if rule.get("resources") != ["clusterroles"]]
    assert own == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a", "b"]},
        {"apiGroups": [""], "resources": ["x"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["nodes"], "verbs": ["get", "watch"]},
        {"apiGroups": ["apps"], "resources": ["pods"], "verbs": ["get", "watch"]},
        {"nonResourceURLs": ["/a"], "verbs": ["get", "head", "post"]},
    ]


def test_urls_mean_nothing_in_a_namespace() -> None:
    given = [{"nonResourceURLs": ["/a"], "verbs": ["get"]}]
    granted = rbac.manifests([manifest("Role", "a", namespace="b", rules=given)], INSTALLER)
    assert [rule for rule in rules(granted, "b") if "nonResourceURLs" in rule] == []


def test_rights_of_the_whole_cluster_leave_out_those_of_one_name_and_of_urls() -> None:
    everywhere = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"]},
        {"apiGroups": ["x"], "resources": ["secrets"], "verbs": ["list"]},
        {"nonResourceURLs": ["/a"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"], "resourceNames": ["a"]},
    ]
    documents = [manifest("ClusterRole", "a", rules=everywhere), manifest("Secret", "a", namespace="b")]
    granted = rbac.manifests(documents, INSTALLER)
    assert may(granted, "b", "secrets") == {"": ["list"], "a": ["delete", "update"]}
    del everywhere[0]["resources"]
    assert may(rbac.manifests(documents, INSTALLER), "b", "secrets")["a"] == ["delete", "get", "update"]


def test_refusals_say_what_was_found_and_what_to_do() -> None:
    with pytest.raises(CarvelwrightError) as refused:
        rbac.manifests([manifest("Gadget", "one")], INSTALLER)
    assert refused.value.lines() == [
        "the rights for a Gadget are not known",
        "    found: Gadget one",
        f"    known: {', '.join(KINDS)}",
        "    hint: grant them by hand in addition to what `carvelwright rbac` prints for the other objects",
    ]
    with pytest.raises(CarvelwrightError) as refused:
        rbac.manifests([{"a": 1}], INSTALLER)
    assert refused.value.lines() == [
        "the manifests contain a document that is not a Kubernetes object",
        "    found: {'a': 1}",
        "    expected: apiVersion, kind and metadata.name, each a text",
        "    hint: search for it in the output of `carvelwright render`",
    ]
    with pytest.raises(CarvelwrightError) as refused:
        rbac.Installer("A", "B")
    assert refused.value.lines() == [
        "the service account's name or namespace is invalid",
        f"    name: found 'A', expected {names.DNS_SUBDOMAIN}",
        f"    namespace: found 'B', expected {names.DNS_LABEL}",
        "    hint: use other names: carvelwright rbac --name NAME --namespace NAMESPACE",
    ]
