"""`RunsSession`: many runs in one watch, each with the promises that one run has by itself."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from itertools import groupby, pairwise
from random import Random
from typing import Any

import pytest
from simulated_world import START, SimulatedWatch, World, refused

from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import (
    LogsQuery,
    Query,
    RunQuery,
    RunsQuery,
    StatesQuery,
    WorkPoolQuery,
)
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.spec_arguments import spec_of_wait
from rxflow._watching.watch_spec import GIVEN_RUNS, EventSource, RunSelection, WatchSpec
from rxflow.errors import BadResponse, WatchTimedOut
from rxflow.events import (
    AllClosed,
    Closed,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
RATE_LIMITED = Failure(kind=FailureKind.RATE_LIMITED, text="Too many requests (HTTP 429)")
UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"


class ManyRuns(SimulatedWatch):
    """A watch over runs that may be added while it goes on."""

    session: RunsSession

    def __init__(
        self,
        world: World,
        ids: Iterable[str] = (),
        *,
        more: bool = False,
        selection: RunSelection = GIVEN_RUNS,
        **options: Any,
    ) -> None:
        """Make a watch of some runs.

        Args:
            world: What is watched.
            ids: The runs.
            more: Whether others will be added.
            selection: Which runs to look for.
            options: Those of `WatchSpec`.
        """
        spec = WatchSpec(**{"flow_run_id": "", "sources": SOURCES, **options})
        super().__init__(world, spec, session=RunsSession(spec, Random(0), selection))
        self.session.add(ids)
        if not more:
            self.session.complete()

    def add_at(self, seconds: float, ids: Iterable[str]) -> None:
        """Add runs at a time, and no more after them."""

        def add() -> None:
            self.session.add(ids)
            self.session.complete()

        self.world.at(seconds, add)

    def of_run(self, run_id: str) -> list[Any]:
        """Return the events of one run, in order."""
        return [event for event in self.events if event.flow_run_id == run_id]

    @property
    def all_closed(self) -> AllClosed:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, AllClosed), last
        return last

    def queries_between(self, begin: float, end: float) -> Counter[str]:
        """Count the queries sent within a time, by their kinds."""
        return Counter(type(query).__name__ for at, query in self.sent if begin <= at < end)


def running(world: World, count: int, **row: Any) -> list[str]:
    """Add runs that are at work."""
    return [world.server.add_run(state="RUNNING", **row) for _ in range(count)]


def complete_at(world: World, seconds: float, ids: Iterable[str]) -> None:
    """Let runs complete at a time."""
    for run_id in ids:
        world.at(seconds, partial(world.server.set_state, run_id, "COMPLETED"))


def notice_ids(watched: SimulatedWatch) -> list[tuple[str, str | None]]:
    """Return the run of each notice, "" for the watch as a whole, and the row that it is about."""
    return [(notice.flow_run_id, notice.row_id) for notice in watched.of(Notice)]


def codes(watched: SimulatedWatch) -> list[NoticeCode]:
    """Return the codes of the notices."""
    return [notice.code for notice in watched.of(Notice)]


def rows_of(world: World, run_id: str) -> set[str]:
    """Return the ids of the states and log rows that the server has of a run."""
    states = {state["id"] for state in world.server.states[run_id]}
    return states | {row["id"] for row in world.server.logs if row["flow_run_id"] == run_id}


# -- hostile lives ---------------------------------------------------------------------------------


def play(world: World, run_id: str, random: Random) -> bool:
    """Schedule the life of a run; return whether it is deleted in the end."""
    server, end = world.server, random.uniform(1, 120)
    for _ in range(random.choice([0, 3, 30, 300])):
        written = random.uniform(0, end)
        time = START + timedelta(seconds=written)
        log = partial(server.log, run_id, "line", timestamp=time)
        world.at(written + random.uniform(0, 2), log)
    is_deleted = random.random() < 0.15
    if is_deleted:
        world.at(end, partial(server.delete_run, run_id))
        return True
    world.at(end, partial(server.set_state, run_id, random.choice(["COMPLETED", "FAILED"])))
    if random.random() < 0.2:
        world.at(end + 3, partial(server.set_state, run_id, "RUNNING"))
        world.at(end + 40, partial(server.log, run_id, "after a retry"))
        world.at(end + 41, partial(server.set_state, run_id, "COMPLETED"))
    return False


@pytest.mark.parametrize("seed", range(12))
def test_every_row_of_every_run_is_emitted_once(seed: int) -> None:
    """Runs come, log late, retry, end and vanish; each has its whole stream, as if alone."""
    random = Random(seed)
    world = World(random=Random(seed), page_limit=random.choice([7, 200]))
    ids = running(world, 14)
    deleted = {run_id for run_id in ids if play(world, run_id, random)}
    watched = ManyRuns(world, ids[:9], more=True, max_duration=None)
    watched.add_at(random.uniform(1, 60), ids[9:])
    if seed % 3 == 0:  # an outage
        world.at(30, lambda: setattr(world, "fault", refused))
        world.at(50, lambda: setattr(world, "fault", lambda _: None))
    watched.run()
    assert watched.ended
    for run_id in ids:
        events = watched.of_run(run_id)
        emitted = [event.id for event in events if isinstance(event, StateChange | FlowRunLog)]
        assert len(emitted) == len(set(emitted))
        assert isinstance(events[-1], Closed)
        if run_id not in deleted:
            assert set(emitted) == rows_of(world, run_id)
            assert isinstance(events[0], RunSeen)
            assert events[-1].verified
            assert events[-1].log_count == sum(isinstance(event, FlowRunLog) for event in events)
            dated = [e for e in events if isinstance(e, StateChange | FlowRunLog)]
            on_time = [event.timestamp for event in dated if not event.late]
            assert on_time == sorted(on_time)
    assert {outcome.flow_run_id for outcome in watched.all_closed.runs} == set(ids)


def test_all_closed_has_the_outcome_of_each_run() -> None:
    """The last event names each run, its state and whether its lines were proven complete."""
    world = World()
    ids = running(world, 2, name="amber-fox")
    world.server.log(ids[0], "a line")
    world.at(3, partial(world.server.set_state, ids[0], "COMPLETED"))
    world.at(4, partial(world.server.set_state, ids[1], "FAILED"))
    watched = ManyRuns(world, [*ids, ids[0]]).run()
    first, second = watched.all_closed.runs
    assert (first.flow_run_id, second.flow_run_id) == (ids[0], ids[1])
    assert (first.name, first.log_count, first.verified) == ("amber-fox", 1, True)
    assert watched.all_closed.verified
    assert watched.all_closed.worst is second
    assert watched.all_closed.timestamp == watched.of(Closed)[-1].timestamp


# -- what it costs ---------------------------------------------------------------------------------


def test_a_tick_of_many_runs_takes_two_queries() -> None:
    """While nothing happens the rows of all runs are one query, and their log rows another."""
    world = World()
    ids = running(world, 40)
    watched = ManyRuns(world, ids, more=True, max_duration=None).run(until=60)
    sent = watched.queries_between(30, 60)
    assert sent.keys() == {"RunsQuery", "LogsQuery"}
    assert abs(sent["RunsQuery"] - sent["LogsQuery"]) <= 1
    assert 5 <= sent["RunsQuery"] <= 8


def test_more_runs_than_a_group_has_room_for_are_two_groups() -> None:
    """A query is about 200 runs at most."""
    world = World()
    ids = running(world, 201)
    watched = ManyRuns(world, ids, max_duration=None)
    complete_at(world, 60, ids)
    watched.run(until=50)
    sizes = {len(q.where.flow_run_ids) for _, q in watched.sent if isinstance(q, RunsQuery)}
    assert {200, 1} <= sizes
    assert max(sizes) == 200
    assert max(len(q.flow_run_ids) for _, q in watched.sent if isinstance(q, LogsQuery)) == 200
    watched.run()
    assert len(watched.all_closed.runs) == 201
    assert watched.all_closed.verified


def test_a_long_history_does_not_delay_the_others() -> None:
    """While 2,400 lines of one run are read, a group that is due waits for one page of them."""
    world = World(page_limit=4)
    quiet, long = running(world, 2)
    for number in range(2_400):
        time = START - timedelta(seconds=6_000 - number)
        world.server.log(long, f"line {number}", timestamp=time)
    watched = ManyRuns(world, [quiet], more=True, max_duration=None)
    watched.add_at(5, [long])
    world.at(5.3, partial(world.server.log, quiet, "news"))
    watched.run(until=60)
    (news,) = (at for at, event in watched.emitted if event.message == "news")
    end = max(at for at, event in watched.emitted if event.message.startswith("line"))
    assert end > 5 + 8  # longer than the longest pause of a group of one run
    assert news < end - 1
    # A query takes 0.01 s.
    later = [at for at, query in watched.sent if isinstance(query, RunsQuery) and at > 5.3]
    assert news - later[0] < 0.1


def test_a_page_limit_below_the_number_of_runs() -> None:
    """Rows of more runs than fit on a page are read by several queries."""
    world = World(page_limit=3)
    ids = running(world, 7)
    complete_at(world, 20, ids)
    watched = ManyRuns(world, ids).run()
    assert all(len(q.where.flow_run_ids) <= 3 for _, q in watched.sent if isinstance(q, RunsQuery))
    assert watched.all_closed.verified


# -- one run of many -------------------------------------------------------------------------------


def test_an_unknown_run_does_not_end_the_others() -> None:
    """A run that the server does not have is closed with a notice, and the others go on."""
    world = World()
    (known,) = running(world, 1)
    complete_at(world, 20, [known])
    watched = ManyRuns(world, [UNKNOWN, known]).run()
    notice, closed = watched.of_run(UNKNOWN)
    assert notice.code is NoticeCode.RUN_NOT_FOUND
    assert notice.message.startswith("The server has no such flow run; check the id")
    assert (closed.state, closed.verified) == (None, False)
    assert watched.of_run(known)[-1].verified
    unknown, _ = watched.all_closed.runs
    assert (unknown.name, unknown.state) == (None, None)
    assert watched.all_closed.worst is unknown


def test_a_run_that_is_not_found_is_no_outage() -> None:
    """The server replied, so neither is a later pause an outage, nor does an earlier one go on."""
    world = World()
    (known,) = running(world, 1)
    complete_at(world, 100, [known])
    watched = ManyRuns(world, [UNKNOWN], more=True, max_duration=None)
    watched.add_at(60, [known])
    watched.run()
    assert codes(watched) == [NoticeCode.RUN_NOT_FOUND]


def test_a_reply_that_a_run_is_not_found_ends_an_outage() -> None:
    """It is the first good reply, and no other may come for long."""
    world = World()
    (known,) = running(world, 1)
    watched = ManyRuns(world, [known], more=True, max_duration=None).run(until=10)
    world.at(10.1, partial(world.server.delete_run, known))
    world.fault = lambda query: None if isinstance(query, RunQuery) else refused(query)
    world.at(40, lambda: setattr(world, "fault", lambda _: None))
    watched.run(until=200)
    assert codes(watched) == [
        *(NoticeCode.DEGRADED, NoticeCode.RECOVERED),
        NoticeCode.RUN_DELETED,
    ]


@pytest.mark.parametrize("count", [3, 30])
def test_a_deleted_run_leaves_the_others_proven(count: int) -> None:
    """Its lines are deleted after it, which must not unbalance the count of the others'.

    The rows of so many runs as 30 are not all read each time.
    """
    world = World()
    ids = running(world, count)
    for run_id in ids:
        for number in range(10):
            world.server.log(run_id, f"line {number}")
    for number in range(60):
        world.at(8 + number / 4, partial(world.server.log, ids[1], f"line {number}"))
    lines = [row["id"] for row in world.server.logs if row["flow_run_id"] == ids[0]]
    world.at(14, partial(world.server.delete_run, ids[0]))
    world.at(14.1, partial(world.server.delete_logs, lines))
    complete_at(world, 40, ids[1:])
    watched = ManyRuns(world, ids).run()
    assert NoticeCode.SOURCE_REWOUND not in codes(watched)
    *_, notice, closed = watched.of_run(ids[0])
    assert notice.code is NoticeCode.RUN_DELETED
    assert not closed.verified
    assert all(watched.of_run(run_id)[-1].verified for run_id in ids[1:])


def test_a_run_that_is_missing_once_is_watched_on() -> None:
    """One page of a replica that lags does not close a run."""
    world = World()
    ids = running(world, 3)
    complete_at(world, 30, ids)
    watched = ManyRuns(world, ids)
    lost = world.server.runs[ids[1]]

    def lag() -> None:
        del world.server.runs[ids[1]]

    world.at(10, lag)
    world.at(11.5, lambda: world.server.runs.setdefault(ids[1], lost))
    watched.run()
    assert codes(watched) == []
    assert [isinstance(event, Closed) for event in watched.of_run(ids[1])].count(True) == 1
    assert watched.all_closed.verified


def test_a_reopened_run_is_read_with_the_others_again() -> None:
    """A run that leaves a terminal state while it drains is watched on, to its second end."""
    world = World()
    ids = running(world, 2)
    for seconds, state in ((10, "FAILED"), (12, "RUNNING"), (30, "COMPLETED")):
        world.at(seconds, partial(world.server.set_state, ids[0], state))
    complete_at(world, 40, [ids[1]])
    watched = ManyRuns(world, ids).run()
    assert codes(watched) == [NoticeCode.REOPENED]
    assert [e.state.name for e in watched.of_run(ids[0]) if isinstance(e, StateChange)] == [
        *("Running", "Failed", "Running", "Completed"),
    ]
    last = [q for at, q in watched.sent if isinstance(q, RunsQuery) and 20 < at < 30]
    assert all(set(query.where.flow_run_ids) == set(ids) for query in last)


def test_a_run_that_is_reopened_by_its_close_check_joins_again() -> None:
    """What the check finds is emitted, and the run is watched on."""
    world = World()
    ids = running(world, 2)
    world.at(5, partial(world.server.set_state, ids[0], "COMPLETED"))
    watched = ManyRuns(world, ids, max_duration=None)

    def reopen(query: Query) -> None:
        if isinstance(query, RunQuery) and world.now > 6:
            world.server.set_state(ids[0], "RUNNING")
            world.fault = lambda _: None

    world.fault = reopen
    complete_at(world, 60, ids)
    watched.run()
    assert codes(watched) == [NoticeCode.REOPENED]
    assert watched.all_closed.verified


def test_a_malformed_line_of_a_run_is_that_runs() -> None:
    """Its outcome has it, and not those of the others."""
    world = World()
    ids = running(world, 2)
    complete_at(world, 30, ids)
    watched = ManyRuns(world, ids)

    def log_malformed() -> None:
        world.server.log(ids[1], "malformed")
        world.server.logs[-1].update(level="high")

    world.at(10, log_malformed)
    watched.run()
    assert codes(watched) == [NoticeCode.MALFORMED]
    outcomes = {outcome.flow_run_id: outcome for outcome in watched.all_closed.runs}
    assert (outcomes[ids[1]].malformed, outcomes[ids[1]].verified) == (1, False)
    assert outcomes[ids[0]].verified


@pytest.mark.parametrize("since_second", [0, 30], ids=["from the beginning", "in a group"])
def test_a_run_whose_row_cannot_be_read_does_not_delay_the_others(since_second: float) -> None:
    """It has one notice; the others' news comes as before, and its own once it can be read."""
    world = World()
    ids = running(world, 3)
    odd = ids[0]
    name = world.server.runs[odd]["name"]
    world.at(since_second, lambda: world.server.runs[odd].update(name=5))
    for second in range(40, 60):
        world.at(second, partial(world.server.log, ids[1], "line"))
    world.at(100, lambda: world.server.runs[odd].update(name=name))
    complete_at(world, 120, ids)
    watched = ManyRuns(world, ids).run(until=100)
    delays = [
        at - (event.timestamp - START).total_seconds()
        for at, event in watched.emitted
        if isinstance(event, FlowRunLog)
    ]
    assert len(delays) == 20
    assert max(delays) < 6
    assert notice_ids(watched) == [("" if since_second == 0 else odd, odd)]
    assert codes(watched) == [NoticeCode.MALFORMED]
    watched.run()
    assert codes(watched) == [NoticeCode.MALFORMED]
    assert all(outcome.verified for outcome in watched.all_closed.runs)
    for run_id in ids:
        assert {event.id for event in watched.of_run(run_id) if hasattr(event, "id")} == rows_of(
            world, run_id
        )


@pytest.mark.parametrize(
    ("since_second", "kind"),
    [
        (0, FailureKind.SERVER),
        (0, FailureKind.UNREADABLE),
        (30, FailureKind.SERVER),
        (30, FailureKind.UNREADABLE),
        (30, FailureKind.REJECTED),
    ],
)
def test_a_run_whose_states_cannot_be_read_does_not_delay_the_others(
    since_second: float, kind: FailureKind
) -> None:
    """They are closed meanwhile, and it is after its states can be read again."""
    world = World()
    ids = running(world, 3)
    odd = ids[0]

    def fail(query: Query) -> Failure | None:
        is_odd = isinstance(query, StatesQuery) and query.flow_run_id == odd
        return Failure(kind=kind, text="It is ill") if is_odd else None

    world.at(since_second, lambda: setattr(world, "fault", fail))
    world.at(300, lambda: setattr(world, "fault", lambda _: None))
    complete_at(world, 60, ids[:2])
    complete_at(world, 310, ids[2:])
    watched = ManyRuns(world, ids, max_duration=None).run()
    closed = {event.flow_run_id: at for at, event in watched.emitted if isinstance(event, Closed)}
    assert closed[ids[1]] < 100
    assert 300 < closed[odd] < 320
    assert all(isinstance(watched.of_run(run_id)[0], RunSeen) for run_id in ids)
    assert notice_ids(watched) == [("" if since_second == 0 else odd, odd)]
    assert all(outcome.verified for outcome in watched.all_closed.runs)


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.UNREADABLE])
def test_a_run_whose_close_check_failed_is_verified(kind: FailureKind) -> None:
    """A row that was read after all does not count as one that could not be read."""
    world = World()
    ids = running(world, 3)
    odd = ids[0]

    def fail(query: Query) -> Failure | None:
        is_odd = isinstance(query, RunQuery) and query.flow_run_id == odd and 60 < world.now < 120
        return Failure(kind=kind, text="It is ill") if is_odd else None

    world.fault = fail
    complete_at(world, 60, [odd])
    complete_at(world, 200, ids[1:])
    watched = ManyRuns(world, ids).run()
    assert notice_ids(watched) == [(odd, odd)]
    assert [(outcome.malformed, outcome.verified) for outcome in watched.all_closed.runs] == [
        (0, True)
    ] * 3


def test_the_last_run_of_a_group_whose_states_cannot_be_read() -> None:
    """It is read by itself, and closed once its states can be read again."""
    world = World()
    ids = running(world, 1)

    def fail(query: Query) -> Failure | None:
        is_ill = isinstance(query, StatesQuery)
        return Failure(kind=FailureKind.SERVER, text="It is ill") if is_ill else None

    world.at(30, lambda: setattr(world, "fault", fail))
    world.at(50, lambda: setattr(world, "fault", lambda _: None))
    complete_at(world, 40, ids)
    watched = ManyRuns(world, ids).run()
    assert watched.all_closed.verified
    assert {event.id for event in watched.of(StateChange)} == rows_of(world, ids[0])


def test_task_runs_of_a_run_whose_row_cannot_be_read() -> None:
    """They are emitted all the same, each state once."""
    world = World()
    ids = running(world, 3)
    world.at(20, lambda: world.server.runs[ids[0]].update(name=5))
    for second in range(30, 40):
        world.at(second, partial(world.server.add_task_run, ids[0], state="COMPLETED"))
    sources = SOURCES | {EventSource.TASKS}
    watched = ManyRuns(world, ids, more=True, sources=sources, max_duration=None).run(until=60)
    emitted = [event.id for event in watched.of(TaskRunStateChange)]
    assert len(emitted) == len(set(emitted)) == 10


@pytest.mark.parametrize("place", [0, 2], ids=["the first run", "the last run"])
def test_a_run_whose_queries_get_no_reply_takes_a_share_of_the_time(place: int) -> None:
    """Of the others' lines four in five come as before, the rest at the latest after the timeout.

    Once there are replies, the run has all of its own.
    """
    world = World()
    ids = running(world, 3)
    frozen = ids[place]
    others = [run_id for run_id in ids if run_id != frozen]

    def freeze(query: Query) -> Failure | None:
        text = str(query)
        if world.now > 400 or frozen not in text or any(run_id in text for run_id in others):
            return None
        world.wait(10)
        return Failure(kind=FailureKind.NETWORK, text="no response")

    for second in range(100, 400):
        for run_id in ids:
            world.at(second, partial(world.server.log, run_id, "line"))
    world.fault = freeze
    complete_at(world, 420, ids)
    watched = ManyRuns(world, ids).run()
    delays = sorted(
        at - (event.timestamp - START).total_seconds()
        for at, event in watched.emitted
        if isinstance(event, FlowRunLog) and event.flow_run_id != frozen
    )
    assert len(delays) == 600
    assert delays[-1] < 16
    assert delays[480] < 5
    assert len([e for e in watched.of_run(frozen) if isinstance(e, FlowRunLog)]) == 300
    assert all(outcome.verified for outcome in watched.all_closed.runs)


def test_a_server_that_replies_nothing_readable_ends_the_watch() -> None:
    """Where no reply can be read, the watch ends as that of one run does."""
    world = World()
    ids = running(world, 3)
    watched = ManyRuns(world, ids).run(until=20)
    world.fault = lambda _: Failure(kind=FailureKind.UNREADABLE, text="not JSON")
    watched.run(until=200)
    assert isinstance(watched.error, BadResponse)
    assert world.now < 100


def test_lines_that_vanished_are_reported() -> None:
    """Of a table that shrank, the lines that may be new are emitted again, as of one run."""
    world = World()
    ids = running(world, 2)
    for number in range(30):
        world.server.log(ids[0], f"line {number}")
    complete_at(world, 60, ids)
    first = [row["id"] for row in world.server.logs][:5]
    world.at(20, partial(world.server.delete_logs, first))
    watched = ManyRuns(world, ids).run()
    assert NoticeCode.SOURCE_REWOUND in codes(watched)
    assert watched.ended


def test_lines_that_vanished_long_ago_are_reported_for_their_run() -> None:
    """Rows that are only counted any more name their run by their bucket."""
    world = World()
    ids = running(world, 2)
    for number in range(30):
        world.server.log(ids[0], f"line {number}", timestamp=START - timedelta(seconds=90 - number))
    first = [row["id"] for row in world.server.logs][:5]
    for second in range(1, 60, 3):
        world.at(second, partial(world.server.log, ids[1], f"line {second}"))
    world.at(30, partial(world.server.delete_logs, first))
    complete_at(world, 60, ids)
    watched = ManyRuns(world, ids).run()
    rewound = [n for n in watched.of(Notice) if n.code is NoticeCode.SOURCE_REWOUND]
    assert [notice.flow_run_id for notice in rewound] == [ids[0]]


def test_lines_that_vanished_now_and_long_ago_are_reported_for_each_run() -> None:
    """One run's lines are known by their ids still, another's only counted; a third has all."""
    world = World()
    ids = running(world, 3)
    for number in range(30):
        world.server.log(ids[0], f"line {number}", timestamp=START - timedelta(seconds=90 - number))
    old = [row["id"] for row in world.server.logs][:5]
    for second in range(1, 60):
        world.at(second, partial(world.server.log, ids[1 + second % 2], f"line {second}"))

    def delete() -> None:
        recent = [row["id"] for row in world.server.logs if row["flow_run_id"] == ids[1]]
        world.server.delete_logs([*old, recent[-2]])

    world.at(30.5, delete)
    complete_at(world, 70, ids)
    watched = ManyRuns(world, ids).run()
    rewound = [n for n in watched.of(Notice) if n.code is NoticeCode.SOURCE_REWOUND]
    assert sorted(notice.flow_run_id for notice in rewound) == sorted(ids[:2])


# -- the watch as a whole --------------------------------------------------------------------------


def test_a_watch_without_runs_ends_at_once() -> None:
    """It needs no server to know that."""
    watched = ManyRuns(World()).run()
    assert (watched.ended, watched.sent) == (True, [])
    assert watched.all_closed.runs == ()
    assert watched.all_closed.worst is None


def test_a_watch_that_awaits_runs_sends_nothing() -> None:
    """It waits for runs to be added, as long as its limit allows."""
    watched = ManyRuns(World(), more=True, max_duration=10_000).run(until=20_000)
    assert watched.sent == []
    assert isinstance(watched.error, WatchTimedOut)


def test_a_run_that_was_closed_is_watched_once_more() -> None:
    """Only if it is added again as one that may have gone on; one that is watched is left alone."""
    world = World()
    (run,) = running(world, 1)
    complete_at(world, 5, [run])
    watched = ManyRuns(world, [run], more=True)
    watched.run(until=60)
    assert watched.session.run_count == 0
    watched.session.add([run])
    assert watched.session.run_count == 0
    for _ in range(2):
        watched.session.add([run], again=True)
    assert watched.session.run_count == 1
    watched.run(until=120)
    assert [type(event) for event in watched.of_run(run)].count(Closed) == 2


def test_runs_that_are_left_to_another_watch() -> None:
    """They are not added, by whomever they were found."""
    world = World()
    own, other = running(world, 2)
    spec = WatchSpec(flow_run_id="", sources=SOURCES)
    session = RunsSession(spec, Random(0), accepts=lambda run_id: run_id == own)
    session.add([own, other])
    assert (session.run_count, session.has_run(own), session.has_run(other)) == (1, True, False)


def test_a_watch_that_waits_for_its_consumer_says_so() -> None:
    """The notice names no run, since the consumer has events of several."""
    watched = ManyRuns(World(), more=True)
    watched.record(watched.session.report_unacknowledged(10_000, watched.now()))
    (notice,) = watched.of(Notice)
    assert (notice.code, notice.flow_run_id) == (NoticeCode.UNACKNOWLEDGED, "")


def test_an_outage_is_one_notice() -> None:
    """It is about the watch, not about each run, and nothing is lost by it."""
    world = World()
    ids = running(world, 5)
    complete_at(world, 60, ids)
    world.at(10, lambda: setattr(world, "fault", refused))
    for run_id in ids:
        world.at(15, partial(world.server.log, run_id, "during the outage"))
    world.at(30, lambda: setattr(world, "fault", lambda _: None))
    watched = ManyRuns(world, ids).run()
    assert codes(watched) == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert {notice.flow_run_id for notice in watched.of(Notice)} == {""}
    assert len(watched.of(FlowRunLog)) == 5
    assert watched.all_closed.verified


def test_an_outage_gives_every_run_time_for_its_last_lines() -> None:
    """Writers retry after an outage, so a run that ended in it is drained for longer."""
    world = World()
    ids = running(world, 2)
    complete_at(world, 15, ids)
    world.at(10, lambda: setattr(world, "fault", refused))
    world.at(30, lambda: setattr(world, "fault", lambda _: None))
    world.at(50, partial(world.server.log, ids[1], "retried"))
    watched = ManyRuns(world, ids).run()
    assert [line.message for line in watched.of(FlowRunLog)] == ["retried"]


def test_each_late_line_of_a_run_in_a_group_is_news() -> None:
    """A run that is over is read until nothing of it was stored for a while."""
    world = World()
    ids = running(world, 3)
    complete_at(world, 10, ids[:1])
    complete_at(world, 60, ids[1:])
    for seconds in (14, 18, 22):
        world.at(seconds, partial(world.server.log, ids[0], "late"))
    watched = ManyRuns(world, ids).run()
    assert len(watched.of(FlowRunLog)) == 3
    assert watched.all_closed.verified


def test_refused_offsets_make_a_watch_unverified() -> None:
    """A server that refuses them is read without, which shows no proof, but all lines."""
    world = World()
    ids = running(world, 2)
    for run_id in ids:
        world.server.log(run_id, "a line")
    complete_at(world, 30, ids)

    def refuse(query: Query) -> Failure | None:
        if isinstance(query, LogsQuery) and query.offset and world.now > 5:
            return Failure(kind=FailureKind.REJECTED, text="no offsets")
        return None

    world.fault = refuse
    watched = ManyRuns(world, ids).run()
    assert len(watched.of(FlowRunLog)) == 2
    assert not watched.all_closed.verified


def test_a_burst_is_read_page_by_page() -> None:
    """More lines than a poll reads are a history of their own, for the group as a whole."""
    world = World(page_limit=10)
    ids = running(world, 2)
    for number in range(300):
        world.at(10, partial(world.server.log, ids[number % 2], f"line {number}"))
    complete_at(world, 11, ids)
    watched = ManyRuns(world, ids).run()
    assert len(watched.of(FlowRunLog)) == 300
    assert watched.all_closed.verified
    for run_id in ids:
        kinds = [type(e) for e in watched.of_run(run_id) if isinstance(e, FlowRunLog | StateChange)]
        assert [kind for kind, _ in groupby(kinds)] == [StateChange, FlowRunLog, StateChange]


def test_a_run_is_closed_after_a_burst_of_its_group() -> None:
    """A run that is over stays in its group until the lines of the others are read page by page."""
    world = World(page_limit=10)
    ids = running(world, 2)
    complete_at(world, 1, ids[:1])
    for number in range(300):
        world.at(3, partial(world.server.log, ids[1], f"line {number}"))
    world.at(3, lambda: setattr(world, "fault", lambda _: world.wait(0.5)))
    complete_at(world, 60, ids[1:])
    watched = ManyRuns(world, ids).run()
    assert len(watched.of(FlowRunLog)) == 300
    last_line = max(at for at, event in watched.emitted if isinstance(event, FlowRunLog))
    (closed,) = (
        at for at, e in watched.emitted if isinstance(e, Closed) and e is watched.of(Closed)[0]
    )
    assert watched.of_run(ids[0])[-1].verified
    assert last_line < closed < last_line + 5


def test_states_wait_for_the_lines_of_an_outage() -> None:
    """Where more lines came in an outage than a poll reads, the end of a run is read after them."""
    world = World(page_limit=10)
    ids = running(world, 2)
    world.at(9, lambda: setattr(world, "fault", refused))
    for number in range(300):
        world.at(10, partial(world.server.log, ids[number % 2], f"line {number}"))
    complete_at(world, 11, ids)
    world.at(20, lambda: setattr(world, "fault", lambda _: None))
    watched = ManyRuns(world, ids).run()
    assert watched.all_closed.verified
    for run_id in ids:
        dated = [e for e in watched.of_run(run_id) if isinstance(e, FlowRunLog | StateChange)]
        assert [kind for kind, _ in groupby(map(type, dated))] == [
            *(StateChange, FlowRunLog, StateChange),
        ]
        assert not any(event.late for event in dated)


def test_runs_that_come_during_a_burst_join_after_it() -> None:
    """Lines of a burst are read page by page, and none of a newcomer's is passed over by that."""
    world = World(page_limit=5)
    ids = running(world, 12)
    for number in range(400):
        world.at(10, partial(world.server.log, ids[number % 2], f"line {number}"))
    complete_at(world, 60, ids)
    watched = ManyRuns(world, ids[:2], more=True)
    for number, run_id in enumerate(ids[2:]):
        world.at(10 + number / 4, partial(world.server.log, run_id, "hello"))
        world.at(10 + number / 4, partial(watched.session.add, [run_id]))
    world.at(50, watched.session.complete)
    watched.run()
    assert len(watched.of(FlowRunLog)) == 410
    assert watched.all_closed.verified


def test_events_of_one_tick_are_in_order_across_runs() -> None:
    """What two runs did since the last tick is emitted by time, not run by run."""
    world = World()
    ids = running(world, 2)
    for number in range(20):
        world.at(10 + number / 100, partial(world.server.log, ids[number % 2], f"line {number}"))
    complete_at(world, 30, ids)
    watched = ManyRuns(world, ids).run()
    at = Counter(at for at, event in watched.emitted if isinstance(event, FlowRunLog))
    instant, count = at.most_common(1)[0]
    assert count > 10
    times = [e.timestamp for at, e in watched.emitted if at == instant]
    assert all(earlier <= later for earlier, later in pairwise(times))


def test_log_lines_can_be_left_out() -> None:
    """Then no query for them is sent, and the runs are closed all the same."""
    world = World()
    ids = running(world, 3)
    complete_at(world, 20, ids)
    sources = frozenset({EventSource.STATES, EventSource.NOTICES})
    watched = ManyRuns(world, ids, sources=sources).run()
    assert not any(isinstance(query, LogsQuery) for _, query in watched.sent)
    assert watched.all_closed.verified


def test_task_runs_of_each_run() -> None:
    """Task runs belong to their run, and are waited for."""
    world = World()
    ids = running(world, 2)
    tasks = [world.server.add_task_run(run_id, state="RUNNING") for run_id in ids]
    complete_at(world, 10, ids)
    for run_id, task in zip(ids, tasks, strict=True):
        world.at(20, partial(world.server.set_task_state, run_id, task, "COMPLETED"))
    sources = SOURCES | {EventSource.TASKS}
    watched = ManyRuns(world, ids, sources=sources).run()
    found = [(e.flow_run_id, e.state.name) for e in watched.of(TaskRunStateChange)]
    assert sorted(found) == sorted(
        (run_id, name) for run_id in ids for name in ("Running", "Completed")
    )
    assert all(outcome.unsettled == () for outcome in watched.all_closed.runs)


def test_task_runs_of_many_runs_are_read_together() -> None:
    """However many the runs, while nothing happens one query or two read the task runs of all."""
    world = World()
    ids = running(world, 50)
    for run_id in ids:
        world.server.add_task_run(run_id, state="COMPLETED")
    world.at(30, lambda: world.server.add_task_run(ids[7], state="COMPLETED"))
    sources = SOURCES | {EventSource.TASKS}
    watched = ManyRuns(world, ids, more=True, sources=sources, max_duration=None).run(until=60)
    assert Counter(e.flow_run_id for e in watched.of(TaskRunStateChange)) == {
        run_id: 2 if run_id == ids[7] else 1 for run_id in ids
    }
    sent = watched.queries_between(10, 29)
    assert 0 < sent["TaskRunsQuery"] <= 2 * sent["RunsQuery"]
    assert sent["RunQuery"] == 0


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.UNREADABLE])
@pytest.mark.parametrize("since_second", [0, 20], ids=["from the beginning", "in a group"])
def test_why_a_run_of_many_is_late(since_second: float, kind: FailureKind) -> None:
    """A run that should have started says why it has not; a failed query for that is skipped."""
    world = World()
    world.server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "NOT_READY"}
    late = world.server.add_run(work_pool_name="gpu")
    ids = [late, *running(world, 2)]
    failures = iter([Failure(kind=kind, text="busy")])

    def fault(query: Query) -> Failure | None:
        wanted = isinstance(query, WorkPoolQuery) and world.now > since_second
        return next(failures, None) if wanted else None

    world.fault = fault
    watched = ManyRuns(world, ids, more=True, max_duration=None).run(until=90)
    assert {notice.flow_run_id for notice in watched.of(Notice)} == {late}
    assert set(codes(watched)) == {NoticeCode.LATE_START}
    assert next(failures, None) is None


@pytest.mark.parametrize(("count", "rest"), [(2, ""), (8, " and 3 more")])
def test_the_limit_names_the_runs_that_are_not_over(count: int, rest: str) -> None:
    """At most five of them, each with its state."""
    world = World()
    ids = running(world, count)
    watched = ManyRuns(world, ids, max_duration=20).run()
    text = str(watched.error)
    assert isinstance(watched.error, WatchTimedOut)
    assert f"20.0 s; {count} not over: " in text
    assert f"{ids[0]} (Running)" in text
    assert f"(Running){rest}; pass a longer max_duration" in text


def test_the_limit_says_why_a_run_was_never_read() -> None:
    """The last failure is quoted, since it is what to mend."""
    world = World()
    world.fault = refused
    watched = ManyRuns(world, [UNKNOWN], max_duration=5).run()
    assert f"1 not read yet: {UNKNOWN} (" in str(watched.error)
    assert "Nothing listens there" in str(watched.error)


def test_the_limit_spares_runs_that_drain() -> None:
    """Where all runs are over, they are watched to their end."""
    world = World()
    ids = running(world, 3)
    complete_at(world, 9, ids)
    watched = ManyRuns(world, ids, max_duration=10).run()
    assert watched.error is None
    assert watched.all_closed.verified


def test_events_about_the_watch_can_be_left_out() -> None:
    """One source alone has no notice of an outage, and no last event of all runs."""
    world = World()
    ids = running(world, 2)
    complete_at(world, 60, ids)
    world.at(10, lambda: setattr(world, "fault", refused))
    world.at(30, lambda: setattr(world, "fault", lambda _: None))
    watched = ManyRuns(world, ids, sources=frozenset({EventSource.STATES})).run()
    assert {event.kind for event in watched.events} == {"state", "run-changed"}
    assert (watched.ended, watched.error) == (True, None)


def test_a_page_limit_that_falls_while_runs_are_watched() -> None:
    """A group reads in smaller pages from then on."""
    world = World()
    ids = running(world, 5)
    complete_at(world, 30, ids)
    failures = iter([Failure(kind=FailureKind.PAGE_LIMIT, text="too many", limit=2)])
    world.fault = lambda q: next(failures, None) if isinstance(q, RunsQuery) else None
    watched = ManyRuns(world, ids).run()
    sizes = [len(q.where.flow_run_ids) for _, q in watched.sent if isinstance(q, RunsQuery)]
    assert max(sizes[:1]) > 2 >= max(sizes[2:])
    assert codes(watched) == []
    assert watched.all_closed.verified


def test_a_failure_that_is_not_waited_for_is_retried_like_any() -> None:
    """No poll is under way that it could be the failure of."""
    world = World()
    ids = running(world, 1)
    watched = ManyRuns(world, ids)
    assert watched.session.receive(refused(RunQuery(ids[0])), watched.now()) == ()
    complete_at(world, 10, ids)
    assert watched.run().all_closed.verified


def test_a_rate_limit_slows_the_watch_as_a_whole_with_one_notice() -> None:
    """A server that limits the rate is reported once for all runs."""
    world = World()
    ids = [world.server.add_run(state="COMPLETED") for _ in range(10)]
    refusals = iter([RATE_LIMITED] * 5)
    world.fault = lambda _: next(refusals, None)
    watched = ManyRuns(world, ids, drain=0).run()
    notices = [event for event in watched.of(Notice) if event.code is NoticeCode.RATE_LIMITED]
    assert [(notice.flow_run_id, "429" in notice.message) for notice in notices] == [("", True)]
    sent = [time for time, _ in watched.sent]
    assert min(after - before for before, after in pairwise(sent[5:])) > 0.02
    assert [len(last.runs) for last in watched.of(AllClosed)] == [10]


def test_a_skipped_query_of_a_busy_server_slows_the_watch() -> None:
    """What the server says to wait holds for every query, also after one that is done without."""
    world = World()
    world.server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "NOT_READY"}
    ids = [world.server.add_run(work_pool_name="gpu"), *running(world, 2)]
    busy: list[float] = []

    def fault(query: Query) -> Failure | None:
        if not isinstance(query, WorkPoolQuery) or busy:
            return None
        busy.append(world.now)
        return Failure(kind=FailureKind.BUSY, text="busy", retry_after=7.0)

    world.fault = fault
    watched = ManyRuns(world, ids, more=True, max_duration=None).run(until=90)
    (at,) = busy
    assert min(sent for sent, _ in watched.sent if sent > at) >= at + 7


def test_a_limit_counts_only_the_runs_that_go_on() -> None:
    """Runs that are over and not closed yet are not named, and unread ones are named apart."""
    world = World()
    ids = running(world, 3)
    world.server.set_state(ids[0], "COMPLETED")
    world.at(18, lambda: setattr(world, "fault", refused))
    watched = ManyRuns(world, ids[:2], more=True, max_duration=20)
    watched.add_at(19, [ids[2]])
    text = str(watched.run().error)
    assert f"1 not over: {ids[1]} (Running); 1 not read yet: {ids[2]} (the last request" in text


def test_a_limit_says_that_more_runs_may_come() -> None:
    """Where all runs are over the watch goes on for those that are still to be given."""
    world = World()
    ids = running(world, 1)
    complete_at(world, 1, ids)
    watched = ManyRuns(world, ids, more=True, max_duration=20).run()
    assert "all 1 are over" in str(watched.error)
    assert "the observable of ids has not completed" in str(watched.error)


def test_a_wait_does_not_await_what_writers_retry() -> None:
    """After an outage a watch gives them time for their last lines; a wait reads none."""
    world = World()
    ids = running(world, 2)
    complete_at(world, 31, ids)
    world.at(10, lambda: setattr(world, "fault", refused))
    world.at(30, lambda: setattr(world, "fault", lambda _: None))
    wait = spec_of_wait("", 60)
    watched = ManyRuns(
        world, ids, sources=wait.sources, drain=wait.drain, awaits_retries=wait.awaits_retries
    )
    watched.run()
    assert watched.emitted[-1][0] < 31 + 10
    assert len(watched.all_closed.runs) == 2


# -- pace ----------------------------------------------------------------------------------------


def tick_times(watched: ManyRuns, begin: float) -> list[float]:
    """Return when the ticks of a group were sent, from a time on."""
    return [at for at, query in watched.sent if at >= begin and isinstance(query, RunsQuery)]


@pytest.mark.parametrize(("runs", "longest"), [(2, 5.0), (100, 7.5), (200, 10.0)])
def test_a_group_without_news_pauses_longer_the_more_runs_it_has(runs: int, longest: float) -> None:
    """The longest pause grows from 5 s to the 10 s of a full group."""
    world = World()
    watched = ManyRuns(world, running(world, runs), more=True).run(until=300)
    pauses = [after - before for before, after in pairwise(tick_times(watched, 150))]
    assert 0.9 * longest <= min(pauses)
    assert max(pauses) <= 1.1 * longest + 0.1


def test_a_group_spends_a_fifth_of_the_time_on_its_ticks() -> None:
    """On a slow server an active group pauses four times as long as its last tick took."""
    world = World()
    ids = running(world, 20)
    for second in range(100):
        world.at(second, partial(world.server.log, ids[0], "line"))
    watched = ManyRuns(world, ids, more=True).run(until=30)
    plain = world.send

    def send(query: Query) -> Any:
        world.wait(1)
        return plain(query)

    world.send = send  # type: ignore[method-assign]
    watched.run(until=100)
    pauses = [after - before for before, after in pairwise(tick_times(watched, 40))]
    assert min(pauses) > 5 * 2
    assert len(watched.of(FlowRunLog)) >= 85


# -- rows between whole reads ----------------------------------------------------------------------


def row_queries(watched: ManyRuns, begin: float, end: float) -> list[tuple[float, RunsQuery]]:
    """Return the queries for the rows of a group, and when they were sent."""
    return [
        (at, query)
        for at, query in watched.sent
        if begin <= at < end and isinstance(query, RunsQuery)
    ]


def test_between_whole_reads_only_runs_in_another_state_are_read() -> None:
    """A group reads all rows every ten seconds, else one query for each state that runs are in."""
    world = World()
    ids = running(world, 30)
    for run_id in ids[:10]:
        world.server.set_state(run_id, "PENDING")
    for second in range(100):
        world.at(second, partial(world.server.log, ids[0], "line"))  # keeps the pace up
    watched = ManyRuns(world, ids, more=True).run(until=60)
    sent = row_queries(watched, 20, 60)
    whole = [at for at, query in sent if not query.where.not_in_states]
    assert all(10 <= after - before < 13 for before, after in pairwise(whole))
    assert {query.where.not_in_states: len(query.where.flow_run_ids) for _, query in sent} == {
        (): 30,
        ("Pending",): 10,
        ("Running",): 20,
    }


def test_a_changed_state_is_found_between_whole_reads() -> None:
    """A run that enters another state is emitted by the next tick, its state and its row."""
    world = World()
    ids = running(world, 30)
    for second in range(100):
        world.at(second, partial(world.server.log, ids[0], "line"))
    for number, run_id in enumerate(ids[1:]):
        world.at(20 + number, partial(world.server.set_state, run_id, "PAUSED"))
    watched = ManyRuns(world, ids, more=True).run(until=80)
    delays = [
        at - (event.timestamp - START).total_seconds()
        for at, event in watched.emitted
        if isinstance(event, StateChange) and event.state.name == "Paused"
    ]
    assert len(delays) == 29
    assert max(delays) < 2
    assert len(watched.of(RunChanged)) >= 29


def test_a_state_that_is_entered_again_is_found_by_the_next_whole_read() -> None:
    """RUNNING to RUNNING, and another field, are emitted within some ten seconds."""
    world = World()
    ids = running(world, 30)
    for second in range(100):
        world.at(second, partial(world.server.log, ids[0], "line"))
    world.at(31, lambda: world.server.set_state(ids[1], "RUNNING"))
    world.at(31, lambda: world.server.change_run(ids[2], tags=["new"]))
    complete_at(world, 90, ids)
    watched = ManyRuns(world, ids).run(until=45)
    assert len([each for each in watched.of_run(ids[1]) if isinstance(each, StateChange)]) == 2
    assert [each.run.tags for each in watched.of_run(ids[2]) if isinstance(each, RunChanged)] == [
        ("new",)
    ]
    watched.run()
    assert watched.all_closed.verified


def test_many_states_are_read_whole() -> None:
    """Runs in more than three states are read by one query."""
    world = World()
    ids = running(world, 30)
    for run_id, state in zip(ids, ["PENDING", "PAUSED", "SCHEDULED", "CANCELLING"], strict=False):
        world.server.set_state(run_id, state)
    watched = ManyRuns(world, ids, more=True).run(until=60)
    sent = row_queries(watched, 20, 60)
    assert sent
    assert {query.where.not_in_states for _, query in sent} == {()}


def test_a_server_that_rejects_the_filter_of_states_is_read_whole() -> None:
    """An old server's refusal is no failure of the watch."""
    world = World()
    ids = running(world, 30)
    rejected = Failure(kind=FailureKind.REJECTED, text="extra fields not permitted")

    def reject(query: Query) -> Failure | None:
        finds_changes = isinstance(query, RunsQuery) and query.where.not_in_states
        return rejected if finds_changes else None

    world.fault = reject
    complete_at(world, 60, ids)
    watched = ManyRuns(world, ids).run()
    states = [query.where.not_in_states for _, query in row_queries(watched, 0, 1e6)]
    assert states.count(("Running",)) == 1
    assert codes(watched) == []
    assert watched.all_closed.verified


# -- runs that are left ----------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("subflows", [True, False])
@pytest.mark.parametrize("left_at", [0.0, 0.05, 20.0])
def test_a_run_that_is_left_is_not_read(left_at: float, subflows: bool, others: int) -> None:
    """Whether it is read alone or with others; once it was added again, it is read anew."""
    world = World()
    run_id, *more = ids = running(world, 1 + others)
    watched = ManyRuns(world, ids, more=True, selection=RunSelection(subflows=subflows))
    world.at(left_at, lambda: watched.session.leave([run_id, UNKNOWN]))
    for each in ids:
        world.at(30, partial(world.server.log, each, "while it is left"))
    world.at(100, lambda: watched.session.add([run_id]))
    world.at(100, watched.session.complete)
    complete_at(world, 120, ids)
    watched.run(90)
    assert watched.session.run_count == others
    assert not watched.session.has_run(run_id)
    sent = [query for at, query in watched.sent if left_at + 1 < at < 90]
    assert not any(run_id in repr(query) for query in sent)
    for each in more:
        assert "while it is left" in [event.message for event in watched.of_run(each)]
    before = len(watched.of_run(run_id))
    watched.run()
    rows = [
        e.id for e in watched.of_run(run_id)[before:] if isinstance(e, StateChange | FlowRunLog)
    ]
    assert Counter(rows) == Counter(rows_of(world, run_id))
    assert [outcome.flow_run_id for outcome in watched.all_closed.runs].count(run_id) == 1


def test_a_run_that_is_added_again_at_once_is_not_left() -> None:
    """The watch of it goes on where it was."""
    world = World()
    (run_id,) = running(world, 1)
    watched = ManyRuns(world, [run_id], more=True)

    def leave_and_add() -> None:
        watched.session.leave([run_id])
        watched.session.add([run_id])
        watched.session.complete()

    world.at(20, leave_and_add)
    complete_at(world, 40, [run_id])
    watched.run()
    rows = [e.id for e in watched.events if isinstance(e, StateChange | FlowRunLog)]
    assert Counter(rows) == Counter(rows_of(world, run_id))


def test_a_run_that_is_left_before_its_first_poll_is_never_read() -> None:
    """It waits for a poll by itself then; the others are watched."""
    world = World()
    left, other = ids = running(world, 2)
    watched = ManyRuns(world, ids, more=True)
    watched.session.leave([left])
    world.at(20, watched.session.complete)
    complete_at(world, 40, ids)
    watched.run()
    assert not any(left in repr(query) for _, query in watched.sent)
    assert [outcome.flow_run_id for outcome in watched.all_closed.runs] == [other]
