"""Change the modules that decide what is published, removed or reported, and report what no test noticed.

Arguments are parts of module names (`dist`, `rules`); without any, all modules of `[tool.mutmut]` are changed. Digits
among them (`37`) take a sample: the changes whose number ends in one of these.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parent.parent
EXPLAINED = ROOT / "scripts/mutants.toml"
_WANTED = 0.95
# A text with a space in it is read by people: its words may change without a test.
_PROSE = re.compile(r'"[^"]* [^"]*"')


@dataclass(frozen=True)
class Mutant:
    """A change to one function: the lines that it takes away and puts in, and what became of it."""

    name: str
    function: str
    old: str
    new: str
    status: str

    @property
    def wording(self) -> bool:
        """Whether only the words of a text for people changed."""
        return _PROSE.sub("", self.old) == _PROSE.sub("", self.new)


def main() -> int:
    """Return the exit code: 1 where fewer were caught than wanted."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    digits = "".join(word for word in sys.argv[1:] if word.isdigit())
    words = [word for word in sys.argv[1:] if not word.isdigit()]
    found = sorted({path.relative_to(ROOT) for pattern in settings["only_mutate"] for path in ROOT.glob(pattern)})
    chosen = [path for path in found if not words or any(word in _module(path) for word in words)]
    names = [f"{_module(path)}.*{f'[{digits}]' if digits else ''}" for path in chosen]
    mutmut = Path(sys.executable).with_name("mutmut")
    done = subprocess.run([mutmut, "run", "--max-children", "1", *names], cwd=ROOT, check=False)
    # mutmut has said why it stopped, as where a test fails without any change.
    return done.returncode or _report(chosen)


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


def _report(paths: list[Path]) -> int:
    reasons = {
        (entry["function"], entry["change"]) for entry in tomllib.loads(EXPLAINED.read_text()).get("explained", [])
    }
    total: Counter[str] = Counter()
    missed: list[Mutant] = []
    print(f"\n{'module':<34}{'tried':>6}{'caught':>8}{'explained':>11}{'missed':>8}")
    for path in paths:
        counts: Counter[str] = Counter()
        for mutant in _mutants(path):
            outcome = _outcome(mutant, reasons)
            counts[outcome] += 1
            if outcome == "missed":
                missed.append(mutant)
        total += counts
        _row(_module(path), counts)
    _row("all", total)
    for mutant in missed:
        print(f"\n{mutant.name} ({mutant.status})\n  - {mutant.old}\n  + {mutant.new}")
    caught = total["caught"] / max(total["caught"] + total["missed"], 1)
    print(f"\n{caught:.1%} of what is not explained was caught; wanted: {_WANTED:.0%}")
    return int(caught < _WANTED)


def _row(name: str, counts: Counter[str]) -> None:
    numbers = [sum(counts.values()), counts["caught"], counts["explained"], counts["missed"]]
    print(f"{name:<34}{numbers[0]:>6}{numbers[1]:>8}{numbers[2]:>11}{numbers[3]:>8}")


def _outcome(mutant: Mutant, reasons: set[tuple[str, str]]) -> str:
    if mutant.status in ("killed", "timeout", "segfault"):
        return "caught"
    return "explained" if (mutant.function, mutant.new) in reasons else "missed"


def _mutants(path: Path) -> list[Mutant]:
    """Return what was tried of a module, by this run or since its code changed, without the changes of wording."""
    data = SourceFileMutationData(path=path)
    data.load()
    found = []
    for name, code in data.exit_code_by_key.items():
        if code is None:
            continue
        lines = [line for line in get_diff_for_mutant(name, path=path).splitlines() if line[:3] not in ("---", "+++")]
        old, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        mutant = Mutant(name, re.sub(r"__mutmut_[0-9]+$", "", name), old, new, status_by_exit_code[code])
        if not mutant.wording:
            found.append(mutant)
    return found


if __name__ == "__main__":
    sys.exit(main())
