"""Pods, their templates and Services: each finding with its place, what was found and what is expected."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carvelwright import names
from carvelwright.rules.objects import Finding, Path
from carvelwright.rules.pods import service_findings, workload_findings

PORT = "a number from 1 to 65535"
TARGET = f"{PORT}, or the name of a port"
PORT_NAME = "lower-case letters, digits and -; at most 15"
MAPS = "a list of maps"
TEMPLATE = ("spec", "template", "spec")
FIRST: Path = (*TEMPLATE, "containers", 0)


def workload(kind: str = "Deployment", group: str = "apps/v1", **container: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    pod = {"containers": [{"name": "web", "image": "web", **container}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def pod(**spec: Any) -> dict[str, Any]:
    document = workload()
    document["spec"]["template"]["spec"] |= spec
    return document


def service(*ports: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": list(ports)}}


KINDS = {
    "DaemonSet": ("apps/v1", ("spec", "template")),
    "Deployment": ("apps/v1", ("spec", "template")),
    "ReplicaSet": ("apps/v1", ("spec", "template")),
    "StatefulSet": ("apps/v1", ("spec", "template")),
    "Job": ("batch/v1", ("spec", "template")),
    "ReplicationController": ("v1", ("spec", "template")),
    "CronJob": ("batch/v1", ("spec", "jobTemplate", "spec", "template")),
    "Pod": ("v1", ()),
}


def of_kind(kind: str, template: Any) -> dict[str, Any]:
    group, at = KINDS[kind]
    spec: Any = template
    for part in reversed(at):
        spec = {part: spec}
    document = {"apiVersion": group, "kind": kind, "metadata": {"name": "web"}, **spec}
    if kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"):
        document["spec"]["selector"] = {"matchLabels": {}}
    return document


@pytest.mark.parametrize("kind", KINDS)
def test_the_pods_of_every_kind_are_looked_at(kind: str) -> None:
    at = KINDS[kind][1]
    assert list(workload_findings(of_kind(kind, {"spec": {"containers": []}}))) == [
        Finding((*at, "spec", "containers"), "no containers", None, "at least one")
    ]
    templates: list[Any] = [{}, {"spec": []}]
    for template in templates:
        assert list(workload_findings(of_kind(kind, template))) == [
            Finding((*at, "spec"), f"no {'.'.join((*at, 'spec'))}", None, "the specification of a pod")
        ]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"Pod"}))
def test_labels_of_a_template_are_looked_at(kind: str) -> None:
    template = {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{"name": "a"}]}}
    at = (*KINDS[kind][1], "metadata", "labels", "a")
    assert list(workload_findings(of_kind(kind, template))) == [
        Finding(at, "label a is not text", 1, "text", "put it in quotes")
    ]


def test_labels_of_a_pod_are_looked_at_as_those_of_any_object() -> None:
    document = of_kind("Pod", {"spec": {"containers": [{"name": "a"}]}}) | {"metadata": {"labels": {"a": 1}}}
    assert list(workload_findings(document)) == []


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_kinds_of_other_groups_are_left_alone(kind: str) -> None:
    document = {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "a"}, "spec": {"ports": [{}]}}
    assert [*workload_findings(document), *service_findings(document)] == []


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"])
@pytest.mark.parametrize(
    ("selector", "at", "message", "found", "expected"),
    [
        (None, ("spec",), "no spec.selector", None, "matchLabels that the template's labels hold"),
        ([], ("spec",), "no spec.selector", None, "matchLabels that the template's labels hold"),
        (
            {"matchLabels": {"app": "web", "tier": "front", "zone": "a"}},
            ("spec", "selector", "matchLabels"),
            "the selector does not match the template's labels",
            {"tier": "front", "zone": "a"},
            "labels of the template",
        ),
    ],
)
def test_selectors(kind: str, selector: Any, at: Any, message: str, found: Any, expected: str) -> None:
    document = workload(kind)
    document["spec"]["selector"] = selector
    assert list(workload_findings(document)) == [Finding(at, message, found, expected)]


def test_a_selector_of_a_template_without_labels() -> None:
    document = workload()
    for metadata in ({}, {"labels": None}):
        document["spec"]["template"]["metadata"] = metadata
        (finding,) = workload_findings(document)
        assert finding.found == {"app": "web"}
    document["spec"]["selector"] = {"matchExpressions": []}
    assert list(workload_findings(document)) == []
    document["spec"]["selector"] = {"matchLabels": {}}
    assert list(workload_findings(document)) == []


@pytest.mark.parametrize("field", ["volumes", "containers", "initContainers"])
@pytest.mark.parametrize("value", [{"a": "b"}, ["a"], [{"name": "a"}, "b"], "a"])
def test_what_is_no_list_of_maps_in_a_pod(field: str, value: Any) -> None:
    assert list(workload_findings(pod(**{field: value}))) == [
        Finding((*TEMPLATE, field), f"{field} is not a list of maps", value, MAPS)
    ]


@pytest.mark.parametrize("field", ["ports", "env", "volumeMounts"])
@pytest.mark.parametrize("value", [{"a": "b"}, ["a"], "a"])
def test_what_is_no_list_of_maps_in_a_container(field: str, value: Any) -> None:
    assert list(workload_findings(workload(**{field: value}))) == [
        Finding((*FIRST, field), f"{field} is not a list of maps", value, MAPS)
    ]


def test_each_volume_that_is_there_twice_is_named_once() -> None:
    volumes = [{"name": name} for name in ("a", "b", "a", "c", "b", "a")]
    at = (*TEMPLATE, "volumes")
    assert list(workload_findings(pod(volumes=volumes))) == [
        Finding(at, "two volumes of one name", name, "a name for each") for name in ("a", "b")
    ]


def test_odd_names_of_volumes_and_claims_are_the_names_of_none() -> None:
    document = workload("StatefulSet", volumeMounts=[{"name": "x"}])
    document["spec"]["template"]["spec"]["volumes"] = [{"name": []}, {"name": {}}, "x"]
    document["spec"]["volumeClaimTemplates"] = [{"metadata": "x"}, {"metadata": {"name": []}}, "x", {}]
    assert [finding.message for finding in workload_findings(document)] == [
        "volumes is not a list of maps",
        "two volumes of one name",
        "no volume of this name",
    ]


def test_names_of_containers() -> None:
    containers = [{"name": name} for name in ("a", "A", None, 1, "a" * 64, "a", "a" * 63)]
    found = list(workload_findings(pod(initContainers=[{"name": "a" * 63}], containers=containers)))
    at = (*TEMPLATE, "containers")
    assert found == [
        *(
            Finding(
                (*at, index, "name"), "not a name for a container", containers[index]["name"], names.DNS_LABEL, hint
            )
            for index, hint in ((1, None), (2, None), (3, "put it in quotes"), (4, None))
        ),
        Finding((*at, 5, "name"), "two containers of one name", "a", "a name for each"),
        Finding((*at, 6, "name"), "two containers of one name", "a" * 63, "a name for each"),
    ]


def test_initial_containers_are_looked_at_like_the_others() -> None:
    env = [{"name": "A", "value": 1}]
    (finding,) = workload_findings(pod(initContainers=[{"name": "first"}, {"name": "second", "env": env}]))
    assert finding.at == (*TEMPLATE, "initContainers", 1, "env", 0, "value")


def test_environment_variables() -> None:
    env: list[dict[str, Any]] = [{"name": "A", "value": "1"}, {"name": "B"}, {"value": "x"}, {"name": ""}, {"name": 1}]
    env.append({"name": "C", "value": True})
    assert list(workload_findings(workload(env=env))) == [
        *(
            Finding((*FIRST, "env", index, "name"), "an environment variable without a name", found, "text", hint)
            for index, found, hint in ((2, None, None), (3, "", None), (4, 1, "put it in quotes"))
        ),
        Finding(
            (*FIRST, "env", 5, "value"),
            "the value of environment variable C is not text",
            True,
            "text",
            "put it in quotes: without them, y, yes, on, n, no and off are booleans",
        ),
    ]


def test_mounts_are_of_volumes_or_claims() -> None:
    mounts = [{"name": "data"}, {"name": "claim"}, {"name": "date"}, {}]
    document = workload("StatefulSet", volumeMounts=mounts)
    document["spec"]["template"]["spec"]["volumes"] = [{"name": "data"}]
    document["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "claim"}}]
    assert list(workload_findings(document)) == [
        Finding((*FIRST, "volumeMounts", 2, "name"), "no volume of this name", "date"),
        Finding((*FIRST, "volumeMounts", 3, "name"), "no volume of this name", None),
    ]


CALLS: list[tuple[str, ...]] = [("livenessProbe",), ("readinessProbe",), ("startupProbe",)]
CALLS += [("lifecycle", "postStart"), ("lifecycle", "preStop")]


@pytest.mark.parametrize("call", CALLS, ids=".".join)
@pytest.mark.parametrize("action", ["httpGet", "tcpSocket", "grpc"])
def test_ports_of_probes_and_hooks(call: tuple[str, ...], action: str) -> None:
    wrong: list[Any] = [65536, -1, "Web", "8080", "a" * 16, True, 1.5]
    right: list[Any] = [1, 65535, "http", "a" * 15, 0, None]
    for port in wrong:
        value: Any = {action: {"port": port}}
        for part in reversed(call):
            value = {part: value}
        at: Path = (*FIRST, *call, action, "port")
        assert list(workload_findings(workload(**value))) == [Finding(at, "port is not a port", port, TARGET)]
    for port in right:
        value = {action: {"port": port}}
        for part in reversed(call):
            value = {part: value}
        assert list(workload_findings(workload(**value))) == []


@pytest.mark.parametrize(
    ("port", "key", "message", "found", "expected"),
    [
        *(
            ({"containerPort": number}, "containerPort", "containerPort is not a port", number, PORT)
            for number in (0, -1, 65536, "80", True, 1.0, None)
        ),
        *(
            ({"containerPort": 1, "hostPort": number}, "hostPort", "hostPort is not a port", number, PORT)
            for number in (-1, 65536, "80", False)
        ),
        ({"containerPort": 1, "protocol": "tcp"}, "protocol", "not a protocol", "tcp", "TCP, UDP, SCTP"),
        *(
            ({"containerPort": 1, "name": name}, "name", "not a name for a port", name, PORT_NAME)
            for name in ("HTTP", "8080", "a" * 16, "", 1)
        ),
    ],
)
def test_ports_of_containers(port: Any, key: str, message: str, found: Any, expected: str) -> None:
    assert list(workload_findings(workload(ports=[{"containerPort": 2}, port]))) == [
        Finding((*FIRST, "ports", 1, key), message, found, expected)
    ]


def test_ports_of_containers_that_the_server_takes() -> None:
    ports = [
        {"containerPort": 1, "hostPort": 0, "protocol": "TCP"},
        {"containerPort": 65535, "hostPort": 65535, "protocol": "UDP", "name": "a" * 15},
        {"containerPort": 80, "hostPort": 1, "protocol": "SCTP"},
        {"containerPort": 80, "hostPort": None, "protocol": ""},
        {"containerPort": 80, "protocol": None, "name": "http"},
    ]
    assert list(workload_findings(workload(ports=ports))) == []


@pytest.mark.parametrize(
    ("port", "at", "message", "found", "expected"),
    [
        *(({"port": number}, ("port",), "port is not a port", number, PORT) for number in (0, 65536, "http", None)),
        *(
            ({"port": 1, "nodePort": number}, ("nodePort",), "nodePort is not a port", number, PORT)
            for number in (-1, 65536, "x")
        ),
        ({"port": 1, "targetPort": 65536}, ("targetPort",), "targetPort is not a port", 65536, TARGET),
        ({"port": 1, "protocol": "HTTP"}, ("protocol",), "not a protocol", "HTTP", "TCP, UDP, SCTP"),
        ({"port": 1, "name": "A"}, ("name",), "not a name for a port", "A", PORT_NAME),
    ],
)
def test_ports_of_services(port: Any, at: tuple[str, ...], message: str, found: Any, expected: str) -> None:
    assert list(service_findings(service(port))) == [Finding(("spec", "ports", 0, *at), message, found, expected)]


def test_ports_of_services_may_have_longer_names_than_those_of_containers() -> None:
    assert list(service_findings(service({"port": 1, "name": "a" * 63, "nodePort": 0, "targetPort": "http"}))) == []
    assert list(service_findings(service({"port": 65535, "name": "1"}, {"port": 1, "name": "2"}))) == []


def test_several_ports_of_a_service_have_names() -> None:
    assert list(service_findings(service({"port": 80}))) == []
    assert list(service_findings(service({"port": 80, "name": "a"}, {"port": 81}))) == [
        Finding(("spec", "ports", 1), "a port without a name beside others", 81, "a name for each of several ports")
    ]


def test_ports_without_a_name_are_no_twins() -> None:
    found = list(service_findings(service({"port": 80}, {"port": 81})))
    assert [(finding.at[-1], finding.message) for finding in found] == [
        (index, "a port without a name beside others") for index in (0, 1)
    ]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"port": 80, "name": "a"}, {"port": 81, "name": "a"}, "a"),
        ({"port": 80, "name": "a"}, {"port": 80, "name": "b"}, 80),
        ({"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "TCP"}, 80),
        ({"port": 80, "name": "a", "protocol": "UDP"}, {"port": 80, "name": "b", "protocol": "UDP"}, 80),
    ],
)
def test_the_same_port_of_a_service_twice(first: Any, second: Any, found: Any) -> None:
    other = {"port": 7, "name": "other"}
    assert list(service_findings(service(first, other, second))) == [
        Finding(("spec", "ports", 2), "the same port twice", found)
    ]


def test_a_name_of_a_port_and_its_number_are_two_things() -> None:
    ports = [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "protocol": "UDP"}, {"port": 81, "name": "80"}]
    assert list(service_findings(service(*ports))) == []


def test_a_service_needs_no_ports_and_odd_ones_are_named() -> None:
    assert list(service_findings(service())) == []
    specs: list[Any] = [None, [], {}, {"ports": None}]
    for spec in specs:
        assert list(service_findings(service() | {"spec": spec})) == []
    assert list(service_findings(service() | {"spec": {"ports": {"a": 1}}})) == [
        Finding(("spec", "ports"), "ports is not a list of maps", {"a": 1}, MAPS)
    ]
    # The items that are maps are looked at all the same, by their own index.
    assert [finding.at for finding in service_findings(service("x", {"port": 0}))] == [
        ("spec", "ports"),
        ("spec", "ports", 1, "port"),
        ("spec", "ports", 1),
    ]


def test_looking_changes_nothing() -> None:
    document = pod(volumes=[{"name": "a"}], initContainers=[{"name": "x"}])
    before = copy.deepcopy(document)
    assert list(workload_findings(document)) == []
    assert document == before
