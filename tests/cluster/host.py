"""What the host must offer, the one-cluster-per-machine lock, and the removal of whatever an earlier run left."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout, machine
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
# Command to the Debian package that has it.
COMMANDS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "busybox": "busybox-static",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
}
KEPT = "kept"


def check() -> None:
    """Raise, with what to do, when this host cannot hold a cluster."""
    if os.geteuid() != 0:
        raise ClusterError("the cluster needs root: it makes namespaces, mounts and cgroups; run this with sudo")
    search = os.pathsep.join([os.environ.get("PATH", ""), machine.PATH])
    missing = {package for command, package in COMMANDS.items() if shutil.which(command, path=search) is None}
    if missing:
        packages = " ".join(sorted(missing))
        raise ClusterError(
            f"the cluster needs commands that are not here: apt-get install --no-install-recommends {packages}"
        )
    absent = [name for name in CGROUP_CONTROLLERS if not (CGROUPS / name / "cgroup.procs").exists()]
    if absent:
        raise ClusterError(
            f"the cluster needs cgroups version 1 (or hybrid) under {CGROUPS}; not there: {', '.join(absent)}. "
            "On a host with version 2 alone, boot with systemd.unified_cgroup_hierarchy=0"
        )


@contextmanager
def lock() -> Iterator[None]:
    """Hold the machine-wide lock: two clusters would fight for the same cgroups.

    The lock says who works with the cluster just now; the file's content says who holds it, for the message to others.
    """
    layout.LOCK.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = layout.LOCK.read_text().strip() or "another process"
            raise ClusterError(f"a cluster of this machine is in use by {holder}; one at a time") from None
        if not _kept():
            _note(_holder())
        yield
        if not _kept():
            _note("")
    finally:
        os.close(descriptor)


def keep() -> None:
    """Note that the cluster stays when the lock is released, because a person wants it; `clean` takes the note back."""
    _note(f"{KEPT} by {layout.ROOT}")


def refuse_kept() -> None:
    """Raise when somebody raised a cluster for themselves: a test run must not take it away."""
    if _kept() and machine.running():
        raise ClusterError(
            f"a cluster runs on this machine, {layout.LOCK.read_text().strip()}; take it down first: make cluster-down"
        )


def clean() -> list[str]:
    """Remove every machine and cgroup of ours, and the state of this checkout's cluster; return what was there."""
    found = machine.running()
    machine.kill([pid for pids in found.values() for pid in pids])
    wait_until("the machines are gone", lambda: not machine.running())
    groups = [group for group in CGROUPS.glob(f"*/{layout.CGROUP_PREFIX}*") if group.is_dir()]
    for group in groups:
        remove_cgroup(group)
    shutil.rmtree(layout.RUN, ignore_errors=True)
    if _kept():
        _note(_holder())
    return [f"machine {name}" for name in sorted(found)] + [f"cgroup {group}" for group in groups]


def make_cgroup(name: str) -> str:
    """Make the cgroup of a machine in every controller, as kubelet expects to find its root, and return its name."""
    group = f"{layout.CGROUP_PREFIX}{name}"
    for controller in CGROUP_CONTROLLERS:
        (CGROUPS / controller / group).mkdir(exist_ok=True)
    return group


def remove_cgroups(name: str) -> None:
    """Remove the cgroups of a machine whose processes are gone."""
    for group in CGROUPS.glob(f"*/{layout.CGROUP_PREFIX}{name}"):
        remove_cgroup(group)


def remove_cgroup(group: Path) -> None:
    """Remove a cgroup and those below it; the kernel may need a moment after the last process."""
    wait_until(f"{group} is removed", lambda: _removed(group), interval=0.05)


def _removed(group: Path) -> bool:
    # A cgroup is a directory that only rmdir removes, from the leaves up; its files go with it.
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ClusterError(str(error)) from error
    return not group.exists()


def _holder() -> str:
    return f"process {os.getpid()} in {layout.ROOT}"


def _kept() -> bool:
    try:
        return layout.LOCK.read_text().startswith(KEPT)
    except OSError:
        return False


def _note(text: str) -> None:
    layout.LOCK.write_text(f"{text}\n" if text else "")
