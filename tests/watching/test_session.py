"""The session: what is asked, what is told, and when a watch is over."""

from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from simulated_world import START, Watched, World, refused

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
from rxflow._protocol.queries import LogsQuery, Query, RunQuery
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import AuthError, BadResponse, NotAPrefectApi, ServerError

PARTS = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})


def watch(world: World, run_id: str, **options: Any) -> Watched:
    """A watch with the usual parts."""
    spec: dict[str, Any] = {"flow_run_id": run_id, "sources": PARTS, **options}
    return Watched(world, WatchSpec(**spec))


def live_run(world: World, *, lines: int = 20) -> str:
    """A run that starts at second 2, logs twice a second from 3 on, and ends after the last."""
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


def ids(watched: Watched) -> list[tuple[str, str]]:
    """The (kind, id) of the state changes and log lines."""
    return [
        (type(event).__name__, event.id)
        for event in watched.events
        if isinstance(event, StateChange | FlowRunLog)
    ]


def stored(world: World, run_id: str) -> set[tuple[str, str]]:
    """The same of all rows on the server."""
    logs = {("FlowRunLog", row["id"]) for row in world.server.logs if row["flow_run_id"] == run_id}
    return logs | {("StateChange", row["id"]) for row in world.server.states[run_id]}


def test_a_live_run_is_told_whole_and_once() -> None:
    """A watch from the start tells each state and line once, and closes verified."""
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


def test_when_a_watcher_comes_makes_no_difference() -> None:
    """From the start, midway or after the end: the same states and lines."""
    told = []
    for begin in (0.0, 7.0, 500.0):
        world = World()
        run_id = live_run(world)
        world.wait(begin)
        watched = watch(world, run_id).run()
        assert sorted(ids(watched)) == sorted(stored(world, run_id))
        told.append([event.message for event in watched.events if isinstance(event, StateChange)])
    assert told[0] == told[1] == told[2]


def test_the_last_line_after_the_terminal_state_is_told() -> None:
    """A line stored four seconds after the end is not lost."""
    world = World()
    run_id = world.server.add_run()
    world.at(1, lambda: world.server.set_state(run_id, "CRASHED"))
    world.at(5, lambda: world.server.log(run_id, "last words"))
    watched = watch(world, run_id).run()
    assert [event.message for event in watched.of(FlowRunLog)] == ["last words"]
    assert world.now >= 10  # five quiet seconds after the line


def test_a_run_that_ended_long_ago_is_closed_at_once() -> None:
    """Quiet is measured in the server's time, so nobody waits for a run that is long over."""
    world = World()
    run_id = live_run(world)
    world.wait(3600)
    watched = watch(world, run_id).run()
    assert watched.ended
    assert world.now - 3600 < 1


def test_states_wait_for_the_lines_before_them() -> None:
    """A late watcher of a long history never reads the end before line 1."""
    world = World(page_limit=7)
    run_id = live_run(world, lines=100)
    world.wait(3600)
    events = watch(world, run_id).run().events
    dated = [event for event in events if isinstance(event, StateChange | FlowRunLog)]
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(dated))
    assert not any(event.late for event in dated)


def test_a_row_below_one_already_told_is_flagged_late() -> None:
    """Late rows are told, once, and say so."""
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


def test_an_outage_in_a_long_history_releases_nothing() -> None:
    """What is said of an outage midway leaves the states waiting for the lines before them."""
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
def test_the_view_is_the_row_whatever_the_clocks(skew: float, lines: int) -> None:
    """The last word is the row's own state, also where the clock of the one before it was ahead."""
    world = World(page_limit=7)
    server = world.server
    run_id = server.add_run()

    def both() -> None:
        server.set_state(run_id, "RUNNING", timestamp=world.clock() + timedelta(seconds=skew))
        server.set_state(run_id, "CANCELLED")

    world.at(2, both)
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
def test_a_writer_with_another_clock_does_not_upset_the_drain(skew: float) -> None:
    """The quiet after the end counts by the server's clock, whoever set the state and when."""
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
def test_lines_later_than_the_window_are_found_before_the_close(minutes: int) -> None:
    """However late a line is stored before the end, the count finds it missing."""
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


def test_more_lines_of_one_timestamp_than_fill_a_page() -> None:
    """Ties are read until there are as many different rows as were counted."""
    world = World(page_limit=10, random=Random(5))
    run_id = world.server.add_run()
    for number in range(35):
        world.server.log(run_id, str(number), timestamp=START)
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id).run()
    assert len(watched.of(FlowRunLog)) == 35
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


def test_the_page_size_is_learnt() -> None:
    """A server that gives fewer rows at once than others is asked for fewer."""
    world = World(page_limit=50)
    run_id = live_run(world, lines=120)
    watched = watch(world, run_id).run()
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    limits = [query.limit for _, query in watched.asked if isinstance(query, LogsQuery)]
    assert limits.count(200) == 1
    assert max(limits[1:]) == 50


def test_a_run_twice_in_one_state_has_two_states() -> None:
    """States are told apart by their ids, not by type or name."""
    world = World()
    run_id = world.server.add_run()
    world.at(1, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(1.1, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(2, lambda: world.server.set_state(run_id, "COMPLETED"))
    names = [event.state.name for event in watch(world, run_id).run().of(StateChange)]
    assert names == ["Scheduled", "Running", "Running", "Completed"]


def test_a_run_without_a_state() -> None:
    """A run may have no state yet; it is told when it has one."""
    world = World()
    run_id = world.server.add_run(state=None)
    world.at(3, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert [event.state.name for event in watched.of(StateChange)] == ["Completed"]


def test_a_run_that_is_opened_again() -> None:
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


def test_a_changed_row_is_told() -> None:
    """A new name or tag is a RunChanged, and the view has it."""
    world = World()
    run_id = world.server.add_run(name="before")
    world.at(2, lambda: world.server.change_run(run_id, name="after", tags=["x"]))
    world.at(9, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    assert watched.of(RunChanged)[0].run.name == "after"
    view = watched.closed.view
    assert view is not None
    assert (view.run.name, view.run.tags) == ("after", ("x",))


def test_unknown_run() -> None:
    """A run that the server does not know is an error at once."""
    world = World()
    watched = watch(world, "ca449f3a-c029-47d8-acb6-1db88b00c1f2").run()
    assert isinstance(watched.error, RunNotFound)
    assert watched.events == []


def test_a_run_deleted_while_it_is_watched() -> None:
    """A deletion ends the stream with a notice, and not with an error."""
    world = World()
    run_id = world.server.add_run()
    world.at(5, lambda: world.server.delete_run(run_id))
    watched = watch(world, run_id).run()
    assert watched.error is None
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.RUN_DELETED]
    assert watched.closed.verified is False
    assert world.now >= 10


def test_one_false_404_is_not_a_deletion() -> None:
    """A replica that lags behind must not end a watch."""
    world = World()
    run_id = live_run(world)
    lies = iter([True])

    def fault(query: Query) -> Failure | None:
        if isinstance(query, RunQuery) and world.now > 4 and next(lies, False):
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


@pytest.mark.parametrize("trouble", ATTACH_ERRORS, ids=lambda trouble: trouble.value)
def test_what_ends_a_watch_that_cannot_begin(trouble: FailureKind) -> None:
    """Who is to blame is the error's class; what may pass by itself gets 30 s."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(kind=trouble, text="the reason")
    watched = watch(world, run_id).run()
    error, seconds = ATTACH_ERRORS[trouble]
    assert type(watched.error) is error
    assert str(watched.error) == "the reason"
    assert seconds <= world.now < seconds + 10


@pytest.mark.parametrize("retry_after", [None, 3.0, 300.0])
def test_a_busy_server_is_given_up_after_30_s(retry_after: float | None) -> None:
    """A watch that cannot begin ends after 30 s, however long the server wants to be left alone."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(
        kind=FailureKind.BUSY, text="the reason", retry_after=retry_after
    )
    watched = watch(world, run_id).run()
    assert isinstance(watched.error, ServerError)
    assert 30 <= world.now < 31


def test_one_refusal_after_a_long_outage_is_outlasted() -> None:
    """A server that comes up may refuse access for a moment, however long it was away."""
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


def test_garbled_answers_end_a_watch_at_the_third_in_a_row() -> None:
    """What cannot be parsed is tried again, twice."""
    world = World()
    run_id = world.server.add_run()
    world.fault = lambda _: Failure(kind=FailureKind.UNREADABLE, text="no JSON")
    watched = watch(world, run_id).run()
    assert isinstance(watched.error, BadResponse)
    assert len(watched.asked) == 3


def test_prefect_2_is_refused_by_name() -> None:
    """A server of another major version gets a clear error."""
    world = World(version="2.20.4")
    watched = watch(world, world.server.add_run()).run()
    assert isinstance(watched.error, UnsupportedServer)
    assert "2.20.4" in str(watched.error)


def test_an_outage_is_announced_outlasted_and_loses_nothing() -> None:
    """Ten seconds after the first unanswered request the user hears of it, and again at the end."""
    world = World()
    run_id = live_run(world)
    world.fault = lambda query: refused(query) if 5 < world.now < 40 else None
    watched = watch(world, run_id).run()
    assert [notice.code for notice in watched.of(Notice)] == [
        NoticeCode.DEGRADED,
        NoticeCode.RECOVERED,
    ]
    degraded = next(time for time, event in watched.told if isinstance(event, Notice))
    last_good = max(time for time, _ in watched.asked if time <= 5)
    assert degraded <= last_good + 5 + 10 + 1
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    # Writers may need 35 s * 1.3 + 4 s to send what they could not send, and then 5 s of quiet.
    assert world.now >= 40 + 35 + 4 + 5


def test_a_failed_poll_changes_nothing() -> None:
    """Whatever request of a poll fails, nothing of it was told or counted."""
    world = World()
    run_id = live_run(world)
    dice = Random(7)
    world.fault = lambda query: refused(query) if dice.random() < 0.3 else None
    watched = watch(world, run_id).run()
    assert sorted(ids(watched)) == sorted(stored(world, run_id))
    assert len(ids(watched)) == len(set(ids(watched)))


def test_the_time_limit() -> None:
    """A run that does not end is given up after max_duration, after one last look."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id, max_duration=60.0).run()
    assert isinstance(watched.error, WatchTimedOut)
    assert "Running" in str(watched.error)
    assert 60 <= world.now < 61


def test_the_time_limit_spares_a_run_that_is_over() -> None:
    """A run that is over when the time is up is told to its end."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id, max_duration=14.0).run()
    assert watched.error is None
    assert sorted(ids(watched)) == sorted(stored(world, run_id))


@pytest.mark.long
def test_no_time_limit() -> None:
    """None is for ever."""
    world = World()
    run_id = world.server.add_run()
    world.at(100_000, lambda: world.server.set_state(run_id, "COMPLETED"))
    assert watch(world, run_id, max_duration=None).run().error is None


def test_the_interval_grows_while_nothing_happens() -> None:
    """Idle polls come at most every five seconds, and one poll is two requests."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    watched = watch(world, run_id).run(until=600)
    idle = [time for time, query in watched.asked if isinstance(query, RunQuery) and time > 60]
    gaps = [b - a for a, b in pairwise(idle)]
    assert all(4.4 < gap < 5.6 for gap in gaps)
    assert len([time for time, _ in watched.asked if time > 60]) <= 2 * len(idle) + 1


def test_a_late_run_says_what_it_waits_for() -> None:
    """A run past its time gets a notice with the reason; one scheduled for later gets none."""
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
    """Task runs that end after their flow run are told, and one that never does is named."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    done = server.set_task_state(run_id, None, "RUNNING")
    stuck = server.set_task_state(run_id, None, "RUNNING")
    world.at(1, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(16, lambda: server.set_task_state(run_id, done, "COMPLETED"))
    watched = watch(world, run_id, sources=PARTS | {EventSource.TASKS}).run()
    told = [(event.task_run.id, event.state.name) for event in watched.of(TaskRunStateChange)]
    assert sorted(told) == sorted([(done, "Running"), (stuck, "Running"), (done, "Completed")])
    closed = watched.closed
    assert closed.unsettled == (stuck,)
    assert world.now >= 46


def test_level_and_since_are_of_lines_only() -> None:
    """Lines are filtered by level and time; states always come whole."""
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


def test_a_row_that_cannot_be_read_is_named_once() -> None:
    """A malformed row is a notice with its id, and the close is verified all the same."""
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
    assert watched.closed.verified


def test_a_task_run_that_cannot_be_read_is_named_once() -> None:
    """A task run's row that cannot be read is a notice with its id, and the others are told."""
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


def test_a_state_that_cannot_be_read_is_named_once() -> None:
    """A state of the history that cannot be read is a notice with its id, and the rest is told."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")

    def both() -> None:
        server.set_state(run_id, "PENDING")
        server.states[run_id][-1]["name"] = None
        server.set_state(run_id, "RUNNING", "Again")

    world.at(3, both)
    world.at(20, lambda: server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id).run()
    bad = server.states[run_id][1]["id"]
    notices = watched.of(Notice)
    assert [(notice.code, notice.row_id) for notice in notices] == [(NoticeCode.MALFORMED, bad)]
    assert "name" in notices[0].message
    names = [event.state.name for event in watched.of(StateChange)]
    assert names == ["Running", "Again", "Completed"]


def test_without_states_and_lines() -> None:
    """With both streams off, what is left is RunSeen, notices and Closed."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id, sources=frozenset({EventSource.NOTICES})).run()
    assert [type(event) for event in watched.events] == [RunSeen, Closed]
    closed = watched.closed
    assert closed.view is not None
    assert closed.state is not None
    assert closed.state.name == "Completed"


def test_an_answer_that_is_late_but_good_ends_the_trouble() -> None:
    """After a notice that no answer came, one that comes after all is announced too."""
    world = World()
    run_id = live_run(world)
    watched = watch(world, run_id)
    slow = iter([True])
    plain = world.send

    def ask(query: Query) -> Any:
        if world.now > 5 and next(slow, False):
            world.wait(12)
            watched.take(watched.session.wake(watched.now()))
        return plain(query)

    world.send = ask  # type: ignore[method-assign]
    watched.run()
    assert [notice.code for notice in watched.of(Notice)] == [
        NoticeCode.DEGRADED,
        NoticeCode.RECOVERED,
    ]


def test_a_long_poll_that_is_answered_well_is_no_trouble() -> None:
    """Ten seconds are for one answer: a poll of many questions may take longer in silence."""
    world = World(page_limit=2)
    run_id = world.server.add_run(state="RUNNING")
    world.at(5, lambda: [world.server.log(run_id) for _ in range(60)])
    world.at(60, lambda: world.server.set_state(run_id, "COMPLETED"))
    watched = watch(world, run_id)
    plain = world.send

    def ask(query: Query) -> Any:
        world.wait(3)
        return plain(query)

    world.send = ask  # type: ignore[method-assign]
    watched.run()
    assert len(watched.of(FlowRunLog)) == 60
    assert watched.of(Notice) == []
