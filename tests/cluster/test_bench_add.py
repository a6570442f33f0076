"""`make bench-add`, with a few calls: it measures every plugin, and none breaks what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cluster import bench_add, layout
from tests.cluster.held import Held
from tests.cluster.simulated import Answer, Interface, Node
from tests.helpers.processes import alive_below

if TYPE_CHECKING:
    from pathlib import Path


def test_a_quick_run_measures_every_plugin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_add.main(["--quick", f"--json={tmp_path / 'result.json'}"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert [(run["name"], tuple(run["of"])) for run in result["runs"]] == [
        (run.name, run.plugins) for run in bench_add.QUICK
    ]
    for run, planned in zip(result["runs"], bench_add.QUICK, strict=True):
        for name, found in run["of"].items():
            assert (found["calls"], found["errors"], found["problems"]) == (planned.calls, 0, []), (run["name"], name)
            assert found["requests_each"] > 1
    table = capsys.readouterr().out
    assert table == (tmp_path / "result.md").read_text()
    assert "| 2 nodes, 3 at once | upstream | 12 |" in table


def test_a_run_that_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "tests.cluster.bench_add", "--quick", f"--json={tmp_path / 'result.json'}"]
    with subprocess.Popen(argv, cwd=layout.ROOT, env=environment, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr
        assert next((line for line in bench.stderr if "at once: upstream" in line), None)
        assert len(alive_below(tmp_path)) > 1
        bench.terminate()
        try:
            bench.communicate(timeout=120)
        finally:
            bench.kill()
    assert bench.returncode != 0
    assert (alive_below(tmp_path), list(tmp_path.iterdir())) == ([], [])


ADDRESS = "10.0.0.1"
POD = "default/pod-0"


@pytest.mark.parametrize(
    ("times", "entry", "reservation", "problem"),
    [
        pytest.param(1, True, True, [], id="whole"),
        pytest.param(2, True, True, [f"{ADDRESS} was given out 2 times"], id="twice"),
        pytest.param(1, False, True, [f"{ADDRESS} of {POD} has no entry"], id="no-entry"),
        pytest.param(1, True, False, [f"{ADDRESS} of {POD} has no reservation"], id="no-reservation"),
    ],
)
def test_a_broken_promise_is_reported(
    tmp_path: Path, times: int, entry: bool, reservation: bool, problem: list[str]
) -> None:
    interface = Interface(Node("node-000", tmp_path), "pod-0")
    owner = {"podref": POD, "ifname": "net1"}
    entries = {ADDRESS: [("10.0.0.0-16", {"id": interface.container, **owner})]} if entry else {}
    found = Held(("10.0.0.0-16",), entries, {ADDRESS: owner} if reservation else {})
    assert found.problems([Answer(interface, 0.1, (ADDRESS,), "")] * times) == problem
