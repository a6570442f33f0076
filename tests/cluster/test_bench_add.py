"""`make bench-add`, with a few calls: it measures every plugin, and none breaks what it promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster import bench_add
from tests.cluster.held import Held
from tests.cluster.simulated import Answer, Interface, Node

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
