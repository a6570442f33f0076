"""Which Kubernetes a cluster runs: every version that tools/cluster/kubernetes pins, and which one was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

# In the environment, where `make e2e KUBERNETES=VERSION` puts it.
VARIABLE = "KUBERNETES"
# What CI runs. Every test runs on it; some need more than the oldest version has.
DEFAULT = "1.34.2"


def known() -> tuple[str, ...]:
    """Return every version that can be built, the oldest first: those with requirements of their own."""
    modfiles = (layout.SOURCES / "kubernetes").glob("*.mod")
    return tuple(sorted((path.stem for path in modfiles if path.name != "go.mod"), key=numbers))


def chosen(environment: Mapping[str, str]) -> str:
    """Return the version that the environment names, or the default."""
    version = environment.get(VARIABLE) or DEFAULT
    if version not in known():
        raise ClusterError(f"{VARIABLE}={version}: there is no such Kubernetes here; choose from {', '.join(known())}")
    return version


def minor(version: str) -> str:
    """Return `1.34` of `1.34.2`."""
    return version.rpartition(".")[0]


def numbers(version: str) -> tuple[int, ...]:
    """Return what versions compare by: `1.9` is before `1.10`, and before `1.9.1`."""
    return tuple(map(int, version.split(".")))
