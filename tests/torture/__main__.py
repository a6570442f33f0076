"""python -m tests.torture: rounds on every registry; ends with exit code 1 at the first thing that does not hold."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

from tests.helpers.registries import Kind
from tests.torture.projects import prepare
from tests.torture.rounds import FoundError, Session, session
from tests.torture.setting import find_tools, tool_environment


def main() -> int:
    """Run the rounds; print a line for each, and the figures."""
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1 << 30)))
    parser.add_argument("--rounds", type=int, default=200, help="on each registry")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--registry", choices=get_args(Kind), action="append")
    asked = parser.parse_args()
    # So that registries and proxies end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    toolset = find_tools()
    environment = tool_environment(toolset)
    kinds = [kind for kind in asked.registry or get_args(Kind) if _is_there(kind)]
    print(f"SEED={asked.seed} ROUNDS={asked.rounds}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="torture-") as directory:
        pool = prepare(Path(directory), environment, versions=3, contents=2)
        for kind in kinds:
            begun = time.monotonic()
            with session(kind, toolset, pool, environment) as running:
                try:
                    failed = not _rounds(running, f"{asked.seed}/{kind}", asked.first, asked.rounds) or failed
                finally:
                    print(f"{kind}, {time.monotonic() - begun:.0f} s:", *running.figures.lines(), sep="\n", flush=True)
    return int(failed)


def _rounds(running: Session, seed: str, first: int, count: int) -> bool:
    """Run rounds on one registry; False where something did not hold."""
    for number in range(first, first + count):
        try:
            print(running.round(f"{seed}/{number}"), flush=True)
        except (FoundError, TimeoutError) as error:
            print(f"FAILED {seed}/{number}: {error}", flush=True)
            return False
    return True


def _is_there(kind: str) -> bool:
    if kind == "docker-registry" and shutil.which(kind) is None:
        print("docker-registry is left out: it is not installed (apt-get install docker-registry)")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
