"""Silent row limits of a Prefect 1: no page that was cut off is read as a complete one.

Prefect Server has no limit, but another backend may have one: it sends fewer rows than were
requested, without an error. The checks of short pages, and the requests that they cost, are tested
here.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import START, SimulatedWatch

import rxflow
from rxflow import FlowRunLog, FlowRunView, StateChange
from rxflow._backends.prefect1 import Prefect1
from rxflow._logs.full_read import read_all_logs
from rxflow._net.channel import Channel
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page, Poll, read_all_pages
from rxflow._protocol.queries import (
    PAGE_LIMIT,
    AgentsQuery,
    LogsQuery,
    Query,
    RunFilter,
    RunsQuery,
    StatesQuery,
    TaskRunsQuery,
)
from rxflow._views.task_run_lookups import read_task_runs
from rxflow._watching.watch_spec import WatchSpec
from rxflow.testing import FakePrefect1, Faults, VirtualTime

# Budgets: requests beyond one per query, or for one query.
MORE_REQUESTS_PER_LIST = 1
"""On a server without a limit that has other rows, once for each kind of list."""
REQUESTS_PER_QUERY = 2
"""For any query to such a server."""
REQUESTS_PER_QUERY_ALONE = 3
"""For any query, where the rows of the run are all that the server has."""

LIMITS = st.none() | st.integers(2, 9) | st.sampled_from([199, 200, 201])
ROWS = st.integers(0, 30)
SECOND = timedelta(seconds=1)


def server_with_limit(limit: int | None, *, seed: int = 0) -> tuple[FakePrefect1, str]:
    """Make a server with a row limit, and a run without a state on it."""
    server = FakePrefect1(clock=VirtualTime(START), row_limit=limit, random=Random(seed))
    return server, server.add_run(state=None)


def log_at(server: FakePrefect1, run_id: str, seconds: float) -> str:
    """Store a log row with a timestamp, in seconds since `START`."""
    return server.log(run_id, timestamp=START + timedelta(seconds=seconds))


def backend_of(channel: Channel) -> Prefect1:
    """Return the backend of a channel."""
    backend = channel._shared_backend.backend
    assert isinstance(backend, Prefect1)
    return backend


def ids_in_table(server: FakePrefect1, query: LogsQuery) -> list[str]:
    """List the ids of the rows that a query is for, in the order of the table."""

    def sort_key(row: dict[str, Any]) -> tuple[datetime, datetime, str]:
        return row["timestamp"], row["created"], row["id"]

    rows = sorted(server.logs.values(), key=sort_key, reverse=query.descending)
    ids = [row["id"] for row in rows if row["flow_run_id"] in query.flow_run_ids]
    return ids[query.offset : query.offset + query.limit]


# -- pages are complete or failures ---------------------------------------------------------------


QUERIES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 20) | st.just(200), st.booleans(), ROWS),
    min_size=1,
    max_size=6,
)
"""Offset, limit and direction, and the number of rows that are stored before each query."""


@pytest.mark.parametrize("limit", [None, 3, 9, 10, 11])
def test_a_page_of_runs_is_never_cut_off(limit: int | None) -> None:
    """A reader of runs by their ids infers from a page that the others do not exist."""
    server, run_id = server_with_limit(limit)
    ids = (run_id, *(server.add_run() for _ in range(9)))
    with closing(server.client().open_channel()) as channel:
        reply = channel.send(RunsQuery(where=RunFilter(flow_run_ids=ids)))
        if limit is not None and limit < len(ids):
            assert isinstance(reply, Failure)
            assert (reply.kind, reply.limit) == (FailureKind.PAGE_LIMIT, limit)
        else:
            assert isinstance(reply, Page)
            assert {row.id for row in reply.rows} == set(ids)


@pytest.mark.long
@given(
    limit=LIMITS,
    queries=QUERIES,
    stored_later=st.lists(st.none() | st.integers(-5, 40), max_size=40),
    others=st.sampled_from([0, 0, 3, 300]),
)
@settings(max_examples=200)
def test_a_page_is_never_cut_off(
    limit: int | None,
    queries: list[tuple[int, int, bool, int]],
    stored_later: list[int | None],
    others: int,
) -> None:
    """It has the rows that were stored when it was requested, whatever is stored during the check.

    Otherwise the reply is a page limit, which is the server's own.
    """
    server, run_id = server_with_limit(limit)
    another = server.add_run()
    for _ in range(others):
        server.log(another)
    arrivals, expected = iter(stored_later), list[list[str]]()

    def arrive(_: httpx.Request) -> None:
        if (seconds := next(arrivals, None)) is not None:
            log_at(server, run_id, seconds)
        expected.append(ids_in_table(server, query))

    server.intercept = arrive
    with closing(server.client().open_channel()) as channel:
        for offset, most_rows, descending, more in queries:
            for number in range(more):
                log_at(server, run_id, number % 7)
            query = LogsQuery(
                flow_run_ids=(run_id,), offset=offset, limit=most_rows, descending=descending
            )
            expected.clear()
            reply = channel.send(query)
            if isinstance(reply, Failure):
                assert (reply.kind, reply.limit) == (FailureKind.PAGE_LIMIT, limit)
                assert reply.limit is not None
                assert reply.limit < most_rows
            else:
                assert [row.id for row in reply.rows] == expected[0]
        assert set(backend_of(channel).row_limits.limits.values()) <= {limit}


# -- lists are complete ---------------------------------------------------------------------------


@pytest.mark.long
@given(limit=LIMITS, rows=ROWS, again=ROWS)
@settings(max_examples=40)
def test_lists_are_read_completely(limit: int | None, rows: int, again: int) -> None:
    """All states, log rows, task runs and agents are read, each once, whatever the limit is."""
    server, run_id = server_with_limit(limit)
    with server.client() as client:
        for count in (rows, again):
            for number in range(count):
                server.set_state(run_id, "Running")
                log_at(server, run_id, number % 3)
                server.add_task_run(run_id, map_index=number)
                server.add_agent()
            polls: dict[str, Callable[[int], Poll[Any]]] = {
                "states": lambda _: read_all_pages(StatesQuery(run_id)),
                "agents": lambda _: read_all_pages(AgentsQuery()),
                "task_runs": lambda most: read_task_runs(run_id, most),
                "logs": lambda most: read_all_logs(run_id, None, most),
            }
            for table, poll in polls.items():
                assert ids(client.read(poll)) == sorted(getattr(server, table)), table


def ids(rows: Any) -> list[str]:
    """Sort the ids of rows, repeated ones included."""
    return sorted(row.id for row in getattr(rows, "rows", rows))


@pytest.mark.long
@given(limit=LIMITS, rows=ROWS)
@settings(max_examples=30)
def test_views_have_all_rows(limit: int | None, rows: int) -> None:
    """A view has all states, all log rows and all task runs."""
    server, run_id = server_with_limit(limit)
    for number in range(rows):
        server.set_state(run_id, "Running")
        log_at(server, run_id, number % 3)
        server.add_task_run(run_id, map_index=number)
    with server.client() as client:
        view = FlowRunView.from_flow_run_id(run_id, client=client)
        assert [state.id for state in view.states] == list(server.states)
        assert ids(view.get_logs()) == sorted(server.logs)
        read = [task_run.task_run_id for task_run in view.get_all_task_runs()]
        assert sorted(read) == sorted(view.get_task_run_ids()) == sorted(server.task_runs)


@pytest.mark.long
@given(limit=st.integers(2, 9), rows=ROWS, data=st.data())
@settings(max_examples=40)
def test_no_row_is_lost_while_others_are_stored(limit: int, rows: int, data: st.DataObject) -> None:
    """States and task runs that are stored while they are listed hide none of the others."""
    server, run_id = server_with_limit(limit)
    for _ in range(rows):
        server.set_state(run_id, "Running")
        server.add_task_run(run_id)
    before = {*server.states, *server.task_runs}

    def arrive(_: httpx.Request) -> None:
        if data.draw(st.integers(0, 3)) == 0:
            server.set_state(run_id, "Retrying")
            server.add_task_run(run_id)

    server.intercept = arrive
    with server.client() as client:
        states = client.read(lambda _: read_all_pages(StatesQuery(run_id)))
        task_runs = client.read(lambda most: read_task_runs(run_id, most))
    read = ids((*states.rows, *task_runs))
    assert before <= set(read)
    assert len(read) == len(set(read))


# -- watches --------------------------------------------------------------------------------------


LINES = st.lists(st.tuples(st.floats(0, 40), st.floats(-9, 3)), max_size=50)
"""When a log row is stored, and by how much its timestamp differs from that time."""


@pytest.mark.long
@given(limit=LIMITS, lines=LINES, begin=st.sampled_from([0.0, 20.0, 100.0]), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_a_watch_emits_each_row_once(
    limit: int | None, lines: list[tuple[float, float]], begin: float, seed: int
) -> None:
    """From the start, midway or after the end: each state and each log row; the end is verified."""
    server, run_id = server_with_limit(limit, seed=seed)
    server.faults = Faults(latency=0.01, ties=True)
    play_run(server, run_id, lines)
    clock: Any = server.clock
    clock.wait(begin)
    stream = rxflow.watch_flow_run(run_id, stream_tasks=True, client=server.client())
    events = clock.collect(stream)
    emitted = [event.id for event in events if isinstance(event, FlowRunLog | StateChange)]
    assert sorted(emitted) == sorted({**server.logs, **server.states})
    assert events[-1].verified
    emitted_tasks = {e.task_run.id for e in events if isinstance(e, rxflow.TaskRunStateChange)}
    assert emitted_tasks == set(server.task_runs)


def play_run(
    server: FakePrefect1, run_id: str, lines: Iterable[tuple[float, float]], *, end: float = 41
) -> None:
    """Schedule the states, task runs and log rows of a run."""
    server.set_state(run_id, "Scheduled")
    for second, state in ((1, "Submitted"), (2, "Running"), (end, "Success")):
        server.at(second, partial(server.set_state, run_id, state))
    for written, off in lines:
        server.at(written, partial(log_at, server, run_id, written + off))
    for second in range(3, 6):
        server.at(second, partial(server.add_task_run, run_id, state="Success"))


# -- requests -------------------------------------------------------------------------------------


KINDS = (StatesQuery, LogsQuery, TaskRunsQuery)
"""The kinds of lists that a watch reads."""


class RequestCounter:
    """A server in virtual time that a watch of one run queries, and the number of requests.

    Attributes:
        queries: How many queries were sent.
        extra: How many requests were sent beyond one per query.
        most: The most requests that one query took.
    """

    def __init__(self, server: FakePrefect1, run_id: str, **options: Any) -> None:
        """Start at second 0, with no requests."""
        self.server = server
        self.queries = self.extra = self.most = 0
        self._channel = server.client().open_channel()
        self._time: Any = server.clock
        world: Any = self
        self.watched = SimulatedWatch(world, WatchSpec(flow_run_id=run_id, **options))

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return (self.server.now() - START).total_seconds()

    def clock(self) -> datetime:
        """Return the time of the server."""
        return self.server.now()

    def next_action_in(self) -> float:
        """Return infinity: nothing is announced that would end a wait."""
        return math.inf

    def wait(self, seconds: float) -> None:
        """Advance the time."""
        self._time.wait(seconds)
        self.server.catch_up()

    def send(self, query: Query) -> Reply:
        """Send a query, and count its requests."""
        before = len(self.server.requests)
        reply = self._channel.send(query)
        requests = len(self.server.requests) - before
        self.queries += 1
        self.extra += max(0, requests - 1)
        self.most = max(self.most, requests)
        return reply


@pytest.mark.long
@given(lines=LINES, others=st.sampled_from([PAGE_LIMIT, 300]))
@settings(max_examples=20)
def test_a_server_without_a_limit_shows_it_once(
    lines: list[tuple[float, float]], others: int
) -> None:
    """In the whole life of a client it takes one more request for each kind of list."""
    server, run_id = server_with_limit(None)
    another = server.add_run(state=None)
    for _ in range(others):
        server.log(another)
        server.set_state(another, "Running")
        server.add_task_run(another)
    play_run(server, run_id, lines)
    counter = RequestCounter(server, run_id)
    counter.watched.run(until=300)
    assert counter.watched.closed.verified
    assert counter.extra <= len(KINDS) * MORE_REQUESTS_PER_LIST
    assert counter.most <= REQUESTS_PER_QUERY


@pytest.mark.long
@given(lines=LINES, limit=st.none() | st.integers(100, 300))
@settings(max_examples=20)
def test_a_server_without_other_rows_takes_few_more_requests(
    lines: list[tuple[float, float]], limit: int | None
) -> None:
    """A short list of task runs takes one more request each time it is read.

    A list as long as the longest so far may be cut off, which only a query for the rows after it
    shows; only of log rows more are known to exist.
    """
    server, run_id = server_with_limit(limit)
    play_run(server, run_id, lines)
    counter = RequestCounter(server, run_id)
    counter.watched.run(until=300)
    assert counter.watched.closed.verified
    assert counter.most <= REQUESTS_PER_QUERY_ALONE
    attempts = sum(text.startswith("query Any") for text, _ in server.requests)
    assert attempts <= len(KINDS) * PAGE_LIMIT.bit_length()
    assert counter.extra - attempts <= counter.queries // 2


@pytest.mark.parametrize("limit", [2, 3, 7, 50])
def test_a_limit_is_found_once(limit: int) -> None:
    """Once it is known, no request is for more rows, and no page is checked."""
    server, run_id = server_with_limit(limit)
    for number in range(60):
        log_at(server, run_id, number)
        server.add_task_run(run_id)
        server.set_state(run_id, "Running")
    server.set_state(run_id, "Success")
    with server.client() as client:
        view = FlowRunView.from_flow_run_id(run_id, client=client)
        assert len(view.get_logs()) == len(view.get_all_task_runs()) == 60
        backend = client._connector.shared_backend.backend
        assert isinstance(backend, Prefect1)
        assert set(backend.row_limits.limits.values()) == {limit}
        server.requests.clear()
        assert len(list(rxflow.watch_flow_run(run_id, drain=0, client=client).logs)) == 60
        FlowRunView.from_flow_run_id(run_id, client=client).get_logs()
    requested = [variables["limit"] for _, variables in server.requests if "limit" in variables]
    assert requested
    assert max(requested) == limit
    assert not any("query Any" in text for text, _ in server.requests)


def test_all_channels_know_a_limit() -> None:
    """A limit that one channel of a client found decides a query on another without a request."""
    server, run_id = server_with_limit(5)
    for number in range(9):
        log_at(server, run_id, number)
    query = LogsQuery(flow_run_ids=(run_id,))
    client = server.client()
    with closing(client.open_channel()) as one, closing(client.open_channel()) as another:
        first = one.send(query)
        requests = len(server.requests)
        assert another.send(query) == first
        assert isinstance(first, Failure)
        assert first.limit == 5
        assert len(server.requests) == requests


@pytest.mark.parametrize("request_number", [1, 2, 3, 4])
def test_a_limit_that_another_channel_finds_meanwhile(request_number: int) -> None:
    """A page that was requested before another channel found the limit is not read as complete."""
    server, run_id = server_with_limit(5)
    for number in range(9):
        log_at(server, run_id, number)
    query = LogsQuery(flow_run_ids=(run_id,))
    client = server.client()
    count = 0
    with closing(client.open_channel()) as one, closing(client.open_channel()) as another:

        def find_limit(_: httpx.Request) -> None:
            nonlocal count
            count += 1
            if count == request_number:
                assert another.send(query) == _LIMIT_OF_5

        server.intercept = find_limit
        assert one.send(query) == _LIMIT_OF_5
    assert count > request_number


def test_a_page_of_full_length_is_not_checked() -> None:
    """A page with as many rows as requested shows that the server sends that many."""
    server, run_id = server_with_limit(None)
    for number in range(2 * PAGE_LIMIT + 50):
        log_at(server, run_id, number)
    with closing(server.client().open_channel()) as channel:
        for offset in (0, PAGE_LIMIT, 2 * PAGE_LIMIT):
            page = channel.send(LogsQuery(flow_run_ids=(run_id,), offset=offset))
            assert isinstance(page, Page)
    assert len(server.requests) == 3


_LIMIT_OF_5 = Failure(
    kind=FailureKind.PAGE_LIMIT, text="The server sends at most 5 rows at once", limit=5
)


# -- failures during the check --------------------------------------------------------------------


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.NETWORK])
def test_a_check_that_fails_is_a_failed_query(
    failing: int, limit: int | None, kind: FailureKind
) -> None:
    """Without the replies that complete the check there is no page, and no limit is recorded.

    Only the query for rows of any runs may fail.
    """
    server, run_id = server_with_limit(limit)
    for number in range(5 if limit is None else 9):
        log_at(server, run_id, number)
    count = [0]

    def fail(_: httpx.Request) -> httpx.Response | None:
        count[0] += 1
        if count[0] != failing + 1:
            return None
        if kind is FailureKind.NETWORK:
            raise httpx.ReadError("The connection broke")
        return httpx.Response(502)

    server.intercept = fail
    with closing(server.client().open_channel()) as channel:
        reply = channel.send(LogsQuery(flow_run_ids=(run_id,)))
        if failing == 1 or (limit is None and failing == 3):
            assert isinstance(reply, Page if limit is None else Failure)
            assert isinstance(reply, Page) or reply.limit == 5
        else:
            assert isinstance(reply, Failure)
            assert reply.kind is kind
            assert not backend_of(channel).row_limits.limits
        server.intercept = None
        again = channel.send(LogsQuery(flow_run_ids=(run_id,)))
        assert isinstance(again, Page) if limit is None else again == _LIMIT_OF_5
