"""Allocation per node: no address is given twice or lost, whatever happens to modes, nodes and processes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import invariants, plugin, pods, pools, shell_installer, walk
from tests.cluster.plugin_stream import Stream
from tests.cluster.waiting import wait_until
from tests.cluster.workload import LABEL, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

SWITCHED, STREAMED, LOST = "192.168.101.0/24", "192.168.102.0/24", "192.168.103.0/24"
FULL, KILLED, LEFT = "192.168.104.0/28", "192.168.105.0/24", "192.168.106.0/28"
# Of a /28, without the first and the last one.
ADDRESSES_OF_28 = 14
SCHEDULE = 'ip_reconciler: {config: {schedule: "@every 10s"}}\n'
LEASE = f"{SCHEDULE}whereabouts: {{config: {{allocation: lease}}}}\n"
PER_NODE = f"{SCHEDULE}whereabouts: {{config: {{allocation: per-node}}}}\n"
# Of each node. Some interfaces are there at a time.
TURNS, LIVING = 20, 4
# A call takes some 50 ms when nothing else runs.
LATEST_KILL_SECONDS = 0.3
GONE_NODE = "node9"
UPSTREAM_DIRECTORY = f"{plugin.BIN_DIRECTORY}/upstream"


@pytest.fixture(scope="module")
def reconciled(installed_package: walk.Package) -> Iterator[walk.Package]:
    """Give the package with a reconciler that looks every 10 s; after the last test it is as the examples have it."""
    installed_package.install(values=LEASE)
    # One that runs would hear of the schedule later.
    installed_package.replace_reconciler()
    yield installed_package
    installed_package.restore()


@pytest.fixture
def per_node(reconciled: walk.Package) -> walk.Package:
    """Give the package with allocation per node."""
    reconciled.install(values=PER_NODE)
    return reconciled


@pytest.fixture
def crew(installed_package: walk.Package) -> Iterator[Workload]:
    """Give pods of a name that pods can have; none of them is left after the test."""
    with Workload(installed_package.cluster, "allocation") as workload:
        yield workload


def test_the_mode_is_switched_under_a_stream_of_calls(
    cluster: Cluster, reconciled: walk.Package, crew: Workload
) -> None:
    """There and back; whatever a pod got in one mode it keeps in the other, and gives back in it."""
    conf = plugin.conf(SWITCHED)
    crew.network("switched", range=SWITCHED)
    _pending(crew, "by-hand")
    again = plugin.Attachment(cluster.nodes[0], "by-hand", "sandbox-by-hand")
    with Stream(crew, STREAMED) as stream:
        _run_on_each(crew, "first")
        steady = crew.addresses()
        stream.wait_for_calls()
        assert pools.of_nodes(cluster.api, SWITCHED) == {}

        held = _added(again, conf)
        reconciled.install(values=PER_NODE)
        # What the base pool has for it is found, and no second address taken.
        assert _added(again, conf) == held
        assert again.call("DEL", conf).returncode == 0
        stream.wait_for_calls(5)
        _run_on_each(crew, "second")
        assert _counts(cluster, SWITCHED) == {"node1": 1, "node2": 1}
        steady |= crew.addresses()

        held = _added(again, conf)
        reconciled.install(values=LEASE)
        assert _added(again, conf) == held
        assert again.call("DEL", conf).returncode == 0
        stream.wait_for_calls(5)
        _run_on_each(crew, "third")
        assert set(pools.of_nodes(cluster.api, STREAMED)) == {"node1", "node2"}
        pools.wait_reconciled(cluster.api, SWITCHED)
    assert [str(call) for call in stream.failures()] == []
    assert len(set(crew.ips())) == len(crew.ips()) == 6
    assert steady < crew.addresses()
    invariants.check(cluster.api)
    crew.delete_all()
    wait_until("the addresses of both modes are given back", lambda: pools.holders(cluster.api, SWITCHED) == [])


def test_what_a_lost_node_held_comes_back_and_its_pool_goes(
    cluster: Cluster, per_node: walk.Package, crew: Workload
) -> None:
    # Without labels, so that no DaemonSet comes to it: nobody is there to run a pod.
    cluster.api.apply("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": GONE_NODE}})
    try:
        document = pods.pod("stranded", labels={LABEL: crew.name})
        document["spec"]["nodeName"] = GONE_NODE
        cluster.api.apply("pods", document)
        crew.network("lost", range=LOST)
        crew.run("stays", "lost", node=1)
        there = plugin.Attachment(cluster.nodes[0], "stranded", "sandbox-of-stranded", as_node=GONE_NODE)
        assert [_added(there, plugin.conf(LOST))] != crew.ips("stays")
        pools.wait_reconciled(cluster.api, LOST)
        assert _counts(cluster, LOST) == {GONE_NODE: 1, "node1": 1}
    finally:
        cluster.api.delete("nodes", GONE_NODE)
    wait_until("its pool is gone", lambda: _counts(cluster, LOST) == {"node1": 1}, interval=0.5)
    assert pools.holders(cluster.api, LOST) == ["default/stays"]
    crew.delete("stays")
    pools.wait_reconciled(cluster.api, LOST)
    # The empty pool of a node that is there stays.
    assert _counts(cluster, LOST) == {"node1": 0}
    cluster.kubectl("delete", "pod", "stranded", "--grace-period=0", "--force", "--ignore-not-found")


def test_a_range_is_filled_to_its_last_address_from_two_nodes_at_once(
    cluster: Cluster, per_node: walk.Package, crew: Workload
) -> None:
    conf = plugin.conf(FULL)
    # Two more than there are addresses.
    attachments = _attachments(crew, (ADDRESSES_OF_28 + 2) // len(cluster.nodes))
    with ThreadPoolExecutor(len(attachments)) as at_once:
        try:
            ends = list(at_once.map(lambda each: each.call("ADD", conf), attachments))
            given = [_address(end.stdout) for end in ends if end.returncode == 0]
            assert len(set(given)) == len(given) == ADDRESSES_OF_28, [end.stdout for end in ends]
            refusals = [end.stdout for end in ends if end.returncode != 0]
            assert ["Could not allocate IP" in each for each in refusals] == [True] * 2, refusals
            counts = _counts(cluster, FULL)
            assert set(counts) == {"node1", "node2"}
            assert sum(counts.values()) == ADDRESSES_OF_28
        finally:
            assert {end.returncode for end in at_once.map(lambda each: each.call("DEL", conf), attachments)} == {0}
    assert pools.holders(cluster.api, FULL) == []


def test_calls_that_are_killed_leave_no_address_with_two(
    cluster: Cluster, per_node: walk.Package, crew: Workload
) -> None:
    """SIGKILL at random moments, on both nodes at once; as a runtime does, a DEL follows each ADD that failed."""
    crew.network("killed", range=KILLED)
    _run_on_each(crew, "alive")
    steady = crew.addresses()
    held = _Held({each.ip: each.pod for each in steady})
    killers = [_Killer(each, held, seed) for seed, each in enumerate(_attachments(crew, 1))]
    with ThreadPoolExecutor(len(killers)) as at_once:
        for done in [at_once.submit(each.run) for each in killers]:
            done.result()
    assert min(each.killed for each in killers) > 0
    assert held.doubled == []
    assert crew.addresses() == steady
    assert {"default/alive1", "default/alive2"} <= set(pools.holders(cluster.api, KILLED))
    # A killed DEL can leave a reservation. The reconciler drops it once the pod is gone.
    crew.delete_all()
    wait_until("nothing is left", lambda: pools.holders(cluster.api, KILLED) == [])
    invariants.check(cluster.api)


def test_upstreams_release_gives_nothing_twice_that_nodes_hold_on_their_own(
    cluster: Cluster, per_node: walk.Package, crew: Workload
) -> None:
    """It does not look into the nodes' pools; the reservations keep it from what is there."""
    program = shell_installer.ensure_programs() / "whereabouts"
    conf = plugin.conf(LEFT)
    crew.network("left", range=LEFT)
    _run_on_each(crew, "alive")
    alive = crew.ips()
    later = [replace(each, bin_directory=UPSTREAM_DIRECTORY) for each in _attachments(crew, 3)]
    try:
        for node in cluster.nodes:
            _put(program, node)
        given = [_added(each, conf) for each in later]
        assert len({*given, *alive}) == len(given) + len(alive)
        for each in later:
            assert each.call("DEL", conf).returncode == 0
        # What it cannot see it leaves where it is, and with it the reservation.
        held = pools.of_nodes(cluster.api, LEFT)
        for node in cluster.nodes:
            (entry,) = held[node.name].values()
            pod = f"alive{node.index}"
            theirs = plugin.Attachment(node, pod, entry["id"], "net1", UPSTREAM_DIRECTORY)
            assert theirs.call("DEL", conf).returncode == 0
    finally:
        for node in cluster.nodes:
            node.machine.run(["rm", "-rf", UPSTREAM_DIRECTORY])
    assert crew.ips() == alive
    assert pools.holders(cluster.api, LEFT) == ["default/alive1", "default/alive2"]
    invariants.check(cluster.api)


class _Held:
    """Who has which address, as far as calls that ended well say so; it may be used from several threads."""

    def __init__(self, owners: dict[str, str]) -> None:
        self._lock = threading.Lock()
        self._owners = owners
        self.doubled: list[str] = []

    def add(self, owner: str, address: str) -> None:
        with self._lock:
            if address in self._owners:
                self.doubled.append(f"{address} of {self._owners[address]} was given to {owner}")
            self._owners[address] = owner

    def forget(self, owner: str) -> None:
        with self._lock:
            self._owners = {address: each for address, each in self._owners.items() if each != owner}


class _Killer:
    """Adds and deletes interfaces of one pod, some at a time, and kills calls of both kinds."""

    def __init__(self, attachment: plugin.Attachment, held: _Held, seed: int) -> None:
        self._attachment = attachment
        self._held = held
        self._moments = random.Random(seed)  # noqa: S311 - any moments will do
        self._conf = plugin.conf(KILLED)
        self.killed = 0

    def run(self) -> None:
        """Make the turns; none of the interfaces is left."""
        living: deque[plugin.Attachment] = deque()
        for turn in range(TURNS):
            # A runtime names each sandbox anew.
            each = replace(self._attachment, container=f"{self._attachment.container}-{turn}", interface=f"net{turn}")
            if printed := self._call(each, "ADD"):
                self._held.add(each.container, _address(printed))
                living.append(each)
            else:
                self._end(each)
            if len(living) > LIVING:
                self._end(living.popleft())
        while living:
            self._end(living.popleft())

    def _end(self, attachment: plugin.Attachment) -> None:
        # From now on its address may be another's.
        self._held.forget(attachment.container)
        self._call(attachment, "DEL")
        assert attachment.call("DEL", self._conf).returncode == 0

    def _call(self, attachment: plugin.Attachment, command: str) -> str:
        """Call the plugin and kill it after a while, unless it has ended; return what it printed: "" if killed."""
        with attachment.begin(command, self._conf) as process:
            killer = threading.Timer(self._moments.uniform(0, LATEST_KILL_SECONDS), process.kill)
            killer.start()
            printed, _ = process.communicate()
            killer.cancel()
        self.killed += process.returncode == -signal.SIGKILL
        return printed if process.returncode == 0 else ""


def _attachments(crew: Workload, interfaces: int) -> list[plugin.Attachment]:
    """Return that many interfaces of a pod on each node, in turns; calls by hand do not need it to run."""
    nodes = crew.cluster.nodes
    for node in nodes:
        _pending(crew, f"by-hand-{node.name}")
    return [
        plugin.Attachment(node, f"by-hand-{node.name}", f"sandbox-of-{node.name}", f"net{number}")
        for number in range(1, interfaces + 1)
        for node in nodes
    ]


def _pending(crew: Workload, name: str) -> None:
    """Make a pod that no node fits. The reconciler keeps what a pending pod has, although it announces nothing."""
    crew.cluster.api.apply("pods", pods.pod(name, node="none", labels={LABEL: crew.name}))


def _counts(cluster: Cluster, pool_range: str) -> dict[str, int]:
    """Return how many addresses each node's own pool over a range holds."""
    return {node: len(held) for node, held in pools.of_nodes(cluster.api, pool_range).items()}


def _run_on_each(crew: Workload, name: str) -> None:
    """Run a pod in the last network on each node."""
    names = [f"{name}{node.index}" for node in crew.cluster.nodes]
    for node, each in zip(crew.cluster.nodes, names, strict=True):
        crew.start(each, crew.networks[-1], node=node.index)
    crew.wait_running(*names)


def _added(attachment: plugin.Attachment, conf: dict[str, Any]) -> str:
    """Return the address of an ADD that has to end well."""
    end = attachment.call("ADD", conf)
    assert end.returncode == 0, end.stdout
    return _address(end.stdout)


def _address(printed: str) -> str:
    (entry,) = json.loads(printed)["ips"]
    address: str = entry["address"].partition("/")[0]
    return address


def _put(program: Path, node: Node) -> None:
    directory = node.directory / "cni-bin" / "upstream"
    directory.mkdir()
    shutil.copy(program, directory)
