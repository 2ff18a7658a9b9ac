"""Silent row limits of a Prefect 1: no page that was cut off is taken for a whole one.

Prefect Server has none, another backend may: it gives fewer rows than it was asked for, and says
nothing of it. Which pages are looked into, and what that costs, is counted here.
"""

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
from simulated_world import START, Watched

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
    StatesQuery,
    TaskRunsQuery,
)
from rxflow._views.task_run_lookups import read_task_runs
from rxflow._watching.watch_spec import WatchSpec
from rxflow.testing import FakePrefect1, Faults, VirtualTime

pytestmark = pytest.mark.long

LIMITS = st.none() | st.integers(2, 9) | st.sampled_from([199, 200, 201])
ROWS = st.integers(0, 30)
SECOND = timedelta(seconds=1)


def a_server(limit: int | None, *, seed: int = 0) -> tuple[FakePrefect1, str]:
    """Make a server with a row limit, and a run without a state on it."""
    server = FakePrefect1(clock=VirtualTime(START), row_limit=limit, random=Random(seed))
    return server, server.add_run(state=None)


def log_at(server: FakePrefect1, run_id: str, seconds: float) -> str:
    """Store a line that was written at a time."""
    return server.log(run_id, timestamp=START + timedelta(seconds=seconds))


def codec_of(channel: Channel) -> Prefect1:
    """What a channel has learnt of its server."""
    codec = channel._shared_backend.backend
    assert isinstance(codec, Prefect1)
    return codec


def in_order(server: FakePrefect1, query: LogsQuery) -> list[str]:
    """The ids of the rows that a question is about, as they are in the table."""

    def place(row: dict[str, Any]) -> tuple[datetime, datetime, str]:
        return row["timestamp"], row["created"], row["id"]

    rows = sorted(server.logs.values(), key=place, reverse=query.descending)
    first = [row["id"] for row in rows if row["flow_run_id"] in query.flow_run_ids]
    return first[query.offset : query.offset + query.limit]


# -- a page is whole or is none ------------------------------------------------------------------

QUESTIONS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 20) | st.just(200), st.booleans(), ROWS),
    min_size=1,
    max_size=6,
)
"""Offset, limit and direction, and how many rows come in before it is asked."""


@given(
    limit=LIMITS,
    questions=QUESTIONS,
    coming=st.lists(st.none() | st.integers(-5, 40), max_size=40),
    others=st.sampled_from([0, 0, 3, 300]),
)
@settings(max_examples=200)
def test_a_page_is_never_one_that_was_cut_off(
    limit: int | None,
    questions: list[tuple[int, int, bool, int]],
    coming: list[int | None],
    others: int,
) -> None:
    """It has the rows that were there when it was asked for, whatever comes in while it is checked.

    Or else the limit is told: the server's own, and no other.
    """
    server, run_id = a_server(limit)
    another = server.add_run()
    for _ in range(others):
        server.log(another)
    arrivals, expected = iter(coming), list[list[str]]()

    def arrive(_: httpx.Request) -> None:
        if (seconds := next(arrivals, None)) is not None:
            log_at(server, run_id, seconds)
        expected.append(in_order(server, query))

    server.intercept = arrive
    with closing(server.client().open_channel()) as channel:
        for offset, most, descending, more in questions:
            for number in range(more):
                log_at(server, run_id, number % 7)
            query = LogsQuery(
                flow_run_ids=(run_id,), offset=offset, limit=most, descending=descending
            )
            expected.clear()
            answer = channel.send(query)
            if isinstance(answer, Failure):
                assert (answer.kind, answer.limit) == (FailureKind.PAGE_LIMIT, limit)
                assert answer.limit is not None
                assert answer.limit < most
            else:
                assert [row.id for row in answer.rows] == expected[0]
        assert set(codec_of(channel).row_limits.limits.values()) <= {limit}


# -- lists are whole -----------------------------------------------------------------------------


@given(limit=LIMITS, rows=ROWS, again=ROWS)
@settings(max_examples=40)
def test_lists_are_read_whole(limit: int | None, rows: int, again: int) -> None:
    """States, lines, task runs and agents: all of them, each once, with whatever limit."""
    server, run_id = a_server(limit)
    with server.client() as client:
        for count in (rows, again):
            for number in range(count):
                server.set_state(run_id, "Running")
                log_at(server, run_id, number % 3)
                server.add_task_run(run_id, map_index=number)
                server.add_agent()
            asked: dict[str, Callable[[int], Poll[Any]]] = {
                "states": lambda _: read_all_pages(StatesQuery(run_id)),
                "agents": lambda _: read_all_pages(AgentsQuery()),
                "task_runs": lambda most: read_task_runs(run_id, most),
                "logs": lambda most: read_all_logs(run_id, None, most),
            }
            for table, poll in asked.items():
                assert ids(client.read(poll)) == sorted(getattr(server, table)), table


def ids(found: Any) -> list[str]:
    """The ids of rows, repeats included, in an order of their own."""
    return sorted(row.id for row in (found.rows if isinstance(found, Page) else found))


@given(limit=LIMITS, rows=ROWS)
@settings(max_examples=30)
def test_views_have_all_rows(limit: int | None, rows: int) -> None:
    """So says a user: all states, all lines, all task runs."""
    server, run_id = a_server(limit)
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


@given(limit=st.integers(2, 9), rows=ROWS, data=st.data())
@settings(max_examples=40)
def test_no_state_is_lost_that_was_there(limit: int, rows: int, data: st.DataObject) -> None:
    """States and task runs that come in while they are listed hide none of the others."""
    server, run_id = a_server(limit)
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
    told = ids((*states.rows, *task_runs))
    assert before <= set(told)
    assert len(told) == len(set(told))


# -- watches -------------------------------------------------------------------------------------

LINES = st.lists(st.tuples(st.floats(0, 40), st.floats(-9, 3)), max_size=50)
"""When a line is stored, and how much later or earlier it says it was written."""


@given(limit=LIMITS, lines=LINES, begin=st.sampled_from([0.0, 20.0, 100.0]), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_a_watch_tells_each_row_once(
    limit: int | None, lines: list[tuple[float, float]], begin: float, seed: int
) -> None:
    """From the start, midway or after the end: each state and each line; the end is verified."""
    server, run_id = a_server(limit, seed=seed)
    server.faults = Faults(latency=0.01, ties=True)
    happening(server, run_id, lines)
    clock: Any = server.clock
    clock.wait(begin)
    stream = rxflow.watch_flow_run(run_id, stream_tasks=True, client=server.client())
    events = clock.collect(stream)
    told = [event.id for event in events if isinstance(event, FlowRunLog | StateChange)]
    assert sorted(told) == sorted({**server.logs, **server.states})
    assert events[-1].verified
    told_tasks = {e.task_run.id for e in events if isinstance(e, rxflow.TaskRunStateChange)}
    assert told_tasks == set(server.task_runs)


def happening(
    server: FakePrefect1, run_id: str, lines: Iterable[tuple[float, float]], *, end: float = 41
) -> None:
    """Have a run live: states, task runs and lines."""
    server.set_state(run_id, "Scheduled")
    for second, state in ((1, "Submitted"), (2, "Running"), (end, "Success")):
        server.at(second, partial(server.set_state, run_id, state))
    for written, off in lines:
        server.at(written, partial(log_at, server, run_id, written + off))
    for second in range(3, 6):
        server.at(second, partial(server.add_task_run, run_id, state="Success"))


# -- what it costs -------------------------------------------------------------------------------


KINDS = (StatesQuery, LogsQuery, TaskRunsQuery)
"""Of what a watch reads, the lists."""


class Counted:
    """A server in virtual time, asked by a watch of one run, and how many requests that took.

    Attributes:
        questions: How many questions were asked.
        extra: How many requests were sent beyond one a question.
        dearest: The most that one question took.
    """

    def __init__(self, server: FakePrefect1, run_id: str, **options: Any) -> None:
        """Watch nothing yet."""
        self.server = server
        self.questions = self.extra = self.dearest = 0
        self._channel = server.client().open_channel()
        self._time: Any = server.clock
        world: Any = self
        self.watched = Watched(world, WatchSpec(flow_run_id=run_id, **options))

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return (self.server.now() - START).total_seconds()

    def clock(self) -> datetime:
        """The server's time."""
        return self.server.now()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._time.wait(seconds)
        self.server.catch_up()

    def send(self, query: Query) -> Reply:
        """Ask, and count."""
        before = len(self.server.requests)
        answer = self._channel.send(query)
        requests = len(self.server.requests) - before
        self.questions += 1
        self.extra += max(0, requests - 1)
        self.dearest = max(self.dearest, requests)
        return answer


@given(lines=LINES, others=st.sampled_from([PAGE_LIMIT, 300]))
@settings(max_examples=20)
def test_a_server_without_a_limit_shows_it_once(
    lines: list[tuple[float, float]], others: int
) -> None:
    """One request more for each kind of list, in the whole life of a client, is all it costs."""
    server, run_id = a_server(None)
    another = server.add_run(state=None)
    for _ in range(others):
        server.log(another)
        server.set_state(another, "Running")
        server.add_task_run(another)
    happening(server, run_id, lines)
    counted = Counted(server, run_id)
    counted.watched.run(until=300)
    assert counted.watched.closed.verified
    assert counted.extra <= len(KINDS)
    assert counted.dearest <= 2


@given(lines=LINES, limit=st.none() | st.integers(100, 300))
@settings(max_examples=20)
def test_a_server_with_no_other_rows_costs_little_more(
    lines: list[tuple[float, float]], limit: int | None
) -> None:
    """Where a run's rows are all there are, its few task runs take one request more at each look.

    Nobody can tell a list as long as the longest so far from one that is cut off, without a look
    behind it; only of log lines more are known to be there.
    """
    server, run_id = a_server(limit)
    happening(server, run_id, lines)
    counted = Counted(server, run_id)
    counted.watched.run(until=300)
    assert counted.watched.closed.verified
    assert counted.dearest <= 3
    doubled = sum(text.startswith("query Any") for text, _ in server.requests)
    assert doubled <= len(KINDS) * PAGE_LIMIT.bit_length()
    assert counted.extra - doubled <= counted.questions // 2


@pytest.mark.parametrize("limit", [2, 3, 7, 50])
def test_a_limit_is_learnt_once(limit: int) -> None:
    """Once it is known, no request asks for more, and no answer is looked into."""
    server, run_id = a_server(limit)
    for number in range(60):
        log_at(server, run_id, number)
        server.add_task_run(run_id)
        server.set_state(run_id, "Running")
    server.set_state(run_id, "Success")
    with server.client() as client:
        view = FlowRunView.from_flow_run_id(run_id, client=client)
        assert len(view.get_logs()) == len(view.get_all_task_runs()) == 60
        codec = client._shared_backend.backend
        assert isinstance(codec, Prefect1)
        assert set(codec.row_limits.limits.values()) == {limit}
        server.requests.clear()
        assert len(list(rxflow.watch_flow_run(run_id, drain=0, client=client).logs)) == 60
        FlowRunView.from_flow_run_id(run_id, client=client).get_logs()
    asked = [variables["limit"] for _, variables in server.requests if "limit" in variables]
    assert asked
    assert max(asked) == limit
    assert not any("query Any" in text for text, _ in server.requests)


def test_another_channel_need_not_ask_for_a_limit() -> None:
    """What one channel of a client has learnt, a question on another is answered by at once."""
    server, run_id = a_server(5)
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


def test_a_long_page_is_believed_at_once() -> None:
    """A page as long as it was asked for shows that the server gives as much: it is not checked."""
    server, run_id = a_server(None)
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


# -- while it is checked -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1, 2, 3])
@pytest.mark.parametrize("limit", [None, 5])
def test_a_check_that_fails_is_a_question_that_failed(bad: int, limit: int | None) -> None:
    """Without what a page needs to be believed there is none, and nothing is learnt.

    Only whether the server gives more rows of other runs need not be known.
    """
    server, run_id = a_server(limit)
    for number in range(5 if limit is None else 9):
        log_at(server, run_id, number)
    count = [0]

    def fail(_: httpx.Request) -> httpx.Response | None:
        count[0] += 1
        return httpx.Response(502) if count[0] == bad + 1 else None

    server.intercept = fail
    with closing(server.client().open_channel()) as channel:
        answer = channel.send(LogsQuery(flow_run_ids=(run_id,)))
        if bad == 1 or (limit is None and bad == 3):
            assert isinstance(answer, Page if limit is None else Failure)
            assert isinstance(answer, Page) or answer.limit == 5
        else:
            assert isinstance(answer, Failure)
            assert answer.kind is FailureKind.SERVER
            assert not codec_of(channel).row_limits.limits
        server.intercept = None
        again = channel.send(LogsQuery(flow_run_ids=(run_id,)))
        assert isinstance(again, Page) if limit is None else again == _LIMIT_OF_5
