"""Announcements of a server: they make polls due, and what is emitted is read by polls alone."""

from collections import Counter
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from simulated_world import SimulatedWatch, World, refused

from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.push import AnnouncedChange, PushTopic
from rxflow._protocol.queries import LogsQuery, RunQuery, RunsQuery, StatesQuery
from rxflow._watching.push_plan import LONGEST_PAUSE
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.spec_arguments import spec_of_wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.events import Closed, FlowRunLog, Notice, NoticeCode, RunChanged, StateChange

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
STATES = SOURCES - {EventSource.LOGS}
REFUSED = Failure(kind=FailureKind.REJECTED, text="its status was 403")


def watch(world: World, run_id: str, **options: Any) -> SimulatedWatch:
    """Return a watch of one run."""
    spec: dict[str, Any] = {"flow_run_id": run_id, "sources": SOURCES, **options}
    return SimulatedWatch(world, WatchSpec(**spec))


def watch_many(world: World, ids: list[str], **options: Any) -> SimulatedWatch:
    """Return a watch of some runs."""
    spec = WatchSpec(**{"flow_run_id": "", "sources": SOURCES, **options})
    session = RunsSession(spec, Random(0))
    session.add(ids)
    session.complete()
    return SimulatedWatch(world, spec, session=session)


def announce(watched: SimulatedWatch, run_id: str, *, line: bool = False) -> None:
    """Change a run, and announce that."""
    server = watched.world.server
    if line:
        server.log(run_id, "a line")
        watched.announce(run_id, AnnouncedChange.LOG_LINE)
    else:
        server.set_state(run_id, "RUNNING")
        watched.announce(run_id, AnnouncedChange.STATE)


def times_of(watched: SimulatedWatch, kind: type[Any]) -> list[float]:
    """Return when the events of a kind were emitted."""
    return [at for at, event in watched.emitted if isinstance(event, kind)]


def polls(watched: SimulatedWatch, begin: float, end: float = 1e9) -> list[float]:
    """Return when polls of the run's row, or of the rows of all runs, were sent."""
    queries = (RunQuery, RunsQuery)
    return [at for at, query in watched.sent if isinstance(query, queries) and begin <= at < end]


@pytest.mark.parametrize("line", [False, True], ids=["state", "line"])
@pytest.mark.parametrize("runs", [1, 3])
def test_an_announced_change_is_read_at_once(runs: int, line: bool) -> None:
    """Whatever the pause, of one run and of many."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    watched = watch(world, ids[0]) if runs == 1 else watch_many(world, ids)
    world.at(100, lambda: announce(watched, ids[0], line=line))
    watched.run(until=110)
    (at,) = [at for at in times_of(watched, FlowRunLog if line else StateChange) if at > 100]
    assert at < 100.1


def test_of_a_large_group_the_announced_runs_are_read() -> None:
    """Their rows, which a search for other states would not find, since the state is the same."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(30)]
    watched = watch_many(world, ids)
    world.at(100, lambda: announce(watched, ids[3]))
    world.at(100.01, lambda: announce(watched, ids[4]))
    watched.run(until=101)
    emitted = {event.flow_run_id for at, event in watched.emitted if at > 100}
    assert emitted == {ids[3], ids[4]}
    rows = [query.where for at, query in watched.sent if at >= 100 and isinstance(query, RunsQuery)]
    assert rows[0].flow_run_ids == (ids[3],)


def test_a_state_is_read_in_two_requests_and_its_row_soon_after() -> None:
    """The history says which state is the run's, the lines before it come first; then the row."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)
    world.at(99.9, lambda: world.server.log(run_id, "before"))
    world.at(100, lambda: announce(watched, run_id))
    watched.run(until=101)
    sent = [type(query) for at, query in watched.sent if at >= 100]
    assert sent[:4] == [StatesQuery, LogsQuery, RunQuery, LogsQuery]
    found = [type(event) for at, event in watched.emitted if at >= 100]
    assert found == [FlowRunLog, StateChange, RunChanged]


def test_lines_are_not_read_with_a_state_if_they_would_have_been_announced() -> None:
    """Only where lines are announced, and none was since the last poll."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)
    world.at(50, lambda: announce(watched, run_id, line=True))
    world.at(100, lambda: announce(watched, run_id))
    watched.run(until=100.2)
    assert [type(query) for at, query in watched.sent if at >= 100] == [StatesQuery]
    assert max(times_of(watched, StateChange)) > 100


def test_two_states_at_once_are_read_with_the_row() -> None:
    """Only the row says which of them is the run's."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)
    world.at(100, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(100, lambda: announce(watched, run_id))
    watched.run(until=101)
    sent = [type(query) for at, query in watched.sent if at >= 100]
    assert sent[:2] == [StatesQuery, RunQuery]
    assert len([at for at in times_of(watched, StateChange) if at > 100]) == 2


def test_without_streamed_states_the_row_is_read() -> None:
    """It is what changes then."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id, sources=frozenset({EventSource.LOGS, EventSource.NOTICES}))
    world.at(100, lambda: announce(watched, run_id))
    watched.run(until=100.2)
    assert [type(query) for at, query in watched.sent if at >= 100][:1] == [RunQuery]


def test_a_change_that_cannot_be_read_yet_is_looked_for_again() -> None:
    """Rows of task runs come up to a quarter of a second after they were announced."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)
    world.at(100, lambda: watched.announce(run_id, AnnouncedChange.TASK_RUN))
    world.at(100.2, lambda: world.server.log(run_id, "a line"))
    watched.run(until=110)
    (at,) = times_of(watched, FlowRunLog)
    assert at < 100.5


@pytest.mark.parametrize("runs", [1, 3])
def test_polls_are_frequent_after_an_announcement_that_showed_nothing(runs: int) -> None:
    """A change that the second look does not find either is found soon, as after one was read."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    watched = watch(world, ids[0]) if runs == 1 else watch_many(world, ids)
    world.at(100, lambda: watched.announce(ids[0], AnnouncedChange.TASK_RUN))
    world.at(100.5, lambda: world.server.log(ids[0], "a line"))
    watched.run(until=110)
    (at,) = times_of(watched, FlowRunLog)
    assert at < 101.5


@pytest.mark.parametrize("runs", [1, 3])
def test_a_flood_of_announcements_makes_few_polls_due(runs: int) -> None:
    """Polls that are due by announcements take a quarter of the time."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    watched = watch(world, ids[0]) if runs == 1 else watch_many(world, ids)
    for number in range(10_000):
        at = 100 + number / 1000
        world.at(at, partial(watched.announce, ids[0], AnnouncedChange.TASK_RUN))
    watched.run(until=110)
    assert 20 < len(polls(watched, 100)) < 140


def test_announcements_of_other_runs_are_dropped() -> None:
    """Those of runs that are not watched, and of one that is over."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(2)]
    watched = watch_many(world, ids, drain=0)
    world.at(30, lambda: world.server.set_state(ids[0], "COMPLETED"))
    watched.run(until=100)
    before = len(watched.sent)
    watched.announce(ids[0], AnnouncedChange.STATE)
    watched.announce("another", AnnouncedChange.STATE)
    watched.run(until=100.5)
    assert len(watched.sent) <= before + 2
    assert not watched.session.has_run(ids[0])


def test_heartbeats_make_no_poll_due() -> None:
    """They show only that events are announced, so that polls may be rare."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id, sources=STATES)
    for at in range(10, 400, 30):
        world.at(at, partial(watched.announce, run_id, AnnouncedChange.HEARTBEAT))
    watched.run(until=400)
    pauses = [later - earlier for earlier, later in pairwise(polls(watched, 200))]
    assert min(pauses) > 0.85 * LONGEST_PAUSE


@pytest.mark.parametrize("runs", [1, 3])
def test_polls_become_rare_while_changes_are_announced(runs: int) -> None:
    """What was not announced is found by a poll all the same, and makes them frequent again."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    options = {"sources": STATES}
    watched = watch(world, ids[0], **options) if runs == 1 else watch_many(world, ids, **options)
    world.at(50, lambda: announce(watched, ids[0]))
    world.at(400, lambda: world.server.set_state(ids[0], "RUNNING"))
    watched.run(until=600)
    assert max(at for at in times_of(watched, StateChange)) < 400 + 1.2 * LONGEST_PAUSE
    rare = [later - earlier for earlier, later in pairwise(polls(watched, 200, 400))]
    assert max(rare) > 0.85 * LONGEST_PAUSE
    frequent = [later - earlier for earlier, later in pairwise(polls(watched, 440, 600))]
    assert max(frequent) < 6


def test_an_announced_change_of_one_run_speaks_for_no_other() -> None:
    """If another one's is found by the way, not all is announced, and polls are frequent again."""
    world = World()
    first, second = ids = [world.server.add_run(state="RUNNING") for _ in range(2)]
    watched = watch_many(world, ids, sources=STATES)
    world.at(10, lambda: announce(watched, first))
    world.at(100, partial(world.server.set_state, second, "RUNNING"))
    world.at(100, lambda: announce(watched, first))
    watched.run(until=200)
    rests = [after - before for before, after in pairwise(polls(watched, 102, 200))]
    assert max(rests) < LONGEST_PAUSE / 2


def test_lines_are_polled_for_as_before_if_they_are_not_announced() -> None:
    """They come no later than without announcements of states."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)
    world.at(50, lambda: announce(watched, run_id))
    watched.run(until=300)
    assert max(later - earlier for earlier, later in pairwise(polls(watched, 60))) < 6


def test_a_run_that_has_not_started_is_polled_as_before() -> None:
    """That it is late is found by the time alone."""
    world = World()
    run_id = world.server.add_run(state="PENDING")
    watched = watch(world, run_id, sources=STATES)
    world.at(50, lambda: watched.announce(run_id, AnnouncedChange.STATE))
    watched.run(until=300)
    assert max(later - earlier for earlier, later in pairwise(polls(watched, 60))) < 6


@pytest.mark.parametrize("runs", [1, 3])
def test_a_lost_connection_makes_polls_frequent(runs: int) -> None:
    """From then on, at once; and the loss of one is not reported."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    options = {"sources": STATES}
    watched = watch(world, ids[0], **options) if runs == 1 else watch_many(world, ids, **options)
    world.at(50, lambda: announce(watched, ids[0]))
    world.at(300, lambda: watched.fail_push(REFUSED, opened=True))
    watched.run(until=400)
    pauses = [later - earlier for earlier, later in pairwise([300, *polls(watched, 300)])]
    assert max(pauses) < 6
    assert not watched.of(Notice)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_refused_connection_is_reported_once(runs: int) -> None:
    """By a notice of level INFO, after a poll that succeeded; the watch goes on."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(runs)]
    watched = watch(world, ids[0]) if runs == 1 else watch_many(world, ids)
    for at in (10, 20, 30):
        world.at(at, lambda: watched.fail_push(REFUSED, opened=False))
    for run_id in ids:
        world.at(60, partial(world.server.set_state, run_id, "COMPLETED"))
    watched.run()
    (notice,) = watched.of(Notice)
    assert (notice.code, notice.level) == (NoticeCode.PUSH_UNAVAILABLE, 20)
    assert "its status was 403" in notice.message
    assert len(watched.of(Closed)) == runs


def test_while_the_server_is_down_only_that_is_reported() -> None:
    """A connection cannot be opened then either."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id)

    def go_down() -> None:
        world.fault = refused
        watched.fail_push(REFUSED, opened=False)

    world.at(30, go_down)
    world.at(50, lambda: setattr(world, "fault", lambda _: None))
    watched.run(until=100)
    assert Counter(notice.code for notice in watched.of(Notice)) == {
        NoticeCode.DEGRADED: 1,
        NoticeCode.RECOVERED: 1,
    }


def test_nothing_is_subscribed_to_before_a_run_is_known() -> None:
    """Nor if all runs are over, nor if push is off."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    over = world.server.add_run(state="COMPLETED")
    for watched in (watch(world, run_id), watch_many(world, [run_id])):
        assert watched.session.push_subscriptions(watched.now()) == ()
    for watched in (
        watch(world, over, drain=9),
        watch_many(world, [over], drain=9),
        watch(world, run_id, push=False),
        watch_many(world, [run_id], push=False),
    ):
        watched.run(until=world.now + 3)
        assert watched.session.push_subscriptions(watched.now()) == ()
    for watched in (watch(world, run_id), watch_many(world, [run_id, over])):
        watched.run(until=world.now + 3)
        events, logs = watched.session.push_subscriptions(watched.now())
        assert (events.topic, logs.topic) == (PushTopic.EVENTS, PushTopic.LOGS)
        assert run_id in events.flow_run_ids


def test_a_wait_ends_as_soon_as_the_end_is_announced() -> None:
    """Confirmed by a further poll, as always."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = SimulatedWatch(world, spec_of_wait(run_id, None))
    world.at(100, lambda: world.server.set_state(run_id, "COMPLETED"))
    world.at(100, lambda: watched.announce(run_id, AnnouncedChange.STATE))
    watched.run()
    assert watched.closed.state is not None
    assert watched.closed.state.name == "Completed"
    assert watched.emitted[-1][0] < 101


def test_a_run_that_was_not_read_yet_may_be_announced() -> None:
    """Or one that is read alone, since it is to be closed: its next poll is due anyway."""
    world = World()
    ids = [world.server.add_run(state="RUNNING") for _ in range(2)]
    watched = watch_many(world, ids, drain=3)
    watched.announce(ids[0], AnnouncedChange.STATE)
    for run_id in ids:
        world.at(20, partial(world.server.set_state, run_id, "COMPLETED"))
    for tenth in range(200, 260):
        world.at(tenth / 10, partial(watched.announce, ids[1], AnnouncedChange.STATE))
    watched.run()
    assert len(watched.of(StateChange)) == 4
    assert [closed.verified for closed in watched.of(Closed)] == [True, True]
