"""What must always hold: the allocations in the pools are the addresses the pods announce and the kernel has."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.cluster import pods
from tests.cluster.api import ApiError
from tests.cluster.errors import ClusterError
from tests.cluster.pods import Address
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cluster.api import Api

# A deleted pod's address comes back when its DEL ran, or when the control loop saw that it is gone.
SETTLE_SECONDS = 30
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
    networks = {_qualified(each) for each in api.list("network-attachment-definitions") if _is_whereabouts(each)}
    documents = [each for each in api.list("pods") if _holds_addresses(each, networks)]
    allocated = allocations(api)
    in_pools = {address for _, address in allocated}
    announced, configured = pods.announced(documents), pods.configured(filter(pods.running, documents))
    owners = Counter((name, address.ip) for name, address in allocated)
    problems = [
        f"{ip} is allocated {count} times in network {name!r}" for (name, ip), count in owners.items() if count > 1
    ]
    problems += _twice(announced)
    problems += _difference("announced by the pod, not allocated", announced - in_pools)
    problems += _difference("allocated, not announced by any pod", in_pools - announced)
    problems += _difference("on the interface, not announced by the pod", configured - announced)
    problems += _difference("announced by the pod, not on the interface", announced - configured)
    problems += _reservations(api, in_pools)
    return problems


def check(api: Api, *, timeout: float = SETTLE_SECONDS) -> None:
    """Wait until all invariants hold; raise with those that are still broken after `timeout` seconds."""

    def whole() -> bool:
        if problems := broken(api):
            raise ClusterError("\n  ".join(["broken invariants:", *problems]))
        return True

    wait_until("pools, pods and interfaces agree", whole, timeout=timeout, interval=0.3)


def _difference(what: str, addresses: Iterable[Address]) -> list[str]:
    return [f"{what}: {address}" for address in sorted(addresses)]


def _twice(announced: set[Address]) -> list[str]:
    # Networks of different names may use the same addresses; the tests give each of them a range of its own.
    count = Counter(address.ip for address in announced)
    return [f"{ip} is announced by {number} interfaces" for ip, number in count.items() if number > 1]


def _reservations(api: Api, in_pools: set[Address]) -> list[str]:
    held = {(address.pod, address.ip) for address in in_pools}
    return [
        f"reservation {each['metadata']['name']} of {each['spec']['podref']} has no allocation"
        for each in _list(api, "overlappingrangeipreservations")
        if not any(pod == each["spec"]["podref"] and each["metadata"]["name"].endswith(_plain(ip)) for pod, ip in held)
    ]


def _plain(ip: str) -> str:
    # How an address is written in the name of a resource.
    text = str(ipaddress.ip_address(ip))
    return (f"{text}0" if text.endswith(":") else text).replace(":", "-")


def _list(api: Api, plural: str) -> list[dict[str, Any]]:
    try:
        return api.list(plural)
    except ApiError as error:
        # Before the package is installed there is no such kind of resource, and nothing is allocated.
        if error.status == NOT_FOUND:
            return []
        raise


def _address(pool: dict[str, Any], offset: int) -> str:
    return str(ipaddress.ip_interface(pool["spec"]["range"]).ip + offset)


def _network_name(pool: dict[str, Any]) -> str:
    suffix = pool["spec"]["range"].replace(":", "-").replace("/", "-")
    name: str = pool["metadata"]["name"]
    return name.removesuffix(suffix).rstrip("-")


def _holds_addresses(document: dict[str, Any], networks: set[str]) -> bool:
    # A pod that has run to its end keeps its annotation, but its network is gone.
    if document.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    return any(entry["name"] in networks for entry in pods.network_status(document) if not entry.get("default"))


def _qualified(definition: dict[str, Any]) -> str:
    return f"{definition['metadata']['namespace']}/{definition['metadata']['name']}"


def _is_whereabouts(definition: dict[str, Any]) -> bool:
    config = json.loads(definition["spec"]["config"])
    plugins = config.get("plugins", [config])
    return any(plugin.get("ipam", {}).get("type") == "whereabouts" for plugin in plugins)
