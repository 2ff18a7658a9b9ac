"""The promises on both fake servers, and further ones that only fake servers can be made to test.

`tests/support/promises` has those that a real server is tested with too. Here are outages, limits,
and random histories. Time is virtual.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, TypeAlias

import httpx
import pytest
from fakes_under_test import FAKES, PREFECT_1_STATES, AnyFakeUnderTest, Prefect1UnderTest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from promises import *  # noqa: F403
from promises.shared import (
    SECOND,
    assert_complete,
    closed_event,
    fold_all,
    late_messages,
    messages,
    notice_codes,
    watch_all,
)
from servers_under_test import (
    LogLine,
    Reactions,
    do_nothing,
    emitted_rows,
    on_line,
    on_state,
    watch_to_end,
)
from twin_calls import Call

import rxflow
from rxflow import (
    FlowRunEvent,
    FlowRunLog,
    FlowRunView,
    Notice,
    NoticeCode,
    StateChange,
    StateType,
)
from rxflow._models.states import TERMINAL_TYPES
from rxflow.testing import FakePrefect1, Faults


@pytest.fixture(params=FAKES)
def prefect(request: pytest.FixtureRequest) -> Iterator[AnyFakeUnderTest]:
    """Each of the fake servers."""
    server = FAKES[request.param]()
    with server.client:
        yield server


# -- outages --------------------------------------------------------------------------------------


def refuse_connections(server: AnyFakeUnderTest) -> None:
    """Refuse all connections."""
    server.fake.faults = Faults(refused=1)


def respond_with_errors(server: AnyFakeUnderTest) -> None:
    """Respond with server errors."""
    server.fake.faults = Faults(errors=1, statuses=(500, 502))


def respond_busy(server: AnyFakeUnderTest) -> None:
    """Respond that requests should be retried later."""
    server.fake.faults = Faults(errors=1, statuses=(503,), retry_after=2)


def cut_responses(server: AnyFakeUnderTest) -> None:
    """Read each request and break the connection in the middle of the response."""
    server.fake.faults = Faults(cut=1)


def respond_as_proxy(server: AnyFakeUnderTest) -> None:
    """Respond with a proxy's page in place of the server's JSON."""
    server.fake.faults = Faults(garbled=1)


def stop_hasura(server: Prefect1UnderTest) -> None:
    """Stop the part of Prefect 1 that reads; its errors have HTTP status 200."""
    server.fake.outage = "hasura_down"


def time_out_queries(server: Prefect1UnderTest) -> None:
    """Time each query out as Prefect Cloud does, with HTTP status 200."""
    server.fake.outage = "timed_out"


def end_outage(server: AnyFakeUnderTest) -> None:
    """End any of the outages."""
    server.fake.faults = Faults()
    if isinstance(server.fake, FakePrefect1):
        server.fake.outage = None


StartOutage: TypeAlias = Callable[[Any], None]

OUTAGES: list[StartOutage] = [
    refuse_connections,
    respond_with_errors,
    respond_busy,
    cut_responses,
    respond_as_proxy,
]
OUTAGES_OF_PREFECT_1: list[StartOutage] = [stop_hasura, time_out_queries]

in_each_outage = pytest.mark.parametrize(
    ("prefect", "start_outage"),
    [
        *((name, outage) for name in FAKES for outage in OUTAGES),
        *(("prefect1", outage) for outage in OUTAGES_OF_PREFECT_1),
    ],
    indirect=["prefect"],
)


def add_run_of_a_minute(server: AnyFakeUnderTest) -> str:
    """Add a run that logs each second and changes its state, from now on for a minute."""
    run = server.add_run()
    server.at(1, lambda: server.set_state(run, StateType.RUNNING))
    for second in range(2, 60):
        server.at(second, partial(server.log, run, f"line {second:02}"))
    server.at(30, lambda: server.set_state(run, StateType.PAUSED))
    server.at(40, lambda: server.set_state(run, StateType.RUNNING))
    server.at(60, lambda: server.set_state(run, StateType.COMPLETED))
    server.at(62, lambda: server.log(run, "the last line"))
    return run


@in_each_outage
def test_an_outage_loses_nothing(prefect: AnyFakeUnderTest, start_outage: StartOutage) -> None:
    """Rows of the outage are emitted after it, once and in order, and two notices report it."""
    run = add_run_of_a_minute(prefect)
    prefect.at(20, lambda: start_outage(prefect))
    prefect.at(45, lambda: end_outage(prefect))
    recording = prefect.record(watch_all(prefect, run), do_nothing)
    events = prefect.wait_for_end(recording)
    assert emitted_rows(events) == prefect.stored_rows(run)
    assert messages(events) == [*(f"line {n:02}" for n in range(2, 60)), "the last line"]
    assert late_messages(events) == []
    assert notice_codes(events) == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert closed_event(events).verified
    noticed = [seconds for seconds, event in recording.events if isinstance(event, Notice)]
    assert 30 <= noticed[0] <= 35
    assert noticed[1] >= 45
    afterwards = watch_to_end(prefect, watch_all(prefect, run))
    assert emitted_rows(afterwards) == emitted_rows(events)


@in_each_outage
def test_a_short_outage_gets_no_notice(
    prefect: AnyFakeUnderTest, start_outage: StartOutage
) -> None:
    """An outage of one request is retried without a notice."""
    run = add_run_of_a_minute(prefect)
    affected: list[httpx.Request] = []

    def start() -> None:
        start_outage(prefect)
        prefect.fake.intercept = affect

    def affect(request: httpx.Request) -> None:
        affected.append(request)
        prefect.at(0.001, end)

    def end() -> None:
        prefect.fake.intercept = None
        end_outage(prefect)

    prefect.at(20, start)
    prefect.at(21, end)  # for refused connections, which no request gets through
    events = watch_to_end(prefect, watch_all(prefect, run))
    assert bool(affected) is (start_outage is not refuse_connections)
    assert_complete(events, prefect, run)
    assert late_messages(events) == []


@in_each_outage
@pytest.mark.parametrize("configured", [True, False], ids=["configured", "url-only"])
def test_an_outage_at_the_start_is_waited_for(
    prefect: AnyFakeUnderTest, start_outage: StartOutage, configured: bool
) -> None:
    """A watch may begin in an outage, unless the responses show that it is no Prefect server."""
    run = add_run_of_a_minute(prefect)
    start_outage(prefect)
    prefect.at(5, lambda: end_outage(prefect))
    client = prefect.client if configured else prefect.client_with()
    stream = watch_all(prefect, run, client=client)
    if start_outage is respond_as_proxy:
        with pytest.raises(rxflow.NotAPrefectApi):
            watch_to_end(prefect, stream)
    else:
        events = watch_to_end(prefect, stream)
        assert emitted_rows(events) == prefect.stored_rows(run)
        assert closed_event(events).verified


@in_each_outage
def test_an_outage_at_the_end_is_waited_for(
    prefect: AnyFakeUnderTest, start_outage: StartOutage
) -> None:
    """A run that ends in an outage is emitted to its end, with time for its writers to retry."""
    run = add_run_of_a_minute(prefect)
    prefect.at(55, lambda: start_outage(prefect))
    prefect.at(75, lambda: end_outage(prefect))
    prefect.at(95, lambda: prefect.log(run, "retried"))
    events = watch_to_end(prefect, watch_all(prefect, run))
    assert emitted_rows(events) == prefect.stored_rows(run)
    assert messages(events)[-2:] == ["the last line", "retried"]
    assert closed_event(events).verified


def test_an_outage_of_an_unused_part_has_no_effect() -> None:
    """Without the part of Prefect 1 that writes, a watch is as usual."""
    prefect = Prefect1UnderTest()
    run = add_run_of_a_minute(prefect)
    prefect.fake.outage = "graphql_down"
    assert_complete(watch_to_end(prefect, watch_all(prefect, run)), prefect, run)


@pytest.mark.parametrize("configured", [True, False], ids=["configured", "url-only"])
def test_prefect_cloud_requires_its_key(configured: bool) -> None:
    """With the key all rows are emitted; without it, or with another, only an AuthError."""
    prefect = Prefect1UnderTest(api_key="open sesame")
    run = add_run_of_a_minute(prefect)
    backend = "prefect1" if configured else None
    for key in (None, "shut sesame"):
        client = prefect.client_with(api_key=key, backend=backend)
        with pytest.raises(rxflow.AuthError, match="RXFLOW_API_KEY"):
            watch_to_end(prefect, watch_all(prefect, run, client=client))
    client = prefect.client_with(api_key="open sesame", backend=backend)
    assert_complete(watch_to_end(prefect, watch_all(prefect, run, client=client)), prefect, run)


# -- row limits -----------------------------------------------------------------------------------


@pytest.fixture(
    params=[("prefect1", {"row_limit": 7}), ("prefect3", {"page_limit": 7})],
    ids=lambda param: param[0],
)
def limited(request: pytest.FixtureRequest) -> Iterator[AnyFakeUnderTest]:
    """A server that returns seven rows at once; Prefect 1 leaves out more, Prefect 3 refuses."""
    name, options = request.param
    server = FAKES[name](**options)
    with server.client:
        yield server


def test_a_watch_of_a_limited_server_is_complete(limited: AnyFakeUnderTest) -> None:
    """Lines, equal times, states and task runs of many pages are emitted once, live and later."""
    run = limited.add_run(state=StateType.RUNNING)
    begun = limited.now() + SECOND
    lines = [LogLine(f"line {n:02}", begun + min(n, 30) * SECOND) for n in range(60)]

    def write() -> None:
        limited.log(run, *lines)
        for n in range(10):
            limited.set_state(run, StateType.PAUSED if n % 2 else StateType.RUNNING)
            limited.add_task_run(run, "load", n)
            limited.add_task_run(run, f"sum {n}")

    reactions = Reactions(
        (on_state(StateType.RUNNING), write),
        (on_line("line 30"), lambda: limited.set_state(run, StateType.COMPLETED)),
    )
    stream = watch_all(limited, run, stream_tasks=True)
    live_events = watch_to_end(limited, stream, reactions)
    limited.skip_an_hour()
    later_events = watch_to_end(limited, stream)
    for events in (live_events, later_events):
        assert emitted_rows(events) == limited.stored_rows(run)
        assert messages(events)[:30] == [line.message for line in lines[:30]]
        assert closed_event(events).verified
        assert closed_event(events).log_count == 60
        assert len(closed_event(events).unsettled) == 20
        assert notice_codes(events) == []


def test_views_of_a_limited_server_are_complete(limited: AnyFakeUnderTest, call: Call) -> None:
    """A view has all lines, all states and all task runs, and so has its latest view."""
    run = limited.add_run()
    limited.log(run, *(LogLine(f"line {n:02}") for n in range(60)))
    for n in range(10):
        limited.set_state(run, StateType.PAUSED if n % 2 else StateType.RUNNING)
        limited.add_task_run(run, "load", n)
        limited.set_task_state(run, limited.add_task_run(run, f"sum {n}"), StateType.COMPLETED)
    view = call(FlowRunView, "from_flow_run_id", run, True, client=limited.client)
    assert [line.message for line in call(view, "get_logs")] == [f"line {n:02}" for n in range(60)]
    assert len(view.states) == 11
    assert view.state == view.states[-1]
    finished = [row.name for row in view.task_runs if row.is_terminal]
    assert finished == [f"sum {n}" for n in range(10)]
    assert len(call(view, "get_all_task_runs")) == 20
    assert call(view, "get_task_run", "load", map_index=7).map_index == 7
    assert call(view, "get_latest", True) == view


# -- order, requests and drain --------------------------------------------------------------------


def test_prefect_1_states_of_one_time_are_in_their_order() -> None:
    """The clients of Prefect 1 stamp its states and the server numbers them: the number decides."""
    prefect = Prefect1UnderTest()
    run = prefect.add_run()
    stamp = prefect.now() + SECOND
    names = ["Queued", "Submitted", "Running", "Retrying", "Running", "Paused", "Resume", "Success"]
    for name in names:
        prefect.fake.set_state(run, name, timestamp=stamp)
    prefect.skip_an_hour()
    events = watch_to_end(prefect, watch_all(prefect, run))
    assert_complete(events, prefect, run)
    emitted = [event.state.name for event in events if isinstance(event, StateChange)]
    assert emitted == ["Pending", *names]
    assert [state.name for state in fold_all(events).states] == emitted
    assert late_messages(events) == []


def test_no_request_is_sent_before_a_face_is_used(prefect: AnyFakeUnderTest) -> None:
    """A stream, its parts and its views are cold."""
    stream = watch_all(prefect, prefect.add_run())
    parts = (stream, stream.states, stream.logs, stream.tasks, stream.notices, stream.views())
    assert len(parts) == 6
    assert prefect.fake.requests == []


@pytest.mark.parametrize(
    ("prefect", "drain"), [("prefect1", 10), ("prefect3", 5)], indirect=["prefect"]
)
def test_each_line_restarts_the_drain(prefect: AnyFakeUnderTest, drain: float) -> None:
    """A watch closes after a quiet period as long as the server's writers may take."""
    run = prefect.add_run(state=StateType.RUNNING)
    prefect.at(60, lambda: prefect.set_state(run, StateType.COMPLETED))
    times = [60 + (drain - 1) * n for n in range(1, 5)]
    for time in times:
        prefect.at(time, partial(prefect.log, run, f"at {time}"))
    recording = prefect.record(watch_all(prefect, run), do_nothing)
    events = prefect.wait_for_end(recording)
    assert_complete(events, prefect, run)
    assert messages(events) == [f"at {time}" for time in times]
    assert recording.ended is not None
    assert times[-1] + drain <= recording.ended < times[-1] + drain + 2


# -- random histories -----------------------------------------------------------------------------

Write = Callable[[AnyFakeUnderTest, str], None]

DELAY = st.integers(-5, 30)  # whole seconds, so that many lines have equal times
LEVEL = st.sampled_from([10, 20, 40])


def write_state(state: StateType) -> Write:
    """Set a state."""
    return lambda server, run: server.set_state(run, state)


def write_lines(lines: list[tuple[int, int]]) -> Write:
    """Store lines, each with its delay in seconds and its level."""

    def log(server: AnyFakeUnderTest, run: str) -> None:
        now = server.now().replace(microsecond=0)
        server.log(run, *(LogLine("a line", now - delay * SECOND, level) for delay, level in lines))

    return log


def fail_and_run_again(server: AnyFakeUnderTest, run: str) -> None:
    """Fail, and run again at once."""
    server.set_state(run, StateType.FAILED)
    server.set_state(run, StateType.RUNNING)


writes: st.SearchStrategy[Write] = st.one_of(
    st.sampled_from(sorted(PREFECT_1_STATES.keys() - TERMINAL_TYPES)).map(write_state),
    st.just(fail_and_run_again),
    st.lists(st.tuples(DELAY, LEVEL), max_size=9).map(write_lines),
    st.integers(40, 130).map(lambda n: write_lines([(line % 37 - 5, 20) for line in range(n)])),
)
histories = st.lists(st.tuples(st.floats(0, 20), writes), max_size=15)
# A poll is committed as a whole or not at all, so its requests must not fail too often.
fault_rates = st.sampled_from(
    [
        Faults(),
        Faults(latency=0.2),
        Faults(ties=True, errors=0.05, lost=0.03, cut=0.03, slow=0.05),
        Faults(ties=True, refused=0.1, latency=0.05),
    ]
)

PAGES_OF_FIFTY = {"prefect1": {"row_limit": 50}, "prefect3": {"page_limit": 50}}


@pytest.mark.long
@settings(max_examples=15)
@given(
    st.sampled_from(sorted(FAKES)), histories, fault_rates, st.floats(0, 200), st.integers(0, 9999)
)
def test_watches_of_any_history_emit_the_same_rows(
    name: str, history: list[tuple[float, Write]], faults: Faults, joined: float, seed: int
) -> None:
    """With any history and faults each row is emitted once, in order or late, to every watch."""
    server = FAKES[name](random=Random(seed), **PAGES_OF_FIFTY[name])
    run = server.add_run()
    time = 1.0
    for pause, write in history:
        time += pause
        server.at(time, partial(write, server, run))
    server.at(time + 1, lambda: server.set_state(run, StateType.COMPLETED))
    server.at(time + 4, lambda: server.log(run, "the last line"))
    recordings = [server.record(watch_all(server, run), do_nothing)]
    server.advance(1)
    server.fake.faults = faults
    server.advance(joined)
    server.fake.faults = Faults()  # a fault in the first request may end a watch
    recordings.append(server.record(watch_all(server, run), do_nothing))
    server.advance(1)
    server.fake.faults = faults
    early, midway = (server.wait_for_end(recording) for recording in recordings)
    server.fake.faults = Faults()
    server.skip_an_hour()
    afterwards = watch_to_end(server, watch_all(server, run))
    read = FlowRunView.from_flow_run_id(run, client=server.client)
    server.client.close()
    for events in (early, midway, afterwards):
        assert emitted_rows(events) == server.stored_rows(run)
        assert_in_order(events)
        assert closed_event(events).verified
        assert closed_event(events).log_count == len(messages(events))
        assert asdict(fold_all(events)) == asdict(read.snapshot)
    assert late_messages(afterwards) == []


def assert_in_order(events: list[FlowRunEvent]) -> None:
    """Check that exactly the events below the latest time emitted are flagged late."""
    latest: datetime | None = None
    for event in events:
        if not isinstance(event, StateChange | FlowRunLog):
            continue
        if latest is not None:
            assert event.timestamp <= latest if event.late else event.timestamp >= latest
        latest = event.timestamp if latest is None else max(latest, event.timestamp)
