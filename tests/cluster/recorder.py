"""Every call of macvlan with Whereabouts as its IPAM, just as Multus makes it, written down by a plugin in between.

Events tell less: the kubelet gathers them, Multus fails for reasons of its own, and a DEL reports success in any case.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.cluster import pods
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

PLUGIN = "recorded-macvlan"
IPAM = "recorded-ipam"
CALLS = "cni-calls"
NANOSECONDS = 1e9

# The files of a call are named for the time at which it began; the last of them appears when it has ended.
SCRIPT = f"""#!/bin/sh
began=$(date +%s%N)
export RECORD=/var/log/{CALLS}/$began-$$
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS" > "$RECORD.began"
CNI_PATH=/opt/cni/bin/{IPAM}:$CNI_PATH /opt/cni/bin/macvlan > "$RECORD.out" 2>> "$RECORD.err"
code=$?
echo "$code $(date +%s%N)" > "$RECORD.ended"
cat "$RECORD.out"
cat "$RECORD.err" >&2
exit $code
"""
# macvlan finds this one first. By itself it would pass on what Whereabouts says at its end only, or never.
IPAM_SCRIPT = """#!/bin/sh
exec {limit}/opt/cni/bin/whereabouts 2>> "$RECORD.err"
"""
# The error that a DEL keeps to itself: of our plugin, and of upstream's at its level `debug`.
OUTCOME = re.compile(r"(?:left to the reconciler: |IPManagement: \[.*\], )(?P<error>.*)")
REFUSED = "Unauthorized"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the plugin; `code` and `ended` are None while it runs, and `said` grows.

    `pod` is NAMESPACE/NAME; `began` and `ended` are seconds since the epoch; `said` is what the plugin wrote: its
    answer, then its log.
    """

    node: str
    command: str
    pod: str
    container: str
    interface: str
    began: float
    ended: float | None
    code: int | None
    said: str

    @property
    def running(self) -> bool:
        """Tell whether the call has not ended yet."""
        return self.code is None

    @property
    def seconds(self) -> float:
        """How long Multus waited for the call, which must have ended."""
        if self.ended is None:
            raise ValueError(f"{self} has not ended")
        return self.ended - self.began

    @property
    def refused(self) -> bool:
        """Tell whether the API server did not take the plugin's token, were it only for one of its tries."""
        return REFUSED in self.said

    def problem(self) -> str | None:
        """Return what went wrong, a line; None when nothing did, or not yet."""
        if self.code is None:
            return None
        if self.code != 0:
            return f"{self}: exit code {self.code}: {self.last_words()}"
        kept_quiet = [found["error"] for found in OUTCOME.finditer(self.said) if found["error"] != "<nil>"]
        return f"{self}: success, but: {kept_quiet[-1]}" if kept_quiet else None

    def __str__(self) -> str:
        return f"{self.command} of {self.pod} {self.interface} on {self.node}"

    def last_words(self) -> str:
        """Return the error that the plugin answers with, or else the end of its log."""
        try:
            answer = json.loads(self.said.partition("\n\n")[0])
            return str(answer.get("msg", answer))
        except (ValueError, AttributeError):
            return " ".join(self.said.splitlines()[-3:])


@dataclass(frozen=True, slots=True)
class Recorder:
    """A context manager: within it, networks made by `network` are recorded on all nodes.

    Their pods must be gone before it is left, or nothing could take down their networks. `limit` ends Whereabouts after
    as many seconds, for tests in which calls are bound to fail: by itself it would try for two minutes.
    """

    cluster: Cluster
    limit: int | None = None

    def __enter__(self) -> Self:
        limit = f"timeout --kill-after=5 {self.limit} " if self.limit else ""
        for node in self.cluster.nodes:
            shutil.rmtree(_directory(node), ignore_errors=True)
            _directory(node).mkdir()
            _write(_plugins(node) / PLUGIN, SCRIPT)
            (_plugins(node) / IPAM).mkdir(exist_ok=True)
            _write(_plugins(node) / IPAM / "whereabouts", IPAM_SCRIPT.format(limit=limit))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.cluster.nodes:
            (_plugins(node) / PLUGIN).unlink()
            shutil.rmtree(_plugins(node) / IPAM)

    def calls(self) -> list[Call]:
        """Return all calls so far in the order in which they began."""
        found = [call for node in self.cluster.nodes for call in _calls(node)]
        return sorted(found, key=lambda call: call.began)

    def problems(self) -> list[str]:
        """Return what went wrong, a line each: calls that failed, and addresses that a DEL did not give back."""
        calls = self.calls()
        return [problem for call in calls if (problem := call.problem())] + self._kept(calls)

    def wait_idle(self) -> None:
        """Wait until no call runs; raise with those that do not end, be it that somebody killed them."""

        def idle() -> bool:
            if running := [call for call in self.calls() if call.running]:
                raise ClusterError("; ".join(f"{call}: {call.last_words()}" for call in running))
            return True

        wait_until("all calls of the plugin have ended", idle)

    def _kept(self, calls: list[Call]) -> list[str]:
        # Read after the calls: what a DEL that had ended by then has left in the pools, it has lost.
        held = {
            # The reconciler marks the container IDs of orphans.
            (entry["id"].removesuffix("/orphan"), entry.get("ifname", ""))
            for pool in self.cluster.api.list("ippools")
            for entry in pool["spec"].get("allocations", {}).values()
        }
        deleted = (call for call in calls if call.command == "DEL" and call.code == 0)
        return [f"{call}: still allocated" for call in deleted if (call.container, call.interface) in held]


def network(name: str, **ipam: object) -> dict[str, Any]:
    """Return a macvlan network whose addresses Whereabouts gives out, with the given options, and which is recorded."""
    definition = pods.network(name, {"type": "whereabouts", "log_level": "debug", **ipam})
    config = json.loads(definition["spec"]["config"])
    config["plugins"][0]["type"] = PLUGIN
    return {**definition, "spec": {"config": json.dumps(config)}}


def _write(program: Path, text: str) -> None:
    program.write_text(text)
    program.chmod(0o755)


def _plugins(node: Node) -> Path:
    return node.directory / "cni-bin"


def _directory(node: Node) -> Path:
    return node.directory / "log" / CALLS


def _calls(node: Node) -> Iterator[Call]:
    for began in sorted(_directory(node).glob("*.began")):
        # The end is read first: what was said by then is all there is.
        ended = _read(began.with_suffix(".ended")).split()
        said = "\n\n".join(_read(began.with_suffix(suffix)).strip() for suffix in (".out", ".err"))
        if words := _read(began).split(maxsplit=3):
            command, container, interface, arguments = words
            yield Call(
                node=node.name,
                command=command,
                pod=_pod(arguments),
                container=container,
                interface=interface,
                began=int(began.name.partition("-")[0]) / NANOSECONDS,
                ended=int(ended[1]) / NANOSECONDS if ended else None,
                code=int(ended[0]) if ended else None,
                said=said,
            )


def _pod(arguments: str) -> str:
    pairs = dict(pair.partition("=")[::2] for pair in arguments.strip().split(";"))
    return f"{pairs['K8S_POD_NAMESPACE']}/{pairs['K8S_POD_NAME']}"


def _read(path: Path) -> str:
    # A file that is just being written may be there and empty: its line comes as a whole.
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
