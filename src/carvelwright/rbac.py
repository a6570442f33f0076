"""The least rights a service account needs to install, change and delete a package with given data values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Manifest = dict[str, Any]

_RBAC_API = "rbac.authorization.k8s.io/v1"
_CLUSTER = ""
# What kapp does, as the API server's audit log shows it for kapp 0.64. Names cannot be known when something is created
# or looked for by label; everything else is granted by name.
_UNNAMED_VERBS = ("create", "list")
_NAMED_VERBS = ("delete", "get", "update")
# What outlives the package only loses its label.
_KEPT_VERBS = ("get", "patch", "update")
_KEPT = ("kapp.k14s.io/delete-strategy", "orphan")
# kapp follows a workload to what its controller makes, to tell when it is ready, why it is not, and when it is gone.
_PODS = ("", "pods", ("get", "list", "watch"))
_LOOKED_AT = {
    "DaemonSet": (_PODS,),
    "Deployment": (_PODS, ("apps", "replicasets", ("get", "list"))),
}
# kind: (API group, plural, namespaced). Only what packages of this kind hold; an unknown kind is an error, not a guess.
_RESOURCES = {
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


@dataclass(frozen=True, slots=True)
class Installer:
    """The service account that installs: its name, and the namespace of the PackageInstall it serves."""

    name: str
    namespace: str


def manifests(rendered: Sequence[Manifest], installer: Installer) -> list[Manifest]:
    """Return ServiceAccount, Roles, ClusterRole and bindings for what a package renders to.

    Beside the objects themselves these are the rights that the package grants to others: nobody may grant what they
    do not hold. CarvelwrightError for a kind of object that is not known here.
    """
    rules: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (namespace, group, plural, verbs), names in _objects(rendered).items():
        rules[namespace] += [
            _rule(group, plural, _UNNAMED_VERBS),
            _rule(group, plural, verbs) | {"resourceNames": sorted(names)},
        ]
    for manifest in rendered:
        scope = _namespace(manifest)
        rules[scope] += [_rule(*looked_at) for looked_at in _LOOKED_AT.get(manifest["kind"], ())]
        if manifest["kind"] in ("Role", "ClusterRole"):
            rules[scope] += manifest.get("rules") or []
    # kapp keeps the record of an app, and of each change to it, in ConfigMaps beside the PackageInstall.
    # Those of changes have names that cannot be known.
    rules[installer.namespace].append(_rule("", "configmaps", (*_UNNAMED_VERBS, *_NAMED_VERBS)))
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": installer.name, "namespace": installer.namespace},
    }
    return [account, *(item for scope in sorted(rules) for item in _grant(scope, _merged(rules[scope]), installer))]


def _objects(rendered: Iterable[Manifest]) -> dict[tuple[str, str, str, tuple[str, ...]], set[str]]:
    """Return the names by namespace, API group, plural and the verbs that they need."""
    found: dict[tuple[str, str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for manifest in rendered:
        group, plural, _ = _resource(manifest)
        kept = _KEPT in (manifest["metadata"].get("annotations") or {}).items()
        found[_namespace(manifest), group, plural, _KEPT_VERBS if kept else _NAMED_VERBS].add(
            manifest["metadata"]["name"]
        )
    return dict(sorted(found.items()))


def _resource(manifest: Manifest) -> tuple[str, str, bool]:
    try:
        return _RESOURCES[manifest["kind"]]
    except KeyError:
        raise CarvelwrightError(
            f"the rights for a {manifest['kind']} are not known",
            exit_code=ExitCode.CONFIG,
            details=f"found: {manifest['kind']} {manifest['metadata']['name']}\nknown: {', '.join(_RESOURCES)}",
            hint="grant them by hand beside what this prints for the rest",
        ) from None


def _namespace(manifest: Manifest) -> str:
    return manifest["metadata"].get("namespace", _CLUSTER) if _resource(manifest)[2] else _CLUSTER


def _rule(group: str, plural: str, verbs: Iterable[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [plural], "verbs": sorted(verbs)}


def _merged(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules with each thing once: verbs by group, resource and name."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for rule in rules:
        names = tuple(sorted(rule.get("resourceNames") or ()))
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs[group, resource, names] |= set(rule["verbs"])
    return [
        _rule(group, resource, granted) | ({"resourceNames": list(names)} if names else {})
        for (group, resource, names), granted in sorted(verbs.items())
    ]


def _grant(scope: str, rules: list[dict[str, Any]], installer: Installer) -> list[Manifest]:
    prefix = "Cluster" if scope == _CLUSTER else ""
    metadata = {"name": installer.name} | ({"namespace": scope} if scope else {})
    return [
        {"apiVersion": _RBAC_API, "kind": f"{prefix}Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": _RBAC_API,
            "kind": f"{prefix}RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{prefix}Role", "name": installer.name},
            "subjects": [{"kind": "ServiceAccount", "name": installer.name, "namespace": installer.namespace}],
        },
    ]
