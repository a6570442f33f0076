"""Rounds of torture: all that is random comes from a seed that is printed."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers.proxy import Proxy
from tests.helpers.registries import serve
from tests.torture import weather
from tests.torture.publishers import KILLED, Fate, Publisher, run_alone, run_together
from tests.torture.reader import Reader
from tests.torture.verdict import REFUSED, Judge, Ledger, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.tools.toolchain import Toolchain
    from tests.helpers.registries import Kind
    from tests.torture.projects import Pool
    from tests.torture.reader import Holding
    from tests.torture.weather import Weather

_REQUESTS, _LISTS = 22, 3
_GOES_ON, _LONGEST_PATH = 0.3, 4
PLACES = (Place.PATHS, Place.PATHS, Place.PATHS, Place.PATHS, Place.SINGLE, Place.UNLISTED)


class FoundError(AssertionError):
    """What must hold does not."""


@dataclass
class Figures:
    """What was done to whom, and what came of it."""

    counts: Counter[str] = field(default_factory=Counter)

    def note(self, publishers: list[Publisher], place: Place, wind: Weather, fates: list[Fate]) -> None:
        names = {0: "done", 6: "exit code 6", 7: "exit code 7", KILLED: "killed"}
        self.counts.update(names.get(code, f"exit code {code}") for each in publishers for code in each.codes)
        self.counts["publishers"] += len(publishers)
        self.counts["done after a retry"] += sum(each.code == 0 and each.retried for each in publishers)
        self.counts["stalls"] += fates.count(Fate.STALL)
        self.counts[f"weather: {wind.name}"] += 1
        self.counts[f"place: {place}"] += 1
        self.counts["rounds"] += 1

    def lines(self) -> list[str]:
        return [f"{count:6} {name}" for name, count in sorted(self.counts.items())]


@dataclass
class Session:
    """One registry behind one proxy, in which rounds take place one after the other."""

    kind: Kind
    proxy: Proxy
    reader: Reader
    pool: Pool
    environment: Mapping[str, str]
    scratch: Path
    most: int = 8
    places: Sequence[Place] = PLACES
    figures: Figures = field(default_factory=Figures)
    ledger: Ledger | None = None
    _rounds_of_path: int = 0

    def round(self, seed: str) -> str:
        """Run one round; returns a line about it. FoundError where something does not hold."""
        chance = random.Random(seed)
        ledger = self._path(chance, seed)
        alone = ledger.place is Place.UNLISTED
        wind = weather.without_lists(chance) if alone else weather.of_round(chance)
        publishers = self._publishers(chance, ledger.place)
        fates, begun = [each.fate for each in publishers], len(self.proxy.log)
        to = f"{self.proxy.address}/{ledger.path}"
        self.proxy.behave(wind.faults, wind.manners, seed=chance.randrange(1 << 30))
        (run_alone if alone else run_together)(publishers, to, self.proxy, self.environment)
        self.proxy.behave((), wind.afterwards)
        for each in publishers:
            ledger.note(each)
        self.figures.note(publishers, ledger.place, wind, fates)
        self.figures.counts.update(f"fault: {entry.fault}" for entry in self.proxy.log[begun:] if entry.fault)
        late, holding = self._judge(self.judge(ledger), publishers, to, lists_late=wind.lists_late)
        shutil.rmtree(self.scratch / "publishers")
        codes = " ".join("k" if code == KILLED else str(code) for each in publishers for code in each.codes)
        line = (
            f"{seed:<28} {ledger.place:<8} {wind.name:<16} {len(publishers)} publishers: {codes:<20} "
            f"{len(holding.followed())} versions, {len(holding.digests)} revisions{', late: ' * bool(late)}{late or ''}"
        )
        return "\n".join([line, *(f"  {each.root.name}: {words}" for each in publishers for words in each.failures())])

    def judge(self, ledger: Ledger) -> Judge:
        """Return who looks at a package repository of this registry."""
        return Judge(self.pool, self.reader, ledger, self.proxy.address)

    def _judge(self, judge: Judge, publishers: list[Publisher], to: str, *, lists_late: bool) -> tuple[int, Holding]:
        holding = judge.holding()
        found = [*judge.outcomes(publishers), *judge.state(holding), *judge.visible(publishers, holding)]
        late = judge.missing(holding)
        if not lists_late:
            # Where lists are late, so may versions be: until the next publisher.
            found += [f"{key} is missing from the highest revision {holding.highest}" for key in late]
        self.figures.counts["versions late until the next publisher"] += len(late)
        build, single = self.pool.last, judge.ledger.place is Place.SINGLE
        last = Publisher(build, tuple(build.packages), self._root("last", build.copy), single=single)
        run_together([last], to, self.proxy, self.environment)
        judge.ledger.note(last)
        holding = judge.holding()
        if last.code != 0:
            found.append(f"a publisher that nothing disturbs ended with {last.code}: {last.written}")
        found += [*judge.state(holding), *judge.converged(holding), *judge.fetchable(holding)]
        if lists_late:
            # Two contents of one version, each pushed before the other was listed, are promised nothing.
            found = [problem for problem in found if not problem.endswith(REFUSED)]
        if found:
            told = [f"{each.root.name} {each.build.content} {each.keys}: {each.codes}" for each in publishers]
            raise FoundError("\n".join([*dict.fromkeys(found), *told]))
        return len(late), holding

    def _path(self, chance: random.Random, seed: str) -> Ledger:
        self._rounds_of_path += 1
        goes_on = chance.random() < _GOES_ON and self._rounds_of_path < _LONGEST_PATH
        if self.ledger is None or not goes_on:
            self.ledger, self._rounds_of_path = Ledger(f"t{seed.replace('/', '-')}", chance.choice(self.places)), 0
        return self.ledger

    def _publishers(self, chance: random.Random, place: Place) -> list[Publisher]:
        count = chance.randint(3, self.most)
        found = []
        for number in range(count):
            build = chance.choice(self.pool.builds)
            names = sorted(build.packages)
            chosen = tuple(sorted(chance.sample(names, chance.choice([1, 1, 1, 2, len(names)]))))
            fate, at_list = chance.choice([*Fate, Fate.LIVE]), chance.random() < 0.5
            together = 1 if place is Place.UNLISTED else count
            root = self._root(f"{number}", build.copy)
            found.append(
                Publisher(
                    build,
                    chosen,
                    root,
                    fate,
                    chance.randint(1, together * (_LISTS if at_list else _REQUESTS)),
                    at_list,
                    chance.uniform(0.1, 2.5),
                    again=chance.random() < 0.4,
                    single=place is Place.SINGLE,
                )
            )
        return found

    def _root(self, name: str, copy: object) -> Path:
        root = self.scratch / "publishers" / name
        assert callable(copy)
        copy(root)
        return root


@contextmanager
def session(
    kind: Kind,
    toolset: Toolchain,
    pool: Pool,
    environment: Mapping[str, str],
    most: int = 8,
    places: Sequence[Place] = PLACES,
) -> Iterator[Session]:
    """Raise a registry and a proxy before it."""
    with tempfile.TemporaryDirectory(prefix=f"torture-{kind}-") as directory:
        scratch = Path(directory)
        with serve(kind, toolset, scratch) as address, Proxy(address) as proxy:
            reader = Reader(address, toolset.crane.path, toolset.imgpkg.path, scratch)
            yield Session(kind, proxy, reader, pool, environment, scratch, most, places)
