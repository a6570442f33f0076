"""What an ADD costs, with the real plugins against an API server on loopback, for `make bench-add`; needs no root.

Candidates take turns in each run: upstream's own plugin of the same version, and the package's with each kind of
allocation. Every run verifies that no address was given out twice, and that each has entry and reservation.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError
from carvelwright.platform import Platform
from carvelwright.report import Recorder
from carvelwright.session import open_session
from carvelwright.steps.payload import compile_module
from tests.cluster import held, layout, loopback, simulated, versions, walk
from tests.cluster.binaries import ETCD, UPSTREAM_WHEREABOUTS, ensure_set, ensure_sets
from tests.cluster.errors import ClusterError
from tests.cluster.held import Held
from tests.cluster.progress import say
from tests.cluster.simulated import Interface, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster.api import Api
    from tests.cluster.loopback import Server
    from tests.cluster.simulated import Outcome

Document = dict[str, Any]

PACKAGE = PLUGIN = "whereabouts"
# The ConfigMap with whereabouts.conf.
CONF = "whereabouts-cni-conf"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
RESULT = layout.ROOT / "build" / "bench-add.json"
AUDIT_POLICY = Path(__file__).with_name("audit-of-plugin.yaml")
ACCOUNT = "whereabouts"
FORBIDDEN = 403
REFUSED = " (refused)"
# What the plugin needs of the package's manifests: its account and its rights. Its kinds it needs too.
NEEDED = {("ServiceAccount", "whereabouts"), ("Role", "whereabouts-cni"), ("RoleBinding", "whereabouts-cni")}
CANDIDATES = UPSTREAM, LEASE, PER_NODE = ("upstream", "lease", "per-node")
# As upstream's installer writes it: all else has the plugin's own defaults.
UPSTREAM_CONF = {"datastore": "kubernetes"}
COLUMNS = ("run", "plugin", "calls", "ADD/s", "of upstream", "median", "p95", "max", "requests", "CPU ms", "errors")
# The annotations of a pool of a node, and of the pool that such pools belong to.
OF_NODE = "whereabouts.tanzu.vmware.com/node"
HAS_NODE_POOLS = {"whereabouts.tanzu.vmware.com/node-pools": "true"}


@dataclass(frozen=True, slots=True)
class Run:
    """So many calls, shared out evenly among the nodes, on each of which so many run at once.

    `filled` is how many entries there are before: in the base pool, or shared out among the pools of the nodes. After
    `limit` seconds no further ADD begins.
    """

    name: str
    nodes: int
    calls: int
    at_once: int = 1
    filled: int = 0
    in_node_pools: bool = False
    plugins: tuple[str, ...] = CANDIDATES
    limit: float = 20.0


RUNS = (
    Run("1 node", nodes=1, calls=20),
    Run("10 nodes", nodes=10, calls=100),
    Run("50 nodes", nodes=50, calls=100),
    Run("100 nodes", nodes=100, calls=200),
    Run("100 nodes, one pod each", nodes=100, calls=100),
    Run("2 nodes, 30 at once", nodes=2, calls=60, at_once=30),
    Run("10 nodes, 1,000 pods", nodes=10, calls=1000, at_once=10),
    Run("10 nodes, 10 entries before", nodes=10, calls=100, filled=10),
    Run("10 nodes, 1,000 entries before", nodes=10, calls=100, filled=1000),
    Run("10 nodes, 5,000 entries before", nodes=10, calls=100, filled=5000),
    Run("10 nodes, 1,000 in their pools", nodes=10, calls=100, filled=1000, in_node_pools=True, plugins=(PER_NODE,)),
    Run("10 nodes, 5,000 in their pools", nodes=10, calls=100, filled=5000, in_node_pools=True, plugins=(PER_NODE,)),
    Run("50 nodes, 5,000 pods", nodes=50, calls=5000, at_once=2, plugins=(PER_NODE,), limit=200.0),
)
QUICK = (
    Run("2 nodes, 3 at once", nodes=2, calls=12, at_once=3),
    Run("2 nodes, 50 entries before", nodes=2, calls=4, filled=50),
    Run("2 nodes, 50 in their pools", nodes=2, calls=4, filled=50, in_node_pools=True, plugins=(PER_NODE,)),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin and its whereabouts.conf."""

    name: str
    program: Path
    conf: Document


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    server: Server
    api: Api
    audit: Path
    token: str

    def nodes(self, count: int, candidate: Candidate, directory: Path) -> list[Node]:
        """Make the nodes of a run."""
        kubeconfig = yamldoc.load(self.server.kubeconfig).data
        cluster = kubeconfig["clusters"][0]["cluster"]
        names = [f"node-{number:03}" for number in range(count)]
        return [Node.make(name, directory / name, candidate.conf, cluster, self.token) for name in names]

    def requests(self, since: int) -> tuple[Counter[str], int]:
        """Return the plugin's requests since a place in the audit log, by verb and resource, and the new place."""
        with self.audit.open("rb") as log:
            log.seek(since)
            lines = log.read().splitlines()
            end = log.tell()
        found: Counter[str] = Counter()
        for event in map(json.loads, lines):
            reference = event.get("objectRef", {})
            refused = REFUSED if event["responseStatus"].get("code") == FORBIDDEN else ""
            found[f"{event['verb']} {reference.get('resource', event['requestURI'])}{refused}"] += 1
        return found, end


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; print the table, and keep it with all figures. The exit code is 1 where a plugin broke its promise."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-add-") as scratch, _bench(Path(scratch)) as bench:
            candidates = [each for each in _candidates(bench) if each.name in (options.plugin or CANDIDATES)]
            results = [
                _compare(bench, run, number, candidates, Path(scratch)) for number, run in enumerate(options.runs)
            ]
    except (ClusterError, CarvelwrightError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    document = {"cpus": os.cpu_count(), "runs": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n")
    options.json.with_suffix(".md").write_text(table(results))
    sys.stdout.write(table(results))
    broken = [
        f"{run['name']}, {name}: {line}"
        for run in results
        for name in run["of"]
        for line in run["of"][name]["problems"]
    ]
    sys.stderr.write("".join(f"error: {line}\n" for line in broken))
    return 1 if broken else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-add ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls only: does everything work")
    parser.add_argument(
        "--run", action="append", default=[], metavar="WORDS", help="only runs with WORDS in their name"
    )
    parser.add_argument("--plugin", action="append", default=[], choices=CANDIDATES, help="only this one")
    parser.add_argument(
        "--json", type=Path, default=RESULT, metavar="FILE", help="all figures; the table goes beside it"
    )
    options = parser.parse_args(arguments)
    runs = QUICK if options.quick else RUNS
    options.runs = [run for run in runs if not options.run or any(words in run.name for words in options.run)]
    if not options.runs:
        parser.error(f"no run has that in its name; there are: {'; '.join(run.name for run in runs)}")
    return options


@contextmanager
def _bench(scratch: Path) -> Iterator[Bench]:
    binaries = ensure_sets(versions.chosen(os.environ), (ETCD,))
    audit = scratch / "audit.jsonl"
    flags = (f"--audit-policy-file={AUDIT_POLICY}", f"--audit-log-path={audit}", "--audit-log-maxsize=10000")
    with ExitStack() as running:
        server = running.enter_context(loopback.api_server(binaries, scratch, *flags))
        manifests = [
            each for each in _rendered() if _names(each) in NEEDED or each["kind"] == "CustomResourceDefinition"
        ]
        file = scratch / "manifests.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
        server.kubectl("apply", f"--filename={file}")
        server.kubectl("wait", "--for=condition=Established", "crd", "--all")
        token = server.kubectl("create", "token", ACCOUNT, f"--namespace={held.NAMESPACE}", "--duration=2h").strip()
        yield Bench(server, running.enter_context(server.api()), audit, token)


def _candidates(bench: Bench) -> list[Candidate]:
    ours = _program(bench.server.directory)
    upstream = ensure_set(UPSTREAM_WHEREABOUTS) / UPSTREAM_WHEREABOUTS.name
    modes = [Candidate(mode, ours, _conf(mode, bench.server.directory)) for mode in (LEASE, PER_NODE)]
    return [Candidate(UPSTREAM, upstream, UPSTREAM_CONF), *modes]


def _conf(mode: str, directory: Path) -> Document:
    """Return whereabouts.conf as the package renders it with that kind of allocation."""
    values = directory / f"values-{mode}.json"
    values.write_text(json.dumps({"whereabouts": {"config": {"allocation": mode}}}))
    rendered = _rendered(f"--file={values}")
    conf: Document = json.loads(
        next(each["data"]["whereabouts.conf"] for each in rendered if _names(each) == ("ConfigMap", CONF))
    )
    return conf


def _program(directory: Path) -> Path:
    """Compile the package's plugin for this machine as its build does, or reuse what that has compiled."""
    session = open_session(layout.ROOT, dict(os.environ), Recorder(), PACKAGE)
    release = session.project.release(None)
    modules = [module for image in session.project.go_images for module in image.modules if PLUGIN in module.binaries]
    say("compiling the package's plugin, if the build has not done it")
    made = compile_module(
        session.project, release, modules[0], Platform("linux", ARCHITECTURES[os.uname().machine]),
        find_go=session.find_go, reporter=session.reporter,
    )  # fmt: skip
    # What is in the store may be cleaned away.
    return Path(shutil.copy2(next(each.path for each in made.binaries if each.name == PLUGIN), directory / PLUGIN))


def _compare(bench: Bench, run: Run, number: int, candidates: Sequence[Candidate], scratch: Path) -> Document:
    """Have the candidates take turns in a run; they use the same range, which is empty after each."""
    pool_range = f"10.{number}.0.0/16"
    held.reserve(bench.api, pool_range, chain(*_offsets(run, pool_range)))
    measured = {}
    for candidate in candidates:
        if candidate.name not in run.plugins:
            continue
        say(f"{run.name}: {candidate.name}")
        nodes = bench.nodes(run.nodes, candidate, scratch / "nodes" / str(number) / candidate.name)
        held.fill(bench.api, pool_range, _filling(run, nodes, pool_range))
        measured[candidate.name] = _measure(bench, run, candidate, nodes, pool_range)
    return {"name": run.name, "nodes": run.nodes, "at_once": run.at_once, "filled": run.filled, "of": measured}


def _offsets(run: Run, pool_range: str) -> list[range]:
    """Return which entries each pool has before: shared out, there is room behind those of each node."""
    if not run.in_node_pools:
        return [range(1, run.filled + 1)]
    apart = ipaddress.ip_network(pool_range).num_addresses // run.nodes
    firsts = [1 + number * apart for number in range(run.nodes)]
    return [range(first, first + run.filled // run.nodes) for first in firsts]


def _filling(run: Run, nodes: Sequence[Node], pool_range: str) -> dict[str, tuple[dict[str, str], range]]:
    base, offsets = pool_range.replace("/", "-"), _offsets(run, pool_range)
    if not run.filled:
        return {}
    if not run.in_node_pools:
        return {base: ({}, offsets[0])}
    of_nodes = {
        f"{node.name}-{base}": ({OF_NODE: node.name}, share) for node, share in zip(nodes, offsets, strict=True)
    }
    return {base: (HAS_NODE_POOLS, range(0)), **of_nodes}


def _measure(bench: Bench, run: Run, candidate: Candidate, nodes: Sequence[Node], pool_range: str) -> Document:
    """Call ADD, verify, call DEL for each ADD, verify, and leave nothing."""
    queues = _queues(run, nodes)
    _, place = bench.requests(0)
    plugin_before, server_before = _children_seconds(), bench.server.cpu_seconds()
    outcome = simulated.play(candidate.program, "ADD", queues, pool_range, limit=run.limit)
    plugin_cpu, server_cpu = _children_seconds() - plugin_before, bench.server.cpu_seconds() - server_before
    problems = Held.read(bench.api, pool_range).problems(outcome.answers)
    requests, _ = bench.requests(place)
    problems += [f"no right for: {each}" for each in requests if each.endswith(REFUSED)]
    added = [[answer.interface for answer in queue] for queue in outcome.queues if queue]
    deleted = simulated.play(candidate.program, "DEL", added, pool_range)
    after = Held.read(bench.api, pool_range)
    problems += after.left()
    held.drop(bench.api, after.pools)
    count = len(outcome.answers)
    return {
        **_figures(outcome),
        "asked": run.calls,
        "requests_each": round(sum(requests.values()) / count, 2),
        "requests": dict(sorted(requests.items())),
        "plugin_cpu_ms_each": round(1000 * plugin_cpu / count, 1),
        "server_cpu_ms_each": round(1000 * server_cpu / count, 1),
        "deletions_per_second": round(len(deleted.answers) / deleted.seconds, 1),
        "problems": problems,
    }


def _queues(run: Run, nodes: Sequence[Node]) -> list[list[Interface]]:
    workers = [node for node in nodes for _ in range(run.at_once)]
    each = run.calls // len(workers)
    return [[Interface(node, f"pod-{number}-{turn}") for turn in range(each)] for number, node in enumerate(workers)]


def _figures(outcome: Outcome) -> Document:
    seconds = sorted(answer.seconds for answer in outcome.answers if not answer.error)
    errors = Counter(answer.error for answer in outcome.answers if answer.error)
    found = {"calls": len(outcome.answers), "errors": errors.total(), "error_texts": dict(errors.most_common(3))}
    if not seconds:
        return {**found, "rate": 0.0, "median": None, "p95": None, "max": None}
    return {
        **found,
        "rate": round(len(seconds) / outcome.seconds, 2),
        "median": round(statistics.median(seconds), 4),
        "p95": round(seconds[max(0, -(-95 * len(seconds) // 100) - 1)], 4),
        "max": round(seconds[-1], 4),
    }


def table(results: Sequence[Document]) -> str:
    """Return the figures as a table in Markdown: seconds of an ADD as the runtime sees it."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for run in results:
        rate = run["of"].get(UPSTREAM, {}).get("rate")
        for name, found in run["of"].items():
            ratio = f"{found['rate'] / rate:.1f}" if rate else ""
            calls = f"{found['calls']:,}" + (f" of {found['asked']:,}" if found["calls"] < found["asked"] else "")
            times = [f"{found[key]:.3f}" if found[key] is not None else "" for key in ("median", "p95", "max")]
            cells = [run["name"], name, calls, f"{found['rate']:.1f}", ratio, *times, f"{found['requests_each']:.1f}"]
            cells += [f"{found['plugin_cpu_ms_each']:.0f} + {found['server_cpu_ms_each']:.0f}", str(found["errors"])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rendered(*options: str) -> list[Document]:
    command = [sys.executable, "-m", "carvelwright", "--project", str(layout.ROOT)]
    argv = [*command, "render", "--package", PACKAGE, *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return walk.documents(done.stdout)


def _names(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
