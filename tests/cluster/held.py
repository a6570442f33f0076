"""What pools and reservations of one range hold, and how that fits what the plugin gave out."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.simulated import INTERFACE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.cluster.api import Api
    from tests.cluster.simulated import Answer

Document = dict[str, Any]
NAMESPACE = "kube-system"
# Who has what a pool holds from the beginning.
OLD = "old/pod-"


@dataclass(frozen=True, slots=True)
class Held:
    """What a range's pools hold: by address the entries, each with its pool's name, and the reservations."""

    pools: tuple[str, ...]
    entries: dict[str, list[tuple[str, Document]]]
    reservations: dict[str, Document]

    @classmethod
    def read(cls, api: Api, pool_range: str) -> Held:
        """Read all pools of a range, whichever node's, and the reservations of its addresses."""
        network = ipaddress.ip_network(pool_range)
        pools = [each for each in api.list("ippools") if each["spec"]["range"] == pool_range]
        entries = defaultdict(list)
        for pool in pools:
            for offset, entry in pool["spec"].get("allocations", {}).items():
                entries[str(network[int(offset)])].append((pool["metadata"]["name"], entry))
        reservations = {
            each["metadata"]["name"]: each["spec"]
            for each in api.list("overlappingrangeipreservations")
            if ipaddress.ip_address(each["metadata"]["name"]) in network
        }
        return cls(tuple(each["metadata"]["name"] for each in pools), dict(entries), reservations)

    def problems(self, answers: Iterable[Answer]) -> list[str]:
        """Return a line for each address that two have, and for each successful ADD without entry or reservation."""
        found = [answer for answer in answers if not answer.error]
        owners = Counter(address for answer in found for address in answer.addresses)
        lines = [f"{address} was given out {count} times" for address, count in owners.items() if count > 1]
        for address, entries in self.entries.items():
            if len(entries) > 1:
                lines.append(f"{address} has {len(entries)} entries: in {', '.join(pool for pool, _ in entries)}")
        return lines + [line for answer in found for line in self._missing(answer)]

    def _missing(self, answer: Answer) -> list[str]:
        pod = answer.interface.pod_reference
        lines = [] if answer.addresses else [f"{pod} got no address"]
        for address in answer.addresses:
            expected = (answer.interface.container, pod, INTERFACE)
            if not any(
                (entry["id"], entry["podref"], entry.get("ifname")) == expected
                for _, entry in self.entries.get(address, [])
            ):
                lines.append(f"{address} of {pod} has no entry")
            reservation = self.reservations.get(address, {})
            if (reservation.get("podref"), reservation.get("ifname")) != (pod, INTERFACE):
                lines.append(f"{address} of {pod} has no reservation")
        return lines

    def left(self) -> list[str]:
        """Return a line for each entry and reservation, but for those that were there from the beginning."""
        lines = [
            f"{address} of {entry['podref']} is still in the pool {pool}"
            for address, entries in self.entries.items()
            for pool, entry in entries
            if not entry["podref"].startswith(OLD)
        ]
        return lines + [
            f"{address} is still reserved for {spec['podref']}"
            for address, spec in self.reservations.items()
            if not spec["podref"].startswith(OLD)
        ]


def fill(api: Api, pool_range: str, pools: dict[str, tuple[dict[str, str], range]]) -> None:
    """Make pools of a range: by name the annotations, and the offsets of the entries that each holds."""
    for name, (notes, offsets) in pools.items():
        allocations = {
            str(offset): {"id": f"{offset:064x}", "podref": f"{OLD}{offset}", "ifname": INTERFACE} for offset in offsets
        }
        pool = _document("IPPool", name, notes, {"range": pool_range, "allocations": allocations})
        api.request("POST", _path("ippools"), pool)
        if notes:
            # Only this package's plugin writes such pools, and drops what the API server notes of each field.
            api.merge("ippools", name, {"metadata": {"managedFields": [{}]}}, namespace=NAMESPACE)


def reserve(api: Api, pool_range: str, offsets: Iterable[int]) -> None:
    """Make the reservations of entries, as upstream's plugin leaves them: they do not name their pool."""
    network = ipaddress.ip_network(pool_range)
    for offset in offsets:
        spec = {"podref": f"{OLD}{offset}", "ifname": INTERFACE}
        document = _document("OverlappingRangeIPReservation", str(network[offset]), {}, spec)
        api.request("POST", _path("overlappingrangeipreservations"), document)


def drop(api: Api, pools: Iterable[str]) -> None:
    """Delete pools."""
    for name in pools:
        api.delete("ippools", name, namespace=NAMESPACE)


def _document(kind: str, name: str, annotations: dict[str, str], spec: Document) -> Document:
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": annotations}
    return {"apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _path(plural: str) -> str:
    return f"/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/{NAMESPACE}/{plural}"
