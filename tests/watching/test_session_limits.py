"""The limit of a session: when it ends a watch, with and without replies, and what is said then."""

from random import Random

import pytest
from simulated_world import SimulatedWatch, World, refused

from rxflow import Closed, WatchTimedOut
from rxflow._models.times import Now
from rxflow._protocol.queries import RunQuery
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Done, Fetch
from rxflow._watching.watch_spec import WatchSpec

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def spec(run_id: str = RUN_ID, **options: float) -> WatchSpec:
    """Return the spec of a watch with a limit of 4 s."""
    return WatchSpec(flow_run_id=run_id, **{"max_duration": 4.0, **options})  # type: ignore[arg-type]


def at(seconds: float) -> Now:
    """Return a time of the monotonic clock; the other one is of no use here."""
    return Now(1000.0 + seconds, World().clock())


@pytest.mark.parametrize(("limit", "ended"), [(4.0, 4.0), (0.5, 1.0), (0.0, 1.0)])
def test_a_first_query_without_a_reply_is_ended(limit: float, ended: float) -> None:
    """The limit holds while a query is in flight, but the first poll has a second in any case."""
    session = RunSession(spec(max_duration=limit), Random(0))
    assert isinstance(session.next_command(at(0)), Fetch)
    assert session.due_in(at(0)) == pytest.approx(ended)
    assert session.wake(at(ended - 0.01)) == ()
    assert isinstance(session.next_command(at(ended - 0.01)), Fetch)
    assert session.wake(at(ended)) == ()
    done = session.next_command(at(ended))
    assert isinstance(done, Done)
    assert isinstance(done.error, WatchTimedOut)
    assert session.done == done


def test_a_query_in_flight_is_sent_again_on_demand() -> None:
    """Until a reply is received the next command is the same query, and its time goes on."""
    session = RunSession(spec(max_duration=60.0), Random(0))
    first = session.next_command(at(0))
    assert session.next_command(at(9)) == first
    assert session.due_in(at(9)) == pytest.approx(1)
    assert len(session.wake(at(10))) == 1
    assert session.next_command(at(10)) == first


def test_a_last_poll_is_sent_before_the_limit() -> None:
    """A run that ends between two polls is seen to be over by a poll shortly before the limit."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.at(98, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = SimulatedWatch(world, spec(run_id, max_duration=100.0)).run()
    assert isinstance(watched.closed, Closed)
    polls = [time for time, query in watched.sent if isinstance(query, RunQuery)]
    assert any(time == pytest.approx(99, abs=0.2) for time in polls)


@pytest.mark.parametrize("grace", [1.0, 10.0])
def test_a_terminal_run_is_watched_as_long_as_replies_come(grace: float) -> None:
    """After the limit a query about a run that is over may be without a reply for the grace."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    watched = SimulatedWatch(world, spec(run_id, max_duration=2.0, end_grace=grace, drain=50.0))
    watched.run(until=30)
    assert not watched.ended
    session = watched.session
    while not isinstance(session.next_command(watched.now()), Fetch):
        world.wait(0.25)
    assert session.due_in(watched.now()) == pytest.approx(grace)
    world.wait(grace)
    session.wake(watched.now())
    assert isinstance(session.done, Done)
    assert "is in state Completed, but could not be read to its end" in str(session.done.error)


def test_a_failure_after_the_limit_ends_the_watch_of_a_terminal_run() -> None:
    """After the limit no query about a run that is over is retried."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    world.fault = lambda query: refused(query) if world.now > 20 else None
    watched = SimulatedWatch(world, spec(run_id, max_duration=2.0, drain=50.0)).run()
    assert isinstance(watched.error, WatchTimedOut)
    assert "Nothing listens there" in str(watched.error)
    assert 20 < world.now < 26


def test_the_limit_holds_between_retries() -> None:
    """A server that is not there is retried until the limit, and no longer."""
    world = World()
    world.fault = refused
    watched = SimulatedWatch(world, spec()).run()
    assert world.now == pytest.approx(4.0, abs=0.1)
    assert str(watched.error) == (
        f"Flow run {RUN_ID} was watched for 4.0 s and its state was never read (the last request "
        "failed: Nothing listens there); pass a longer max_duration, or None for no limit"
    )
