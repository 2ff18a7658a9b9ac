"""What a user is promised, on the fake servers, and what only they can be made to do beside it.

The promises themselves are in `promises.py`, which the real server has to keep too. Here outages,
limits and random lives come on top. Time is that of the fakes, and passes at once.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, TypeAlias, TypeVar

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from promises import *  # noqa: F403
from promises import (
    SECOND,
    all_of,
    assert_whole,
    closed,
    codes,
    folded,
    late,
    messages,
)
from reactivex import Observable
from reactivex import operators as ops
from servers_under_test import Acts, Line, Row, entered, ignore, outcome, rows, said, watched
from twin_calls import Call
from virtual_world import HOUR, Recording

import rxflow
from rxflow import (
    Client,
    FlowRunEvent,
    FlowRunLog,
    FlowRunView,
    Notice,
    NoticeCode,
    StateChange,
    StateType,
)
from rxflow._models.states import TERMINAL_TYPES
from rxflow.testing import FakePrefect1, FakePrefect3, Faults, VirtualTime

T = TypeVar("T")

DAY = 86_400.0

PREFECT_1 = {
    StateType.SCHEDULED: "Scheduled",
    StateType.PENDING: "Pending",
    StateType.RUNNING: "Running",
    StateType.PAUSED: "Paused",
    StateType.CANCELLING: "Cancelling",
    StateType.COMPLETED: "Success",
    StateType.FAILED: "Failed",
    StateType.CANCELLED: "Cancelled",
}
"""What Prefect 1 calls them."""


class Fake:
    """What the fakes have in common: time that passes at once."""

    drain: float | None = None
    fake: FakePrefect1 | FakePrefect3
    path: str

    def __init__(self, fake: FakePrefect1 | FakePrefect3, time: VirtualTime) -> None:
        self.fake = fake
        self._time = time
        self.client = fake.client()
        self.now = fake.now
        self.at = fake.at
        self.delete_run = fake.delete_run
        self.serve = fake.serve

    def let_time_pass(self) -> None:
        """Let an hour pass."""
        self._time.wait(HOUR)

    def let_happen(self, seconds: float) -> None:
        """Let time pass, and those who watch go on meanwhile."""
        self._time.advance_to(self._time.now + timedelta(seconds=seconds))

    def stranger(self, **known: Any) -> Client:
        """A client that knows no more than this of the server."""
        url = "http://fake.invalid" + self.path
        return Client(api_url=url, transport=self.fake.transport(), **known)

    def begin(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe in virtual time."""
        told: Recording[T] = Recording(lambda: self._time.seconds)
        told.subscribe_to(stream.pipe(ops.do_action(react)), self._time)
        return told

    def finish(self, told: Recording[T]) -> list[T]:
        """Let a day pass at the most."""
        until = self._time.seconds + DAY
        while told.ended is None:
            assert self._time.seconds < until, f"it does not end: {told.values}"
            self._time.advance_to(self._time.now + timedelta(seconds=1))
        return outcome(told)


class Prefect1(Fake):
    """The fake of Prefect 1."""

    fake: FakePrefect1
    path = ""

    def __init__(self, **options: Any) -> None:
        time = VirtualTime()
        super().__init__(FakePrefect1(clock=time, **options), time)

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self.fake.add_run(name=name, state=PREFECT_1[state])

    def enter(self, run_id: str, state: StateType) -> None:
        """Put it in a state."""
        self.fake.set_state(run_id, PREFECT_1[state])

    def log(self, run_id: str, *lines: Line | str) -> None:
        """Store log lines, whose levels have names here."""
        for line in map(_line, lines):
            level = logging.getLevelName(line.level)
            self.fake.log(run_id, line.message, level=level, timestamp=line.timestamp)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a task run."""
        return self.fake.add_task_run(run_id, slug=task, map_index=index, state="Running")

    def enter_task(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Put it in a state."""
        del run_id
        self.fake.set_task_state(task_run_id, PREFECT_1[state])

    def stored(self, run_id: str) -> list[Row]:
        """List what is in the tables."""
        tables = {"state": self.fake.states, "log": self.fake.logs}
        return sorted(
            (kind, row["id"])
            for kind, table in tables.items()
            for row in table.values()
            if row["flow_run_id"] == run_id
        )


class Prefect3(Fake):
    """The fake of Prefect 3."""

    fake: FakePrefect3
    path = "/api"

    def __init__(self, **options: Any) -> None:
        time = VirtualTime()
        super().__init__(FakePrefect3(clock=time, **options), time)

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self.fake.add_run(name=name, state=state)

    def enter(self, run_id: str, state: StateType) -> None:
        """Put it in a state."""
        self.fake.set_state(run_id, state)

    def log(self, run_id: str, *lines: Line | str) -> None:
        """Store log lines."""
        for line in map(_line, lines):
            self.fake.log(run_id, line.message, level=line.level, timestamp=line.timestamp)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a task run, which is numbered by its creation here."""
        del index
        return self.fake.add_task_run(run_id, state="RUNNING", name=task, task_key=task)

    def enter_task(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Put it in a state."""
        self.fake.set_task_state(run_id, task_run_id, state)

    def stored(self, run_id: str) -> list[Row]:
        """List what is in the tables."""
        states = [("state", row["id"]) for row in self.fake.states[run_id]]
        logs = [("log", row["id"]) for row in self.fake.logs if row["flow_run_id"] == run_id]
        return sorted(states + logs)


def _line(line: Line | str) -> Line:
    return Line(line) if isinstance(line, str) else line


AnyFake: TypeAlias = Prefect1 | Prefect3

FAKES: dict[str, Callable[..., AnyFake]] = {"prefect1": Prefect1, "prefect3": Prefect3}


@pytest.fixture(params=FAKES)
def prefect(request: pytest.FixtureRequest) -> Iterator[AnyFake]:
    """Each of the fakes."""
    server = FAKES[request.param]()
    with server.client:
        yield server


# -- when a server has its troubles ---------------------------------------------------------------


def refuse(server: AnyFake) -> None:
    """Nobody listens any more."""
    server.fake.faults = Faults(refused=1)


def fail(server: AnyFake) -> None:
    """It answers with errors."""
    server.fake.faults = Faults(errors=1, statuses=(500, 502))


def be_busy(server: AnyFake) -> None:
    """It wants to be asked later."""
    server.fake.faults = Faults(errors=1, statuses=(503,), retry_after=2)


def break_off(server: AnyFake) -> None:
    """It reads what it is asked, and the connection breaks in the middle of its answer."""
    server.fake.faults = Faults(cut=1)


def lead_astray(server: AnyFake) -> None:
    """A proxy answers in its place."""
    server.fake.faults = Faults(garbled=1)


def lose_hasura(server: Prefect1) -> None:
    """Of Prefect 1 one part is down, which it tells with HTTP status 200."""
    server.fake.outage = "hasura_down"


def time_out(server: Prefect1) -> None:
    """Each query takes Prefect Cloud too long, which it tells with HTTP status 200."""
    server.fake.outage = "timed_out"


def mend(server: AnyFake) -> None:
    """All is well again."""
    server.fake.faults = Faults()
    if isinstance(server.fake, FakePrefect1):
        server.fake.outage = None


Trouble: TypeAlias = Callable[[Any], None]

TROUBLES: list[Trouble] = [refuse, fail, be_busy, break_off, lead_astray]
TROUBLES_OF_PREFECT_1: list[Trouble] = [lose_hasura, time_out]

in_trouble = pytest.mark.parametrize(
    ("prefect", "trouble"),
    [
        *((name, trouble) for name in FAKES for trouble in TROUBLES),
        *(("prefect1", trouble) for trouble in TROUBLES_OF_PREFECT_1),
    ],
    indirect=["prefect"],
)


def live_a_minute(server: AnyFake) -> str:
    """A run that logs each second and enters some states, from now on for a minute."""
    run = server.add_run()
    server.at(1, lambda: server.enter(run, StateType.RUNNING))
    for second in range(2, 60):
        server.at(second, partial(server.log, run, f"line {second:02}"))
    server.at(30, lambda: server.enter(run, StateType.PAUSED))
    server.at(40, lambda: server.enter(run, StateType.RUNNING))
    server.at(60, lambda: server.enter(run, StateType.COMPLETED))
    server.at(62, lambda: server.log(run, "the last line"))
    return run


@in_trouble
def test_an_outage_loses_nothing(prefect: AnyFake, trouble: Trouble) -> None:
    """What came in the meantime is told afterwards, once and in order, and two notices tell why."""
    run = live_a_minute(prefect)
    prefect.at(20, lambda: trouble(prefect))
    prefect.at(45, lambda: mend(prefect))
    told = prefect.begin(all_of(prefect, run), ignore)
    events = prefect.finish(told)
    assert rows(events) == prefect.stored(run)
    assert messages(events) == [*(f"line {n:02}" for n in range(2, 60)), "the last line"]
    assert late(events) == []
    assert codes(events) == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert closed(events).verified
    noticed = [seconds for seconds, event in told.events if isinstance(event, Notice)]
    assert 30 <= noticed[0] <= 35
    assert noticed[1] >= 45
    assert rows(prefect.finish(prefect.begin(all_of(prefect, run), ignore))) == rows(events)


@in_trouble
def test_a_moment_of_trouble_is_not_worth_a_word(prefect: AnyFake, trouble: Trouble) -> None:
    """What is soon over is made up for in silence."""
    run = live_a_minute(prefect)
    met: list[httpx.Request] = []

    def begin() -> None:
        trouble(prefect)
        prefect.fake.intercept = meet

    def meet(request: httpx.Request) -> None:
        met.append(request)
        prefect.at(0.001, end)

    def end() -> None:
        prefect.fake.intercept = None
        mend(prefect)

    prefect.at(20, begin)
    prefect.at(21, end)  # for whom nobody met, since nobody listened
    events = watched(prefect, all_of(prefect, run))
    assert bool(met) is (trouble is not refuse)
    assert_whole(events, prefect, run)
    assert late(events) == []


@in_trouble
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_trouble_at_first_is_waited_for(prefect: AnyFake, trouble: Trouble, told: bool) -> None:
    """A watch may begin before its server answers, if only what answers may be a Prefect."""
    run = live_a_minute(prefect)
    trouble(prefect)
    prefect.at(5, lambda: mend(prefect))
    stream = all_of(prefect, run, client=prefect.client if told else prefect.stranger())
    if trouble is lead_astray:
        with pytest.raises(rxflow.NotAPrefectApi):
            watched(prefect, stream)
    else:
        events = watched(prefect, stream)
        assert rows(events) == prefect.stored(run)
        assert closed(events).verified


@in_trouble
def test_trouble_at_the_end_is_waited_for(prefect: AnyFake, trouble: Trouble) -> None:
    """A run that ends while nobody answers is told to its end, and writers have time to retry."""
    run = live_a_minute(prefect)
    prefect.at(55, lambda: trouble(prefect))
    prefect.at(75, lambda: mend(prefect))
    prefect.at(95, lambda: prefect.log(run, "tried again"))
    events = watched(prefect, all_of(prefect, run))
    assert rows(events) == prefect.stored(run)
    assert messages(events)[-2:] == ["the last line", "tried again"]
    assert closed(events).verified


def test_a_part_that_is_not_asked_may_be_down() -> None:
    """Without the part of Prefect 1 that writes, a watch goes on as if nothing was the matter."""
    prefect = Prefect1()
    run = live_a_minute(prefect)
    prefect.fake.outage = "graphql_down"
    assert_whole(watched(prefect, all_of(prefect, run)), prefect, run)


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_key_is_asked_for(told: bool) -> None:
    """With Prefect Cloud's key all is told; without it, or with another, nothing but that."""
    prefect = Prefect1(api_key="open sesame")
    run = live_a_minute(prefect)
    backend = "prefect1" if told else None
    for key in (None, "shut sesame"):
        stranger = prefect.stranger(api_key=key, backend=backend)
        with pytest.raises(rxflow.AuthError, match="RXFLOW_API_KEY"):
            watched(prefect, all_of(prefect, run, client=stranger))
    client = prefect.stranger(api_key="open sesame", backend=backend)
    assert_whole(watched(prefect, all_of(prefect, run, client=client)), prefect, run)


# -- how much a server gives ----------------------------------------------------------------------


@pytest.fixture(
    params=[("prefect1", {"row_limit": 7}), ("prefect3", {"page_limit": 7})],
    ids=lambda param: param[0],
)
def sparing(request: pytest.FixtureRequest) -> Iterator[AnyFake]:
    """A server that gives seven rows at once: Prefect 1 says nothing of it, Prefect 3 refuses."""
    name, options = request.param
    server = FAKES[name](**options)
    with server.client:
        yield server


def test_a_sparing_server_is_told_whole(sparing: AnyFake) -> None:
    """Lines, ties, states and task runs of more pages than one come once each, live and later."""
    run = sparing.add_run(state=StateType.RUNNING)
    begun = sparing.now() + SECOND
    lines = [Line(f"line {n:02}", begun + min(n, 30) * SECOND) for n in range(60)]

    def live() -> None:
        sparing.log(run, *lines)
        for n in range(10):
            sparing.enter(run, StateType.PAUSED if n % 2 else StateType.RUNNING)
            sparing.add_task_run(run, "load", n)
            sparing.add_task_run(run, f"sum {n}")

    acts = Acts(
        (entered(StateType.RUNNING), live),
        (said("line 30"), lambda: sparing.enter(run, StateType.COMPLETED)),
    )
    stream = all_of(sparing, run, stream_tasks=True)
    live_events = watched(sparing, stream, acts)
    sparing.let_time_pass()
    past_events = watched(sparing, stream)
    for events in (live_events, past_events):
        assert rows(events) == sparing.stored(run)
        assert messages(events)[:30] == [line.message for line in lines[:30]]
        assert closed(events).verified
        assert closed(events).log_count == 60
        assert len(closed(events).unsettled) == 20
        assert codes(events) == []


def test_views_of_a_sparing_server_are_whole(sparing: AnyFake, call: Call) -> None:
    """A view has all lines, all states and all task runs, and so has what follows it."""
    run = sparing.add_run()
    sparing.log(run, *(Line(f"line {n:02}") for n in range(60)))
    for n in range(10):
        sparing.enter(run, StateType.PAUSED if n % 2 else StateType.RUNNING)
        sparing.add_task_run(run, "load", n)
        sparing.enter_task(run, sparing.add_task_run(run, f"sum {n}"), StateType.COMPLETED)
    view = call(FlowRunView, "from_flow_run_id", run, True, client=sparing.client)
    assert [line.message for line in call(view, "get_logs")] == [f"line {n:02}" for n in range(60)]
    assert len(view.states) == 11
    assert view.state == view.states[-1]
    assert [row.name for row in view.task_runs if row.is_terminal] == [
        f"sum {n}" for n in range(10)
    ]
    assert len(call(view, "get_all_task_runs")) == 20
    assert call(view, "get_task_run", "load", map_index=7).map_index == 7
    assert call(view, "get_latest", True) == view


# -- what only one of them does ------------------------------------------------------------------


def test_states_of_one_time_come_as_they_were_entered() -> None:
    """Prefect 1's clients stamp its states, and it counts them: they come by their numbers."""
    prefect = Prefect1()
    run = prefect.add_run()
    entered_at = prefect.now() + SECOND
    names = ["Queued", "Submitted", "Running", "Retrying", "Running", "Paused", "Resume", "Success"]
    for name in names:
        prefect.fake.set_state(run, name, timestamp=entered_at)
    prefect.let_time_pass()
    events = watched(prefect, all_of(prefect, run))
    assert_whole(events, prefect, run)
    told = [event.state.name for event in events if isinstance(event, StateChange)]
    assert told == ["Pending", *names]
    assert [state.name for state in folded(events).states] == told
    assert late(events) == []


# -- when it is asked -----------------------------------------------------------------------------


def test_nothing_is_asked_before_a_face_is_used(prefect: AnyFake) -> None:
    """A stream, its parts and its views are cold."""
    stream = all_of(prefect, prefect.add_run())
    parts = (stream, stream.states, stream.logs, stream.tasks, stream.notices, stream.views())
    assert len(parts) == 6
    assert prefect.fake.requests == []


@pytest.mark.parametrize(
    ("prefect", "drain"), [("prefect1", 10), ("prefect3", 5)], indirect=["prefect"]
)
def test_the_quiet_time_begins_anew_with_each_line(prefect: AnyFake, drain: float) -> None:
    """A run is closed when nothing was stored for as long as its server's writers may need."""
    run = prefect.add_run(state=StateType.RUNNING)
    prefect.at(60, lambda: prefect.enter(run, StateType.COMPLETED))
    ends = [60 + (drain - 1) * n for n in range(1, 5)]
    for end in ends:
        prefect.at(end, partial(prefect.log, run, f"at {end}"))
    told = prefect.begin(all_of(prefect, run), ignore)
    events = prefect.finish(told)
    assert_whole(events, prefect, run)
    assert messages(events) == [f"at {end}" for end in ends]
    assert told.ended is not None
    assert ends[-1] + drain <= told.ended < ends[-1] + drain + 2


# -- whatever happens -----------------------------------------------------------------------------

Step = Callable[[AnyFake, str], None]

LATENESS = st.integers(-5, 30)  # seconds, so that many lines have one time
LEVEL = st.sampled_from([10, 20, 40])


def entering(state: StateType) -> Step:
    """Enter a state."""
    return lambda server, run: server.enter(run, state)


def logging_some(lines: list[tuple[int, int]]) -> Step:
    """Store lines, each by so many seconds late, and of a level."""

    def log(server: AnyFake, run: str) -> None:
        now = server.now().replace(microsecond=0)
        server.log(run, *(Line("a line", now - late * SECOND, level) for late, level in lines))

    return log


def fail_and_go_on(server: AnyFake, run: str) -> None:
    """Be over for a moment."""
    server.enter(run, StateType.FAILED)
    server.enter(run, StateType.RUNNING)


steps: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from(sorted(PREFECT_1.keys() - TERMINAL_TYPES)).map(entering),
    st.just(fail_and_go_on),
    st.lists(st.tuples(LATENESS, LEVEL), max_size=9).map(logging_some),
    st.integers(40, 130).map(lambda n: logging_some([(line % 37 - 5, 20) for line in range(n)])),
)
lives = st.lists(st.tuples(st.floats(0, 20), steps), max_size=15)
# A poll is taken as a whole or not at all, so that its requests must not fail too often.
troubles = st.sampled_from(
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
@given(st.sampled_from(sorted(FAKES)), lives, troubles, st.floats(0, 200), st.integers(0, 9999))
def test_whatever_happens_each_watcher_is_told_the_same(
    name: str, life: list[tuple[float, Step]], faults: Faults, joined: float, seed: int
) -> None:
    """Of any life, with any faults: each row once, in order or flagged, and the same at the end."""
    server = FAKES[name](random=Random(seed), **PAGES_OF_FIFTY[name])
    run = server.add_run()
    when = 1.0
    for pause, step in life:
        when += pause
        server.at(when, partial(step, server, run))
    server.at(when + 1, lambda: server.enter(run, StateType.COMPLETED))
    server.at(when + 4, lambda: server.log(run, "the last line"))
    begun = [server.begin(all_of(server, run), ignore)]
    server.let_happen(1)
    server.fake.faults = faults
    server.let_happen(joined)
    server.fake.faults = Faults()  # or the watch might not even begin
    begun.append(server.begin(all_of(server, run), ignore))
    server.let_happen(1)
    server.fake.faults = faults
    early, midway = (server.finish(told) for told in begun)
    server.fake.faults = Faults()
    server.let_time_pass()
    afterwards = watched(server, all_of(server, run))
    read = FlowRunView.from_flow_run_id(run, client=server.client)
    server.client.close()
    for events in (early, midway, afterwards):
        assert rows(events) == server.stored(run)
        assert_in_order(events)
        assert closed(events).verified
        assert closed(events).log_count == len(messages(events))
        assert asdict(folded(events)) == asdict(read.snapshot)
    assert late(afterwards) == []


def assert_in_order(events: list[FlowRunEvent]) -> None:
    """What comes before what was told already is flagged, and nothing else is."""
    top: datetime | None = None
    for event in events:
        if not isinstance(event, StateChange | FlowRunLog):
            continue
        if top is not None:
            assert event.timestamp <= top if event.late else event.timestamp >= top
        top = event.timestamp if top is None else max(top, event.timestamp)
