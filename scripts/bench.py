"""Time the packaging part and a no-change run against the same work done by hand in one run; print both and the ratios.

Where kctrl is on PATH, the same work done with it is timed as well.

The work is everything after the image: stage, render, lock, push, describe, archive. Both sides start their own
registry, and before each run of both a template gets another comment, so that nothing can be reused but the image.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.oci.layout import open_layout
from carvelwright.project.workspace import DEFAULT_GO
from carvelwright.stepnames import SBOM, licences_step
from carvelwright.store import PRODUCTS, REMEMBERED, SEALS
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parent.parent
RUNS = 9
# What is compared with, and the names of their scripts.
BY_HAND = "by hand"
KCTRL = "kctrl"
COPIED = ("carvelwright.yaml", "package", "bundle", "values-schema.yaml", "payload", "packages")
# The package that both sides build, of those in the workspace.
PACKAGE = "whereabouts"
# The steps that say what an image consists of.
LICENSES = licences_step("")
# The same program, but for the SBOMs: what they cost shows in no step, as others run beside them.
WITHOUT_SBOMS = """
import sys
from carvelwright.steps import sbom
sbom.of_image = sbom.of_package = sbom.write = lambda *_: None
from carvelwright.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
# All that earlier builds made, and what vouches for it: without its seal a product is made again.
REUSED = tuple(f"build/{kind}" for kind in (*PRODUCTS, *REMEMBERED, SEALS))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="carvelwright-bench-") as directory:
        project = Path(directory) / "project"
        environment = _prepare(project)
        arguments = ["--project", str(project), "build", PACKAGE]
        ours = [sys.executable, "-m", "carvelwright", *arguments]
        without = [sys.executable, "-c", WITHOUT_SBOMS, *arguments]
        peers = {name: _script(name, project, Path(directory) / name) for name in _peers(environment)}
        _run(ours, environment)
        times: dict[str, list[float]] = {name: [] for name in ("packaging", "no change", *peers)}
        ratios: list[float] = []
        for number in range(RUNS):
            _change(project, number)
            times["packaging"].append(_run(ours, environment))
            licenses = _seconds_of(project, LICENSES)
            _change(project, RUNS + number)
            ratios.append(times["packaging"][-1] / (_run(without, environment) - licenses))
            for name, script in peers.items():
                times[name].append(_run(script, environment))
            times["no change"].append(_run(ours, environment))
        # Last: it removes what the peers work with.
        fresh = _fresh(project, ours, environment)
    _report(times, tuple(peers))
    least, median, most = min(ratios), statistics.median(ratios), max(ratios)
    print(f"packaging / without licenses and SBOMs: median {median:.2f} (min {least:.2f}, max {most:.2f})")
    print(f"build from nothing / without licenses and SBOMs: {fresh:.2f}")
    if KCTRL not in peers:
        print("kctrl: not compared, it is not on PATH")


def _report(times: Mapping[str, list[float]], peers: Iterable[str]) -> None:
    for name, seconds in times.items():
        print(
            f"{name:<10} median {statistics.median(seconds):6.3f} s   min {min(seconds):6.3f}   max {max(seconds):6.3f}"
        )
    for peer in peers:
        for name in ("packaging", "no change"):
            ratios = [mine / theirs for mine, theirs in zip(times[name], times[peer], strict=True)]
            median, least, most = statistics.median(ratios), min(ratios), max(ratios)
            print(f"{name} / {peer}: median {median:.2f} (min {least:.2f}, max {most:.2f})")


def _fresh(project: Path, command: list[str], environment: dict[str, str]) -> float:
    """Build once with nothing to reuse but Go's cache; return the ratio to a build without licenses and SBOMs.

    At most: SBOMs are counted as if nothing ran beside them.
    """
    for name in REUSED:
        shutil.rmtree(project / name, ignore_errors=True)
    # With dist/ as it is, there would be nothing to do.
    _change(project, 2 * RUNS)
    seconds = _run(command, environment)
    return seconds / (seconds - _seconds_of(project, LICENSES) - _seconds_of(project, SBOM))


def _seconds_of(project: Path, step: str) -> float:
    """Return what steps took in the last run."""
    steps = json.loads((project / "build/last-run.json").read_bytes())["steps"]
    return float(sum(each["seconds"] for each in steps if each["name"].startswith(step)))


def _peers(environment: Mapping[str, str]) -> tuple[str, ...]:
    return (BY_HAND, KCTRL) if shutil.which("kctrl", path=environment["PATH"]) else (BY_HAND,)


def _prepare(project: Path) -> dict[str, str]:
    for name in COPIED:
        source, target = ROOT / name, project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    # Some kinds are made by other commands, or by packages of another sort.
    for name in filter(lambda name: (ROOT / name).is_dir(), REUSED):
        shutil.copytree(ROOT / name, project / name, copy_function=os.link, symlinks=True)
    shared = project / "carvelwright.yaml"
    shared.write_text(shared.read_text().replace("127.0.0.1:5055", "127.0.0.1:5058"))
    directories = {str(pin.builds): None for pin in Search(ROOT, None, DEFAULT_GO, os.environ).pins().values()}
    return {**os.environ, "PATH": os.pathsep.join([*directories, os.environ["PATH"]])}


def _script(name: str, project: Path, out: Path) -> list[str]:
    release = json.loads((ROOT / "dist/release.json").read_bytes())
    (built,) = (each for each in release["packages"] if each["refName"].startswith(f"{PACKAGE}."))
    digest = built["images"][0]["reference"].rpartition("@")[2]
    layouts = [open_layout(path) for path in (project / "build/image").iterdir()]
    layout = next(layout for layout in layouts if str(layout.digest) == digest)
    found = (path.parent for path in (project / "build/crds").glob(f"*/{PACKAGE}.*_ippools.yaml"))
    crds = max(found, key=lambda path: path.stat().st_mtime)
    script = ROOT / f"scripts/bench-{name.replace(' ', '-')}.sh"
    return [str(script), str(project), str(layout.directory), digest, str(crds), str(out)]


def _change(project: Path, number: int) -> None:
    path = project / "bundle/config/base/reconciler.yaml"
    text = path.read_text().partition("# run ")[0]
    path.write_text(f"{text}# run {number}\n")


def _run(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    # A file, as a pipe would keep this waiting for whatever a script leaves running.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, env=environment, check=False, stdout=said, stderr=said)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            said.seek(0)
            raise SystemExit(f"error: {shlex.join(command)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    return seconds


if __name__ == "__main__":
    main()
