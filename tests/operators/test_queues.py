"""Queues keep their bounds, their order and the items that their policies promise to keep."""

from collections.abc import Hashable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow import Overflow
from rxflow._operators.queues import BoundedQueue, ConflatingQueue, OverflowPolicy

TAKE = None
"""In a list of actions: the consumer takes an item."""

ACTIONS = st.lists(st.one_of(st.just(TAKE), st.tuples(st.sampled_from("abc"), st.integers(0, 99))))


def letter(item: tuple[str, int]) -> Hashable:
    """Return the key that items are conflated by."""
    return item[0]


def taken_from(queue: Any, actions: Iterable[Any]) -> list[Any]:
    """Return what a consumer takes by these actions and then until the queue is empty."""
    taken: list[Any] = []
    for action in actions:
        if action is not TAKE:
            queue.put(action)
        elif len(queue):
            taken.append(queue.take())
    return taken + [queue.take() for _ in range(len(queue))]


@given(ACTIONS)
def test_the_last_item_of_each_key_is_taken(actions: list[Any]) -> None:
    """For each key, the last item that is taken is the last that was put."""
    taken = taken_from(ConflatingQueue(letter), actions)
    items = [action for action in actions if action is not TAKE]
    assert {letter(item): item for item in taken} == {letter(item): item for item in items}


@given(ACTIONS)
def test_conflated_items_of_a_key_keep_their_order(actions: list[Any]) -> None:
    """The items taken of a key are a subsequence of those that were put."""
    taken = taken_from(ConflatingQueue(letter), actions)
    for key in "abc":
        rest = iter(action for action in actions if action is not TAKE and letter(action) == key)
        assert all(item in rest for item in taken if letter(item) == key)


@given(ACTIONS)
def test_one_item_a_key_is_held(actions: list[Any]) -> None:
    """No more items are held than there are keys."""
    queue = ConflatingQueue(letter)
    for action in actions:
        taken_from(queue, [TAKE]) if action is TAKE else queue.put(action)
        assert len(queue) <= 3


def test_a_busy_key_keeps_its_place() -> None:
    """A key whose item is replaced keeps its place before keys that arrived later."""
    queue = ConflatingQueue(letter)
    for item in [("a", 1), ("b", 1), ("a", 2), ("a", 3)]:
        queue.put(item)
    assert [queue.take(), queue.take()] == [("a", 3), ("b", 1)]


@given(ACTIONS, st.integers(1, 4), st.sampled_from(["drop_oldest", "drop_newest"]))
def test_a_bound_is_kept(actions: list[Any], capacity: int, overflow: OverflowPolicy) -> None:
    """No more items are held than the capacity, and those taken are a subsequence."""
    queue: BoundedQueue[Any] = BoundedQueue(capacity, overflow)
    taken: list[Any] = []
    for action in actions:
        if action is not TAKE:
            queue.put(action)
        elif len(queue):
            taken.append(queue.take())
        assert len(queue) <= capacity
    rest = iter(action for action in actions if action is not TAKE)
    assert all(item in rest for item in taken)


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_the_policy_says_which_items_are_dropped(items: list[int], capacity: int) -> None:
    """Without a consumer, the last items are held if the oldest are dropped, else the first."""
    assert taken_from(BoundedQueue(capacity, "drop_oldest"), items) == items[-capacity:]
    assert taken_from(BoundedQueue(capacity, "drop_newest"), items) == items[:capacity]


@given(st.lists(st.integers(), max_size=9), st.integers(1, 4))
def test_a_full_queue_raises(items: list[int], capacity: int) -> None:
    """By default one item too many raises, and the items held stay as they are."""
    queue: BoundedQueue[int] = BoundedQueue(capacity, "error")
    for item in items[:capacity]:
        queue.put(item)
    for item in items[capacity:]:
        with pytest.raises(Overflow, match=rf"bounded\({capacity}\) .* conflate\(\)"):
            queue.put(item)
    assert taken_from(queue, []) == items[:capacity]
