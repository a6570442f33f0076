"""Publishers as processes, each with a fate: to live, to be killed, or to be stalled."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.helpers.proxy import Proxy
    from tests.torture.projects import Build, Key

_REGISTRY_SECONDS, _ROUND_SECONDS, _LOOK_SECONDS = 300, 900, 0.005
# By then the registry has what a killed publisher had sent, however late the proxy lets it through.
_UNDER_WAY_SECONDS = 1.5
_REFUSED = re.compile(r"(\S+) (\S+) (?:is|was) ")
_LONGEST = 900
KILLED = -signal.SIGKILL


class Fate(StrEnum):
    """What becomes of a publisher."""

    LIVE = "live"
    KILL = "kill"
    STALL = "stall"


@dataclass
class Publisher:
    """One publisher: what it publishes, its own copy of the project, and what becomes of it.

    The fate comes when the proxy has answered so many requests of the round (`after`), or with `at_list` so many
    lists of tags; a stall takes `seconds`. With `again` who was killed is started again in the same directory.
    """

    build: Build
    names: tuple[str, ...]
    root: Path
    fate: Fate = Fate.LIVE
    after: int = 0
    at_list: bool = False
    seconds: float = 0.0
    again: bool = False
    single: bool = False
    codes: list[int] = field(default_factory=list)
    written: list[tuple[str, str]] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _wakes: float | None = None

    @property
    def keys(self) -> set[Key]:
        """The versions that it publishes."""
        return {self.build.key(name) for name in self.names}

    @property
    def code(self) -> int:
        """How its last run ended."""
        return self.codes[-1]

    @property
    def retried(self) -> bool:
        """Tell whether it says that it tried something again."""
        return any("trying again" in error for _, error in self.written)

    def failures(self) -> list[str]:
        """Return why a registry ended its runs."""
        pairs = zip(self.codes, self.written, strict=True)
        documents = [json.loads(out)["error"] for code, (out, _) in pairs if code == 6]
        told = [
            [each["message"], *(line for line in each["details"].splitlines() if not line.startswith("command: "))]
            for each in documents
        ]
        return [" ".join(" ".join(lines).split())[:_LONGEST] for lines in told]

    @property
    def contested(self) -> bool:
        """Tell whether it was refused since others had pushed other content at the same time."""
        return self.code == 7 and "by several publishers at once" in self.written[-1][0]

    @property
    def latest_stayed(self) -> bool:
        """Tell whether it failed since the registry does not move `latest`."""
        return "/manifests/latest: " in self.written[-1][0]

    def refused(self) -> Key | None:
        """Return the version that it was refused; None where it was not, or does not say which."""
        if self.code != 7:
            return None
        match = _REFUSED.match(json.loads(self.written[-1][0])["error"]["message"])
        return (match[1], match[2]) if match else None

    def start(self, to: str, environment: Mapping[str, str]) -> None:
        names = [name.partition(".")[0] for name in self.names]
        argv = [sys.executable, "-m", "carvelwright", "publish", to, *names, "--format", "json"]
        argv += ["--registry-timeout", str(_REGISTRY_SECONDS)]
        argv += ["--single"] if self.single else []
        number = len(self.codes)
        with self._log("out", number).open("wb") as out, self._log("err", number).open("wb") as err:
            self._process = subprocess.Popen(argv, cwd=self.root, env=environment, stdout=out, stderr=err)

    def step(self, requests: int, lists: int) -> bool:
        """Do to it what its fate is, if it is time; returns whether it still runs."""
        process = self._process
        assert process is not None
        if (code := process.poll()) is not None:
            number = len(self.codes)
            texts = [self._log(kind, number).read_text() for kind in ("out", "err")]
            self.codes.append(code)
            self.written.append((texts[0], texts[1]))
            self._process = None
            return False
        if self._wakes is not None and time.monotonic() >= self._wakes:
            self._wakes = None
            process.send_signal(signal.SIGCONT)
        elif self.fate is not Fate.LIVE and (lists if self.at_list else requests) >= self.after:
            if self.fate is Fate.KILL:
                process.kill()
            else:
                process.send_signal(signal.SIGSTOP)
                self._wakes = time.monotonic() + self.seconds
            self.fate = Fate.LIVE
        return True

    def kill(self) -> None:
        """End it, where something went wrong."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _log(self, kind: str, number: int) -> Path:
        return self.root.parent / f"{self.root.name}-{number}.{kind}"


def run_together(publishers: Sequence[Publisher], to: str, proxy: Proxy, environment: Mapping[str, str]) -> None:
    """Run publishers at the same time until all have ended. TimeoutError where one does not end."""
    begun, deadline = len(proxy.log), time.monotonic() + _ROUND_SECONDS
    try:
        for publisher in publishers:
            publisher.start(to, environment)
        running = list(publishers)
        while running:
            log = proxy.log[begun:]
            lists = sum(entry.path.partition("?")[0].endswith("/tags/list") for entry in log)
            for publisher in list(running):
                if publisher.step(len(log), lists):
                    continue
                if publisher.code == KILLED and publisher.again:
                    publisher.again = False
                    publisher.start(to, environment)
                else:
                    running.remove(publisher)
            if time.monotonic() > deadline:
                raise TimeoutError(f"publishers still run after {_ROUND_SECONDS} s: {[each.root for each in running]}")
            time.sleep(_LOOK_SECONDS)
    finally:
        for publisher in publishers:
            publisher.kill()


def run_alone(publishers: Sequence[Publisher], to: str, proxy: Proxy, environment: Mapping[str, str]) -> None:
    """Run publishers one after the other."""
    for publisher in publishers:
        run_together([publisher], to, proxy, environment)
        if KILLED in publisher.codes:
            time.sleep(_UNDER_WAY_SECONDS)
