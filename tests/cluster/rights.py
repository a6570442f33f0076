"""What service accounts were granted, what they asked the API server for, and whether the two fit.

The one comes from manifests, the other from the API server's audit log.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Document = dict[str, Any]

# What Kubernetes grants to everybody who has a name: to find out which APIs there are.
FOR_EVERYBODY = {"system:basic-user", "system:discovery", "system:public-info-viewer"}
FORBIDDEN = 403
# Who gives itself its roles when it starts, and how long before and after that it may not know all of them.
API_SERVER = "system:apiserver"
EARLY, LATE = timedelta(seconds=10), timedelta(seconds=20)


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb for one resource (`plural[.group][/subresource]`) that an account (NAMESPACE/NAME) has or asked for.

    An empty `name` is any name, an empty `namespace` every namespace, or none for what lies in no namespace.
    """

    account: str
    verb: str
    resource: str
    name: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{named}" + (f" in {self.namespace}" if self.namespace else "")

    def covers(self, asked: Right) -> bool:
        """Tell whether what was asked for is granted by this."""
        # What is created has no name yet as far as authorization can see.
        name = "" if asked.verb == "create" else asked.name
        return (
            (self.account, self.verb, self.resource) == (asked.account, asked.verb, asked.resource)
            and self.name in {"", name}
            and self.namespace in {"", asked.namespace}
        )

    @property
    def narrowness(self) -> tuple[bool, bool]:
        """More of it is more: what is limited to a name comes before what is limited to a namespace."""
        return bool(self.name), bool(self.namespace)


@dataclass(frozen=True, slots=True)
class Request:
    """What an account asked for, by which ClusterRole or Role it was let through, and the refusal if it was not."""

    right: Right
    role: str
    refusal: str


def granted(documents: Iterable[Document]) -> set[Right]:
    """Return what the bindings among the manifests grant to service accounts."""
    documents = list(documents)
    roles = {
        (each["kind"], _namespace(each), each["metadata"]["name"]): each.get("rules") or []
        for each in documents
        if each["kind"] in {"Role", "ClusterRole"}
    }
    return {
        right
        for binding in documents
        if binding["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in binding["subjects"]
        for rule in roles[_role_of(binding)]
        for right in _rights(f"{subject['namespace']}/{subject['name']}", rule, _namespace(binding))
    }


def requests(log: Path) -> set[Request]:
    """Return each different request of a service account for a resource that an audit log tells of.

    Left out is what an API server refused that had just started.
    """
    starts: list[datetime] = []
    found: list[tuple[datetime, Request]] = []
    with log.open() as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                # Where the API server was killed while it wrote.
                continue
            at = datetime.fromisoformat(event["requestReceivedTimestamp"])
            if event["user"]["username"] == API_SERVER:
                starts.append(at)
            elif "objectRef" in event:
                found.append((at, _request(event)))
    return {
        request
        for at, request in found
        if not (request.refusal and any(-EARLY <= at - start <= LATE for start in starts))
    }


@dataclass(frozen=True, slots=True)
class Review:
    """How what was granted and what was asked for fit."""

    granted: frozenset[Right]
    requests: frozenset[Request]

    def refused(self) -> dict[Right, str]:
        """Return what was not allowed, with the API server's words."""
        return {each.right: each.refusal for each in self.requests if each.refusal}

    def beyond(self) -> list[Right]:
        """Return what was allowed for another reason than that it is granted here."""
        own = (each.right for each in self.requests if each.role not in FOR_EVERYBODY and not each.refusal)
        return sorted(right for right in own if not any(each.covers(right) for each in self.granted))

    def uses(self) -> Mapping[Right, set[Right]]:
        """Return for each granted right what was asked for by it: of several that fit, the narrowest counts."""
        found: dict[Right, set[Right]] = {right: set() for right in self.granted}
        for request in self.requests:
            if covering := [right for right in self.granted if right.covers(request.right)]:
                found[max(covering, key=lambda right: (right.narrowness, right))].add(request.right)
        return found

    def unused(self) -> set[Right]:
        """Return what is granted and was never asked for."""
        return {right for right, asked in self.uses().items() if not asked}

    def needed_in_one_namespace_only(self) -> dict[Right, str]:
        """Return rights for all namespaces that were used in a single one, with its name."""
        found = {}
        for right, asked in self.uses().items():
            namespaces = {each.namespace for each in asked}
            if not right.namespace and len(namespaces) == 1 and "" not in namespaces:
                found[right] = namespaces.pop()
        return found


def _rights(account: str, rule: Document, namespace: str) -> Iterable[Right]:
    names = rule.get("resourceNames") or [""]
    for group, resource, verb, name in product(rule["apiGroups"], rule["resources"], rule["verbs"], names):
        yield Right(account, verb, _qualified(resource, group), name, namespace)


def _request(event: Document) -> Request:
    reference = event["objectRef"]
    resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
    _, _, namespace, name = event["user"]["username"].split(":")
    right = Right(
        f"{namespace}/{name}",
        event["verb"],
        _qualified(resource, reference.get("apiGroup", "")),
        reference.get("name", ""),
        reference.get("namespace", ""),
    )
    annotations, status = event.get("annotations", {}), event.get("responseStatus", {})
    reason = annotations.get("authorization.k8s.io/reason", "")
    # "RBAC: allowed by ClusterRoleBinding "A" of ClusterRole "B" to ServiceAccount ..."
    role = re.search(r' of (?:Cluster)?Role "([^"]*)"', reason)
    denied = annotations.get("authorization.k8s.io/decision") != "allow" or status.get("code") == FORBIDDEN
    return Request(right, role[1] if role else "", status.get("message") or reason or "denied" if denied else "")


def _qualified(resource: str, group: str) -> str:
    plural, slash, subresource = resource.partition("/")
    return f"{plural}.{group}{slash}{subresource}" if group else resource


def _namespace(document: Document) -> str:
    return str(document["metadata"].get("namespace", ""))


def _role_of(binding: Document) -> tuple[str, str, str]:
    role = binding["roleRef"]
    return role["kind"], _namespace(binding) if role["kind"] == "Role" else "", role["name"]
