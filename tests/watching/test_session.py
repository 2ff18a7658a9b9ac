"""`Session`: which queries are sent, which events are emitted, and when a watch is over."""

from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from simulated_world import START, SimulatedWatch, World, refused

from rxflow import (
    Closed,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunNotFound,
    RunSeen,
    StateChange,
    TaskRunStateChange,
    Unreachable,
    UnsupportedServer,
    WatchTimedOut,
)
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import LogsQuery, Query, RunQuery, StatesQuery, TaskRunsQuery
from rxflow._watching.session import Fetch
from rxflow._watching.spec_arguments import spec_of_wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import AuthError, BadResponse, NotAPrefectApi, ServerError

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})


def watch(world: World, run_id: str, **options: Any) -> SimulatedWatch:
    """Return a watch with the usual sources."""
    spec: dict[str, Any] = {"flow_run_id": run_id, "sources": SOURCES, **options}
    return SimulatedWatch(world, WatchSpec(**spec))


def live_run(world: World, *, lines: int = 20) -> str:
    """Add a run that starts at second 2, logs twice a second from 3 on, and then ends."""
    server = world.server
    run_id = server.add_run(name="live")
    world.at(2, lambda: server.set_state(run_id, "RUNNING"))
    for number in range(lines):
        written = START + timedelta(seconds=3 + number / 2)
        stored = 3 + number / 2 + 1.5
        world.at(stored, partial(server.log, run_id, f"line {number}", timestamp=written))
    end = 3 + lines / 2
    world.at(end, lambda: server.set_state(run_id, "COMPLETED"))
    return run_id


def ids(watched: SimulatedWatch) -> list[tuple[str, str]]:
    """Return the (kind, id) of the state changes and log rows."""
    return [
        (type(event).__name__, event.id)
        for event in watched.events
        if isinstance(event, StateChange | FlowRunLog)
    ]


def stored(world: World, run_id: str) -> set[tuple[str, str]]:
    """Return the (kind, id) of all rows of a run on the server."""
    logs = {("FlowRunLog", row["id"]) for row in world.server.logs if row["flow_run_id"] == run_id}
    return logs | {("StateChange", row["id"]) for row in world.server.states[run_id]}


def test_each_row_of_live_run_is_emitted_once() -> None:
    """A watch from the start emits each state and log row once, and closes verified."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id).run()
    assert watched.error is None
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    assert isinstance(watched.events[0], RunSeen)
    closed = watched.closed
    assert (closed.verified, closed.log_count) == (True, 20)
    assert closed.state is not None
    assert closed.state.name == "Completed"


def test_start_of_watch_makes_no_difference() -> None:
    """A watch from the start, midway or after the end emits the same states and log rows."""
    states = []
    for begin in (0.0, 7.0, 500.0):
        world = World()
        run_id = live_run(world)
        world.wait(begin)
        watched = watch(world, run_id).run()
        assert sorted(ids(watched)) == sorted(stored(world, run_id))
        states.append([event.message for event in watched.events if isinstance(event, StateChange)])
    assert states[0] == states[1] == states[2]


def test_log_row_after_terminal_state_is_emitted() -> None:
    """A log row stored four seconds after the end is not lost."""
    world = World()
    run_id = world.server.add_run()
    world.at(1, lambda: world.server.set_state(run_id, "CRASHED"))
    world.at(5, lambda: world.server.log(run_id, "last words"))
    watched = watch(world, run_id).run()
    assert [event.message for event in watched.of(FlowRunLog)] == ["last words"]
    assert world.now >= 10  # the drain of five seconds after the row


def test_a_run_that_ended_long_ago_is_closed_at_once() -> None:
    """The drain counts by the server's time, so a run that ended long ago closes at once."""
    world = World()
    run_id = live_run(world)
    world.wait(3600)
    watched = watch(world, run_id).run()
    assert watched.ended
    assert world.now - 3600 < 1


def test_states_wait_for_log_rows_before_them() -> None:
    """A watch that starts late on a long history never emits the end before line 1."""
    world = World(page_limit=7)
    run_id = live_run(world, lines=100)
    world.wait(3600)
    events = watch(world, run_id).run().events
    dated = [event for event in events if isinstance(event, StateChange | FlowRunLog)]
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(dated))
    assert not any(event.late for event in dated)


def test_row_below_an_emitted_one_is_flagged_late() -> None:
    """A late row is emitted once, and flagged."""
    world = World()
    run_id = world.server.add_run()
    early = START + timedelta(seconds=3)
    world.at(4, lambda: world.server.log(run_id, "in time"))
    world.at(8, lambda: world.server.log(run_id, "late", timestamp=early))
    world.at(9, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert [(log.message, log.late) for log in watched.of(FlowRunLog)] == [
        ("in time", False),
        ("late", True),
    ]


def test_outage_during_long_history_releases_nothing() -> None:
    """Notices of an outage leave the states waiting for the log rows before them."""
    world = World(page_limit=7)
    run_id = live_run(world, lines=100)
    world.wait(3600)
    begun = world.now
    world.fault = lambda query: refused(query) if begun + 0.1 < world.now < begun + 40 else None
    watched = watch(world, run_id).run()
    notices = [event.code for event in watched.of(Notice)]
    assert notices == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    events = watched.events
    begin, end = (number for number, event in enumerate(events) if isinstance(event, Notice))
    assert any(isinstance(event, FlowRunLog) for event in events[:begin])
    assert any(isinstance(event, FlowRunLog) for event in events[end:])
    dated = [event for event in events if isinstance(event, StateChange | FlowRunLog)]
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(dated))
    assert not any(event.late for event in dated)
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


CLOCKS = {"ahead": 9.0, "behind": -9.0, "right": 0.0}


@pytest.mark.parametrize("skew", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("lines", [0, 60], ids=["live", "a long history"])
def test_view_has_row_state_whatever_the_clocks(skew: float, lines: int) -> None:
    """The view ends with the row's state, even if the clock of an earlier state was ahead."""
    world = World(page_limit=7)
    server = world.server
    run_id = server.add_run()

    def set_two_states() -> None:
        server.set_state(run_id, "RUNNING", timestamp=world.clock() + timedelta(seconds=skew))
        server.set_state(run_id, "CANCELLED")

    world.at(2, set_two_states)
    for number in range(lines):
        world.at(number / 2, partial(server.log, run_id, f"line {number}"))
    world.wait(3600 if lines else 0)
    closed = watch(world, run_id).run().closed
    assert closed.view is not None
    assert closed.state is not None
    assert closed.state.name == "Cancelled"
    assert closed.view.state == closed.state
    assert {state.name for state in closed.view.states} == {"Scheduled", "Running", "Cancelled"}


@pytest.mark.parametrize("skew", [-3600, -10, 10, 3600])
def test_clock_of_state_writer_does_not_change_drain(skew: float) -> None:
    """The drain counts by the server's clock, whatever clock the state's writer has."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")

    def crash() -> None:
        server.set_state(run_id, "CRASHED", timestamp=world.clock() + timedelta(seconds=skew))

    world.at(204, crash)
    world.at(206, lambda: server.log(run_id, "last words"))
    watched = watch(world, run_id).run()
    assert [event.message for event in watched.of(FlowRunLog)] == ["last words"]
    assert 206 + 5 <= world.now < 206 + 5 + 3


@pytest.mark.parametrize("minutes", [1, 10])
def test_log_rows_below_window_are_found_before_close(minutes: int) -> None:
    """However late a log row is stored before the end, the count shows that it is missing."""
    world = World()
    run_id = world.server.add_run()
    written = START + timedelta(seconds=1)
    world.at(2, lambda: world.server.log(run_id, "first"))
    world.at(60 * minutes, lambda: world.server.log(run_id, "newest"))
    world.at(60 * minutes + 5, lambda: world.server.log(run_id, "old", timestamp=written))
    world.at(60 * minutes + 6, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert {log.message for log in watched.of(FlowRunLog)} == {"first", "newest", "old"}
    assert watched.closed.verified


def test_more_ties_than_fill_a_page_are_read() -> None:
    """Ties are read until as many different rows are found as were counted."""
    world = World(page_limit=10, random=Random(5))
    run_id = world.server.add_run()
    for number in range(35):
        world.server.log(run_id, str(number), timestamp=START)
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id).run()
    assert len(watched.of(FlowRunLog)) == 35
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


def test_page_limit_is_adapted() -> None:
    """A server with a lower page limit is queried for fewer rows after its first refusal."""
    world = World(page_limit=50)
    run_id = live_run(world, lines=120)
    watched = watch(world, run_id).run()
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    limits = [query.limit for _, query in watched.sent if isinstance(query, LogsQuery)]
    assert limits.count(200) == 1
    assert max(limits[1:]) == 50


def test_a_run_twice_in_one_state_has_two_states() -> None:
    """States are distinct by their ids, not by type or name."""
    world = World()
    run_id = world.server.add_run()
    world.at(1, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(1.1, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(2, lambda: world.server.set_state(run_id, "COMPLETED"))
    names = [event.state.name for event in watch(world, run_id).run().of(StateChange)]
    assert names == ["Scheduled", "Running", "Running", "Completed"]


def test_run_without_state() -> None:
    """A run may have no state yet; the first one is emitted once it is stored."""
    world = World()
    run_id = world.server.add_run(state=None)
    world.at(3, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert [event.state.name for event in watched.of(StateChange)] == ["Completed"]


def test_reopened_run_is_watched_on() -> None:
    """A terminal state is provisional until the stream is closed."""
    world = World()
    run_id = world.server.add_run()
    world.at(1, lambda: world.server.set_state(run_id, "FAILED"))
    world.at(4, lambda: world.server.set_state(run_id, "SCHEDULED", "AwaitingRetry"))
    world.at(6, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.REOPENED]
    assert watched.closed.state is not None
    assert watched.closed.state.name == "Completed"


def test_reopening_between_two_requests_is_one_notice() -> None:
    """A run that is reopened while a tick reads it is reported once, with the new state."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.at(1, lambda: world.server.set_state(run_id, "FAILED"))
    world.at(9, lambda: world.server.set_state(run_id, "COMPLETED"))

    def reopen(query: Query) -> None:
        last = world.server.states[run_id][-1]
        if isinstance(query, StatesQuery) and last["type"] == "FAILED":
            world.server.set_state(run_id, "SCHEDULED", "AwaitingRetry")

    world.fault = reopen
    watched = watch(world, run_id).run()
    (notice,) = watched.of(Notice)
    assert notice.code is NoticeCode.REOPENED
    assert notice.message == "The run was over and entered state AwaitingRetry"
    names = [event.state.name for event in watched.of(StateChange)]
    assert names == ["Running", "Failed", "AwaitingRetry", "Completed"]


def test_a_run_that_changes_during_its_close_check_is_watched_on() -> None:
    """A run that is reopened between the count of its log rows and its row is not closed."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    world.wait(3600)
    kinds: list[type[Query]] = []

    def reopen(query: Query) -> None:
        kinds.append(type(query))
        if kinds[-2:] == [LogsQuery, RunQuery] and len(world.server.states[run_id]) == 1:
            world.server.set_state(run_id, "RUNNING")
            world.at(world.now + 60, lambda: world.server.set_state(run_id, "FAILED"))

    world.fault = reopen
    watched = watch(world, run_id).run()
    names = [event.state.name for event in watched.of(StateChange)]
    assert names == ["Completed", "Running", "Failed"]
    assert watched.closed.verified


def test_log_row_that_only_the_close_check_finds_is_emitted() -> None:
    """A log row that is stored between the last tick and the close check comes before Closed."""
    world = World()
    run_id = live_run(world)
    world.wait(3600)
    log_queries = 0

    def log_before_check(query: Query) -> None:
        nonlocal log_queries
        if isinstance(query, LogsQuery):
            log_queries += 1
            if log_queries == 2:
                world.server.log(run_id, "last words")

    world.fault = log_before_check
    watched = watch(world, run_id).run()
    assert [event.message for event in watched.events[-2:-1]] == ["last words"]
    assert (watched.closed.verified, watched.closed.log_count) == (True, 21)


def test_a_lagging_replica_puts_off_the_close() -> None:
    """A close check that lacks a delivered log row is repeated, and emits no row again."""
    world = World()
    run_id = live_run(world)
    world.wait(3600)
    logs = world.server.logs
    log_queries = 0

    def lag(query: Query) -> None:
        nonlocal log_queries
        if isinstance(query, LogsQuery):
            log_queries += 1
            world.server.logs = logs[:-1] if log_queries == 2 else logs

    world.fault = lag
    watched = watch(world, run_id).run()
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    assert watched.of(Notice) == []
    assert watched.closed.verified
    assert log_queries == 4  # of two ticks and two close checks


def test_log_rows_that_vanished_are_reported() -> None:
    """Once a lagging replica is ruled out, a notice says that delivered rows are gone."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    for number in range(10):
        world.at(number, partial(world.server.log, run_id, f"line {number}"))
    world.at(30, world.server.logs.pop)
    watched = watch(world, run_id).run(until=60)
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.SOURCE_REWOUND]
    assert not any(log.replayed for log in watched.of(FlowRunLog))


def test_a_reply_that_is_not_waited_for_is_ignored() -> None:
    """A reply to a query that has failed already emits nothing, and the poll is repeated."""
    world = World()
    watched = watch(world, world.server.add_run())
    query = watched.session.next_command(watched.now())
    assert isinstance(query, Fetch)
    assert watched.session.receive(refused(query.query), watched.now()) == ()
    assert watched.session.receive(world.send(query.query), watched.now()) == ()
    world.wait(60)
    assert watched.session.next_command(watched.now()) == query


@pytest.mark.parametrize("streamed", [True, False], ids=["states streamed", "states not streamed"])
def test_each_reopening_is_one_notice(streamed: bool) -> None:
    """A run that is reopened twice has two notices, whether or not its states are streamed."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    steps = ["FAILED", "SCHEDULED", "RUNNING", "CRASHED", "RUNNING", "COMPLETED"]
    for number, state_type in enumerate(steps):
        world.at(3 * number + 1, partial(world.server.set_state, run_id, state_type))
    sources = SOURCES if streamed else SOURCES - {EventSource.STATES}
    watched = watch(world, run_id, sources=sources).run()
    assert [notice.message for notice in watched.of(Notice)] == [
        "The run was over and entered state Scheduled",
        "The run was over and entered state Running",
    ]


AHEAD = {
    "the server's clock counts whole seconds": 0.75,
    "a writer's clock is ahead": 3600.0,
    "a line is dated before the run": -3600.0,
}


@pytest.mark.parametrize("seconds", AHEAD.values(), ids=AHEAD)
def test_a_sorted_watch_begins_with_run_seen_and_ends_with_closed(seconds: float) -> None:
    """No event of a watch is later than its Closed, whatever the clocks of the writers."""
    world = World()
    run_id = live_run(world)
    end = START + timedelta(seconds=13 + seconds)
    world.at(13.5, lambda: world.server.log(run_id, "dated by another clock", timestamp=end))
    watched = watch(world, run_id).run()
    assert max(event.timestamp for event in watched.events) == watched.closed.timestamp
    newest_first = watched.events[::-1]
    ordered = sorted(newest_first)
    assert isinstance(ordered[0], RunSeen)
    assert isinstance(ordered[-1], Closed)


def test_changed_row_is_emitted() -> None:
    """A new name or tag is a RunChanged, and in the view."""
    world = World()
    run_id = world.server.add_run(name="before")
    world.at(2, lambda: world.server.change_run(run_id, name="after", tags=["x"]))
    world.at(9, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert watched.of(RunChanged)[0].run.name == "after"
    view = watched.closed.view
    assert view is not None
    assert (view.run.name, view.run.tags) == ("after", ("x",))


def test_unknown_run_is_an_error() -> None:
    """A run that the server does not know is an error at once."""
    world = World()
    watched = watch(world, "ca449f3a-c029-47d8-acb6-1db88b00c1f2").run()
    assert isinstance(watched.error, RunNotFound)
    assert watched.events == []


def test_deletion_ends_watch_with_notice() -> None:
    """A deletion ends the stream with a notice, not with an error."""
    world = World()
    run_id = world.server.add_run()
    world.at(5, lambda: world.server.delete_run(run_id))
    watched = watch(world, run_id).run()
    assert watched.error is None
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.RUN_DELETED]
    assert watched.closed.verified is False
    assert world.now >= 10


def test_one_false_404_is_not_a_deletion() -> None:
    """One "not found" reply of a replica that lags behind does not end a watch."""
    world = World()
    run_id = live_run(world)
    replies = iter([True])

    def fault(query: Query) -> Failure | None:
        if isinstance(query, RunQuery) and world.now > 4 and next(replies, False):
            return Failure(kind=FailureKind.RUN_NOT_FOUND, text="gone?")
        return None

    world.fault = fault
    watched = watch(world, run_id).run()
    assert watched.of(Notice) == []
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


ATTACH_ERRORS = {
    FailureKind.REFUSED: (Unreachable, 30),
    FailureKind.NETWORK: (Unreachable, 30),
    FailureKind.CERTIFICATE: (Unreachable, 0),
    FailureKind.NOT_AN_API: (NotAPrefectApi, 0),
    FailureKind.AUTH: (AuthError, 0),
    FailureKind.REJECTED: (BadResponse, 0),
}


@pytest.mark.parametrize("kind", ATTACH_ERRORS, ids=lambda kind: kind.value)
def test_failure_at_start_ends_watch_with_its_error(kind: FailureKind) -> None:
    """A failure that may pass gets 30 s, any other ends the watch at once, with its own error."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(kind=kind, text="the reason")
    watched = watch(world, run_id).run()
    error, seconds = ATTACH_ERRORS[kind]
    assert type(watched.error) is error
    assert str(watched.error) == "the reason"
    assert seconds <= world.now < seconds + 10


@pytest.mark.parametrize("retry_after", [None, 3.0, 300.0])
def test_busy_server_at_start_gets_30_s(retry_after: float | None) -> None:
    """A watch that cannot start ends after 30 s, however long the server's Retry-After is."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(
        kind=FailureKind.BUSY, text="the reason", retry_after=retry_after
    )
    watched = watch(world, run_id).run()
    assert isinstance(watched.error, ServerError)
    assert 30 <= world.now < 31


def test_short_refusal_after_outage_is_retried() -> None:
    """A server that restarts may refuse access for a while, however long the outage was."""
    world = World()
    run_id = live_run(world)
    back = 300.0
    world.at(back + 20, lambda: world.server.log(run_id, "more"))
    world.fault = lambda query: (
        refused(query)
        if 5 < world.now < back
        else Failure(kind=FailureKind.AUTH, text="401")
        if back <= world.now < back + 50
        else None
    )
    watched = watch(world, run_id).run()
    assert watched.error is None
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


def test_watch_whose_replies_can_never_be_read_does_not_begin() -> None:
    """A server whose replies cannot be parsed is given up after five seconds."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(kind=FailureKind.UNREADABLE, text="no JSON")
    watched = watch(world, run_id).run()
    assert isinstance(watched.error, BadResponse)
    assert world.now == pytest.approx(5, abs=0.1)


def test_prefect_2_is_refused() -> None:
    """A server of Prefect 2 gets an error that names its version."""
    world = World(version="2.20.4")
    watched = watch(world, world.server.add_run()).run()
    assert isinstance(watched.error, UnsupportedServer)
    assert "2.20.4" in str(watched.error)


def test_outage_is_reported_and_loses_nothing() -> None:
    """One notice reports an outage 10 s after the first failed request, another its end."""
    world = World()
    run_id = live_run(world)
    world.fault = lambda query: refused(query) if 5 < world.now < 40 else None
    watched = watch(world, run_id).run()
    assert [notice.code for notice in watched.of(Notice)] == [
        NoticeCode.DEGRADED,
        NoticeCode.RECOVERED,
    ]
    degraded = next(time for time, event in watched.emitted if isinstance(event, Notice))
    last_good = max(time for time, _ in watched.sent if time <= 5)
    assert degraded <= last_good + 5 + 10 + 1
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    # Writers may need 35 s * 1.3 + 4 s to send what they could not send, and then 5 s of drain.
    assert world.now >= 40 + 35 + 4 + 5


def test_a_wait_ends_soon_after_an_outage() -> None:
    """A watch gives writers time for the lines that they retry; a wait reads no lines."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.at(10, lambda: setattr(world, "fault", refused))
    world.at(30, lambda: setattr(world, "fault", lambda _: None))
    world.at(31, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = SimulatedWatch(world, spec_of_wait(run_id, 60)).run()
    assert watched.error is None
    assert watched.emitted[-1][0] < 31 + 10


def test_a_failed_poll_changes_nothing() -> None:
    """Whichever request of a poll fails, none of its rows was emitted or counted."""
    world = World()
    run_id = live_run(world)
    dice = Random(7)
    world.fault = lambda query: refused(query) if dice.random() < 0.3 else None
    watched = watch(world, run_id).run()
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    assert len(ids(watched)) == len(set(ids(watched)))


def test_max_duration_ends_watch() -> None:
    """A run that does not end times out after max_duration, with the state it is in."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id, max_duration=60.0).run()
    assert isinstance(watched.error, WatchTimedOut)
    assert "Running" in str(watched.error)
    assert 60 <= world.now < 61


def test_max_duration_spares_terminal_run() -> None:
    """A run that is terminal at max_duration is drained and closed."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id, max_duration=14.0).run()
    assert watched.error is None
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


@pytest.mark.long
def test_no_max_duration() -> None:
    """None is no limit."""
    world = World()
    run_id = world.server.add_run()
    world.at(50_000, lambda: world.server.set_state(run_id, "COMPLETED"))
    assert watch(world, run_id, max_duration=None).run().error is None


def test_interval_grows_while_nothing_happens() -> None:
    """Idle polls come at most every five seconds."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id).run(until=600)
    idle = [time for time, query in watched.sent if isinstance(query, RunQuery) and time > 60]
    gaps = [b - a for a, b in pairwise(idle)]
    assert all(4.4 < gap < 5.6 for gap in gaps)
    assert len([time for time, _ in watched.sent if time > 60]) <= 2 * len(idle) + 1


def test_late_start_notice_has_the_reason() -> None:
    """A run past its start time gets a notice with the reason, one scheduled for later none."""
    world = World()
    server = world.server
    server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "NOT_READY"}
    late = server.add_run(work_pool_name="gpu")
    later = server.add_run(
        work_pool_name="gpu", next_scheduled_start_time=START + timedelta(hours=1)
    )
    notices = watch(world, late).run(until=200).of(Notice)
    assert [notice.code for notice in notices] == [NoticeCode.LATE_START]
    assert "no worker of its work pool 'gpu' is online" in notices[0].message
    assert watch(world, later).run(until=400).of(Notice) == []


def test_streamed_task_runs_are_waited_for() -> None:
    """Task runs that end after their flow run are emitted, and one that never ends is named."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    done = server.set_task_state(run_id, None, "RUNNING")
    stuck = server.set_task_state(run_id, None, "RUNNING")
    world.at(1, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(16, lambda: server.set_task_state(run_id, done, "COMPLETED"))
    watched = watch(world, run_id, sources=SOURCES | {EventSource.TASKS}).run()
    emitted = [(event.task_run.id, event.state.name) for event in watched.of(TaskRunStateChange)]
    assert sorted(emitted) == sorted([(done, "Running"), (stuck, "Running"), (done, "Completed")])
    closed = watched.closed
    assert closed.unsettled == (stuck,)
    assert world.now >= 46


def test_task_runs_that_are_stored_late_are_waited_for() -> None:
    """As long as task runs that are over are stored, a run that is over is not closed."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    server.add_task_run(run_id, state="COMPLETED")
    world.at(10, lambda: server.set_state(run_id, "COMPLETED"))
    for number in range(1, 11):
        world.at(10 + 4 * number, lambda: server.add_task_run(run_id, state="COMPLETED"))
    watched = watch(world, run_id, sources=SOURCES | {EventSource.TASKS}).run()
    assert len(watched.of(TaskRunStateChange)) == 11
    assert 55 <= world.now < 60
    assert watched.closed.unsettled == ()


def test_task_run_is_found_by_the_close_check() -> None:
    """A task run that is stored while the close is checked is emitted, and waited for."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    world.at(10, lambda: server.set_state(run_id, "COMPLETED"))
    stored: list[str] = []

    def store(query: Query) -> None:
        if isinstance(query, LogsQuery) and world.now > 15 and not stored:
            stored.append(server.add_task_run(run_id, state="RUNNING"))
            server.task_runs[stored[0]] |= {"state": None, "state_type": None}
            world.at(25, lambda: server.set_task_state(run_id, stored[0], "COMPLETED"))

    world.fault = store
    watched = watch(world, run_id, sources=SOURCES | {EventSource.TASKS}).run()
    assert [event.state.name for event in watched.of(TaskRunStateChange)] == ["Completed"]
    assert watched.closed.unsettled == ()


def test_all_states_of_task_runs_are_emitted_before_the_close() -> None:
    """Each state that the server has is emitted once, in order, of however many task runs."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    for _ in range(100):
        task = server.add_task_run(run_id)
        world.at(1, partial(server.set_task_state, run_id, task, "RUNNING"))
        world.at(1.1, partial(server.set_task_state, run_id, task, "SCHEDULED", "AwaitingRetry"))
        world.at(1.2, partial(server.set_task_state, run_id, task, "RUNNING", "Retrying"))
        world.at(1.3, partial(server.set_task_state, run_id, task, "COMPLETED"))
    world.at(2, lambda: server.set_state(run_id, "COMPLETED"))
    sources = SOURCES | {EventSource.TASKS}
    watched = watch(world, run_id, sources=sources, all_task_states=True, drain=0.0).run()
    emitted = watched.of(TaskRunStateChange)
    by_task: dict[str, list[str]] = {}
    for event in emitted:
        by_task.setdefault(event.task_run.id, []).append(event.id)
    assert by_task == {
        task: [state["id"] for state in states] for task, states in server.task_run_states.items()
    }
    assert watched.closed.unsettled == ()
    assert isinstance(watched.events[-1], Closed)


def test_malformed_state_of_a_task_run_is_reported() -> None:
    """A state of a task run that cannot be read is a notice, until it can be read."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    task = server.add_task_run(run_id)
    server.task_run_states[task][0]["name"] = None
    server.set_task_state(run_id, task, "RUNNING")
    world.at(20, lambda: server.set_task_state(run_id, task, "COMPLETED"))
    world.at(20, lambda: server.set_state(run_id, "COMPLETED"))
    sources = frozenset(EventSource)
    watched = watch(world, run_id, sources=sources, all_task_states=True).run()
    (notice,) = watched.of(Notice)
    bad = server.task_run_states[task][0]["id"]
    assert (notice.code, notice.row_id) == (NoticeCode.MALFORMED, bad)
    assert [event.state.name for event in watched.of(TaskRunStateChange)] == [
        *("Running", "Completed")
    ]
    assert (watched.closed.verified, watched.closed.malformed) == (False, 1)


def test_idle_poll_does_not_read_the_task_runs_that_are_over() -> None:
    """With 5,000 task runs that are over, a poll moves one row of them."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    for _ in range(5000):
        server.add_task_run(run_id, state="COMPLETED")
    sources = frozenset({EventSource.TASKS, EventSource.NOTICES})
    watched = watch(world, run_id, sources=sources, max_duration=None).run(until=140)
    sent = [query for at, query in watched.sent if at > 1]
    task_runs = [query for query in sent if isinstance(query, TaskRunsQuery)]
    assert len(watched.of(TaskRunStateChange)) == 5000
    assert len(task_runs) == 2 * sum(isinstance(query, RunQuery) for query in sent)
    assert all(query.unfinished or query.limit == 2 for query in task_runs)


def test_level_and_since_filter_log_rows_only() -> None:
    """Log rows are filtered by level and time, states are not."""
    world = World()
    run_id = world.server.add_run()
    world.wait(1)
    world.server.log(run_id, "old error", level=40)
    world.wait(10)
    world.server.log(run_id, "quiet", level=20)
    world.server.log(run_id, "loud", level=40)
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, level=30, since=START + timedelta(seconds=5)).run()
    assert [log.message for log in watched.of(FlowRunLog)] == ["loud"]
    assert len(watched.of(StateChange)) == 2
    assert watched.closed.verified


def test_malformed_log_row_is_reported_once() -> None:
    """A malformed log row is a notice with its id, and the close is not verified."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    bad = world.server.log(run_id, "x")
    world.server.logs[-1]["message"] = None
    world.server.log(run_id, "good")
    world.at(20, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    notices = watched.of(Notice)
    assert [(notice.code, notice.row_id) for notice in notices] == [(NoticeCode.MALFORMED, bad)]
    assert [log.message for log in watched.of(FlowRunLog)] == ["good"]
    assert (watched.closed.verified, watched.closed.malformed) == (False, 1)
    assert watched.closed.message.endswith("1 log line, not verified; 1 row could not be read")


def test_each_malformed_log_row_counts_as_not_delivered() -> None:
    """The close of a run with two malformed log rows names both, and is not verified."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    for text in ("a", "b", "c"):
        world.server.log(run_id, text)
    world.server.logs[0]["name"] = None
    world.server.logs[1]["message"] = None
    world.at(20, lambda: world.server.set_state(run_id, "COMPLETED"))
    closed = watch(world, run_id).run().closed
    assert (closed.verified, closed.malformed, closed.log_count) == (False, 2, 1)


def test_malformed_task_run_is_reported_once() -> None:
    """A malformed task run is a notice with its id, and the others are emitted."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    bad = server.set_task_state(run_id, None, "RUNNING")
    good = server.set_task_state(run_id, None, "COMPLETED")
    server.task_runs[bad]["task_key"] = None
    world.at(20, lambda: server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id, sources=frozenset(EventSource)).run()
    notices = watched.of(Notice)
    assert [(notice.code, notice.row_id) for notice in notices] == [(NoticeCode.MALFORMED, bad)]
    assert "task_key" in notices[0].message
    assert [event.task_run.id for event in watched.of(TaskRunStateChange)] == [good]
    assert (watched.closed.verified, watched.closed.malformed) == (False, 1)


def test_row_that_is_read_after_all_is_not_malformed_at_the_end() -> None:
    """A task run and a state that could not be read at first count as delivered once they are."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    task = server.set_task_state(run_id, None, "COMPLETED")
    key = server.task_runs[task]["task_key"]
    server.task_runs[task]["task_key"] = None

    def set_two_states() -> None:
        server.set_state(run_id, "PENDING")
        server.states[run_id][-1]["name"] = None
        server.set_state(run_id, "RUNNING", "Again")

    def mend() -> None:
        server.task_runs[task]["task_key"] = key
        server.states[run_id][-2]["name"] = "Pending"

    world.at(3, set_two_states)
    world.at(9, mend)
    world.at(20, lambda: server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id, sources=frozenset(EventSource)).run()
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.MALFORMED] * 2
    assert len(watched.of(TaskRunStateChange)) == 1
    assert len(watched.of(StateChange)) == 4
    assert (watched.closed.verified, watched.closed.malformed) == (True, 0)


def test_malformed_state_is_reported_once() -> None:
    """A malformed state of the history is a notice with its id, and the others are emitted."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")

    def set_two_states() -> None:
        server.set_state(run_id, "PENDING")
        server.states[run_id][-1]["name"] = None
        server.set_state(run_id, "RUNNING", "Again")

    world.at(3, set_two_states)
    world.at(20, lambda: server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    bad = server.states[run_id][1]["id"]
    notices = watched.of(Notice)
    assert [(notice.code, notice.row_id) for notice in notices] == [(NoticeCode.MALFORMED, bad)]
    assert "name" in notices[0].message
    names = [event.state.name for event in watched.of(StateChange)]
    assert names == ["Running", "Again", "Completed"]
    assert (watched.closed.verified, watched.closed.malformed) == (False, 1)


def test_notices_source_alone() -> None:
    """With both streams off, the watch emits RunSeen, notices and Closed."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id, sources=frozenset({EventSource.NOTICES})).run()
    assert [type(event) for event in watched.events] == [RunSeen, Closed]
    closed = watched.closed
    assert closed.view is not None
    assert closed.state is not None
    assert closed.state.name == "Completed"


def test_slow_good_reply_ends_outage() -> None:
    """A good reply that comes after a degraded notice is reported as the recovery."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id)
    slow = iter([True])
    plain = world.send

    def send(query: Query) -> Any:
        if world.now > 5 and next(slow, False):
            world.wait(12)
            watched.record(watched.session.wake(watched.now()))
        return plain(query)

    world.send = send  # type: ignore[method-assign]
    watched.run()
    assert [notice.code for notice in watched.of(Notice)] == [
        NoticeCode.DEGRADED,
        NoticeCode.RECOVERED,
    ]


def test_long_poll_of_good_replies_is_no_outage() -> None:
    """The 10 s are for one reply, so a poll of many queries may take longer."""
    world = World(page_limit=2)
    run_id = world.server.add_run(state="RUNNING")
    world.at(5, lambda: [world.server.log(run_id) for _ in range(60)])
    world.at(60, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id)
    plain = world.send

    def send(query: Query) -> Any:
        world.wait(3)
        return plain(query)

    world.send = send  # type: ignore[method-assign]
    watched.run()
    assert len(watched.of(FlowRunLog)) == 60
    assert watched.of(Notice) == []


def rate_limited(world: World, per_minute: int) -> Any:
    """Return a fault of a server that accepts so many requests a minute, by its own clock."""
    accepted: list[float] = []

    def fault(_: Query) -> Failure | None:
        if sum(time > world.now - 60 for time in accepted) >= per_minute:
            return Failure(kind=FailureKind.RATE_LIMITED, text="The server limits requests")
        accepted.append(world.now)
        return None

    return fault


@pytest.mark.parametrize("per_minute", [20, 60])
def test_a_rate_limit_slows_a_watch_with_one_notice(per_minute: int) -> None:
    """A server that limits the rate is reported once, and nothing is lost."""
    world = World()
    run_id = live_run(world, lines=150)
    world.fault = rate_limited(world, per_minute)
    watched = watch(world, run_id).run()
    assert len(watched.of(FlowRunLog)) == 150
    assert watched.closed.verified
    codes = [notice.code for notice in watched.of(Notice)]
    assert codes.count(NoticeCode.RATE_LIMITED) == 1
    refused_share = 1 - per_minute * world.now / 60 / len(watched.sent)
    assert refused_share < 0.5


@pytest.mark.parametrize("per_minute", [4, 30, 120])
def test_a_budget_of_requests_is_kept(per_minute: int) -> None:
    """No minute has more requests than the budget; nothing is lost, and no outage is reported."""
    world = World()
    run_id = live_run(world, lines=150)
    watched = watch(world, run_id, requests_per_minute=per_minute).run()
    sent = [time for time, _ in watched.sent]
    assert len(sent) > per_minute
    windows = zip(sent, sent[per_minute:], strict=False)
    assert all(last - first >= 60 - 1e-6 for first, last in windows)
    assert len(watched.of(FlowRunLog)) == 150
    assert watched.closed.verified
    assert watched.of(Notice) == []


def test_a_budget_makes_no_outage_of_a_smaller_page() -> None:
    """A server that refuses a page's size replies well, though the next query waits for long."""
    world = World(page_limit=7)
    run_id = live_run(world, lines=20)
    watched = watch(world, run_id, requests_per_minute=4).run()
    assert len(watched.of(FlowRunLog)) == 20
    assert watched.of(Notice) == []


def test_a_budget_does_not_delay_the_limit() -> None:
    """A watch that waits for its budget ends at its limit."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id, requests_per_minute=1, max_duration=30).run()
    assert isinstance(watched.error, WatchTimedOut)
    assert world.now == pytest.approx(30)
