"""`RunReader`: the queries of a tick and of a close check, and what a commit keeps."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from simulated_world import START, World, exchange

from rxflow import FlowRun, FlowRunLog, State
from rxflow._models.entities import BackendName, Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import (
    LogsQuery,
    Query,
    RunQuery,
    ServerQuery,
    StatesQuery,
    TaskRunsQuery,
    WorkersQuery,
    WorkPoolQuery,
)
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_reader import CloseCheck, RunReader, Tick
from rxflow._watching.task_run_ledger import TaskRunsRead
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import UnsupportedServer

STATES, LOGS, TASKS, NOTICES = EventSource
LONG = 100_000
"""The largest number of rows of a table that is counted at each poll."""

ReplyTo = Callable[[Query], Page[Any]]


class ReaderUnderTest:
    """A reader of one run on a fake server, with the queries of its last poll."""

    def __init__(self, world: World, run_id: str, **spec: Any) -> None:
        self.world = world
        self.reader = RunReader(WatchSpec(flow_run_id=run_id, **spec), RowLimit())
        self.sent: list[Query] = []
        self.reply: ReplyTo = self._exchange

    def _exchange(self, query: Query) -> Page[Any]:
        page = exchange(self.world.server, query)
        assert isinstance(page, Page), page
        return page

    @property
    def now(self) -> Now:
        """The time, by a monotonic clock that started at another moment."""
        return Now(self.world.now - 1e3, self.world.clock())

    @property
    def kinds(self) -> list[type[Query]]:
        """The kinds of the queries sent."""
        return [type(query) for query in self.sent]

    @property
    def log_queries(self) -> list[LogsQuery]:
        """The queries for log rows."""
        return [query for query in self.sent if isinstance(query, LogsQuery)]

    def read(self) -> Tick:
        """Run a tick, and commit nothing."""
        tick = self._poll(self.reader.tick(self.now, None))
        assert isinstance(tick, Tick)
        return tick

    def tick(self) -> Tick:
        """Run a tick, and commit it."""
        tick = self.read()
        self.reader.commit(tick, self.now)
        return tick

    def close_check(self) -> CloseCheck:
        """Run a close check, and commit nothing."""
        check = self._poll(self.reader.close_check())
        assert isinstance(check, CloseCheck)
        return check

    def fail(self, poll: Any, at: type[Query]) -> None:
        """Run a poll up to a kind of query, which gets no reply."""
        query = next(poll)
        while not isinstance(query, at):
            query = poll.send(self.reply(query))
        poll.close()

    def _poll(self, poll: Any) -> object:
        self.sent = []
        try:
            query = next(poll)
            while True:
                self.sent.append(query)
                query = poll.send(self.reply(query))
        except StopIteration as end:
            return end.value


def new_reader(
    world: World | None = None, *, state: str | None = "RUNNING", **spec: Any
) -> ReaderUnderTest:
    """Return a reader of a new run."""
    world = world or World()
    return ReaderUnderTest(world, world.server.add_run(state=state), **spec)


def run_of(watch: ReaderUnderTest) -> str:
    """Return the id of the run that is read."""
    return watch.reader._spec.flow_run_id


def prefect3(version: str | None) -> Server:
    """Return a Prefect server of a version."""
    return Server(backend=BackendName.PREFECT_3, version=version)


def tasks_of(tick: Tick) -> TaskRunsRead:
    """Return the task runs of a tick that has read them."""
    assert tick.tasks is not None
    return tick.tasks


def names(tick: Tick) -> list[str]:
    """Return the names of the states that a tick found."""
    return [state.name for state in tick.states]


# -- queries of a tick --------------------------------------------------------------------------

FIRST: dict[frozenset[EventSource], list[type[Query]]] = {
    frozenset(EventSource): [ServerQuery, RunQuery, StatesQuery, LogsQuery, TaskRunsQuery],
    frozenset({STATES}): [ServerQuery, RunQuery, StatesQuery],
    frozenset({LOGS}): [ServerQuery, RunQuery, LogsQuery],
    frozenset({TASKS}): [ServerQuery, RunQuery, TaskRunsQuery],
    frozenset({NOTICES}): [ServerQuery, RunQuery],
    frozenset(): [ServerQuery, RunQuery],
}


@pytest.mark.parametrize("sources", FIRST, ids=lambda sources: " ".join(sorted(sources)) or "none")
def test_tick_queries_its_sources(sources: frozenset[EventSource]) -> None:
    """The run's row is always read, first, and of the rest only what the sources need."""
    watch = new_reader(sources=sources)
    watch.tick()
    assert watch.kinds == FIRST[sources]
    watch.tick()
    assert watch.kinds == [k for k in FIRST[sources] if k not in {ServerQuery, StatesQuery}]


def test_queries_are_about_the_run() -> None:
    """Each query is about the run, and those for log rows have the level and the time."""
    since = START + timedelta(seconds=5)
    watch = new_reader(level=30, since=since)
    run_id = run_of(watch)
    watch.tick()
    assert watch.sent == [
        ServerQuery(),
        RunQuery(run_id),
        StatesQuery(run_id),
        LogsQuery(flow_run_ids=(run_id,), level=30, after=since),
        TaskRunsQuery(flow_run_ids=(run_id,)),
    ]


def test_tick_finds_new_rows() -> None:
    """A tick holds the row, all new states and log rows, the task runs, and no late reason."""
    watch = new_reader(state="SCHEDULED")
    server, run_id = watch.world.server, run_of(watch)
    server.set_state(run_id, "RUNNING")
    line = server.log(run_id, "a line")
    task = server.set_task_state(run_id, None, "RUNNING")
    tick = watch.read()
    assert tick.run is not None
    assert tick.run.state_id == server.runs[run_id]["state_id"]
    assert names(tick) == ["Scheduled", "Running"]
    assert [log.id for log in tick.logs.rows] == [line]
    assert [row.id for row in tasks_of(tick).rows] == [task]
    assert (tick.malformed, tick.late_reason) == ((), None)


@pytest.mark.parametrize("at", [RunQuery, StatesQuery, LogsQuery, TaskRunsQuery])
def test_failed_poll_changes_nothing(at: type[Query]) -> None:
    """Whichever query gets no reply, the next tick sends and finds the same."""
    untouched, failed = (new_reader() for _ in range(2))
    for watch in (untouched, failed):
        watch.world.server.log(run_of(watch))
        watch.world.server.set_task_state(run_of(watch), None, "RUNNING")
    failed.fail(failed.reader.tick(failed.now, None), at)
    failed.read()
    found = failed.tick()
    untouched.tick()
    assert failed.kinds == untouched.kinds
    assert names(found) == ["Running"]
    assert len(found.logs.rows) == len(tasks_of(found).changed) == 1
    again = failed.tick()
    assert (again.states, again.logs.rows, tasks_of(again).changed) == ((), (), ())


# -- server version -----------------------------------------------------------------------------


def test_server_is_read_until_first_commit() -> None:
    """The server's version is read in each tick until one is committed, then no more."""
    watch = new_reader()
    for _ in range(2):
        watch.read()
        assert watch.kinds[0] is ServerQuery
        assert watch.kinds.count(ServerQuery) == 1
    watch.tick()
    assert watch.kinds[0] is ServerQuery
    for _ in range(3):
        watch.tick()
        assert ServerQuery not in watch.kinds


@pytest.mark.parametrize("version", ["3.0.0", "3.8.8", "20.1", "4.0", None])
def test_other_versions_are_accepted(version: str | None) -> None:
    """Only Prefect 2 is known to be another API; an unknown or newer version is tried."""
    poll = new_reader().reader.tick(Now(0, START), None)
    assert next(poll) == ServerQuery()
    assert isinstance(poll.send(Page((prefect3(version),))), RunQuery)


@pytest.mark.parametrize("version", ["2.0", "2.20.4"])
def test_prefect_2_is_refused(version: str) -> None:
    """A Prefect 2 server is refused, by its version, before any other query is sent."""
    poll = new_reader().reader.tick(Now(0, START), None)
    next(poll)
    with pytest.raises(UnsupportedServer, match=version):
        poll.send(Page((prefect3(version),)))


# -- states -------------------------------------------------------------------------------------


def test_history_is_read_for_new_state() -> None:
    """The states are read once for each new state id on the row, and only new ones are found."""
    watch = new_reader()
    server, run_id = watch.world.server, run_of(watch)
    assert names(watch.tick()) == ["Running"]
    server.change_run(run_id, name="renamed")
    tick = watch.tick()
    assert (StatesQuery in watch.kinds, tick.states) == (False, ())
    assert tick.run is not None
    assert tick.run.name == "renamed"
    server.set_state(run_id, "PENDING")
    server.set_state(run_id, "RUNNING")
    assert names(watch.tick()) == ["Pending", "Running"]
    watch.tick()
    assert StatesQuery not in watch.kinds


def test_uncommitted_states_are_found_again() -> None:
    """States that were found but not committed are found again."""
    watch = new_reader()
    assert names(watch.read()) == names(watch.read()) == ["Running"]


def test_history_is_not_read_without_state() -> None:
    """While a run has no state, its history is not read."""
    watch = new_reader(state=None)
    tick = watch.tick()
    assert StatesQuery not in watch.kinds
    assert tick.states == ()
    watch.world.server.set_state(run_of(watch), "RUNNING")
    assert names(watch.tick()) == ["Running"]


def test_history_is_read_for_the_id_of_a_state_alone() -> None:
    """A row that names its state's id without the state has its history read."""
    watch = new_reader()
    usual = watch.reply

    def without_state(query: Query) -> Page[Any]:
        page = usual(query)
        if not isinstance(query, RunQuery):
            return page
        return replace(page, rows=tuple(replace(row, state=None) for row in page.rows))

    watch.reply = without_state
    assert names(watch.tick()) == ["Running"]


def test_states_are_sorted_by_time_and_id() -> None:
    """In whatever order the server lists them, new states are sorted by time, then id."""
    listed = [("c", 1), ("b", 2), ("a", 2), ("d", 0)]
    states = tuple(
        State(id=name, type="RUNNING", name=name, timestamp=START + timedelta(seconds=at))
        for name, at in listed
    )
    watch = new_reader(sources=frozenset({STATES}))
    usual = watch.reply
    watch.reply = lambda q: Page(states) if isinstance(q, StatesQuery) else usual(q)
    run = watch.world.server.runs[run_of(watch)]
    run["state_id"], run["state"] = "b", {"id": "b", "type": "RUNNING", "name": "b"}
    run["state"]["timestamp"] = START + timedelta(seconds=2)
    assert names(watch.tick()) == ["d", "c", "a", "b"]


def test_history_that_lags_behind_the_row() -> None:
    """The row's state is found at once, and what the history lacked with the next read."""
    watch = new_reader()
    server, run_id = watch.world.server, run_of(watch)
    watch.tick()
    stale = watch.reply(StatesQuery(run_id))
    server.set_state(run_id, "PENDING")
    server.set_state(run_id, "RUNNING", "Again")
    usual = watch.reply
    watch.reply = lambda q: stale if isinstance(q, StatesQuery) else usual(q)
    assert names(watch.tick()) == ["Again"]
    watch.reply = usual
    server.set_state(run_id, "COMPLETED")
    assert names(watch.tick()) == ["Pending", "Completed"]


def test_malformed_rows_are_returned() -> None:
    """A tick returns malformed states, task runs and log rows, and finds the others."""
    watch = new_reader()
    server, run_id = watch.world.server, run_of(watch)
    server.set_state(run_id, "PENDING")
    server.states[run_id][-1]["name"] = None
    state = server.states[run_id][-1]["id"]
    server.set_state(run_id, "RUNNING", "Again")
    task = server.set_task_state(run_id, None, "RUNNING")
    server.task_runs[task]["task_key"] = None
    line = server.log(run_id)
    server.logs[-1]["message"] = None
    tick = watch.tick()
    found = (tick.malformed, tasks_of(tick).malformed, tick.logs.malformed)
    assert [[row.id for row in rows] for rows in found] == [[state], [task], [line]]
    assert names(tick) == ["Running", "Again"]
    assert all(isinstance(row, MalformedRow) for rows in found for row in rows)


# -- a long history -----------------------------------------------------------------------------


def test_long_history_is_read_page_by_page() -> None:
    """While there is more to read, each tick is one page of log rows and nothing else."""
    world = World(page_limit=10)
    watch = new_reader(world)
    for _ in range(35):
        world.wait(1)
        world.server.log(run_of(watch))
    world.wait(60)
    failure = Failure(kind=FailureKind.PAGE_LIMIT, text="", limit=10)
    assert watch.reader.adapt_to(None, failure)
    first = watch.tick()
    assert watch.reader.position == first.logs.backfill_position is not None
    rows, ticks = list(first.logs.rows), 1
    while watch.reader.position is not None:
        position = watch.reader.position
        tick = watch.tick()
        ticks += 1
        assert (watch.kinds, watch.log_queries[0].after) == ([LogsQuery], position)
        assert (tick.run, tick.states, tick.tasks) == (None, (), None)
        rows += tick.logs.rows
    assert ticks == 4
    assert [log.id for log in rows] == [row["id"] for row in world.server.logs]
    assert watch.reader.row == first.run
    watch.tick()
    assert watch.kinds[0] is RunQuery


# -- adapting to the server ---------------------------------------------------------------------


def limits(watch: ReaderUnderTest) -> set[int]:
    """Return the limits of all queries that have one."""
    return {q.limit for q in watch.sent if isinstance(q, LogsQuery | TaskRunsQuery)}


def too_many(limit: int | None) -> Failure:
    """Return the failure of a query for too many rows."""
    return Failure(kind=FailureKind.PAGE_LIMIT, text="too many", limit=limit)


def test_named_limit_is_kept() -> None:
    """A lower limit in a failure is used from then on, for log rows and task runs."""
    watch = new_reader()
    watch.read()
    assert limits(watch) == {200}
    assert watch.reader.adapt_to(watch.log_queries[0], too_many(50)) is True
    watch.read()
    assert limits(watch) == {50}


@pytest.mark.parametrize("limit", [200, 201, -1])
def test_useless_limit_is_ignored(limit: int) -> None:
    """A limit that is not lower, or is impossible, changes nothing."""
    watch = new_reader()
    assert watch.reader.adapt_to(None, too_many(limit)) is False
    watch.read()
    assert limits(watch) == {200}


@pytest.mark.parametrize("limit", [None, 0])
def test_unnamed_limit_is_found_by_halving(limit: int | None) -> None:
    """If the failure names no limit, half as many rows are requested, down to one."""
    watch = new_reader()
    tried: list[int] = []
    while watch.reader.adapt_to(None, too_many(limit)):
        watch.read()
        tried += limits(watch)
    assert tried == [100, 50, 25, 12, 6, 3, 1]
    watch.read()
    assert limits(watch) == {1}


REJECTED = Failure(kind=FailureKind.REJECTED, text="no")
PROBE = LogsQuery(flow_run_ids=("run",), offset=7)


def believes_refusal(reader: RunReader, query: Query | None = PROBE) -> bool:
    """Whether the reader adapts to the third refusal of a query in a row, and not before."""
    assert not reader.adapt_to(query, REJECTED)
    assert not reader.adapt_to(query, REJECTED)
    return reader.adapt_to(query, REJECTED)


def test_refused_offsets_are_not_sent_again() -> None:
    """After a query with an offset was refused three times, no query has an offset."""
    watch = new_reader()
    run_id = run_of(watch)
    for _ in range(3):
        watch.world.server.log(run_id)
    watch.tick()
    watch.tick()
    (probe,) = watch.log_queries
    assert probe.offset > 0
    assert believes_refusal(watch.reader, probe)
    assert watch.reader.adapt_to(probe, REJECTED) is False
    line = watch.world.server.log(run_id)
    tick = watch.tick()
    assert [log.id for log in tick.logs.rows] == [line]
    assert [query.offset for query in watch.log_queries] == [0]
    assert (tick.logs.provable, tick.logs.proven) == (False, False)


OTHER_QUERIES: list[Query | None] = [
    None,
    LogsQuery(flow_run_ids=("run",)),
    RunQuery("run"),
    TaskRunsQuery(flow_run_ids=("run",), offset=7),
]


@pytest.mark.parametrize("query", OTHER_QUERIES, ids=str)
def test_other_refused_queries_change_nothing(query: Query | None) -> None:
    """Only an offset among log rows can be left out."""
    reader = new_reader().reader
    assert reader.adapt_to(query, REJECTED) is False
    assert believes_refusal(reader)


OTHERS = [
    kind for kind in FailureKind if kind not in {FailureKind.REJECTED, FailureKind.PAGE_LIMIT}
]


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: kind.value)
def test_other_failures_change_nothing(kind: FailureKind) -> None:
    """Only a refusal or a page limit changes later queries."""
    reader = new_reader().reader
    assert reader.adapt_to(PROBE, Failure(kind=kind, text="", limit=5)) is False
    assert believes_refusal(reader)


def test_two_refusals_and_a_good_poll_change_nothing() -> None:
    """One rejection may be a proxy's, so only three without a poll between them are believed."""
    watch = new_reader()
    for _ in range(2):
        assert not watch.reader.adapt_to(PROBE, REJECTED)
        assert not watch.reader.adapt_to(PROBE, REJECTED)
        watch.tick()
    assert believes_refusal(watch.reader)


# -- deep probes --------------------------------------------------------------------------------


class LogTable:
    """A table of log rows, one each ms, that replies quickly however long it is."""

    def __init__(self, flow_run_id: str, count: int) -> None:
        self.rows: list[FlowRunLog] = []
        self._times: list[datetime] = []
        self._run = flow_run_id
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Store one more row."""
        time = START + timedelta(milliseconds=len(self.rows))
        row = FlowRunLog(
            flow_run_id=self._run,
            id=f"row-{len(self.rows)}",
            timestamp=time,
            created=time,
            level=20,
            name="x",
            message="m",
        )
        self.rows.append(row)
        self._times.append(time)

    def page(self, query: LogsQuery) -> Page[FlowRunLog]:
        """Return the page that a server would."""
        low = 0 if query.after is None else bisect_left(self._times, query.after)
        high = len(self.rows)
        if query.before is not None:
            high = bisect_right(self._times, query.before)
        assert not query.descending
        start = min(high, low + query.offset)
        return Page(tuple(self.rows[start : min(high, start + query.limit)]))


def long_table(count: int) -> tuple[ReaderUnderTest, LogTable]:
    """Return a reader that has read a table of some rows, and the table."""
    watch = new_reader(sources=frozenset({LOGS}))
    table, usual = LogTable(run_of(watch), count), watch.reply
    watch.reply = lambda q: table.page(q) if isinstance(q, LogsQuery) else usual(q)
    watch.tick()
    while watch.reader.position is not None:
        watch.tick()
    assert watch.reader.logs is not None
    assert watch.reader.logs.cursor.ledger.total == count
    watch.world.wait(1)
    return watch, table


def is_deep(watch: ReaderUnderTest) -> bool:
    """Whether the last poll counted from the first row on."""
    return any(query.after is None for query in watch.log_queries)


@pytest.mark.parametrize("cost", [0.02, 0.4], ids="{} s a count".format)
def test_long_table_is_counted_for_a_fiftieth_of_the_time(cost: float) -> None:
    """Past 100,000 rows a full count follows the last one after 50 times its duration."""
    watch, table = long_table(LONG + 1)
    pause = 50 * cost
    for _ in range(3):
        tick = watch.read()
        assert is_deep(watch)
        assert tick.logs.proven
        watch.reader.record_duration(watch.log_queries[-1], cost)
        watch.reader.commit(tick, watch.now)
        for share in (0.0, 0.5, 0.49):
            watch.world.wait(share * pause)
            table.add()
            tick = watch.tick()
            assert not is_deep(watch)
            assert [log.id for log in tick.logs.rows] == [table.rows[-1].id]
            assert not tick.logs.proven
        watch.world.wait(0.011 * pause)


def test_shorter_table_is_counted_at_each_poll() -> None:
    """Up to 100,000 rows each poll counts all rows, however long that takes."""
    watch, _ = long_table(LONG)
    for _ in range(3):
        tick = watch.read()
        assert is_deep(watch)
        assert tick.logs.proven
        watch.reader.record_duration(watch.log_queries[-1], 60)
        watch.reader.commit(tick, watch.now)


def test_close_check_counts_a_long_table() -> None:
    """A close check counts all rows of a long table, since nothing else proves them."""
    watch, _ = long_table(LONG + 1)
    tick = watch.read()
    watch.reader.record_duration(watch.log_queries[-1], 60)
    watch.reader.commit(tick, watch.now)
    watch.tick()
    assert not is_deep(watch)
    assert watch.close_check().logs.proven
    assert is_deep(watch)


@pytest.mark.parametrize(
    "query",
    [
        RunQuery("run"),
        LogsQuery(flow_run_ids=("run",)),
        TaskRunsQuery(flow_run_ids=("r",), offset=9),
    ],
    ids=str,
)
def test_only_deep_probes_set_the_pace(query: Query) -> None:
    """The duration of other queries does not change how often a long table is counted."""
    watch, _ = long_table(LONG + 1)
    tick = watch.read()
    watch.reader.record_duration(watch.log_queries[-1], 0.1)
    watch.reader.record_duration(query, 60)
    watch.reader.commit(tick, watch.now)
    watch.world.wait(5.01)
    watch.tick()
    assert is_deep(watch)


# -- late reason --------------------------------------------------------------------------------

REASON_KINDS: list[type[Query]] = [WorkPoolQuery, WorkersQuery]
NO_WORKER = "no worker of its work pool 'gpu' is online"


def late_reader(**spec: Any) -> ReaderUnderTest:
    """Return a reader of a run that waits for a worker, and is due now."""
    world = World()
    world.server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "READY"}
    run_id = world.server.add_run(work_pool_name="gpu")
    return ReaderUnderTest(world, run_id, sources=frozenset({NOTICES}), **spec)


def reason_queries(watch: ReaderUnderTest) -> list[type[Query]]:
    """Return the kinds of the queries for the late reason."""
    return [kind for kind in watch.kinds if kind in REASON_KINDS]


def test_late_reason_is_read_every_30_s() -> None:
    """A late run's reason is read at once and every 30 s, and kept in between."""
    watch = late_reader()
    assert (watch.tick().late_reason, reason_queries(watch)) == (None, [])
    watch.world.wait(14)
    assert (watch.tick().late_reason, reason_queries(watch)) == (None, [])
    watch.world.wait(2)
    for _ in range(3):
        assert (watch.tick().late_reason, reason_queries(watch)) == (NO_WORKER, REASON_KINDS)
        for seconds in (0, 15, 14.5):
            watch.world.wait(seconds)
            assert (watch.tick().late_reason, reason_queries(watch)) == (NO_WORKER, [])
        watch.world.wait(0.6)


def test_changed_reason_is_found_within_30_s() -> None:
    """The reason is the one that was read last."""
    watch = late_reader()
    watch.world.wait(20)
    assert watch.tick().late_reason == NO_WORKER
    watch.world.server.pools["gpu"]["is_paused"] = True
    watch.world.wait(29)
    assert watch.tick().late_reason == NO_WORKER
    watch.world.wait(1.1)
    assert watch.tick().late_reason == "its work pool 'gpu' is paused"


def test_reason_is_read_at_once_when_late_again() -> None:
    """A run that started and is late again has its reason read at once."""
    watch = late_reader()
    server, run_id = watch.world.server, run_of(watch)
    watch.world.wait(20)
    watch.tick()
    server.set_state(run_id, "RUNNING")
    assert watch.tick().late_reason is None
    server.set_state(run_id, "SCHEDULED")
    assert (watch.tick().late_reason, reason_queries(watch)) == (NO_WORKER, REASON_KINDS)


def test_uncommitted_reason_is_read_again() -> None:
    """A tick that was not committed does not count as a read."""
    watch = late_reader()
    watch.world.wait(20)
    for _ in range(2):
        assert (watch.read().late_reason, reason_queries(watch)) == (NO_WORKER, REASON_KINDS)


def test_reason_is_not_read_without_notices() -> None:
    """Without the notices source the reason is not read."""
    watch = late_reader()
    spec = msgspec.structs.replace(watch.reader._spec, sources=frozenset({STATES}))
    watch.reader = RunReader(spec, RowLimit())
    watch.world.wait(20)
    assert (watch.tick().late_reason, reason_queries(watch)) == (None, [])


LATE = START + timedelta(seconds=20)
IN_TIME = START + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("page", "known", "ours", "late"),
    [
        (LATE, IN_TIME, IN_TIME, True),
        (IN_TIME, LATE, LATE, False),
        (None, LATE, IN_TIME, True),
        (None, IN_TIME, LATE, False),
        (None, None, LATE, True),
        (None, None, IN_TIME, False),
    ],
    ids=["reply", "reply: in time", "earlier", "earlier: in time", "watcher", "watcher: in time"],
)
def test_lateness_uses_latest_server_time(
    page: datetime | None, known: datetime | None, ours: datetime, late: bool
) -> None:
    """The server's time counts, from this reply or an earlier one, else the watcher's."""
    watch = late_reader()
    poll = watch.reader.tick(Now(0, ours), known)
    next(poll)
    poll.send(Page((prefect3("3.8.8"),)))
    (run,) = watch.reply(RunQuery(run_of(watch))).rows
    assert isinstance(run, FlowRun)
    try:
        sent = isinstance(poll.send(Page((run,), page)), WorkPoolQuery)
    except StopIteration:
        sent = False
    assert sent is late


# -- close check --------------------------------------------------------------------------------


def test_close_check_reads_row_after_count() -> None:
    """The row is read after all else, so that nothing comes between it and the end."""
    watch = new_reader()
    watch.world.server.log(run_of(watch))
    watch.tick()
    line = watch.world.server.log(run_of(watch))
    check = watch.close_check()
    assert watch.kinds == [LogsQuery, TaskRunsQuery, RunQuery]
    assert (check.logs.proven, [log.id for log in check.logs.rows]) == (True, [line])
    assert check.run == watch.reader.row
    assert [log.id for log in watch.close_check().logs.rows] == [line]
    watch.reader.commit_close_check(check, watch.now)
    assert watch.close_check().logs.rows == ()


def test_close_check_without_logs_reads_row_alone() -> None:
    """Where no log rows are streamed, the close check reads the row alone, and is proven."""
    watch = new_reader(sources=frozenset({STATES}))
    watch.tick()
    check = watch.close_check()
    assert watch.kinds == [RunQuery]
    assert check.logs.proven


def test_close_check_without_offsets_reads_all_rows() -> None:
    """A server that refuses offsets cannot count, so a close check reads all rows again."""
    watch = new_reader()
    server, run_id = watch.world.server, run_of(watch)
    server.log(run_id, "first")
    watch.world.wait(60)
    server.log(run_id, "newest")
    watch.tick()
    assert believes_refusal(watch.reader)
    old = server.log(run_id, "old", timestamp=START + timedelta(seconds=1))
    assert watch.tick().logs.rows == ()
    check = watch.close_check()
    assert [log.id for log in check.logs.rows] == [old]
    assert (check.logs.proven, check.logs.provable) == (False, False)


def test_rows_that_are_left_to_a_group_are_not_saved() -> None:
    """The group knows which were delivered."""
    spec = WatchSpec(flow_run_id="9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
    reader = RunReader(spec, RowLimit())
    assert reader.share_logs() is not None
    with pytest.raises(ValueError, match="read together with those of other runs"):
        reader.save_logs()
