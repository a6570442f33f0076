"""Where the cluster keeps its files, and which addresses it uses: constants and paths, nothing else."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tools" / "cluster"
BUILD = ROOT / "build" / "cluster"
# Links to the tools that the project pins and builds.
CARVEL_TOOLS = BUILD / "tools"
BIN = BUILD / "bin"
IMAGES = BUILD / "images"
LOGS = BUILD / "logs"
RUN = BUILD / "run"
# Which Kubernetes the cluster that is up runs.
RUNNING_VERSION = RUN / "kubernetes-version"

# One cluster per machine, whichever checkout it was raised from: so the lock lies outside of the checkout.
LOCK = Path("/run/lock/carvelwright-cluster.lock")
# In the environment of every machine's first process: it identifies what is ours, even if build/ was deleted meanwhile.
MARKER = "CARVELWRIGHT_CLUSTER_MACHINE"
# Every cgroup of ours lies under a directory of this name in each controller.
CGROUP_PREFIX = "carvelwright-"

CONTROL_PLANE_IP = "172.31.0.1"
NODE_PREFIX = 24
API_PORT = 6443
REGISTRY_PORT = 5000
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"
POD_CIDR = "10.244.0.0/16"
MAX_NODES = 9


def node_ip(index: int) -> str:
    """Return the address of node number `index`, counted from 1."""
    return f"172.31.0.{10 + index}"


def pod_cidr(index: int) -> str:
    """Return the range of the pods' first interfaces on node number `index`."""
    return f"10.244.{index}.0/24"
