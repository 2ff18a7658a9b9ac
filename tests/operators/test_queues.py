"""Holding items back: queues that keep their bounds, and a holdback that loses nothing."""

from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import at, changed, closed, entered, line, notice, second, seen

from rxflow import FlowRunEvent, FlowRunLog, NoticeCode, Overflow
from rxflow._operators.holdback import Holdback
from rxflow._operators.queues import BoundedQueue, ConflatingQueue, OverflowPolicy

TAKE = None
"""In a list of items: the consumer takes one."""

ACTIONS = st.lists(st.one_of(st.just(TAKE), st.tuples(st.sampled_from("abc"), st.integers(0, 99))))


def letter(item: tuple[str, int]) -> Hashable:
    """The key that items are conflated by."""
    return item[0]


def play(queue: Any, actions: Iterable[Any]) -> list[Any]:
    """What a consumer gets who takes as it goes, and in the end all that is left."""
    taken: list[Any] = []
    for action in actions:
        if action is not TAKE:
            queue.put(action)
        elif len(queue):
            taken.append(queue.take())
    return taken + [queue.take() for _ in range(len(queue))]


# -- conflated ----------------------------------------------------------------------------------


@given(ACTIONS)
def test_the_last_item_of_each_key_comes_through(actions: list[Any]) -> None:
    """Whenever the consumer takes, the last item taken of each key is the last that was put."""
    taken = play(ConflatingQueue(letter), actions)
    items = [action for action in actions if action is not TAKE]
    assert {letter(item): item for item in taken} == {letter(item): item for item in items}


@given(ACTIONS)
def test_conflated_items_of_a_key_keep_their_order(actions: list[Any]) -> None:
    """What is taken of a key is a subsequence of what was put of it."""
    taken = play(ConflatingQueue(letter), actions)
    for key in "abc":
        rest = iter(action for action in actions if action is not TAKE and letter(action) == key)
        assert all(item in rest for item in taken if letter(item) == key)


@given(ACTIONS)
def test_one_item_a_key_is_held(actions: list[Any]) -> None:
    """No more items are held than there are keys."""
    queue = ConflatingQueue(letter)
    for action in actions:
        play(queue, [TAKE]) if action is TAKE else queue.put(action)
        assert len(queue) <= 3


def test_no_key_waits_for_ever() -> None:
    """A key whose items keep coming does not lose its place to those that came later."""
    queue = ConflatingQueue(letter)
    for item in [("a", 1), ("b", 1), ("a", 2), ("a", 3)]:
        queue.put(item)
    assert [queue.take(), queue.take()] == [("a", 3), ("b", 1)]


# -- bounded ------------------------------------------------------------------------------------


@given(ACTIONS, st.integers(1, 4), st.sampled_from(["drop_oldest", "drop_newest"]))
def test_a_bound_is_kept(actions: list[Any], most: int, overflow: OverflowPolicy) -> None:
    """Never more items are held than the bound says, and those taken are a subsequence."""
    queue: BoundedQueue[Any] = BoundedQueue(most, overflow)
    taken: list[Any] = []
    for action in actions:
        if action is not TAKE:
            queue.put(action)
        elif len(queue):
            taken.append(queue.take())
        assert len(queue) <= most
    rest = iter(action for action in actions if action is not TAKE)
    assert all(item in rest for item in taken)


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_who_drops_says_which(items: list[int], most: int) -> None:
    """Without a consumer, the last items are held if the oldest are dropped, else the first."""
    assert play(BoundedQueue(most, "drop_oldest"), items) == items[-most:]
    assert play(BoundedQueue(most, "drop_newest"), items) == items[:most]


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_a_full_queue_raises(items: list[int], most: int) -> None:
    """By default one item too many raises, and what is held stays as it is."""
    queue: BoundedQueue[int] = BoundedQueue(most, "error")
    for item in items[:most]:
        queue.put(item)
    for item in items[most:]:
        with pytest.raises(Overflow, match=rf"bounded\({most}\) .* conflate\(\)"):
            queue.put(item)
    assert play(queue, []) == items[:most]


# -- held back ----------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 30).map(lambda stamp: stamp / 2),  # when it was written
        st.integers(0, 6).map(lambda pause: pause / 2),  # seconds until the next one comes
    ),
    max_size=30,
)
LATENESS = st.integers(0, 10).map(float)


def held_back(
    lateness: float, steps: Iterable[tuple[float, float]]
) -> tuple[list[FlowRunLog], list[FlowRunLog], list[float]]:
    """Lines that come, what comes out, and how long each was held; woken whenever it asks to be."""
    holdback: Holdback[FlowRunLog] = Holdback(lateness)
    now, came, given, held = 0.0, list[FlowRunLog](), list[FlowRunLog](), list[float]()
    arrivals: dict[str, float] = {}

    def give(lines: tuple[FlowRunLog, ...]) -> None:
        given.extend(lines)
        held.extend(now - arrivals[item.message] for item in lines)

    for number, (stamp, pause) in enumerate(steps):
        came.append(line(stamp, str(number)))
        arrivals[str(number)] = now
        give(holdback.receive(came[-1], at(now)))
        until = now + pause
        while (due := holdback.due_in(at(now))) is not None and now + due <= until:
            now += due
            give(holdback.wake(at(now)))
        now = until
    give(holdback.flush(at(now)))
    return came, given, held


def unflagged(events: Iterable[FlowRunLog]) -> list[FlowRunLog]:
    """Events without their flags."""
    return [replace(event, late=False) for event in events]


@given(LATENESS, STEPS)
def test_nothing_is_lost_or_made_up(lateness: float, steps: list[tuple[float, float]]) -> None:
    """What comes out is a permutation of what came in."""
    came, given, _ = held_back(lateness, steps)
    assert sorted(unflagged(given), key=lambda item: int(item.message)) == came


@given(LATENESS, STEPS)
def test_what_is_not_flagged_is_in_order(lateness: float, steps: list[tuple[float, float]]) -> None:
    """But for the late ones, events are sorted by time, and those of one time by arrival."""
    _, given, _ = held_back(lateness, steps)
    keys = [(item.timestamp, int(item.message)) for item in given if not item.late]
    assert keys == sorted(keys)


@given(LATENESS, STEPS)
def test_late_means_after_a_later_one(lateness: float, steps: list[tuple[float, float]]) -> None:
    """An event is flagged if and only if one of a later time came out before it."""
    _, given, _ = held_back(lateness, steps)
    for number, item in enumerate(given):
        assert item.late == any(before.timestamp > item.timestamp for before in given[:number])


@given(LATENESS, STEPS)
def test_nothing_is_held_for_longer_than_the_lateness(
    lateness: float, steps: list[tuple[float, float]]
) -> None:
    """Each event comes out no later than ``lateness`` after it came."""
    _, _, held = held_back(lateness, steps)
    assert all(seconds <= lateness for seconds in held)


@given(STEPS)
def test_enough_lateness_sorts_everything(steps: list[tuple[float, float]]) -> None:
    """Sources that are behind by less than the lateness come out in order, and none is late."""
    at_once = [(stamp, 0.0) for stamp, _ in steps]
    came, given, _ = held_back(1000, at_once)
    assert given == sorted(came, key=lambda item: item.timestamp)


def test_a_flag_that_is_true_no_more_is_taken_off() -> None:
    """A line that its watch told late, and that is in order now, is not flagged."""
    holdback: Holdback[FlowRunLog] = Holdback(5)
    lines = [line(2), line(1, late=True)]
    assert [item for one in lines for item in holdback.receive(one, at(2))] == []
    assert holdback.flush(at(2)) == (line(1), line(2))


def test_with_no_lateness_nothing_is_held() -> None:
    """With a lateness of 0 all goes through as it comes, and what is out of order is flagged."""
    holdback: Holdback[FlowRunLog] = Holdback(0)
    given = [*holdback.receive(line(2), at(0)), *holdback.receive(line(1), at(0))]
    assert given == [line(2), line(1, late=True)]
    assert holdback.due_in(at(0)) is None


def test_what_the_watch_says_keeps_its_place() -> None:
    """Whatever their stamps, a run's row comes at once, and notices and the end where they came."""
    said: list[FlowRunEvent] = [notice(NoticeCode.LATE_START, 99), closed(-99)]
    events: list[FlowRunEvent] = [seen(), said[0], line(2), line(1), seen(), *said, line(3)]
    holdback: Holdback[FlowRunEvent] = Holdback(5)
    given = [item for event in events for item in holdback.receive(event, at(0))]
    assert given == [seen(), said[0], seen()]
    assert holdback.flush(at(0)) == (line(1), line(2), *said, line(3))


def test_a_changed_row_is_never_flagged() -> None:
    """A row that comes after later events is passed on at once, as it is."""
    holdback: Holdback[FlowRunEvent] = Holdback(0)
    holdback.receive(line(5), at(5))
    assert holdback.receive(changed("Running", 1), at(5)) == (changed("Running", 1),)
    late = holdback.receive(entered("Running", 1), at(5))
    assert late == (replace(entered("Running", 1), late=True),)


class Reading:
    """Something of the user's that has a timestamp.

    Attributes:
        timestamp: The time.
    """

    def __init__(self, seconds: float) -> None:
        self.timestamp = second(seconds)


def test_whatever_has_a_timestamp_is_put_in_order() -> None:
    """Items of any class are sorted by their timestamps, and left as they are."""
    readings = [Reading(3), Reading(1), Reading(2)]
    holdback: Holdback[Reading] = Holdback(9)
    for reading in readings:
        assert holdback.receive(reading, at(0)) == ()
    given = holdback.flush(at(0))
    assert {*given} == {*readings}
    assert all(before.timestamp < after.timestamp for before, after in pairwise(given))
