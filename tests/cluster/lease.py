"""The lease that all nodes' calls take their turns by."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.cluster.pools import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.api import Api

NAME = "whereabouts"
# Longer than any call waits.
VALID_SECONDS = 600


@contextmanager
def held(api: Api) -> Iterator[None]:
    """Hold the lease, which must be there, so that calls wait within the block."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    _change(
        api, {"holderIdentity": "tests", "leaseDurationSeconds": VALID_SECONDS, "acquireTime": now, "renewTime": now}
    )
    try:
        yield
    finally:
        _change(api, {"holderIdentity": ""})


def _change(api: Api, spec: dict[str, object]) -> None:
    api.merge("leases", NAME, {"spec": spec}, namespace=NAMESPACE)
