"""What the API server refuses of pods, their templates and Services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright import names
from carvelwright.rules.objects import Finding, Path, kind_of, label_findings, quoting, walk
from carvelwright.rules.ports import number_findings, protocol_findings, target_findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TEMPLATES: Mapping[str, Path] = {
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"), ("spec", "template")
    ),
    "Pod": (),
}
_SELECTING = ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")
# What names a port of a container: its probes, and what is called when it starts and stops.
_CALLS: tuple[Path, ...] = (
    *((probe,) for probe in ("livenessProbe", "readinessProbe", "startupProbe")),
    *(("lifecycle", event) for event in ("postStart", "preStop")),
)


def workload_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what is wrong in the pods that an object is or makes."""
    kind = kind_of(document)
    at = _TEMPLATES.get(kind or "")
    if at is None:
        return
    template = walk(document, at)
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        yield Finding((*at, "spec"), f"no {'.'.join(map(str, (*at, 'spec')))}", None, "the specification of a pod")
        return
    if at:
        yield from label_findings(template.get("metadata"), (*at, "metadata"))
    if kind in _SELECTING:
        yield from _selector_findings(document, template)
    claims = {_name_of(claim.get("metadata")) for claim in _maps(walk(document, ("spec", "volumeClaimTemplates")))}
    yield from _pod_findings(template["spec"], (*at, "spec"), claims)


def service_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what is wrong with the ports of a Service."""
    if kind_of(document) != "Service" or not isinstance(document.get("spec"), dict):
        return
    ports = document["spec"].get("ports")
    yield from _list_findings(ports, ("spec", "ports"))
    seen: set[tuple[str, ...]] = set()
    for index, port in _indexed(ports):
        at: Path = ("spec", "ports", index)
        yield from _port_findings(port, at, required="port", optional="nodePort")
        yield from target_findings(port.get("targetPort"), (*at, "targetPort"))
        name = port.get("name")
        if name is None and len(ports) > 1:
            yield Finding(
                at, "a port without a name beside others", port.get("port"), "a name for each of several ports"
            )
        # By number and protocol, whatever they are called; TCP and UDP of one number are two.
        keys: set[tuple[str, ...]] = {(str(port.get("port")), str(port.get("protocol") or "TCP"))}
        keys |= {(str(name),)} if name is not None else set()
        if keys & seen:
            yield Finding(at, "the same port twice", name if (str(name),) in seen else port.get("port"))
        seen |= keys


def _selector_findings(document: Mapping[str, Any], template: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = walk(document, ("spec", "selector", "matchLabels"))
    labels = walk(template, ("metadata", "labels"))
    if not isinstance(walk(document, ("spec", "selector")), dict):
        yield Finding(("spec",), "no spec.selector", None, "matchLabels that the template's labels hold")
    elif isinstance(wanted, dict):
        missing = {
            key: value for key, value in wanted.items() if not isinstance(labels, dict) or labels.get(key) != value
        }
        if missing:
            at = ("spec", "selector", "matchLabels")
            yield Finding(at, "the selector does not match the template's labels", missing, "labels of the template")


def _pod_findings(spec: Mapping[str, Any], at: Path, claims: set[Any]) -> Iterator[Finding]:
    if not spec.get("containers"):
        yield Finding((*at, "containers"), "no containers", None, "at least one")
    yield from _list_findings(spec.get("volumes"), (*at, "volumes"))
    volumes = [_name_of(volume) for volume in _maps(spec.get("volumes"))]
    for name in dict.fromkeys(name for name in volumes if volumes.count(name) > 1):
        yield Finding((*at, "volumes"), "two volumes of one name", name, "a name for each")
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        yield from _list_findings(spec.get(field), (*at, field))
        for index, container in _indexed(spec.get(field)):
            here = (*at, field, index)
            name = container.get("name")
            if not isinstance(name, str) or not names.is_dns_label(name):
                yield Finding((*here, "name"), "not a name for a container", name, names.DNS_LABEL, quoting(name))
            elif name in seen:
                yield Finding((*here, "name"), "two containers of one name", name, "a name for each")
            seen.add(str(name))
            yield from _container_findings(container, here, {*volumes, *claims})


def _container_findings(container: Mapping[str, Any], at: Path, volumes: set[Any]) -> Iterator[Finding]:
    for field in ("ports", "env", "volumeMounts"):
        yield from _list_findings(container.get(field), (*at, field))
    for index, port in _indexed(container.get("ports")):
        yield from _port_findings(port, (*at, "ports", index), required="containerPort", optional="hostPort")
    for index, variable in _indexed(container.get("env")):
        here = (*at, "env", index)
        if not isinstance(variable.get("name"), str) or not variable["name"]:
            name = variable.get("name")
            yield Finding((*here, "name"), "an environment variable without a name", name, "text", quoting(name))
        value = variable.get("value")
        if value is not None and not isinstance(value, str):
            message = f"the value of environment variable {variable.get('name')} is not text"
            yield Finding((*here, "value"), message, value, "text", quoting(value))
    for index, mount in _indexed(container.get("volumeMounts")):
        if mount.get("name") not in volumes:
            yield Finding((*at, "volumeMounts", index, "name"), "no volume of this name", mount.get("name"))
    for call in _CALLS:
        for action in ("httpGet", "tcpSocket", "grpc"):
            port = walk(container, (*call, action, "port"))
            yield from target_findings(port, (*at, *call, action, "port"))


def _port_findings(port: Mapping[str, Any], at: Path, *, required: str, optional: str) -> Iterator[Finding]:
    yield from number_findings(port.get(required), (*at, required))
    if port.get(optional) is not None:
        yield from number_findings(port[optional], (*at, optional), least=0)
    yield from protocol_findings(port.get("protocol"), (*at, "protocol"))
    name = port.get("name")
    # The API server lets a Service's ports be called as any DNS label.
    valid = names.is_dns_label if required == "port" else names.is_port_name
    if name is not None and not (isinstance(name, str) and valid(name)):
        yield Finding((*at, "name"), "not a name for a port", name, "lower-case letters, digits and -; at most 15")


def _list_findings(value: Any, at: Path) -> Iterator[Finding]:
    if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
        yield Finding(at, f"{at[-1]} is not a list of maps", value, "a list of maps")


def _indexed(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, dict):
            yield index, item


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [item for _, item in _indexed(value)]


def _name_of(value: Any) -> Any:
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None
