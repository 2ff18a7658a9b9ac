"""A holdback loses no event, orders those within the lateness, and flags the others."""

import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import all_closed, changed, closed, entered, line, notice, second, seen

from rxflow import FlowRunEvent, FlowRunLog, NoticeCode
from rxflow._operators.holdback import Holdback

STEPS = st.lists(
    st.tuples(
        st.integers(0, 30).map(lambda stamp: stamp / 2),  # the second of the timestamp
        st.integers(0, 6).map(lambda pause: pause / 2),  # seconds until the next arrival
    ),
    max_size=30,
)

LATENESS = st.integers(0, 10).map(float)


def run_holdback(
    lateness: float, steps: Iterable[tuple[float, float]]
) -> tuple[list[FlowRunLog], list[FlowRunLog], list[float]]:
    """Return the lines received, the lines emitted, and the seconds that each was held."""
    holdback: Holdback[FlowRunLog] = Holdback(lateness)
    now = 0.0
    received, emitted, seconds_held = list[FlowRunLog](), list[FlowRunLog](), list[float]()
    arrivals: dict[str, float] = {}

    def emit(lines: tuple[FlowRunLog, ...]) -> None:
        emitted.extend(lines)
        seconds_held.extend(now - arrivals[item.message] for item in lines)

    for number, (stamp, pause) in enumerate(steps):
        received.append(line(stamp, str(number)))
        arrivals[str(number)] = now
        emit(holdback.receive(received[-1], now))
        until = now + pause
        while (due := holdback.due_in(now)) is not None and now + due <= until:
            now += due
            emit(holdback.wake(now))
        now = until
    emit(holdback.flush(now))
    return received, emitted, seconds_held


def without_flags(events: Iterable[FlowRunLog]) -> list[FlowRunLog]:
    """Return the events without their `late` flags."""
    return [replace(event, late=False) for event in events]


@given(LATENESS, STEPS)
def test_no_event_is_lost_or_added(lateness: float, steps: list[tuple[float, float]]) -> None:
    """The events emitted are a permutation of those received."""
    received, emitted, _ = run_holdback(lateness, steps)
    assert sorted(without_flags(emitted), key=lambda item: int(item.message)) == received


@given(LATENESS, STEPS)
def test_events_without_a_flag_are_in_order(
    lateness: float, steps: list[tuple[float, float]]
) -> None:
    """Events that are not late are ordered by time, and by arrival within one time."""
    _, emitted, _ = run_holdback(lateness, steps)
    keys = [(item.timestamp, int(item.message)) for item in emitted if not item.late]
    assert keys == sorted(keys)


@given(LATENESS, STEPS)
def test_late_means_emitted_after_a_later_event(
    lateness: float, steps: list[tuple[float, float]]
) -> None:
    """An event is late if and only if one with a later time was emitted before it."""
    _, emitted, _ = run_holdback(lateness, steps)
    for number, item in enumerate(emitted):
        assert item.late == any(before.timestamp > item.timestamp for before in emitted[:number])


@given(LATENESS, STEPS)
def test_no_event_is_held_longer_than_the_lateness(
    lateness: float, steps: list[tuple[float, float]]
) -> None:
    """Each event is emitted no later than ``lateness`` after its arrival."""
    _, _, seconds_held = run_holdback(lateness, steps)
    assert all(seconds <= lateness for seconds in seconds_held)


@given(STEPS)
def test_enough_lateness_sorts_everything(steps: list[tuple[float, float]]) -> None:
    """With a lateness above all delays, all events are in order and none is late."""
    at_once = [(stamp, 0.0) for stamp, _ in steps]
    received, emitted, _ = run_holdback(1000, at_once)
    assert emitted == sorted(received, key=lambda item: item.timestamp)


def test_an_outdated_flag_is_removed() -> None:
    """A line that its watch emitted late, and that is in order now, is not flagged."""
    holdback: Holdback[FlowRunLog] = Holdback(5)
    lines = [line(2), line(1, late=True)]
    assert [item for one in lines for item in holdback.receive(one, 2)] == []
    assert holdback.flush(2) == (line(1), line(2))


def test_without_lateness_no_event_is_held() -> None:
    """With a lateness of 0 each event is emitted at once, and those out of order are flagged."""
    holdback: Holdback[FlowRunLog] = Holdback(0)
    emitted = [*holdback.receive(line(2), 0), *holdback.receive(line(1), 0)]
    assert emitted == [line(2), line(1, late=True)]
    assert holdback.due_in(0) is None


def test_events_of_the_watch_keep_their_place() -> None:
    """Whatever their timestamps, rows are emitted at once, notices and the end by arrival."""
    of_watch: list[FlowRunEvent] = [
        notice(NoticeCode.LATE_START, 99),
        closed(-99),
        all_closed(-99),
    ]
    events: list[FlowRunEvent] = [seen(), of_watch[0], line(2), line(1), seen(), *of_watch, line(3)]
    holdback: Holdback[FlowRunEvent] = Holdback(5)
    emitted = [item for event in events for item in holdback.receive(event, 0)]
    assert emitted == [seen(), of_watch[0], seen()]
    assert holdback.flush(0) == (line(1), line(2), *of_watch, line(3))


def test_a_changed_row_is_never_flagged() -> None:
    """A row that arrives after later events is emitted at once, unchanged."""
    holdback: Holdback[FlowRunEvent] = Holdback(0)
    holdback.receive(line(5), 5)
    assert holdback.receive(changed("Running", 1), 5) == (changed("Running", 1),)
    late = holdback.receive(entered("Running", 1), 5)
    assert late == (replace(entered("Running", 1), late=True),)


class Reading:
    """An item of a class of the user's, with a timestamp.

    Attributes:
        timestamp: The time.
    """

    def __init__(self, seconds: float) -> None:
        self.timestamp = second(seconds)


def test_items_of_any_class_are_ordered() -> None:
    """Items with a timestamp are ordered by it, and stay the same objects."""
    readings = [Reading(3), Reading(1), Reading(2)]
    holdback: Holdback[Reading] = Holdback(9)
    for reading in readings:
        assert holdback.receive(reading, 0) == ()
    emitted = holdback.flush(0)
    assert {*emitted} == {*readings}
    assert all(before.timestamp < after.timestamp for before, after in pairwise(emitted))


def test_items_that_were_emitted_are_not_kept() -> None:
    """While an item is held for long, those emitted after its arrival are freed."""
    holdback: Holdback[Reading] = Holdback(50)
    emitted = [weakref.ref(reading) for reading in emitted_beside_held(holdback, 1000)]
    assert len(emitted) == 1000
    assert len([reference for reference in emitted if reference() is not None]) < 10
    assert [second(90), second(100)] == [item.timestamp for item in holdback.flush(0)]


def emitted_beside_held(holdback: Holdback[Reading], number: int) -> Iterator[Reading]:
    """Yield what is emitted at once, while an item is held that arrived out of order."""
    for seconds in (100, 90):
        assert holdback.receive(Reading(seconds), 0) == ()
    for count in range(number):
        yield from holdback.receive(Reading(40 + count / number), 0)
