"""What kapp and the API server refuse of an object, whatever its kind: identity, names, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Path = tuple[str | int, ...]
# Documents for kapp and kbld themselves, which nobody applies.
_KAPP_API, _KBLD_API = "kapp.k14s.io/v1alpha1", "kbld.k14s.io/v1alpha1"
_RBAC = "rbac.authorization.k8s.io"
# Groups of the API server itself. Others may be served by somebody whose rules for names are not known here.
_BUILT_IN = {
    "": {"ConfigMap", "Endpoints", "LimitRange", "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Pod"}
    | {"PodTemplate", "ReplicationController", "ResourceQuota", "Secret", "Service", "ServiceAccount"},
    "admissionregistration.k8s.io": {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"},
    "apiextensions.k8s.io": {"CustomResourceDefinition"},
    "apiregistration.k8s.io": {"APIService"},
    "apps": {"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"},
    "autoscaling": {"HorizontalPodAutoscaler"},
    "batch": {"CronJob", "Job"},
    "discovery.k8s.io": {"EndpointSlice"},
    "networking.k8s.io": {"Ingress", "IngressClass", "NetworkPolicy"},
    "policy": {"PodDisruptionBudget"},
    _RBAC: {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    "scheduling.k8s.io": {"PriorityClass"},
    "storage.k8s.io": {"StorageClass"},
}
_OF_THE_CLUSTER = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass", "Namespace"}
_OF_THE_CLUSTER |= {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "PersistentVolume"}
_OF_THE_CLUSTER |= {"APIService", "PriorityClass", "StorageClass"}
_QUOTE = "put it in quotes"
# ytt reads YAML 1.1.
_QUOTE_WORD = f"{_QUOTE}: without them, y, yes, on, n, no and off are booleans"
# The API server adds 11 characters for the Jobs of a CronJob.
_CRON_JOB_LIMIT = 52


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a document: `at` is the path of keys and indexes to it."""

    at: Path
    message: str
    found: Any = None
    expected: str | None = None
    hint: str | None = None


def flat(documents: Sequence[Any]) -> Iterator[Any]:
    """Yield the documents that kapp sees: without empty ones, with the items of a List each by itself."""
    for document in documents:
        if isinstance(document, dict) and isinstance(document.get("items"), list):
            yield from flat(document["items"])
        elif document is not None and document != {}:
            yield document


def is_for_kbld(document: Any) -> bool:
    """Tell documents that configure kbld."""
    return isinstance(document, dict) and document.get("apiVersion") == _KBLD_API


def is_configuration(document: Any) -> bool:
    """Tell documents that configure kapp or kbld and are never applied."""
    return isinstance(document, dict) and document.get("apiVersion") in (_KAPP_API, _KBLD_API)


def group_of(document: Mapping[str, Any]) -> str:
    """Return an object's API group, "" for the core's."""
    return str(document["apiVersion"]).rpartition("/")[0]


def kind_of(document: Mapping[str, Any]) -> str | None:
    """Return the kind of an object of the API server's own groups; None for others."""
    kind: str = document["kind"]
    return kind if kind in _BUILT_IN.get(group_of(document), ()) else None


def identity(document: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what kapp knows an object by: API group (versions do not count), kind, namespace, name."""
    metadata = document["metadata"]
    namespace = "" if kind_of(document) in _OF_THE_CLUSTER else metadata.get("namespace") or ""
    name = metadata.get("name") or f"{metadata['generateName']}*"
    return group_of(document), document["kind"], namespace, name


def title(document: Any) -> str:
    """Name a document for people, as far as it has a name."""
    if not isinstance(document, dict):
        return "a document"
    metadata = document.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, dict) else None
    return " ".join(str(part) for part in (document.get("kind") or "object", name) if part)


def shape_findings(document: Any) -> Iterator[Finding]:
    """Find why a document is no Kubernetes object: everything else can be looked at only in one that is."""
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else "a scalar"
        yield Finding((), f"{kind} instead of an object", document, "a map with apiVersion, kind and metadata.name")
        return
    for key in ("apiVersion", "kind"):
        value = document.get(key)
        if not isinstance(value, str) or not value or value.count("/") > (key == "apiVersion"):
            expected = "GROUP/VERSION or VERSION" if key == "apiVersion" else "text"
            yield _wrong((key,), value, expected, _quoting_scalar(value))
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        yield _wrong(("metadata",), metadata, "a map with name")
        return
    if not metadata.get("generateName") or metadata.get("name") is not None:
        yield from _text(metadata, "name")
    elif not isinstance(metadata["generateName"], str):
        found = metadata["generateName"]
        yield _wrong(("metadata", "generateName"), found, "text", _quoting_scalar(found))
    # An empty one is the same as none.
    if metadata.get("namespace") not in (None, ""):
        yield from _text(metadata, "namespace")


def metadata_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Find names, labels and annotations that the API server refuses."""
    metadata = document["metadata"]
    name = metadata.get("name")
    if name is not None:
        yield from _name_findings(document, name)
    if metadata.get("namespace") and not names.is_dns_label(metadata["namespace"]):
        yield Finding(("metadata", "namespace"), "not a namespace", metadata["namespace"], names.DNS_LABEL)
    yield from label_findings(metadata, ("metadata",))


def label_findings(metadata: Any, at: Path) -> Iterator[Finding]:
    """Find labels and annotations that the API server refuses, of an object or of a pod template."""
    if not isinstance(metadata, dict):
        return
    for field, valid in (("labels", names.is_label_value), ("annotations", None)):
        pairs = metadata.get(field)
        if pairs is not None and not isinstance(pairs, dict):
            yield _wrong((*at, field), pairs, "a map of text")
            continue
        for key, value in (pairs or {}).items():
            yield from _pair_findings(key, value, (*at, field, key), valid)


def _pair_findings(key: Any, value: Any, at: Path, valid: Callable[[str], bool] | None) -> Iterator[Finding]:
    kind = "label" if valid else "annotation"
    # Of annotations the API server looks at the lower-case key.
    if not isinstance(key, str) or not names.is_label_key(key if valid else key.lower()):
        yield Finding(at, f"wrong key of {kind} {key}", key, "NAME or PREFIX/NAME", quoting(key))
    if value is not None and not isinstance(value, str):
        yield Finding(at, f"{kind} {key} is not text", value, "text", quoting(value))
    elif valid and value and not valid(value):
        expected = "63 characters at most: letters, digits, - _ . between letters or digits"
        yield Finding(at, f"wrong value of {kind} {key}", value, expected)


def _name_findings(document: Mapping[str, Any], name: str) -> Iterator[Finding]:
    at: Path = ("metadata", "name")
    match group_of(document), kind_of(document):
        case _, None:
            return
        case "", "Namespace":
            valid, expected = names.is_dns_label(name), names.DNS_LABEL
        case "", "Service":
            valid, expected = names.is_service_name(name), f"{names.DNS_LABEL} that begins with a letter"
        case group, _ if group == _RBAC:
            valid, expected = names.is_path_segment(name), "no / and no %"
        case _, "CronJob":
            valid = names.is_dns_subdomain(name) and len(name) <= _CRON_JOB_LIMIT
            expected = f"{names.DNS_SUBDOMAIN}, of a CronJob {_CRON_JOB_LIMIT}"
        case _, "CustomResourceDefinition":
            plural, group = walk(document, ("spec", "names", "plural")), walk(document, ("spec", "group"))
            valid = name == f"{plural}.{group}" or None in (plural, group)
            expected = f"spec.names.plural and spec.group: {plural}.{group}"
        case _:
            valid, expected = names.is_dns_subdomain(name), names.DNS_SUBDOMAIN
    if not valid:
        yield Finding(at, f"not a name for a {document['kind']}", name, expected)


def quoting(value: Any) -> str | None:
    """Return the hint for what was to be text and is none, which is mostly for want of quotes."""
    return None if value is None or isinstance(value, str) else _QUOTE_WORD if isinstance(value, bool) else _QUOTE


def _quoting_scalar(value: Any) -> str | None:
    return None if isinstance(value, list | dict) else quoting(value)


def walk(node: Any, path: Path) -> Any:
    """Return the value at a path of keys; None where there is none."""
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _text(metadata: Mapping[str, Any], key: str) -> Iterator[Finding]:
    value = metadata.get(key)
    if not isinstance(value, str) or not value:
        yield _wrong(("metadata", key), value, "text", _quoting_scalar(value))


def _wrong(at: Path, value: Any, expected: str, hint: str | None = None) -> Finding:
    where = ".".join(str(part) for part in at)
    none = value is None or value == ""
    return Finding(at, f"no {where}" if none else f"wrong value of {where}", value, expected, hint)
