"""`VirtualTime` as a clock and as a scheduler."""

from datetime import UTC, datetime, timedelta

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import abc
from reactivex import operators as ops

from rxflow.testing import VirtualTime

HOUR = 3600.0


@given(st.lists(st.floats(0, 1e5), max_size=20))
def test_waiting_until_a_moment_reaches_it(waits: list[float]) -> None:
    """Each wait lasts at least as long as requested, and at most a microsecond longer."""
    time = VirtualTime()
    for seconds in waits:
        before = time.seconds
        time.wait(seconds)
        assert -1e-9 <= time.seconds - before - seconds <= 1.1e-6


def test_time_stands_still_until_it_is_advanced() -> None:
    """It is the same at each reading."""
    time = VirtualTime(datetime(2030, 5, 5, tzinfo=UTC))
    assert time() == time() == time.now == datetime(2030, 5, 5, tzinfo=UTC)
    time.advance_to(time.beginning + timedelta(hours=1))
    assert time.seconds == HOUR


def test_scheduled_actions_run_as_time_passes() -> None:
    """Actions run in order at their times; a wait inside one delays the others."""
    time = VirtualTime()
    seen: list[tuple[str, float]] = []

    def slow(_: abc.SchedulerBase, __: object = None) -> None:
        seen.append(("slow", time.seconds))
        time.wait(10)

    def quick(_: abc.SchedulerBase, __: object = None) -> None:
        seen.append(("quick", time.seconds))

    time.schedule_relative(2, quick)
    time.schedule_relative(1, slow)
    time.advance_to(time.beginning + timedelta(seconds=5))
    assert seen == [("slow", 1.0), ("quick", 11.0)]
    assert time.seconds == 11.0


def test_time_goes_on_after_an_action_that_raised() -> None:
    """The error propagates, and the next action runs at its time."""
    time = VirtualTime()
    seen: list[float] = []

    def fail(_: abc.SchedulerBase, __: object = None) -> None:
        raise ZeroDivisionError

    time.schedule_relative(1, fail)
    time.schedule_relative(2, lambda *_: seen.append(time.seconds))
    with pytest.raises(ZeroDivisionError):
        time.advance_to(time.beginning + timedelta(seconds=5))
    time.advance_to(time.beginning + timedelta(seconds=5))
    assert seen == [2.0]


def test_collect_ends_with_the_stream() -> None:
    """It returns the stream's items, at most a second after its end."""
    time = VirtualTime()
    assert time.collect(rx.timer(HOUR).pipe(ops.map(lambda _: "ring"))) == ["ring"]
    assert HOUR <= time.seconds <= HOUR + 1


def test_collect_raises_the_error_of_the_stream() -> None:
    """An `on_error` of the stream is raised to the caller."""
    time = VirtualTime()
    with pytest.raises(ZeroDivisionError):
        time.collect(rx.throw(ZeroDivisionError()))


def test_collect_unsubscribes_from_a_stream_that_does_not_end() -> None:
    """After the given time it returns the items emitted until then."""
    time = VirtualTime()
    ended: list[float] = []
    stream = rx.interval(1.0).pipe(ops.finally_action(lambda: ended.append(time.seconds)))
    assert time.collect(stream, seconds=3.5) == [0, 1, 2]
    assert ended == [3.5]
