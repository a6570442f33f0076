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
        (run.name, run.candidates()) for run in bench_add.QUICK
    ]
    for run, planned in zip(result["runs"], bench_add.QUICK, strict=True):
        for name, found in run["of"].items():
            assert (found["calls"], found["errors"], found["problems"]) == (planned.calls, 0, []), (run["name"], name)
            assert found["requests_each"] > 1
    table = capsys.readouterr().out
    assert table == (tmp_path / "result.md").read_text()
    assert "| 2 nodes, 3 at once | upstream | 12 |" in table


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"answers": ("10.0.0.1", "10.0.0.1")}, "10.0.0.1 was given out 2 times", id="twice"),
        pytest.param({"entries": {}}, "10.0.0.1 of default/pod-0 has no entry", id="no-entry"),
        pytest.param({"reservations": {}}, "10.0.0.1 of default/pod-0 has no reservation", id="no-reservation"),
    ],
)
def test_a_broken_promise_is_reported(tmp_path: Path, changes: dict[str, object], line: str) -> None:
    interface = Interface(Node("node-000", tmp_path), "pod-0")
    owner = {"podref": interface.pod_reference, "ifname": "net1"}
    entries = {"10.0.0.1": [("10.0.0.0-16", {"id": interface.container, **owner})]}
    whole = {"answers": ("10.0.0.1",), "entries": entries, "reservations": {"10.0.0.1": owner}}

    def problems(given: dict[str, object]) -> list[str]:
        answers = [Answer(interface, 0.1, (address,), "") for address in given["answers"]]
        return Held((), given["entries"], given["reservations"]).problems(answers)

    assert problems(whole) == []
    assert line in problems({**whole, **changes})
