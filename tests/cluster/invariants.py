"""What must always hold: the allocations in the pools are the addresses the pods announce and the kernel has."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.cluster import pods, pools
from tests.cluster.api import ApiError
from tests.cluster.errors import ClusterError
from tests.cluster.pods import Address
from tests.cluster.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cluster.api import Api

Document = dict[str, Any]
# NAMESPACE/NAME of each network attachment that uses Whereabouts, and its IPAM section.
Networks = Mapping[str, Document]

NOT_FOUND = 404


def allocations(api: Api) -> list[tuple[str, Address]]:
    """Return every allocation of every pool, with the name of the network it belongs to ("" for those without one)."""
    return [
        (_network_name(pool), Address(entry["podref"], entry.get("ifname", ""), _address(pool, int(offset))))
        for pool in _list(api, "ippools")
        for offset, entry in pool["spec"].get("allocations", {}).items()
    ]


def broken(api: Api) -> list[str]:
    """Return each broken invariant as a line for people; an empty list when all is well."""
    networks = {
        _qualified(each): ipam for each in _list(api, "network-attachment-definitions") if (ipam := _ipam(each))
    }
    documents = [each for each in api.list("pods") if _holds_addresses(each, networks)]
    allocated = allocations(api)
    in_pools = {address for _, address in allocated}
    announced, configured = pods.announced(documents), pods.configured(filter(pods.running, documents))
    owners = Counter((name, address.ip) for name, address in allocated)
    problems = [
        f"{ip} is allocated {count} times in network {name!r}" for (name, ip), count in owners.items() if count > 1
    ]
    problems += _twice(documents, networks)
    problems += _difference("announced by the pod, not allocated", announced - in_pools)
    problems += _difference("allocated, not announced by any pod", in_pools - announced)
    problems += _difference("on the interface, not announced by the pod", configured - announced)
    problems += _difference("announced by the pod, not on the interface", announced - configured)
    problems += _reservations(_list(api, "overlappingrangeipreservations"), in_pools, _reserving(documents, networks))
    return problems


def check(api: Api, *, timeout: float = PATIENCE_SECONDS) -> None:
    """Wait until all invariants hold; raise with those that are still broken after `timeout` seconds.

    A deleted pod's address comes back when its DEL ran, or when the control loop saw that it is gone.
    """

    def whole() -> bool:
        if problems := broken(api):
            raise ClusterError("\n  ".join(["broken invariants:", *problems]))
        return True

    wait_until("pools, pods and interfaces agree", whole, timeout=timeout, interval=0.3)


def _difference(what: str, addresses: Iterable[Address]) -> list[str]:
    return [f"{what}: {address}" for address in sorted(addresses)]


def _twice(documents: Iterable[Document], networks: Networks) -> list[str]:
    # Networks of different names are networks apart, which may well use the same addresses.
    count = Counter(
        (networks[entry["name"]].get("network_name", ""), ip)
        for each in documents
        for entry in _entries(each, networks)
        for ip in entry.get("ips", [])
    )
    return [
        f"{ip} is announced by {number} interfaces in network {name!r}"
        for (name, ip), number in count.items()
        if number > 1
    ]


def _reserving(documents: Iterable[Document], networks: Networks) -> set[tuple[str, str]]:
    """Return all that must be reserved against ranges that overlap: the pod, and the name of its reservation."""
    return {
        (f"{each['metadata']['namespace']}/{each['metadata']['name']}", _reservation(networks[entry["name"]], ip))
        for each in documents
        for entry in _entries(each, networks)
        if networks[entry["name"]].get("enable_overlapping_ranges", True)
        for ip in entry.get("ips", [])
    }


def _reservation(ipam: Document, ip: str) -> str:
    name: str = ipam.get("network_name", "")
    return f"{name}-{_plain(ip)}" if name else _plain(ip)


def _reservations(found: list[Document], in_pools: set[Address], wanted: set[tuple[str, str]]) -> list[str]:
    held = {(address.pod, address.ip) for address in in_pools}
    names = {(each["spec"]["podref"], each["metadata"]["name"]) for each in found}
    stale = [
        f"reservation {name} of {podref} has no allocation"
        for podref, name in sorted(names)
        if not any(pod == podref and name.endswith(_plain(ip)) for pod, ip in held)
    ]
    lost = [f"{name} of {pod} has no reservation" for pod, name in sorted(wanted - names)]
    return stale + lost


def _plain(ip: str) -> str:
    # How an address is written in the name of a resource.
    text = str(ipaddress.ip_address(ip))
    return (f"{text}0" if text.endswith(":") else text).replace(":", "-")


def _list(api: Api, plural: str) -> list[Document]:
    try:
        return api.list(plural)
    except ApiError as error:
        # Before the packages are installed there is no such kind of resource, and nothing is allocated.
        if error.status == NOT_FOUND:
            return []
        raise


def _address(pool: Document, offset: int) -> str:
    return str(ipaddress.ip_interface(pool["spec"]["range"]).ip + offset)


def _network_name(pool: Document) -> str:
    suffix = pools.name(pool["spec"]["range"])
    # A node's own pool is NODE-RANGE or NETWORK-NODE-RANGE.
    if node := pool["metadata"].get("annotations", {}).get(pools.NODE):
        suffix = f"{node}-{suffix}"
    name: str = pool["metadata"]["name"]
    return name.removesuffix(suffix).rstrip("-")


def _holds_addresses(document: Document, networks: Networks) -> bool:
    # A pod that has run to its end keeps its annotation, but its network is gone.
    if document.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    return any(_entries(document, networks))


def _entries(document: Document, networks: Networks) -> Iterable[Document]:
    return (entry for entry in pods.network_status(document) if not entry.get("default") and entry["name"] in networks)


def _qualified(definition: Document) -> str:
    return f"{definition['metadata']['namespace']}/{definition['metadata']['name']}"


def _ipam(definition: Document) -> Document | None:
    """Return the IPAM section of a network attachment that uses Whereabouts; None for any other."""
    config = json.loads(definition["spec"]["config"])
    sections = [plugin.get("ipam", {}) for plugin in config.get("plugins", [config])]
    return next((ipam for ipam in sections if ipam.get("type") == "whereabouts"), None)
