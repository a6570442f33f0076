"""What several packages' manifests are asked for: rights, annotations, options without effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.helpers.package import Manifest, merged, nested, one, pod_spec, write_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.helpers.package import StagedPackage

WORKLOADS = ("DaemonSet", "Deployment")
HERE, CLUSTER = "kube-system", "*"

Right = tuple[str, str, str, str, str]  # where, group, resource, name or *, verb


def workloads(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return what has a pod template."""
    return [manifest for manifest in manifests if manifest["kind"] in WORKLOADS]


def annotations_of(manifest: Manifest) -> dict[str, str]:
    """Return an object's annotations."""
    found: dict[str, str] = manifest["metadata"].get("annotations", {})
    return found


def deleted_between(daemonset: Manifest, rights: str) -> bool:
    """Tell whether kapp deletes the pods of a DaemonSet itself, after it and before a group of rights."""
    (group,) = (text for key, text in annotations_of(daemonset).items() if key == "kapp.k14s.io/change-group")
    found = daemonset["spec"]["template"]["metadata"]["annotations"]
    rules = {text for key, text in found.items() if key.startswith("kapp.k14s.io/change-rule.")}
    # Without this one kapp ignores the rules of what others created.
    own = found.get("kapp.k14s.io/owned-for-deletion") == ""
    return own and rules == {f"delete after deleting {group}", f"delete before deleting {rights}"}


def rights(where: str, group: str, resource: str, verbs: str, name: str = "*") -> set[Right]:
    """Return a right for each of the verbs, which spaces separate."""
    return {(where, group, resource, name, verb) for verb in verbs.split()}


def granted(manifests: list[Manifest], account: str) -> set[Right]:
    """Return all that a service account may do, by every role that is bound to it."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
    found: set[Right] = set()
    for binding in manifests:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding") or subject not in binding["subjects"]:
            continue
        where = HERE if binding["kind"] == "RoleBinding" else CLUSTER
        role = one(manifests, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", ["*"]):
                        found |= rights(where, group, resource, " ".join(rule["verbs"]), name)
    return found


def roles_and_accounts_without_use(manifests: list[Manifest]) -> set[str]:
    """Return the roles that nothing binds, and the accounts that no binding or no workload names."""
    bindings = [m for m in manifests if m["kind"].endswith("RoleBinding")]
    bound = {f"{b['roleRef']['kind']} {b['roleRef']['name']}" for b in bindings}
    roles = {f"{m['kind']} {m['metadata']['name']}" for m in manifests if m["kind"] in ("Role", "ClusterRole")}
    accounts = {m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"}
    subjects = {subject["name"] for binding in bindings for subject in binding["subjects"]}
    run = {pod_spec(workload)["serviceAccountName"] for workload in workloads(manifests)}
    return (bound ^ roles) | (subjects ^ accounts) | (run ^ accounts)


def node_terms(manifest: Manifest) -> Any:
    """Return the node selector terms that a workload's pods require."""
    affinity = pod_spec(manifest)["affinity"]["nodeAffinity"]
    return affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]


def leaves(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted path of every option."""
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield from leaves(child, (*at, name))
        else:
            yield ".".join((*at, name))


def value_at(values: Any, path: str) -> Any:
    """Return the value of a dotted path."""
    for key in path.split("."):
        values = values[key]
    return values


def idle_options(
    package: StagedPackage,
    directory: Path,
    values: Mapping[str, Any],
    *,
    needs: Mapping[str, Mapping[str, Any]],
    left_out: Iterable[str],
) -> list[str]:
    """Turn each option alone to its value among `values`, and return those that change no manifest.

    `needs` are values without which the options of a prefix show in no manifest, `left_out` options that are not tried.
    """
    defaults = package.defaults()
    rendered: dict[str, str] = {}
    idle = []
    for path in leaves(package.openapi()):
        if path in left_out:
            continue
        value = value_at(values, path)
        assert value != value_at(defaults, path), f"{path} has its default in the case `everything`"
        base = merged(*(needed for prefix, needed in needs.items() if path.startswith(prefix)))
        before = rendered.get(str(base)) or package.text(write_values(directory, base))
        rendered[str(base)] = before
        if package.text(write_values(directory, merged(base, nested(path, value)))) == before:
            idle.append(path)
    return idle
