"""What a watch reads: the questions of a tick and of the last look, and what a commit keeps."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
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
from rxflow._watching.run_reader import CloseCheck, RunReader, Tick
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import UnsupportedServer

STATES, LOGS, TASKS, NOTICES = EventSource
LONG = 100_000
"""Rows from which on a table is long."""

Answer = Callable[[Query], Page[Any]]


class Reading:
    """A reader of one run on a fake server, and the questions of its last poll."""

    def __init__(self, world: World, run_id: str, **spec: Any) -> None:
        self.world = world
        self.reader = RunReader(WatchSpec(flow_run_id=run_id, **spec))
        self.asked: list[Query] = []
        self.answer: Answer = self._exchange

    def _exchange(self, query: Query) -> Page[Any]:
        page = exchange(self.world.server, query)
        assert isinstance(page, Page), page
        return page

    @property
    def now(self) -> Now:
        """The time, by a monotonic clock that began long before."""
        return Now(self.world.now - 1e3, self.world.clock())

    @property
    def kinds(self) -> list[type[Query]]:
        """The kinds of the questions."""
        return [type(query) for query in self.asked]

    @property
    def logs(self) -> list[LogsQuery]:
        """The questions about log rows."""
        return [query for query in self.asked if isinstance(query, LogsQuery)]

    def read(self) -> Tick:
        """Have a tick answered, and commit nothing."""
        tick = self._poll(self.reader.tick(self.now, None))
        assert isinstance(tick, Tick)
        return tick

    def tick(self) -> Tick:
        """Have a tick answered, and commit it."""
        tick = self.read()
        self.reader.commit(tick, self.now)
        return tick

    def prove(self) -> CloseCheck:
        """Have the last look answered."""
        proof = self._poll(self.reader.prove())
        assert isinstance(proof, CloseCheck)
        return proof

    def fail(self, poll: Any, at: type[Query]) -> None:
        """Have a poll answered up to a question, which has no answer."""
        query = next(poll)
        while not isinstance(query, at):
            query = poll.send(self.answer(query))
        poll.close()

    def _poll(self, poll: Any) -> object:
        self.asked = []
        try:
            query = next(poll)
            while True:
                self.asked.append(query)
                query = poll.send(self.answer(query))
        except StopIteration as end:
            return end.value


def reading(world: World | None = None, *, state: str | None = "RUNNING", **spec: Any) -> Reading:
    """A reader of a new run."""
    world = world or World()
    return Reading(world, world.server.add_run(state=state), **spec)


def run_of(watch: Reading) -> str:
    """The id of the run that is read."""
    return watch.reader._spec.flow_run_id


def prefect3(version: str | None) -> Server:
    """A Prefect of a version."""
    return Server(backend=BackendName.PREFECT_3, version=version)


def names(tick: Tick) -> list[str]:
    """The names of the states that a tick found."""
    return [state.name for state in tick.states]


# -- what a tick asks ---------------------------------------------------------------------------

FIRST: dict[frozenset[EventSource], list[type[Query]]] = {
    frozenset(EventSource): [ServerQuery, RunQuery, StatesQuery, LogsQuery, TaskRunsQuery],
    frozenset({STATES}): [ServerQuery, RunQuery, StatesQuery],
    frozenset({LOGS}): [ServerQuery, RunQuery, LogsQuery],
    frozenset({TASKS}): [ServerQuery, RunQuery, TaskRunsQuery],
    frozenset({NOTICES}): [ServerQuery, RunQuery],
    frozenset(): [ServerQuery, RunQuery],
}


@pytest.mark.parametrize("sources", FIRST, ids=lambda sources: " ".join(sorted(sources)) or "none")
def test_a_tick_asks_for_what_is_told(sources: frozenset[EventSource]) -> None:
    """The run's row is always asked for, and of the rest what the watch tells, row first."""
    watch = reading(sources=sources)
    watch.tick()
    assert watch.kinds == FIRST[sources]
    watch.tick()
    assert watch.kinds == [k for k in FIRST[sources] if k not in {ServerQuery, StatesQuery}]


def test_what_is_asked_for_is_this_run_s() -> None:
    """Each question is about the run, and lines only from the level and the time on."""
    since = START + timedelta(seconds=5)
    watch = reading(level=30, since=since)
    run_id = run_of(watch)
    watch.tick()
    assert watch.asked == [
        ServerQuery(),
        RunQuery(run_id),
        StatesQuery(run_id),
        LogsQuery(flow_run_ids=(run_id,), level=30, after=since),
        TaskRunsQuery(flow_run_id=run_id),
    ]


def test_a_tick_finds_what_there_is() -> None:
    """A tick holds the row, all new states and lines, the task runs and no reason to be late."""
    watch = reading(state="SCHEDULED")
    server, run_id = watch.world.server, run_of(watch)
    server.set_state(run_id, "RUNNING")
    line = server.log(run_id, "a line")
    task = server.set_task_state(run_id, None, "RUNNING")
    tick = watch.read()
    assert tick.run is not None
    assert tick.run.state_id == server.runs[run_id]["state_id"]
    assert names(tick) == ["Scheduled", "Running"]
    assert [log.id for log in tick.logs.rows] == [line]
    assert [row.id for row in tick.tasks.rows] == [task]
    assert (tick.malformed, tick.late_because) == ((), None)


@pytest.mark.parametrize("at", [RunQuery, StatesQuery, LogsQuery, TaskRunsQuery])
def test_a_poll_that_fails_changes_nothing(at: type[Query]) -> None:
    """Whichever question has no answer, the next tick asks and finds the same."""
    untouched, failed = (reading() for _ in range(2))
    for watch in (untouched, failed):
        watch.world.server.log(run_of(watch))
        watch.world.server.set_task_state(run_of(watch), None, "RUNNING")
    failed.fail(failed.reader.tick(failed.now, None), at)
    failed.read()
    found = failed.tick()
    untouched.tick()
    assert failed.kinds == untouched.kinds
    assert names(found) == ["Running"]
    assert len(found.logs.rows) == len(found.tasks.changed) == 1
    again = failed.tick()
    assert (again.states, again.logs.rows, again.tasks.changed) == ((), (), ())


# -- the version --------------------------------------------------------------------------------


def test_the_version_is_asked_until_the_watch_is_attached() -> None:
    """A server is asked for its version until the first tick was answered whole, then no more."""
    watch = reading()
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
def test_other_versions_are_tried(version: str | None) -> None:
    """Only Prefect 2 is known to be another API; what says nothing, or is newer, is tried."""
    poll = reading().reader.tick(Now(0, START), None)
    assert next(poll) == ServerQuery()
    assert isinstance(poll.send(Page((prefect3(version),))), RunQuery)


@pytest.mark.parametrize("version", ["2.0", "2.20.4"])
def test_prefect_2_is_refused(version: str) -> None:
    """A Prefect 2 server is refused before anything else is asked, and its version is named."""
    poll = reading().reader.tick(Now(0, START), None)
    next(poll)
    with pytest.raises(UnsupportedServer, match=version):
        poll.send(Page((prefect3(version),)))


# -- states -------------------------------------------------------------------------------------


def test_the_history_is_read_when_the_state_is_new() -> None:
    """The states are asked for once for each new state id on the row, and only new ones found."""
    watch = reading()
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


def test_the_history_is_read_again_until_it_is_told() -> None:
    """States that were found and not committed are found again."""
    watch = reading()
    assert names(watch.read()) == names(watch.read()) == ["Running"]


def test_a_run_without_a_state_has_no_history() -> None:
    """While a run has no state its history is not asked for."""
    watch = reading(state=None)
    tick = watch.tick()
    assert StatesQuery not in watch.kinds
    assert tick.states == ()
    watch.world.server.set_state(run_of(watch), "RUNNING")
    assert names(watch.tick()) == ["Running"]


def test_states_go_by_time_and_id() -> None:
    """However the server lists them, new states are in order, those of one time by their ids."""
    listed = [("c", 1), ("b", 2), ("a", 2), ("d", 0)]
    states = tuple(
        State(id=name, type="RUNNING", name=name, timestamp=START + timedelta(seconds=at))
        for name, at in listed
    )
    watch = reading(sources=frozenset({STATES}))
    usual = watch.answer
    watch.answer = lambda q: Page(states) if isinstance(q, StatesQuery) else usual(q)
    run = watch.world.server.runs[run_of(watch)]
    run["state_id"], run["state"] = "b", {"id": "b", "type": "RUNNING", "name": "b"}
    run["state"]["timestamp"] = START + timedelta(seconds=2)
    assert names(watch.tick()) == ["d", "c", "a", "b"]


def test_a_history_that_lags_behind_the_row() -> None:
    """The row's own state is found without the history, and what that lacked with the next one."""
    watch = reading()
    server, run_id = watch.world.server, run_of(watch)
    watch.tick()
    stale = watch.answer(StatesQuery(run_id))
    server.set_state(run_id, "PENDING")
    server.set_state(run_id, "RUNNING", "Again")
    usual = watch.answer
    watch.answer = lambda q: stale if isinstance(q, StatesQuery) else usual(q)
    assert names(watch.tick()) == ["Again"]
    watch.answer = usual
    server.set_state(run_id, "COMPLETED")
    assert names(watch.tick()) == ["Pending", "Completed"]


def test_rows_that_cannot_be_read_are_handed_on() -> None:
    """A tick names states, task runs and log rows that cannot be read, and finds the others."""
    watch = reading()
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
    assert [row.id for row in tick.malformed] == [state, task]
    assert [row.id for row in tick.logs.malformed] == [line]
    assert names(tick) == ["Running", "Again"]
    assert all(isinstance(row, MalformedRow) for row in (*tick.malformed, *tick.logs.malformed))


# -- a long history -----------------------------------------------------------------------------


def test_a_long_history_is_read_page_by_page() -> None:
    """While there is more to read each tick is one page of lines, told before all else is asked."""
    world = World(page_limit=10)
    watch = reading(world)
    for _ in range(35):
        world.wait(1)
        world.server.log(run_of(watch))
    world.wait(60)
    failure = Failure(kind=FailureKind.PAGE_LIMIT, text="", limit=10)
    assert watch.reader.learn(None, failure)
    first = watch.tick()
    assert watch.reader.position == first.logs.position is not None
    told, ticks = list(first.logs.rows), 1
    while watch.reader.position is not None:
        position = watch.reader.position
        tick = watch.tick()
        ticks += 1
        assert (watch.kinds, watch.logs[0].after) == ([LogsQuery], position)
        assert (tick.run, tick.states, tick.tasks.rows) == (None, (), ())
        told += tick.logs.rows
    assert ticks == 4
    assert [log.id for log in told] == [row["id"] for row in world.server.logs]
    assert watch.reader.row == first.run
    watch.tick()
    assert watch.kinds[0] is RunQuery


# -- what is learnt -----------------------------------------------------------------------------


def limits(watch: Reading) -> set[int]:
    """The limits of all questions that have one."""
    return {q.limit for q in watch.asked if isinstance(q, LogsQuery | TaskRunsQuery)}


def too_many(limit: int | None) -> Failure:
    """The answer to a question for too many rows."""
    return Failure(kind=FailureKind.PAGE_LIMIT, text="too many", limit=limit)


def test_a_limit_that_is_named_is_kept() -> None:
    """A limit below the one that was tried is used from then on, for lines and task runs."""
    watch = reading()
    watch.read()
    assert limits(watch) == {200}
    assert watch.reader.learn(watch.logs[0], too_many(50)) is True
    watch.read()
    assert limits(watch) == {50}


@pytest.mark.parametrize("limit", [200, 201, -1])
def test_a_limit_that_teaches_nothing(limit: int) -> None:
    """A limit that was kept, or that nobody can keep, teaches nothing and changes nothing."""
    watch = reading()
    assert watch.reader.learn(None, too_many(limit)) is False
    watch.read()
    assert limits(watch) == {200}


@pytest.mark.parametrize("limit", [None, 0])
def test_a_limit_that_is_not_named_is_found_by_halves(limit: int | None) -> None:
    """A server that does not say how many rows it gives is asked for half as many, down to one."""
    watch = reading()
    tried: list[int] = []
    while watch.reader.learn(None, too_many(limit)):
        watch.read()
        tried += limits(watch)
    assert tried == [100, 50, 25, 12, 6, 3, 1]
    watch.read()
    assert limits(watch) == {1}


REJECTED = Failure(kind=FailureKind.REJECTED, text="no")
PROBE = LogsQuery(flow_run_ids=("run",), offset=7)


def test_offsets_that_are_refused_are_done_without() -> None:
    """A refused question with an offset is learnt from once, and no offset is asked for again."""
    watch = reading()
    run_id = run_of(watch)
    for _ in range(3):
        watch.world.server.log(run_id)
    watch.tick()
    watch.tick()
    (probe,) = watch.logs
    assert probe.offset > 0
    assert watch.reader.learn(probe, REJECTED) is True
    assert watch.reader.learn(probe, REJECTED) is False
    line = watch.world.server.log(run_id)
    tick = watch.tick()
    assert [log.id for log in tick.logs.rows] == [line]
    assert [query.offset for query in watch.logs] == [0]
    assert (tick.logs.provable, tick.logs.proven) == (False, False)


OTHER_QUERIES: list[Query | None] = [
    None,
    LogsQuery(flow_run_ids=("run",)),
    RunQuery("run"),
    TaskRunsQuery(flow_run_id="run", offset=7),
]


@pytest.mark.parametrize("query", OTHER_QUERIES, ids=str)
def test_other_refused_questions_teach_nothing(query: Query | None) -> None:
    """Only an offset among log rows can be done without."""
    reader = reading().reader
    assert reader.learn(query, REJECTED) is False
    assert reader.learn(PROBE, REJECTED) is True


OTHERS = [
    kind for kind in FailureKind if kind not in {FailureKind.REJECTED, FailureKind.PAGE_LIMIT}
]


@pytest.mark.parametrize("trouble", OTHERS, ids=lambda trouble: trouble.value)
def test_other_trouble_teaches_nothing(trouble: FailureKind) -> None:
    """Only a refused question says how the server wants to be asked."""
    reader = reading().reader
    assert reader.learn(PROBE, Failure(kind=trouble, text="", limit=5)) is False
    assert reader.learn(PROBE, REJECTED) is True


# -- deep counts --------------------------------------------------------------------------------


class Lines:
    """A table of lines, one each ms, that answers quickly however long it is."""

    def __init__(self, flow_run_id: str, count: int) -> None:
        self.rows: list[FlowRunLog] = []
        self._times: list[datetime] = []
        self._run = flow_run_id
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Store one more."""
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

    def answer(self, query: LogsQuery) -> Page[FlowRunLog]:
        """The page that a server gives."""
        low = 0 if query.after is None else bisect_left(self._times, query.after)
        high = len(self.rows)
        if query.before is not None:
            high = bisect_right(self._times, query.before)
        assert not query.descending
        start = min(high, low + query.offset)
        return Page(tuple(self.rows[start : min(high, start + query.limit)]))


def long_table(count: int) -> tuple[Reading, Lines]:
    """A reader that has read a table of some rows."""
    watch = reading(sources=frozenset({LOGS}))
    lines, usual = Lines(run_of(watch), count), watch.answer
    watch.answer = lambda q: lines.answer(q) if isinstance(q, LogsQuery) else usual(q)
    watch.tick()
    while watch.reader.position is not None:
        watch.tick()
    assert watch.reader.cursor.ledger.total == count
    watch.world.wait(1)
    return watch, lines


def is_deep(watch: Reading) -> bool:
    """Whether the last poll counted from the first row on."""
    return any(query.after is None for query in watch.logs)


@pytest.mark.parametrize("cost", [0.02, 0.4], ids="{} s a count".format)
def test_a_long_table_is_counted_so_often_that_it_takes_a_fiftieth(cost: float) -> None:
    """Past 100,000 rows a count of all follows the last one after 50 times as long as it took."""
    watch, lines = long_table(LONG + 1)
    pause = 50 * cost
    for _ in range(3):
        tick = watch.read()
        assert is_deep(watch)
        assert tick.logs.proven
        watch.reader.probed(watch.logs[-1], cost)
        watch.reader.commit(tick, watch.now)
        for share in (0.0, 0.5, 0.49):
            watch.world.wait(share * pause)
            lines.add()
            tick = watch.tick()
            assert not is_deep(watch)
            assert [log.id for log in tick.logs.rows] == [lines.rows[-1].id]
            assert not tick.logs.proven
        watch.world.wait(0.011 * pause)


def test_a_shorter_table_is_counted_at_each_poll() -> None:
    """Up to 100,000 rows each poll counts them all, however long that takes."""
    watch, _ = long_table(LONG)
    for _ in range(3):
        tick = watch.read()
        assert is_deep(watch)
        assert tick.logs.proven
        watch.reader.probed(watch.logs[-1], 60)
        watch.reader.commit(tick, watch.now)


def test_the_last_look_counts_a_long_table_too() -> None:
    """Nothing is called proven that was not counted whole."""
    watch, _ = long_table(LONG + 1)
    tick = watch.read()
    watch.reader.probed(watch.logs[-1], 60)
    watch.reader.commit(tick, watch.now)
    watch.tick()
    assert not is_deep(watch)
    assert watch.prove().logs.proven
    assert is_deep(watch)


@pytest.mark.parametrize(
    "query",
    [
        None,
        RunQuery("run"),
        LogsQuery(flow_run_ids=("run",)),
        TaskRunsQuery(flow_run_id="r", offset=9),
    ],
    ids=str,
)
def test_only_counts_tell_what_a_count_costs(query: Query | None) -> None:
    """How long other answers took has no say in how often a long table is counted."""
    watch, _ = long_table(LONG + 1)
    tick = watch.read()
    watch.reader.probed(watch.logs[-1], 0.1)
    watch.reader.probed(query, 60)
    watch.reader.commit(tick, watch.now)
    watch.world.wait(5.01)
    watch.tick()
    assert is_deep(watch)


# -- why late -----------------------------------------------------------------------------------

WHY: list[type[Query]] = [WorkPoolQuery, WorkersQuery]
NO_WORKER = "no worker of its work pool 'gpu' is online"


def waiting(**spec: Any) -> Reading:
    """A reader of a run that waits for a worker, and is due now."""
    world = World()
    world.server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "READY"}
    run_id = world.server.add_run(work_pool_name="gpu")
    return Reading(world, run_id, sources=frozenset({NOTICES}), **spec)


def whys(watch: Reading) -> list[type[Query]]:
    """The questions after the reason to be late."""
    return [kind for kind in watch.kinds if kind in WHY]


def test_why_a_run_is_late_is_asked_every_30_s() -> None:
    """A late run's reason is asked for at once and every 30 s, and holds in between."""
    watch = waiting()
    assert (watch.tick().late_because, whys(watch)) == (None, [])
    watch.world.wait(14)
    assert (watch.tick().late_because, whys(watch)) == (None, [])
    watch.world.wait(2)
    for _ in range(3):
        assert (watch.tick().late_because, whys(watch)) == (NO_WORKER, WHY)
        for seconds in (0, 15, 14.5):
            watch.world.wait(seconds)
            assert (watch.tick().late_because, whys(watch)) == (NO_WORKER, [])
        watch.world.wait(0.6)


def test_a_reason_that_changes_is_found_within_30_s() -> None:
    """The reason is the one of the last time that it was asked for."""
    watch = waiting()
    watch.world.wait(20)
    assert watch.tick().late_because == NO_WORKER
    watch.world.server.pools["gpu"]["is_paused"] = True
    watch.world.wait(29)
    assert watch.tick().late_because == NO_WORKER
    watch.world.wait(1.1)
    assert watch.tick().late_because == "its work pool 'gpu' is paused"


def test_why_is_asked_at_once_when_a_run_is_late_again() -> None:
    """A run that was late, started and is late again is not kept waiting for the 30 s."""
    watch = waiting()
    server, run_id = watch.world.server, run_of(watch)
    watch.world.wait(20)
    watch.tick()
    server.set_state(run_id, "RUNNING")
    assert watch.tick().late_because is None
    server.set_state(run_id, "SCHEDULED")
    assert (watch.tick().late_because, whys(watch)) == (NO_WORKER, WHY)


def test_a_reason_that_was_not_committed_is_asked_for_again() -> None:
    """A tick that came to nothing does not count as asking."""
    watch = waiting()
    watch.world.wait(20)
    for _ in range(2):
        assert (watch.read().late_because, whys(watch)) == (NO_WORKER, WHY)


def test_nobody_asks_why_where_nobody_is_told() -> None:
    """Without notices the reason is not asked for."""
    watch = waiting()
    spec = msgspec.structs.replace(watch.reader._spec, sources=frozenset({STATES}))
    watch.reader = RunReader(spec)
    watch.world.wait(20)
    assert (watch.tick().late_because, whys(watch)) == (None, [])


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
    ids=["its answer", "its answer: not yet", "as known", "as known: not yet", "ours", "ours: no"],
)
def test_whose_clock_says_that_a_run_is_late(
    page: datetime | None, known: datetime | None, ours: datetime, late: bool
) -> None:
    """The server's time counts, by this answer or the last that told it, and else our own."""
    watch = waiting()
    poll = watch.reader.tick(Now(0, ours), known)
    next(poll)
    poll.send(Page((prefect3("3.8.8"),)))
    (run,) = watch.answer(RunQuery(run_of(watch))).rows
    assert isinstance(run, FlowRun)
    try:
        asked = isinstance(poll.send(Page((run,), page)), WorkPoolQuery)
    except StopIteration:
        asked = False
    assert asked is late


# -- the last look ------------------------------------------------------------------------------


def test_the_last_look_counts_and_then_looks_at_the_run() -> None:
    """The row is asked for after the count, so that nothing comes between it and the end."""
    watch = reading()
    watch.world.server.log(run_of(watch))
    watch.tick()
    line = watch.world.server.log(run_of(watch))
    proof = watch.prove()
    assert watch.kinds == [LogsQuery, RunQuery]
    assert (proof.logs.proven, [log.id for log in proof.logs.rows]) == (True, [line])
    assert proof.run == watch.reader.row
    assert [log.id for log in watch.prove().logs.rows] == [line]
    watch.reader.commit_proof(proof, watch.now)
    assert watch.prove().logs.rows == ()


def test_without_lines_there_is_nothing_to_count() -> None:
    """Where no lines are told, the last look is at the row alone, and proves all there is."""
    watch = reading(sources=frozenset({STATES}))
    watch.tick()
    proof = watch.prove()
    assert watch.kinds == [RunQuery]
    assert proof.logs.proven


def test_without_offsets_the_last_look_reads_everything_again() -> None:
    """A server that refuses offsets cannot count, so what came in anywhere is found by reading."""
    watch = reading()
    server, run_id = watch.world.server, run_of(watch)
    server.log(run_id, "first")
    watch.world.wait(60)
    server.log(run_id, "newest")
    watch.tick()
    assert watch.reader.learn(PROBE, REJECTED)
    old = server.log(run_id, "old", timestamp=START + timedelta(seconds=1))
    assert watch.tick().logs.rows == ()
    proof = watch.prove()
    assert [log.id for log in proof.logs.rows] == [old]
    assert (proof.logs.proven, proof.logs.provable) == (False, False)
