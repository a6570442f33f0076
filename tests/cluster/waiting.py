"""Waiting on conditions: the only place of the cluster's code that sleeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# What is waited for takes seconds. This is for a machine that has too much to do, and for what will never be.
PATIENCE_SECONDS = 240


def wait_until(
    what: str, probe: Callable[[], T | None], *, timeout: float = PATIENCE_SECONDS, interval: float = 0.1
) -> T:
    """Call `probe` every `interval` seconds until it returns something true, and return that.

    A `ClusterError` of the probe counts as "not yet"; after `timeout` seconds the last one is part of the message.
    Any other exception passes through.
    """
    end = time.monotonic() + timeout
    seen: object = None
    while True:
        try:
            if found := probe():
                return found
        except ClusterError as error:
            seen = error
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {timeout:g} s" + (f"; last seen: {seen}" if seen else ""))
        time.sleep(interval)
