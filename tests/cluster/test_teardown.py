"""Whatever happens, the machine is afterwards as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster import command, host, layout, machine
from tests.cluster.machine import start_time
from tests.cluster.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.own_cluster

# Directories of the host that a node's programs would write into if it had no mounts of its own.
WATCHED = ("/etc", "/opt", "/run", "/var/lib", "/var/log", "/usr/libexec", "/run/netns")
KERNEL_SETTINGS = ("kernel", "vm", "net/core", "net/ipv4/conf/all", "net/ipv4/ip_forward", "net/ipv6/conf/all", "user")
# These change by themselves.
VOLATILE = {"ns_last_pid", "random", "pty", "usermodehelper", "drop_caches", "compact_memory", "stat_refresh", "keys"}


@dataclass(frozen=True)
class State:
    """All of the host that a cluster could leave a trace in."""

    namespaces: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: str
    settings: frozenset[tuple[str, str]]
    entries: frozenset[str]

    @classmethod
    def take(cls) -> State:
        return cls(
            namespaces=frozenset(_namespaces()),
            mounts=frozenset(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
            cgroups=frozenset(str(group) for group in host.CGROUPS.glob("*/*/")),
            links=subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout,
            settings=frozenset(_settings()),
            entries=frozenset(f"{directory}/{name}" for directory in WATCHED for name in _names(directory)),
        )


def _namespaces() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        # A zombie holds nothing but its number; the host's init takes it away in its own time.
        if start_time(int(process.name)) is None:
            continue
        for link in process.glob("ns/*"):
            try:
                yield str(link.readlink())
            except OSError:
                continue


def _settings() -> Iterator[tuple[str, str]]:
    files = [Path("/proc/sys/kernel/keys/root_maxkeys"), Path("/proc/sys/kernel/keys/root_maxbytes")]
    for part in KERNEL_SETTINGS:
        top = Path("/proc/sys") / part
        files += [top] if top.is_file() else [file for file in top.iterdir() if file.is_file()]
    for file in files:
        if file.name not in VOLATILE:
            try:
                yield str(file), file.read_text()
            except OSError:
                continue


def _names(directory: str) -> list[str]:
    return [entry.name for entry in Path(directory).iterdir()] if Path(directory).is_dir() else []


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Check that the host is the same after the test, and that nothing of a cluster is there."""
    host.clean()
    before = State.take()
    yield
    assert machine.running() == {}
    after = State.take()
    assert after.namespaces <= before.namespaces
    assert after.mounts == before.mounts
    assert after.cgroups == before.cgroups
    assert after.links == before.links
    assert after.settings == before.settings
    assert after.entries - before.entries <= {str(layout.LOCK.parent)}
    assert not layout.RUN.exists()


@pytest.mark.usefixtures("unchanged")
def test_up_and_down_leave_nothing() -> None:
    command.run("up")
    assert "kapp-controller" in command.run("status")
    assert set(machine.running()) == {"control-plane", "node1", "node2"}
    command.run("down")
    assert "nothing was up" in command.run("down")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["etcd", "kubelet"])
def test_a_signal_while_it_starts_leaves_nothing(sig: signal.Signals, when: str) -> None:
    with command.started("up") as process:
        wait_until(f"{when} starts", lambda: list(layout.RUN.glob(f"*/{when}.pid")))
        process.send_signal(sig)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, output
    assert "torn down" in output


@pytest.mark.usefixtures("unchanged")
def test_a_test_that_is_broken_off_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        _break_off_when("etcd")


def _break_off_when(name: str) -> None:
    with command.started("up"):
        wait_until(f"{name} starts", lambda: list(layout.RUN.glob(f"*/{name}.pid")))
        raise KeyboardInterrupt


@pytest.mark.usefixtures("unchanged")
def test_a_run_after_kill_9_cleans_up_first() -> None:
    with command.started("up") as process:
        wait_until("kubelet starts", lambda: list(layout.RUN.glob("node2/kubelet.pid")))
        left = {name: machine.first_process(pids) for name, pids in machine.running().items()}
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)
    assert set(left) == {"control-plane", "node1", "node2"}
    output = command.run("up", "--nodes", "1")
    assert "removed what an earlier run left: machine node2" in output
    assert all(pid is not None and start_time(pid) is None for pid in left.values())
    assert set(machine.running()) == {"control-plane", "node1"}
    command.run("down")


@pytest.mark.usefixtures("unchanged")
def test_a_second_cluster_is_refused_and_the_first_one_lives() -> None:
    with host.lock(), command.started("up") as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert f"in use by process {os.getpid()}" in output


@pytest.mark.parametrize("count", ["0", "10"])
def test_an_impossible_count_of_nodes_is_refused(count: str) -> None:
    with command.started("up", "--nodes", count) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "between 1 and 9" in output
