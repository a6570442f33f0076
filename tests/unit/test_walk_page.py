"""The recorded walk of the documentation is that of the demo: its words and commands are; the output is one run's."""

from __future__ import annotations

import re

import pytest

from tests.cluster import demo
from tests.cluster.demo_steps import CHAPTERS

OUTPUT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEPS = [step for chapter in CHAPTERS for step in chapter.steps]


def recorded() -> list[str]:
    return [output.rstrip("\n") for output in OUTPUT.findall(demo.PAGE.read_text())]


def test_words_and_commands_are_those_of_the_demo() -> None:
    """If this fails: `python -m tests.cluster demo --record docs/how-to/walk-on-a-cluster.md`, as root."""
    assert demo.markdown(recorded()) == demo.PAGE.read_text()


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("carvelwright render -f wrong.yaml", 'must be: "kube-system"'),
        ("kubectl auth can-i", "yes\n"),
        ('schedule: "*/5 * * *"', "must be: five cron fields"),
        ("log_lvl", 'did you mean "log_level"?'),
        ("ping -c 3", ", 0% packet loss"),
        ("tiny3", "Could not allocate IP in range"),
        ("carvelwright relocate", "published to"),
        ("sort -u addresses", "80\n80"),
    ],
)
def test_the_output_is_there(command: str, shown: str) -> None:
    outputs = [output for step, output in zip(STEPS, recorded(), strict=True) if command in step.command]
    assert any(shown in output for output in outputs)


def test_the_page_tells_nothing_of_the_machine() -> None:
    assert not re.search(r"/(?:work|root|home|tmp|usr)/", demo.PAGE.read_text())


def test_a_changed_command_is_noticed() -> None:
    """Without this the first test could not fail."""
    page = demo.PAGE.read_text().replace("kubectl create namespace", "kubectl make namespace")
    assert demo.markdown([output.rstrip("\n") for output in OUTPUT.findall(page)]) != page
