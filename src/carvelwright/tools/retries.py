"""How a failed exchange with a registry is repeated: what may be repeated, how often, after how long."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from carvelwright.process import pause, stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.tools.registry import Exchange

_Result = TypeVar("_Result")
_LONGEST_REASON = 320
_THROTTLED = 4
# What the way garbles is right the next time; what the registry itself holds so stays wrong.
_READS_OF_DAMAGED = 3


class Fault(Enum):
    """Why an exchange failed, as far as that decides whether it is repeated."""

    THROTTLED = auto()
    UNAVAILABLE = auto()
    CUT = auto()
    UNAUTHORIZED = auto()
    ABSENT = auto()
    DAMAGED = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """A fault, the reason in one line, and the seconds that the registry asked to wait (None: it did not)."""

    fault: Fault
    reason: str
    wait: float | None = None


@dataclass(slots=True)
class Known:
    """What was seen of registries: who let in whom (repository and access), and who limits requests."""

    let_in: set[tuple[str, str]] = field(default_factory=set)
    throttled: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of repetition: attempts, and seconds to wait before the second one and at most before another.

    Waits double, and are longer where the registry limits requests. `after_push` is for how many seconds a registry may
    not yet have what was just pushed. The tools repeat some requests themselves before they give up. `known` is what
    calls under this policy have seen of registries.
    """

    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 16.0
    after_push: float = 10.0
    known: Known = field(default_factory=Known, compare=False, repr=False)

    def wait(self, number: int, failure: Failure) -> float:
        """Return the seconds to wait after attempt `number`, which counts from 1."""
        first = self.first_wait * (_THROTTLED if failure.fault is Fault.THROTTLED else 1)
        grown = min(first * 2.0 ** (number - 1), self.longest_wait)
        # Those who were refused together must not come back together.
        waited = grown * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return max(waited, min(failure.wait or 0.0, 2 * self.longest_wait))


def is_throttled(exchange: Exchange, policy: Policy) -> bool:
    """Tell whether this registry has limited requests before: one at a time is asked of it from then on."""
    return exchange.repository.registry in policy.known.throttled


def persist(
    attempt: Callable[[float], _Result],
    understand: Callable[[Exception], Failure | None],
    exchange: Exchange,
    policy: Policy,
) -> _Result:
    """Call `attempt` with the seconds that are left until it succeeds, and return what it returns.

    `understand` says of an exception what failed; None where that is final. What is repeated must be safe to repeat.
    The last exception is raised as it is, with a note of the attempts where there were several.
    """
    seconds, reasons = stopwatch(), list[str]()
    for number in itertools.count(1):
        try:
            result = attempt(round(exchange.timeout - seconds(), 1) if reasons else exchange.timeout)
        except Exception as error:
            failure = understand(error)
            wait = _wait(failure, number, seconds(), exchange, policy) if failure else None
            if failure is None or wait is None:
                if reasons:
                    error.add_note(f"attempts: {number}; the one before ended with: {reasons[-1]}")
                raise
            reasons.append(failure.reason[:_LONGEST_REASON])
            _tell(failure, wait, number, exchange, policy)
            pause(wait)
        else:
            # Whoever may push may pull.
            accesses = ("push to", "pull from") if exchange.access == "push to" else ("pull from",)
            policy.known.let_in.update((str(exchange.repository), access) for access in accesses)
            return result
    raise AssertionError


def _wait(failure: Failure, number: int, seconds: float, exchange: Exchange, policy: Policy) -> float | None:
    """Return how long to wait before the next attempt; None where there is none."""
    wait = policy.wait(number, failure)
    if failure.fault is Fault.ABSENT:
        return wait if seconds + wait < min(exchange.timeout, policy.after_push) else None
    if failure.fault is Fault.UNAUTHORIZED:
        # A token that ran out: whoever was let in before is let in again with a new one, at once or not at all.
        known = (str(exchange.repository), exchange.access)
        if known not in policy.known.let_in:
            return None
        policy.known.let_in.discard(known)
    if failure.fault is Fault.THROTTLED:
        policy.known.throttled.add(exchange.repository.registry)
    return wait if number < _attempts(failure, policy) and seconds + wait < exchange.timeout else None


def _attempts(failure: Failure, policy: Policy) -> int:
    return min(policy.attempts, _READS_OF_DAMAGED) if failure.fault is Fault.DAMAGED else policy.attempts


def _tell(failure: Failure, wait: float, number: int, exchange: Exchange, policy: Policy) -> None:
    absent = failure.fault is Fault.ABSENT
    bound = f"for up to {policy.after_push:g} s" if absent else f"attempt {number + 1} of {_attempts(failure, policy)}"
    what = "the registry does not have it yet: " if absent else ""
    exchange.note(
        f"step {exchange.step}: registry {exchange.repository.registry}: {what}{failure.reason[:_LONGEST_REASON]}; "
        f"trying again in {wait:.1f} s ({bound})"
    )
