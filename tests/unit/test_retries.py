"""How often and how long something is repeated."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from carvelwright import process
from carvelwright.reference import Repository
from carvelwright.tools.registry import Access, Exchange
from carvelwright.tools.retries import Failure, Fault, Policy, is_throttled, persist

QUICK = Policy(attempts=4, first_wait=0.001, longest_wait=0.002, after_push=0.2)


class BrokenError(Exception):
    """What an attempt raises here."""


def exchange(notes: list[str], path: str = "x", timeout: float = 30, access: Access = "pull from") -> Exchange:
    return Exchange(Repository("r.example.com", path), access, "step", timeout, notes.append)


def failing(times: int, fault: Fault) -> tuple[list[float], list[str], object]:
    """Persist over an attempt that fails so often; returns the timeouts that it got, the notes, and the result."""
    timeouts: list[float] = []
    notes: list[str] = []

    def attempt(timeout: float) -> str:
        timeouts.append(timeout)
        if len(timeouts) <= times:
            raise BrokenError
        return "done"

    asked = exchange(notes, path=f"{fault.name.lower()}{times}")
    try:
        result: object = persist(attempt, lambda _error: Failure(fault, "because"), asked, QUICK)
    except BrokenError as error:
        result = error
    return timeouts, notes, result


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNAVAILABLE, Fault.CUT])
def test_attempts_are_bounded_and_each_is_told(fault: Fault) -> None:
    timeouts, notes, result = failing(3, fault)
    assert result == "done"
    assert len(timeouts) == 4
    assert timeouts == sorted(timeouts, reverse=True)
    assert [note.rpartition("(")[2] for note in notes] == [f"attempt {number} of 4)" for number in (2, 3, 4)]
    timeouts, notes, result = failing(99, fault)
    assert isinstance(result, BrokenError)
    assert result.__notes__ == ["attempts: 4; the one before ended with: because"]
    assert (len(timeouts), len(notes)) == (4, 3)


def test_whoever_was_never_let_in_is_not_let_in_by_asking_again() -> None:
    timeouts, notes, result = failing(1, Fault.UNAUTHORIZED)
    assert isinstance(result, BrokenError)
    assert (len(timeouts), notes) == (1, [])
    notes = []
    asked = exchange(notes, path="let-in")
    answers = iter([None, BrokenError(), None, BrokenError(), BrokenError()])

    def attempt(_timeout: float) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    for _ in range(2):
        persist(attempt, lambda _error: Failure(Fault.UNAUTHORIZED, "expired"), asked, QUICK)
    with pytest.raises(BrokenError):
        persist(attempt, lambda _error: Failure(Fault.UNAUTHORIZED, "expired"), asked, QUICK)
    assert len(notes) == 2
    # Whoever may pull may not push.
    with pytest.raises(BrokenError):
        persist(
            lambda _timeout: (_ for _ in ()).throw(BrokenError()),
            lambda _error: Failure(Fault.UNAUTHORIZED, "no"),
            exchange(notes, path="let-in", access="push to"),
            QUICK,
        )
    assert len(notes) == 2


def test_what_is_not_there_yet_is_waited_for_by_time() -> None:
    timeouts, notes, result = failing(6, Fault.ABSENT)
    assert (len(timeouts), result) == (7, "done")
    assert "the registry does not have it yet: because" in notes[0]
    started = time.monotonic()
    _, _, result = failing(10**6, Fault.ABSENT)
    assert isinstance(result, BrokenError)
    assert time.monotonic() - started < 20


def test_what_is_final_is_raised_as_it_is() -> None:
    notes: list[str] = []
    with pytest.raises(BrokenError) as caught:
        persist(lambda _timeout: (_ for _ in ()).throw(BrokenError()), lambda _error: None, exchange(notes), QUICK)
    assert notes == []
    assert not hasattr(caught.value, "__notes__")


def test_no_attempt_begins_after_the_limit() -> None:
    notes: list[str] = []
    calls: list[float] = []

    def attempt(timeout: float) -> None:
        calls.append(timeout)
        raise BrokenError

    slow = Policy(attempts=9, first_wait=5)
    with pytest.raises(BrokenError):
        persist(attempt, lambda _error: Failure(Fault.CUT, "cut"), exchange(notes, timeout=3), slow)
    assert (len(calls), notes) == (1, [])


def test_waits_double_to_a_limit_and_a_registry_may_ask_for_longer() -> None:
    policy = Policy()
    cut = Failure(Fault.CUT, "")
    for number, wait in ((1, 0.5), (2, 1), (3, 2), (9, 16)):
        assert 0.7 * wait <= policy.wait(number, cut) <= 1.3 * wait
    assert policy.wait(1, Failure(Fault.THROTTLED, "")) > 1.4
    assert policy.wait(1, Failure(Fault.THROTTLED, "", 20)) == 20
    assert policy.wait(1, Failure(Fault.THROTTLED, "", 86400)) == 32


def test_a_registry_that_limits_requests_is_remembered() -> None:
    def of(registry: str, path: str) -> Exchange:
        return Exchange(Repository(registry, path), "push to", "step", 30, list[str]().append)

    asked = of("slow.example.com", "x")
    assert not is_throttled(asked, QUICK)
    answers = iter([BrokenError(), None])

    def attempt(_timeout: float) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    persist(attempt, lambda _error: Failure(Fault.THROTTLED, "429"), asked, QUICK)
    assert is_throttled(asked, QUICK)
    assert is_throttled(of("slow.example.com", "y"), QUICK)
    assert not is_throttled(of("fast.example.com", "x"), QUICK)


def test_an_interrupt_ends_the_waits_of_all_threads() -> None:
    started = threading.Barrier(3)

    def wait() -> None:
        started.wait(10)
        process.pause(60)

    def interrupt() -> None:
        started.wait(10)
        signal.raise_signal(signal.SIGINT)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process.stopping_children():
        process.in_parallel(wait, wait, interrupt)
    assert time.monotonic() - begun < 30
