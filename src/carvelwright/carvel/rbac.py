"""The least rights a service account needs to install, change and delete a package with given data values."""

from __future__ import annotations

import reprlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.errors import InputError, UsageError
from carvelwright.names import DNS_LABEL, DNS_SUBDOMAIN, is_dns_label, is_dns_subdomain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from carvelwright.carvel.app import Placement

Manifest = dict[str, Any]

_RBAC_API = "rbac.authorization.k8s.io/v1"
# Documents for kapp itself, which it does not apply.
_KAPP_API = "kapp.k14s.io/v1alpha1"
# Documents for kapp and kbld themselves, which nobody applies.
_CONFIGURATION = (_KAPP_API, "kbld.k14s.io/v1alpha1")
_CLUSTER = ""
# What kapp does, as the API server's audit log shows it for kapp 0.64. Names cannot be known when something is created
# or looked for by label; everything else is granted by name.
_UNNAMED_VERBS = ("create", "list")
_NAMED_VERBS = ("delete", "get", "update")
# What the values that are replaced brought and the new ones do not.
_UNNAMED_VERBS_OF_GONE = ("list",)
_VERBS_OF_GONE = ("delete", "get")
# What outlives the package only loses its label.
_KEPT_VERBS = ("get", "patch", "update")
_KEPT = ("kapp.k14s.io/delete-strategy", "orphan")
# kapp follows a workload to its pods, to tell when it is ready, why it is not, and when it is gone.
_PODS = ("", "pods", ("get", "list", "watch"))
# An annotation of pods that kapp itself deletes at the end, instead of leaving them to the garbage collector.
_DELETED_BY_KAPP = "kapp.k14s.io/owned-for-deletion"
_DELETED_PODS = ("", "pods", ("delete",))
_WORKLOADS = ("DaemonSet", "Deployment")
# On the way to them, unless a wait rule says when a Deployment is done.
_REPLICA_SETS = ("apps", "replicasets", ("get", "list"))
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
    """The service account that installs: its name, and the namespace of the PackageInstall it serves.

    UsageError for names that the API server refuses.
    """

    name: str
    namespace: str

    def __post_init__(self) -> None:
        """Check the names: what is printed is applied to a cluster."""
        wrong = [
            f"{what}: found {text!r}, expected {expected}"
            for what, text, valid, expected in (
                ("name", self.name, is_dns_subdomain, DNS_SUBDOMAIN),
                ("namespace", self.namespace, is_dns_label, DNS_LABEL),
            )
            if not valid(text)
        ]
        if wrong:
            raise UsageError(
                "the service account's name or namespace is invalid",
                details="\n".join(wrong),
                hint="use other names: carvelwright rbac --name NAME --namespace NAMESPACE",
            )


def manifests(
    rendered: Sequence[Manifest],
    installer: Installer,
    replaced: Sequence[Manifest] = (),
    placement: Placement | None = None,
) -> list[Manifest]:
    """Return ServiceAccount, Roles, ClusterRole and bindings for what a package renders to.

    Beside the objects themselves these are the rights that the package grants to others: nobody may grant what they
    do not hold. `replaced` is what is installed until then: what is not rendered any more must go.
    `placement` says into which namespaces kapp puts the objects: without one, where they are.
    CarvelwrightError for what is no object, and for a kind of object that is not known here.
    """
    documents = [_object(each) for each in rendered]
    ruled, rendered, replaced = _ruled(documents), _applied(documents), _applied(map(_object, replaced))
    if placement is not None:
        rendered, replaced = ([_placed(each, placement) for each in objects] for objects in (rendered, replaced))
    present = {_identity(manifest) for manifest in rendered}
    gone = [manifest for manifest in replaced if _identity(manifest) not in present]
    rules: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (namespace, group, plural, verbs), names in _objects(rendered).items():
        rules[namespace] += [
            _rule(group, plural, _UNNAMED_VERBS),
            _rule(group, plural, verbs) | {"resourceNames": sorted(names)},
        ]
    for (namespace, group, plural, _), names in _objects(gone).items():
        rules[namespace] += [
            _rule(group, plural, _UNNAMED_VERBS_OF_GONE),
            _rule(group, plural, _VERBS_OF_GONE) | {"resourceNames": sorted(names)},
        ]
    for manifest in (*rendered, *gone):
        rules[_namespace(manifest)] += _followed(manifest, ruled)
    for manifest in rendered:
        if manifest["kind"] in ("Role", "ClusterRole"):
            rules[_namespace(manifest)] += manifest.get("rules") or []
    # kapp keeps the record of an app, and of each change to it, in ConfigMaps beside the PackageInstall.
    # Those of changes have names that cannot be known.
    rules[installer.namespace].append(_rule("", "configmaps", (*_UNNAMED_VERBS, *_NAMED_VERBS)))
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": installer.name, "namespace": installer.namespace},
    }
    merged = {scope: _merged(rules[scope]) for scope in sorted(rules)}
    for scope in merged.keys() - {_CLUSTER}:
        merged[scope] = _beyond(merged[scope], merged.get(_CLUSTER, []))
    return [account, *(item for scope in merged for item in _grant(scope, merged[scope], installer))]


def _followed(manifest: Manifest, ruled: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rights with which kapp follows a workload to its pods; `ruled` are kinds with a wait rule."""
    if manifest["kind"] in _WORKLOADS:
        yield _rule(*_PODS)
        if _DELETED_BY_KAPP in _pod_annotations(manifest):
            yield _rule(*_DELETED_PODS)
    if manifest["kind"] == "Deployment" and "Deployment" not in ruled:
        yield _rule(*_REPLICA_SETS)


def _pod_annotations(workload: Manifest) -> Mapping[str, str]:
    """Return the annotations that a workload's pods get."""
    found: Any = workload
    for key in ("spec", "template", "metadata", "annotations"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _placed(manifest: Manifest, placement: Placement) -> Manifest:
    metadata = manifest["metadata"]
    if not _resource(manifest)[2]:
        return manifest
    return manifest | {"metadata": metadata | {"namespace": placement.namespace(metadata.get("namespace"))}}


def _ruled(manifests: Iterable[Manifest]) -> set[str]:
    """Return the kinds that wait rules of kapp's configuration are for."""
    return {
        matcher["apiVersionKindMatcher"]["kind"]
        for manifest in manifests
        if manifest["apiVersion"] == _KAPP_API
        for rule in manifest.get("waitRules") or []
        for matcher in rule.get("resourceMatchers") or []
        if "apiVersionKindMatcher" in matcher
    }


def _applied(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["apiVersion"] not in _CONFIGURATION]


def _object(document: Any) -> Manifest:
    match document:
        case {"apiVersion": str(version), "kind": str()} if version in _CONFIGURATION:
            return dict(document)
        case {"apiVersion": str(), "kind": str(), "metadata": {"name": str()}}:
            return dict(document)
    raise InputError(
        "the manifests contain a document that is not a Kubernetes object",
        details=f"found: {reprlib.repr(document)}\nexpected: apiVersion, kind and metadata.name, each a text",
        hint="search for it in the output of `carvelwright render`",
    )


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


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], _namespace(manifest), manifest["metadata"]["name"]


def _resource(manifest: Manifest) -> tuple[str, str, bool]:
    try:
        return _RESOURCES[manifest["kind"]]
    except KeyError:
        raise InputError(
            f"the rights for a {manifest['kind']} are not known",
            details=f"found: {manifest['kind']} {manifest['metadata']['name']}\nknown: {', '.join(_RESOURCES)}",
            hint="grant them by hand in addition to what `carvelwright rbac` prints for the other objects",
        ) from None


def _namespace(manifest: Manifest) -> str:
    return manifest["metadata"].get("namespace", _CLUSTER) if _resource(manifest)[2] else _CLUSTER


def _rule(group: str, plural: str, verbs: Iterable[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [plural], "verbs": sorted(verbs)}


def _merged(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules with each thing once: verbs by group, resource and name, or by URL."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    on_urls: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for url in rule.get("nonResourceURLs") or ():
            on_urls[url] |= set(rule["verbs"])
        names = tuple(sorted(rule.get("resourceNames") or ()))
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                verbs[group, resource, names] |= set(rule["verbs"])
    return [
        _rule(group, resource, granted) | ({"resourceNames": list(names)} if names else {})
        for (group, resource, names), granted in sorted(verbs.items())
    ] + [{"nonResourceURLs": [url], "verbs": sorted(granted)} for url, granted in sorted(on_urls.items())]


def _beyond(rules: Iterable[dict[str, Any]], everywhere: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules of a namespace without what holds in all of them anyway."""
    known = {
        (rule["apiGroups"][0], rule["resources"][0], verb)
        for rule in everywhere
        if "resources" in rule and "resourceNames" not in rule
        for verb in rule["verbs"]
    }
    left = (
        rule
        | {"verbs": [verb for verb in rule["verbs"] if (rule["apiGroups"][0], rule["resources"][0], verb) not in known]}
        for rule in rules
        # In a namespace URLs mean nothing.
        if "resources" in rule
    )
    return [rule for rule in left if rule["verbs"]]


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
