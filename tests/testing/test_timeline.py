"""Actions that are scheduled on a fake server's clock, with `FakePrefect3.at` and `script`."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.testing import FakePrefect3


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 20)))
def test_actions_run_at_their_times_however_often_the_server_is_used(
    due: list[int], pauses: list[int]
) -> None:
    """After each use the actions that were due have run, in order, at their own times."""
    clock = Clock()
    beginning = clock.time
    server = FakePrefect3(clock=clock)
    ran: list[tuple[int, datetime]] = []

    def note(number: int) -> None:
        ran.append((number, server.now()))

    for number, seconds in enumerate(due):
        server.at(seconds, partial(note, number))
    for seconds in pauses:
        clock.time += timedelta(seconds=seconds)
        server.catch_up()
        now = (clock.time - beginning).total_seconds()
        assert len(ran) == sum(each <= now for each in due)
    order = sorted(range(len(due)), key=lambda number: due[number])
    assert ran == [
        (number, beginning + timedelta(seconds=due[number])) for number in order[: len(ran)]
    ]


def test_a_write_follows_the_actions_that_were_due_before_it() -> None:
    """A direct write is stored after the rows of earlier actions and before those of later ones."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    run_id = server.add_run(state=None)
    server.script(run_id, [(1, "first"), (3, "third")])
    clock.time += timedelta(seconds=2)
    server.log(run_id, "second")
    clock.time += timedelta(seconds=2)
    server.catch_up()
    assert [row["message"] for row in server.logs] == ["first", "second", "third"]
    created = [row["created"] for row in server.logs]
    assert created == sorted(set(created))


def test_an_action_may_schedule_another() -> None:
    """The other's time counts from the action's own time; it runs at once if that is due, too."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    times: list[datetime] = []

    def repeat() -> None:
        times.append(server.now())
        server.at(1, repeat)

    beginning = clock.time
    server.at(1, repeat)
    clock.time += timedelta(seconds=3.5)
    server.catch_up()
    assert times == [beginning + timedelta(seconds=second) for second in (1, 2, 3)]


def test_an_action_that_raises_is_not_repeated() -> None:
    """Its error propagates to the use that ran it, and the next use runs the other actions."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    run_id = server.add_run()
    server.at(0, lambda: server.set_state("no such run", "FAILED"))
    server.script(run_id, [(0, "a line")])
    with pytest.raises(ValueError, match="run_id='no such run' is no row"):
        server.catch_up()
    server.catch_up()
    assert [row["message"] for row in server.logs] == ["a line"]


def test_an_action_may_be_scheduled_for_a_past_time() -> None:
    """It runs at the next use, and the server's clock shows the past time meanwhile."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    times: list[datetime] = []
    past = clock.time - timedelta(days=1)
    server.at(past, lambda: times.append(server.now()))
    server.catch_up()
    assert times == [past]
