"""Plays the documented walk on a cluster, each command before its output, and records it as a page."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import images, layout, walk
from tests.cluster.demo_steps import CHAPTERS
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.demo_steps import Chapter, Step

PAGE = layout.ROOT / "docs" / "how-to" / "walk-on-a-cluster.md"
# The image of the examples in full, as the runtime calls it. No public registry is reached: it is the host's busybox.
EXAMPLE_IMAGE = "docker.io/library/busybox:1.37"
STEP_SECONDS = 600
HEAD = """\
# The walk on a cluster, with its output

What an operator does with the package, from the repository to the ping and on, each command with what it really
printed: by `make demo` on the two-node cluster that the tests raise. Without `tanzu` and `kctrl`, which are not there,
`kubectl` and `carvelwright` do it; where a step stands for a command of theirs, it says so.
[Install Whereabouts](install-whereabouts.md) explains the steps.

Commands run in a project's directory. Digests, names and times are those of one run. Made by
`python -m tests.cluster demo --record docs/how-to/walk-on-a-cluster.md`, as root; do not edit.
"""


def play(cluster: Cluster, page: Path | None = None) -> None:
    """Walk all chapters and print each command before its output; raise `ClusterError` at the first that fails.

    `page`, a file, is written at the end: the walk as Markdown.
    """
    directory = layout.RUN / "demo"
    walk.Project.stage(directory)
    (directory / "examples").symlink_to(layout.ROOT / "examples")
    for node in cluster.nodes:
        node.ctr("images", "tag", images.BUSYBOX, EXAMPLE_IMAGE)
    outputs = [output for chapter in CHAPTERS for output in _play(cluster, chapter, directory)]
    if page is not None:
        page.write_text(markdown(outputs))


def markdown(outputs: list[str]) -> str:
    """Return the page for the outputs of all steps, in order."""
    lines, rest = [HEAD], iter(outputs)
    for number, chapter in enumerate(CHAPTERS, start=1):
        lines.append(f"## {number}. {chapter.title}\n\n{chapter.about}\n")
        lines += [f"{_text(step)}\n{_fenced('text', next(rest))}" for step in chapter.steps]
    return "\n".join(lines)


def _text(step: Step) -> str:
    stands_for = f" With the client: `{step.stands_for}`." if step.stands_for else ""
    return f"{step.about}{stands_for}\n\n{_fenced('sh', step.command)}"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def _play(cluster: Cluster, chapter: Chapter, directory: Path) -> Iterator[str]:
    number = CHAPTERS.index(chapter) + 1
    _print(f"\n\n# {number}. {chapter.title}", *(f"#    {line}" for line in chapter.about.splitlines()))
    with chapter.during(cluster) if chapter.during else nullcontext():
        for step in chapter.steps:
            _show(step)
            yield _run(cluster, step, directory)


def _show(step: Step) -> None:
    first, *further = step.command.splitlines()
    stands_for = [f"#    This is: {step.stands_for}"] if step.stands_for else []
    _print(f"\n# {step.about}", *stands_for, f"$ {first}", *(f"  {line}" for line in further))


def _run(cluster: Cluster, step: Step, directory: Path) -> str:
    """Run the step where a person would, passing on what it prints; return that without the directory's name."""
    # timeout also ends what the shell has started.
    argv = cluster.control_plane.machine.on_network(["timeout", str(STEP_SECONDS), "sh", "-ec", step.command])
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), cluster.binaries.search_path()])
    with subprocess.Popen(
        argv,
        cwd=directory,
        env={**cluster.environment(), "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output = "".join(map(_passed_on, process.stdout or ()))
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise ClusterError(f"exit code {process.returncode} of this step: {step.command}")
    shown = output.replace(f"{directory}/", "").replace(str(directory), ".")
    return "\n".join(line.rstrip() for line in shown.splitlines())


def _passed_on(line: str) -> str:
    sys.stdout.write(line)
    sys.stdout.flush()
    return line


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
