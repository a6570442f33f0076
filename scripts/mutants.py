"""Change the modules that decide what is published, removed or reported, and report what no test noticed.

Arguments are parts of module names (`dist`, `rules`); without any, all modules of `[tool.mutants]` are changed. Digits
among them (`37`) take a sample: the changes whose number ends in one of these.

The changes are mutmut's. One pytest session runs every test once and notes which functions it reaches; then each change
is tried in a fork of this session, by the tests that reach the changed function, the quickest first.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gc
import os
import re
import resource
import shutil
import signal
import sys
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation import trampoline
from mutmut.mutation.file_mutation import mutate_file_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
COPY = ROOT / "mutants"
EXPLAINED = ROOT / "scripts/mutants.toml"
_WANTED = 0.95
# What a text with a space in it says is for people: its words may change without a test.
_PROSE = re.compile(r'"[^"]* [^"]*"')
_CHOSEN = "MUTANT_UNDER_TEST"
# A change that never ends counts as noticed: by the processor's time, since the machine may be busy, or by the clock.
_CPU_SECONDS, _SECONDS = 60, 600


@dataclass(frozen=True)
class Mutant:
    """A change to one function: the lines that it takes away and puts in."""

    module: str
    function: str
    name: str
    old: str
    new: str

    @property
    def wording(self) -> bool:
        """Whether only the words of a text for people changed."""
        return _PROSE.sub("", self.old) == _PROSE.sub("", self.new)


@dataclass
class Trial:
    """A plugin of pytest that runs the tests, then tries every change."""

    mutants: list[Mutant]
    missed: list[Mutant] = field(default_factory=list)
    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _failed: bool = False

    def pytest_collection(self) -> None:
        """Let a property fail without a search for its smallest example, before the tests are loaded."""
        import hypothesis  # noqa: PLC0415 - pytest rewrites it first

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", deadline=None, database=None, phases=phases, max_examples=20)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a test takes and whether it fails."""
        self._failed |= report.failed
        self._seconds[report.nodeid] += report.duration

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests unchanged, then with each change."""
        reached = self._run_unchanged(session)
        if self._failed:
            return None
        gc.freeze()
        for mutant in self.mutants:
            tests = sorted(reached[mutant.function], key=lambda item: self._seconds[item.nodeid])
            if not _in_a_fork(functools.partial(self._notice, tests, session), mutant.name):
                self.missed.append(mutant)
        return True

    def _run_unchanged(self, session: pytest.Session) -> dict[str, list[pytest.Item]]:
        """Return the tests that reach each function."""
        reached: dict[str, list[pytest.Item]] = defaultdict(list)
        functions: set[str] = set()
        # mutmut's own record of what a test reaches.
        setattr(trampoline, "record_trampoline_hit", lambda name, **_: functions.add(name))  # noqa: B010 - not exported
        os.environ[_CHOSEN] = "stats"
        for item in session.items:
            functions.clear()
            # What a session shares is kept for the forks: the next item is none of this one's file.
            runtestprotocol(item, nextitem=session, log=True)  # type: ignore[arg-type]
            for function in functions:
                reached[function].append(item)
        del os.environ[_CHOSEN]
        return reached

    def _notice(self, tests: list[pytest.Item], session: pytest.Session) -> bool:
        for item in tests:
            runtestprotocol(item, nextitem=session, log=True)  # type: ignore[arg-type]
            if self._failed:
                return True
        return False


def _in_a_fork(notices: Callable[[], bool], name: str) -> bool:
    """Tell whether tests notice a change; what they leave running ends with them."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setpgid(0, 0)
            gc.disable()
            resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
            signal.alarm(_SECONDS)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (1, 2):
                os.dup2(nothing, stream)
            os.environ[_CHOSEN] = name
            code = int(notices())
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return status != 0


def main() -> int:
    """Return the exit code: 1 where fewer were caught than wanted."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutants"]
    digits = "".join(word for word in sys.argv[1:] if word.isdigit())
    words = [word for word in sys.argv[1:] if not word.isdigit()]
    found = sorted({path.relative_to(ROOT) for pattern in settings["modules"] for path in ROOT.glob(pattern)})
    chosen = [path for path in found if not words or any(word in _module(path) for word in words)]
    _copy()
    mutants = [mutant for path in chosen for mutant in _change(path) if not digits or mutant.name[-1] in digits]
    os.chdir(COPY)
    sys.path.insert(0, str(COPY / "src"))
    os.environ |= {"PYTHONPATH": str(COPY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    trial = Trial(mutants)
    arguments = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--capture=sys", "--tb=short", *settings["tests"]]
    code = pytest.main(arguments, plugins=[trial])
    return int(code) or _report(mutants, trial.missed)


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


def _copy() -> None:
    """Copy what the tests read; the tools that are built are the same."""
    shutil.rmtree(COPY, ignore_errors=True)
    unwanted = shutil.ignore_patterns("build", "dist", "__pycache__")
    for path in ROOT.iterdir():
        if path.is_dir() and path.name not in ("build", "dist", "mutants") and not path.name.startswith("."):
            shutil.copytree(path, COPY / path.name, ignore=unwanted, symlinks=True)
        elif path.is_file():
            COPY.mkdir(exist_ok=True)
            shutil.copy2(path, COPY / path.name)
    (COPY / "build").mkdir()
    (COPY / "build/tools").symlink_to(ROOT / "build/tools")


def _change(path: Path) -> Iterator[Mutant]:
    """Put every change into the copy of a module, each to be chosen by its name, and return those that count."""
    mutated = mutate_file_contents(str(path), (ROOT / path).read_text())
    (COPY / path).write_text(mutated.code)
    lines = mutated.code.split("\n")

    def source(name: str, function: str) -> list[str]:
        span: Any = mutated.line_span_by_function_name[name]
        return [line.replace(name, function).strip() for line in lines[span.start - 1 : span.end]]

    for name in mutated.mutant_names:
        function = re.sub(r"__mutmut_[0-9]+$", "", name)
        before, after = (source(each, function) for each in (f"{function}__mutmut_orig", name))
        diff = [
            line for line in difflib.unified_diff(before, after, lineterm="", n=0) if line[:3] not in ("---", "+++")
        ]
        old, new = (" ".join(line[1:] for line in diff if line.startswith(sign)) for sign in "-+")
        module = _module(path)
        mutant = Mutant(module, f"{module}.{function}", f"{module}.{name}", old, new)
        if not mutant.wording:
            yield mutant


def _report(mutants: list[Mutant], missed: list[Mutant]) -> int:
    entries = tomllib.loads(EXPLAINED.read_text()).get("explained", [])
    reasons = {(entry["function"], entry["change"]) for entry in entries}
    explained = [mutant for mutant in missed if (mutant.function, mutant.new) in reasons]
    left = [mutant for mutant in missed if mutant not in explained]
    tried, why, lost = (Counter(mutant.module for mutant in each) for each in (mutants, explained, left))
    print(f"\n{'module':<34}{'tried':>6}{'caught':>8}{'explained':>11}{'missed':>8}{'share':>8}")
    for module in sorted(tried):
        _row(module, tried[module], why[module], lost[module])
    _row("all", tried.total(), why.total(), lost.total())
    for mutant in left:
        print(f"\n{mutant.name}\n  - {mutant.old}\n  + {mutant.new}")
    share = 1 - lost.total() / max(tried.total() - why.total(), 1)
    print(f"\n{share:.1%} of what is not explained was caught; wanted: {_WANTED:.0%}")
    return int(share < _WANTED)


def _row(name: str, tried: int, explained: int, missed: int) -> None:
    share = 1 - missed / max(tried - explained, 1)
    print(f"{name:<34}{tried:>6}{tried - explained - missed:>8}{explained:>11}{missed:>8}{share:>8.1%}")


if __name__ == "__main__":
    sys.exit(main())
