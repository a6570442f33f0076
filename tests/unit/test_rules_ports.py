"""Ports that the API server refuses, in every kind that holds some."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from carvelwright.rules.ports import port_findings

PORTS = {
    "Ingress": (
        "networking.k8s.io/v1",
        "spec: {defaultBackend: {service: {name: web, port: {number: PORT}}}}",
        "spec: {rules: [{host: a}, {http: {paths: [{backend: {service: {name: web, port: {number: PORT}}}}]}}]}",
    ),
    "NetworkPolicy": (
        "networking.k8s.io/v1",
        "spec: {ingress: [{ports: [{port: PORT, protocol: TCP}]}]}",
        "spec: {egress: [{}, {ports: [{port: 80, endPort: PORT}]}]}",
    ),
    "Endpoints": ("v1", "subsets: [{ports: [{port: PORT}]}]"),
    "EndpointSlice": ("discovery.k8s.io/v1", "ports: [{port: PORT}]"),
    "Service": ("v1", "spec: {healthCheckNodePort: PORT}"),
    "APIService": ("apiregistration.k8s.io/v1", "spec: {service: {name: web, port: PORT}}"),
    "CustomResourceDefinition": (
        "apiextensions.k8s.io/v1",
        "spec: {conversion: {webhook: {clientConfig: {service: {port: PORT}}}}}",
    ),
    "MutatingWebhookConfiguration": (
        "admissionregistration.k8s.io/v1",
        "webhooks: [{clientConfig: {service: {port: PORT}}}]",
    ),
    "ValidatingWebhookConfiguration": (
        "admissionregistration.k8s.io/v1",
        "webhooks: [{clientConfig: {url: x}}, {clientConfig: {service: {port: PORT}}}]",
    ),
}
CASES = [(kind, api, text) for kind, (api, *texts) in PORTS.items() for text in texts]


def document(kind: str, api: str, text: str) -> dict[str, Any]:
    body: dict[str, Any] = YAML(typ="safe").load(text)
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "web"}, **body}


@pytest.mark.parametrize(("kind", "api", "text"), CASES)
def test_a_port_that_is_none_is_found_with_its_place(kind: str, api: str, text: str) -> None:
    for port in ("0", "1", "443", "65535", "null"):
        assert list(port_findings(document(kind, api, text.replace("PORT", port)))) == []
    for port, value in (("99999", 99999), ("65536", 65536), ("-1", -1), ("80.5", 80.5), ("true", True)):
        (finding,) = port_findings(document(kind, api, text.replace("PORT", port)))
        assert (finding.found, finding.message) == (value, f"{finding.at[-1]} is not a port")
        node: Any = document(kind, api, text.replace("PORT", port))
        for part in finding.at:
            node = node[part]
        assert node == value


def test_a_network_policy_may_name_a_port_and_others_may_not() -> None:
    policy = document("NetworkPolicy", "networking.k8s.io/v1", "spec: {egress: [{ports: [{port: dns-tcp}]}]}")
    assert list(port_findings(policy)) == []
    (finding,) = port_findings(document("Endpoints", "v1", "subsets: [{ports: [{port: dns-tcp}]}]"))
    assert finding.at == ("subsets", 0, "ports", 0, "port")


@pytest.mark.parametrize(
    ("kind", "api", "text"),
    [
        ("NetworkPolicy", "networking.k8s.io/v1", "spec: {egress: [{ports: [{port: 53, protocol: PROTOCOL}]}]}"),
        ("Endpoints", "v1", "subsets: [{ports: [{port: 53, protocol: PROTOCOL}]}]"),
        ("EndpointSlice", "discovery.k8s.io/v1", "ports: [{port: 53, protocol: PROTOCOL}]"),
    ],
)
def test_a_protocol_that_is_none_is_found(kind: str, api: str, text: str) -> None:
    assert list(port_findings(document(kind, api, text.replace("PROTOCOL", "SCTP")))) == []
    (finding,) = port_findings(document(kind, api, text.replace("PROTOCOL", "ICMP")))
    assert (finding.found, finding.message, finding.expected) == ("ICMP", "not a protocol", "TCP, UDP, SCTP")
    assert finding.at[-1] == "protocol"


@pytest.mark.parametrize("body", [{"spec": 1}, {"spec": {"rules": {"a": 1}}}, {"spec": {"rules": [1, None]}}, {}])
def test_what_has_another_shape_holds_no_port(body: dict[str, Any]) -> None:
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, **body}
    assert list(port_findings(ingress)) == []


def test_a_kind_of_somebody_else_is_left_alone() -> None:
    assert list(port_findings(document("Ingress", "example.com/v1", CASES[0][2].replace("PORT", "99999")))) == []
