"""What the API server refuses of port numbers, in every kind of its own that holds some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carvelwright import names
from carvelwright.rules.objects import Finding, Path, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAST_PORT = 65535
PROTOCOLS = ("TCP", "UDP", "SCTP")
_PORT = f"a number from 1 to {LAST_PORT}"
_NUMBERED: Path = ("service", "port", "number")
_CALLED: Path = ("service", "port")
_EVERY = "*"
# The places of ports in objects that are no pods: `*` stands for every item of a list.
_NUMBERS: Mapping[str, tuple[Path, ...]] = {
    "APIService": (("spec", *_CALLED),),
    "CustomResourceDefinition": (("spec", "conversion", "webhook", "clientConfig", *_CALLED),),
    "EndpointSlice": (("ports", _EVERY, "port"),),
    "Endpoints": (("subsets", _EVERY, "ports", _EVERY, "port"),),
    "Ingress": (
        ("spec", "defaultBackend", *_NUMBERED),
        ("spec", "rules", _EVERY, "http", "paths", _EVERY, "backend", *_NUMBERED),
    ),
    "MutatingWebhookConfiguration": (("webhooks", _EVERY, "clientConfig", *_CALLED),),
    "NetworkPolicy": (*(("spec", way, _EVERY, "ports", _EVERY, "endPort") for way in ("egress", "ingress")),),
    "Service": (("spec", "healthCheckNodePort"),),
    "ValidatingWebhookConfiguration": (("webhooks", _EVERY, "clientConfig", *_CALLED),),
}
# Those that may be the name of a port of a container, too.
_TARGETS: Mapping[str, tuple[Path, ...]] = {
    "NetworkPolicy": tuple(("spec", way, _EVERY, "ports", _EVERY, "port") for way in ("egress", "ingress")),
}
_WITH_PROTOCOL: Mapping[str, tuple[Path, ...]] = {
    "EndpointSlice": (("ports", _EVERY, "protocol"),),
    "Endpoints": (("subsets", _EVERY, "ports", _EVERY, "protocol"),),
    "NetworkPolicy": tuple(("spec", way, _EVERY, "ports", _EVERY, "protocol") for way in ("egress", "ingress")),
}


def port_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Find wrong ports and protocols of an object; those of pods and of a Service's list are looked at with them."""
    kind = kind_of(document) or ""
    for path in _NUMBERS.get(kind, ()):
        for at, number in _values(document, path):
            # The API server takes 0 for none.
            yield from number_findings(number, at, least=0)
    for path in _TARGETS.get(kind, ()):
        for at, port in _values(document, path):
            yield from target_findings(port, at)
    for path in _WITH_PROTOCOL.get(kind, ()):
        for at, protocol in _values(document, path):
            yield from protocol_findings(protocol, at)


def number_findings(number: Any, at: Path, *, least: int = 1) -> Iterator[Finding]:
    """Find what is no number of a port."""
    if type(number) is not int or not least <= number <= LAST_PORT:
        yield Finding(at, f"{at[-1]} is not a port", number, _PORT)


def target_findings(port: Any, at: Path) -> Iterator[Finding]:
    """Find what is neither the number nor the name of a port."""
    number = type(port) is int and 1 <= port <= LAST_PORT
    name = isinstance(port, str) and names.is_port_name(port)
    if port is not None and port != 0 and not number and not name:
        yield Finding(at, f"{at[-1]} is not a port", port, f"{_PORT}, or the name of a port")


def protocol_findings(protocol: Any, at: Path) -> Iterator[Finding]:
    """Find what is no protocol; none is TCP."""
    if protocol not in (None, "", *PROTOCOLS):
        yield Finding(at, "not a protocol", protocol, ", ".join(PROTOCOLS))


def _values(node: Any, path: Path, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each value at a path that is there, with the path of keys and indexes to it."""
    if not path:
        if node is not None:
            yield at, node
    elif path[0] == _EVERY:
        for index, item in enumerate(node if isinstance(node, list) else []):
            yield from _values(item, path[1:], (*at, index))
    elif isinstance(node, dict):
        yield from _values(node.get(path[0]), path[1:], (*at, path[0]))
