"""What a registry does to its clients in a round: nothing, or one or several kinds of faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.helpers.proxy import Fault, Manners

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_LASTING = frozenset({"latest"})


@dataclass(frozen=True)
class Weather:
    """The faults and manners of one round, under a name for people."""

    name: str
    faults: tuple[Fault, ...] = ()
    manners: Manners = field(default_factory=Manners)

    @property
    def lists_late(self) -> bool:
        """Tell whether a tag that was written may be missing from the list of tags for a while."""
        return self.manners.hidden > 0

    @property
    def afterwards(self) -> Manners:
        """How the registry is when the weather is over: it lists no tags then, either."""
        return Manners(listing=self.manners.listing, listing_code=self.manners.listing_code)


def _some(kind: str, chance: float, *, method: str = "", path: str = "", seconds: float = 0.1) -> Fault:
    return Fault(kind, method, path, times=None, chance=chance, seconds=seconds)  # type: ignore[arg-type]


def _mixed(random: random.Random) -> Weather:
    faults = (
        _some("reset", 0.01),
        _some("500", 0.01),
        _some("503", 0.01),
        _some("429", 0.01),
        _some("cut", 0.02, method="PUT|PATCH"),
        _some("flip", 0.03, method="GET", path="/blobs/|/manifests/"),
        _some("delay", 0.1, seconds=random.uniform(0.05, 0.4)),
    )
    return Weather("mixed", faults, Manners(absent=random.choice([0, 0, 0.3])))


_KINDS: tuple[Callable[[random.Random], Weather], ...] = (
    lambda _: Weather("calm"),
    lambda _: Weather("calm"),
    lambda _: Weather("resets", (_some("reset", 0.04),)),
    lambda _: Weather("cut uploads", (_some("cut", 0.08, method="PUT|PATCH|POST"),)),
    lambda _: Weather("cut answers", (_some("truncate", 0.05, method="GET"),)),
    lambda _: Weather("throttled", (_some("429", 0.05),)),
    lambda _: Weather("failing", (_some("500", 0.02), _some("502", 0.01), _some("503", 0.02), _some("504", 0.01))),
    lambda _: Weather("flipped bits", (_some("flip", 0.06, method="GET", path="/blobs/|/manifests/"),)),
    lambda r: Weather("slow lists", (_some("delay", 0.5, path="/tags/list", seconds=r.uniform(0.2, 1)),)),
    lambda r: Weather(
        "slow writes", (_some("delay", 0.4, method="PUT", path="/manifests/", seconds=r.uniform(0.1, 1)),)
    ),
    lambda r: Weather("immutable", (), Manners(immutable=r.choice(["harbor", "ecr"]), exempt=_LASTING)),
    lambda r: Weather("immutable latest", (), Manners(immutable=r.choice(["harbor", "ecr"]))),
    lambda r: Weather("paged lists", (), Manners(page=r.choice([1, 2, 3]), link=r.random() < 0.5)),
    lambda r: Weather("late reads", (), Manners(absent=r.uniform(0.1, 1))),
    lambda r: Weather("late lists", (), Manners(hidden=r.uniform(0.3, 2))),
    _mixed,
    _mixed,
)


# How registries refuse to list.
_NO_LISTS = ((403, "DENIED"), (405, "UNSUPPORTED"), (404, ""))


def of_round(random: random.Random) -> Weather:
    """Choose the weather of a round."""
    return random.choice(_KINDS)(random)


def without_lists(random: random.Random) -> Weather:
    """Choose the weather of a round in which the registry lists no tags.

    All then depends on `latest`: it has to be moved, and to be read as it was written last.
    """
    status, code = random.choice(_NO_LISTS)
    while True:
        wind = of_round(random)
        manners = wind.manners
        if not (manners.hidden or manners.absent or manners.page) and (not manners.immutable or manners.exempt):
            return replace(
                wind, name=f"{wind.name}, no lists", manners=replace(manners, listing=status, listing_code=code)
            )
