"""The library, as another program uses it: the example of its documentation, interrupts, errors as data."""

from __future__ import annotations

import contextlib
import doctest
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

import carvelwright
from carvelwright.uses.new import Kind, Start, new
from tests.conftest import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package of manifests, with an address of its own for the embedded registry."""
    directory = tmp_path / "greeter"
    start = Start("greeter.packages.example.com", Kind.YAML, f"{free_address()}/packages", "2026-11-23T00:00:00Z")
    new(directory, start)
    return directory


def test_the_example_in_the_documentation_runs_and_prints_and_sets_nothing(
    project: Path,
    registry: str,
    tool_environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", tool_environment["PATH"])
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    environment = dict(os.environ)
    example = doctest.DocTestParser().get_doctest(
        carvelwright.__doc__ or "", {"project": project, "target": f"{registry}/p"}, "carvelwright", None, None
    )
    failed, attempted = doctest.DocTestRunner().run(example, out=pytest.fail)
    assert (failed, attempted) == (0, 14)
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert dict(os.environ) == environment


class InterruptingReporter(carvelwright.Recorder):
    """Sends this process a Ctrl-C when a step begins, once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.waiting = {name}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[carvelwright.Step]:
        with super().step(name) as step:
            if name in self.waiting:
                self.waiting.remove(name)
                os.kill(os.getpid(), signal.SIGINT)
            yield step


@pytest.mark.parametrize("step", ["check", "push repository"])
def test_after_an_interrupt_the_same_workspace_builds(
    project: Path, tool_environment: Mapping[str, str], step: str
) -> None:
    reporter = InterruptingReporter(step)
    workspace = carvelwright.open_workspace(project, tool_environment, reporter)
    with pytest.raises(KeyboardInterrupt):
        carvelwright.build(workspace)
    assert not reporter.waiting
    assert carvelwright.check(workspace) == []
    result = carvelwright.build(workspace)
    assert not result.unchanged
    assert (project / "dist" / result.release.archive).is_file()


def test_wrong_input_is_a_list_of_problems_with_their_places(
    project: Path, tool_environment: Mapping[str, str]
) -> None:
    config = project / "package/build.yaml"
    config.write_text(config.read_text() + "unknown: 1\n")
    workspace = carvelwright.open_workspace(str(project), tool_environment)
    problems = carvelwright.check(workspace)
    assert [problem.message for problem in problems] == ["unknown key 'unknown'"]
    assert problems[0].location == carvelwright.Location(config, len(config.read_text().splitlines()), 1)
    for refused in (lambda: carvelwright.build(workspace), workspace.packages):
        with pytest.raises(carvelwright.ConfigError) as caught:
            refused()
        assert list(caught.value.problems) == problems
    config.write_text(config.read_text().replace("unknown: 1\n", ""))
    with pytest.raises(carvelwright.UsageError, match="no package other"):
        carvelwright.check(workspace, ["other"])


def test_a_registry_that_cannot_be_used_is_named(project: Path, tool_environment: Mapping[str, str]) -> None:
    workspace = carvelwright.open_workspace(project, tool_environment)
    (package,) = workspace.packages()
    address = package.workspace.registry.registry
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))), pytest.raises(carvelwright.RegistryError) as caught:
        carvelwright.build(workspace)
    assert (caught.value.registry, caught.value.reference) == (address, None)
    assert caught.value.step == "start the embedded registry"
