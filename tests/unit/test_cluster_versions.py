"""The choice of the Kubernetes that the cluster tests run on, which needs no cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.cluster import layout, versions
from tests.cluster.errors import ClusterError


@pytest.mark.parametrize("environment", [{}, {"KUBERNETES": ""}])
def test_without_a_choice_it_is_what_ci_runs(environment: dict[str, str]) -> None:
    assert versions.chosen(environment) == versions.DEFAULT
    assert versions.DEFAULT in versions.known()


def test_every_version_can_be_chosen_and_the_oldest_is_first() -> None:
    known = versions.known()
    assert [versions.chosen({"KUBERNETES": version}) for version in known] == list(known)
    assert list(known) == sorted(known, key=versions.numbers)


@pytest.mark.parametrize(
    "nonsense", ["1.2.3", "1.34", "v1.34.2", "go", "../kubernetes/1.34.2", "1.34.2 ", "latest", "*"]
)
def test_an_unknown_version_is_refused_with_the_known_ones(nonsense: str) -> None:
    with pytest.raises(ClusterError) as refused:
        versions.chosen({"KUBERNETES": nonsense})
    assert str(refused.value) == (
        f"KUBERNETES={nonsense}: there is no such Kubernetes here; choose from {', '.join(versions.known())}"
    )


def test_the_command_line_refuses_it_without_a_traceback_and_builds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "build"],
        cwd=layout.ROOT,
        env={**os.environ, "KUBERNETES": "1.2.3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: KUBERNETES=1.2.3: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("version", versions.known())
def test_a_version_pins_its_own_kubernetes_and_all_of_its_parts(version: str) -> None:
    text = (layout.SOURCES / "kubernetes" / f"{version}.mod").read_text()
    assert re.findall(r"^\tk8s\.io/kubernetes (\S+)$", text, re.MULTILINE) == [f"v{version}"]
    replaced = re.findall(r"^\t(\S+) => (\S+) v0\.(\S+)$", text, re.MULTILINE)
    assert len(replaced) > 20
    assert {(module, found) for module, _, found in replaced} == {
        (module, version.removeprefix("1.")) for module, _, _ in replaced
    }
    assert all(module == target for module, target, _ in replaced)
