from __future__ import annotations

from typing import Any

import pytest

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
