"""When runs that are wanted are added to a watch, and added again."""

from rxflow.relay._additions import LOOK_PAUSE, Additions


def test_a_run_is_added_once_while_it_is_watched() -> None:
    """However often it is wanted; after it was not wanted for a while, it is added again."""
    watched = {"a"}
    additions = Additions(watched.__contains__)
    assert additions.next_runs({"a"}, {"a"}, 10.0) == {"a"}
    assert additions.next_runs({"a"}, {"a"}, 99.0) == set()
    assert additions.next_runs({"a", "b"}, {"b"}, 99.0) == {"b"}
    assert additions.next_runs({"b"}, set(), 99.0) == set()
    assert additions.next_runs({"a", "b"}, {"a"}, 99.0) == {"a"}
    assert additions.due_in(99.0) is None


def test_a_closed_run_is_added_again_when_it_is_wanted() -> None:
    """Once for each time; that it is still wanted is no reason."""
    additions = Additions(lambda _: False)
    assert additions.next_runs({"a"}, {"a"}, 10.0) == {"a"}
    assert additions.next_runs({"a"}, set(), 20.0) == set()
    assert additions.next_runs({"a"}, {"a"}, 20.0) == {"a"}
    assert additions.next_runs({"a"}, set(), 30.0) == set()
    assert additions.due_in(30.0) is None


def test_many_wants_of_a_closed_run_are_one_look() -> None:
    """What is wanted soon after a look waits, and is not forgotten."""
    additions = Additions(lambda _: False)
    assert additions.next_runs({"a"}, {"a"}, 10.0) == {"a"}
    for tenths in range(1, 9):
        now = 10.0 + tenths / 10
        assert additions.next_runs({"a"}, {"a"}, now) == set()
        assert additions.due_in(now) == 10.0 + LOOK_PAUSE - now
    assert additions.next_runs({"a"}, set(), 10.0 + LOOK_PAUSE) == {"a"}
    assert additions.due_in(10.0 + LOOK_PAUSE) is None


def test_a_run_that_is_not_wanted_any_more_is_not_looked_at() -> None:
    """A want that waited is forgotten with it."""
    additions = Additions(lambda _: False)
    additions.next_runs({"a"}, {"a"}, 10.0)
    additions.next_runs({"a"}, {"a"}, 10.5)
    assert additions.next_runs(set(), set(), 20.0) == set()
    assert additions.due_in(20.0) is None
