"""Telling: the order within a tick, what is held back, what is late, and what the view holds."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    Snapshot,
    State,
    StateChange,
    TaskRun,
    TaskRunStateChange,
    fold,
)
from rxflow._watching.event_order import DatedEvent, EventOrder, EventPages
from rxflow._watching.watch_spec import EventSource

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = frozenset(EventSource)
STATES, LOGS, TASKS, NOTICES = EventSource


def second(seconds: float) -> datetime:
    """A time after noon."""
    return NOON + timedelta(seconds=seconds)


# -- events, each made so that its name says where it belongs -----------------------------------


def log(at: float, *, created: float | None = None, row: str = "") -> FlowRunLog:
    """A log line."""
    return FlowRunLog(
        flow_run_id=RUN_ID,
        id=row or f"log-{at}",
        timestamp=second(at),
        created=second(at if created is None else created),
        level=20,
        name="prefect.flow_runs",
        message="a line",
    )


def state(at: float, *, row: str = "") -> StateChange:
    """A state change."""
    new = State(id=row or f"state-{at}", type="RUNNING", name="Running", timestamp=second(at))
    return StateChange(flow_run_id=RUN_ID, id=new.id, state=new)


def task(at: float, *, row: str = "") -> TaskRunStateChange:
    """A task run's state change."""
    new = State(id=row or f"task-{at}", type="RUNNING", name="Running", timestamp=second(at))
    task_run = TaskRun(
        id="task-run",
        name="load-0",
        task_key="load",
        dynamic_key="0",
        created=NOON,
        updated=NOON,
        state=new,
        state_id=new.id,
    )
    return TaskRunStateChange(flow_run_id=RUN_ID, id=new.id, task_run=task_run, state=new)


def row(at: float) -> FlowRun:
    """The run's row, written at a second."""
    return FlowRun(id=RUN_ID, name=f"row-{at}", created=NOON, updated=second(at))


def changed(at: float) -> RunChanged:
    """A change of the row."""
    return RunChanged(flow_run_id=RUN_ID, run=row(at))


def notice(at: float) -> Notice:
    """A notice."""
    return Notice(
        flow_run_id=RUN_ID, code=NoticeCode.DEGRADED, message="no answer", timestamp=second(at)
    )


SEEN = RunSeen(flow_run_id=RUN_ID, run=row(0))
CLOSED = Closed(flow_run_id=RUN_ID, timestamp=second(99))


def events(batch: EventPages) -> list[FlowRunEvent]:
    """All events of a batch, in order."""
    return [event for _, page in batch for event in page]


def tell(
    teller: EventOrder, *dated: DatedEvent, until: float | None = None
) -> list[tuple[FlowRunEvent, bool]]:
    """Tell some events in a tick; each as it was given, with whether it was told late."""
    told = teller.tell(dated=dated, position=None if until is None else second(until))
    return [(replace(event, late=False), event.late) for event in events(told)]


def in_time(*given: FlowRunEvent) -> list[tuple[FlowRunEvent, bool]]:
    """What `tell` gives for events that are not late."""
    return [(event, False) for event in given]


# -- order --------------------------------------------------------------------------------------

ORDERS: dict[str, list[DatedEvent]] = {
    "by timestamp": [log(1), state(2), task(3), log(4), changed(5)],
    "one timestamp, by creation": [
        log(1, created=2, row="c"),
        log(1, created=3, row="b"),
        log(1, created=4, row="a"),
    ],
    "one timestamp and creation, by id": [log(1, row="a"), state(1, row="b"), task(1, row="c")],
    "a state before the line stored after it": [state(1, row="z"), log(1, created=2, row="a")],
    "a line stored before the state": [log(1, created=0, row="z"), state(1, row="a")],
    "the row after its state": [state(1, row="ffffffff"), changed(1), log(2)],
    "the row after all states": [state(1), log(2), state(9), changed(3), log(10)],
    "rows after all states, by time": [state(9), changed(3), changed(4), task(9.5), changed(12)],
    "the row before what comes after the states": [state(1), log(2), changed(3), log(4)],
    "the row without a state": [log(2), changed(3), task(3), log(4)],
    "creation does not outweigh the timestamp": [log(1, created=9), log(2, created=3)],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("turned", [False, True], ids=["as given", "turned round"])
def test_the_order_within_a_tick(order: list[DatedEvent], turned: bool) -> None:
    """Events go by (timestamp, created, id), however they were found, and none of them is late.

    Only a changed row has its place after all states, since the last of them may be of a clock
    that is ahead.
    """
    assert tell(EventOrder(ALL), *(reversed(order) if turned else order)) == in_time(*order)


def test_first_and_last() -> None:
    """What is first comes before all dated events, what is last after them, both as given."""
    last: list[FlowRunEvent] = [notice(3), notice(1), CLOSED]
    told = EventOrder(ALL).tell(first=[SEEN], dated=[log(200), state(-5)], last=last)
    assert events(told) == [SEEN, state(-5), log(200), *last]


def test_ticks_follow_each_other() -> None:
    """What is told is never taken back: order is kept within a tick, not across them."""
    teller = EventOrder(ALL)
    assert tell(teller, log(5)) == in_time(log(5))
    assert tell(teller, log(7), log(3)) == [(log(3), True), (log(7), False)]


# -- pages --------------------------------------------------------------------------------------


def test_pages_are_cut_where_the_source_changes() -> None:
    """Each page is of one source, as long as the order allows, and none is empty."""
    batch = EventOrder(ALL).tell(
        first=[SEEN],
        dated=[log(1), log(2), state(3), changed(4), task(5), task(6), log(7)],
        last=[notice(8), CLOSED],
    )
    assert batch == (
        (NOTICES, (SEEN,)),
        (LOGS, (log(1), log(2))),
        (STATES, (state(3), changed(4))),
        (TASKS, (task(5), task(6))),
        (LOGS, (log(7),)),
        (NOTICES, (notice(8), CLOSED)),
    )


def test_nothing_to_tell() -> None:
    """A tick that found nothing tells no pages."""
    assert EventOrder(ALL).tell() == ()
    assert EventOrder(ALL).tell(position=NOON) == ()


OF_SOURCE = {STATES: [1, 2], LOGS: [3], TASKS: [4], NOTICES: [0, 5]}


@pytest.mark.parametrize(
    "sources",
    [{STATES}, {LOGS}, {TASKS}, {NOTICES}, {LOGS, NOTICES}, set()],
    ids=lambda sources: " and ".join(sorted(sources)) or "nothing",
)
def test_events_of_other_sources_are_not_told(sources: set[EventSource]) -> None:
    """A watch tells what it was asked for and nothing else."""
    given = [SEEN, state(1), changed(2), log(3), task(4), CLOSED]
    batch = EventOrder(frozenset(sources)).tell(
        first=[SEEN], dated=[state(1), changed(2), log(3), task(4)], last=[CLOSED]
    )
    assert events(batch) == [
        event
        for number, event in enumerate(given)
        if any(number in OF_SOURCE[source] for source in sources)
    ]
    assert {source for source, _ in batch} == sources


# -- holding back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held", [state(5), changed(5), task(5)], ids=lambda event: type(event).__name__
)
def test_what_lies_behind_the_position_is_held_back(held: DatedEvent) -> None:
    """While lines are missing, only what is dated before them is told, and the rest after them."""
    teller = EventOrder(ALL)
    assert tell(teller, held, log(1), log(2), until=3) == in_time(log(1), log(2))
    assert tell(teller, log(3), log(4), until=5) == in_time(log(3), log(4))
    assert tell(teller, log(4.5), log(6)) == in_time(log(4.5), held, log(6))


def test_a_row_that_is_held_back_comes_after_its_states() -> None:
    """A changed row that waits with a state is told after it, and after those found since."""
    teller = EventOrder(ALL)
    assert tell(teller, state(9), changed(5), log(1), until=3) == in_time(log(1))
    told = tell(teller, log(3), state(4), log(10))
    assert told == in_time(log(3), state(4), state(9), changed(5), log(10))


def test_a_row_waits_for_the_states_before_it() -> None:
    """A changed row is not told before a state that led to it, whose writer's clock was ahead."""
    teller = EventOrder(ALL)
    assert tell(teller, state(1), state(9), changed(2), log(3), until=5) == in_time(
        state(1), log(3)
    )
    assert tell(teller, log(6)) == in_time(log(6), state(9), changed(2))


def test_a_notice_releases_nothing() -> None:
    """What is said meanwhile is told at once and alone; what is held back stays so, in time."""
    teller = EventOrder(ALL)
    tell(teller, state(5), log(1), until=3)
    assert teller.say(notice(100), notice(101)) == ((NOTICES, (notice(100), notice(101))),)
    assert teller.say() == ()
    assert tell(teller, log(4), until=5) == in_time(log(4))
    assert tell(teller, log(6)) == in_time(state(5), log(6))


def test_a_notice_that_nobody_wants_is_not_said() -> None:
    """A watch that tells no notices says none."""
    assert EventOrder(ALL - {NOTICES}).say(notice(1)) == ()


def test_what_lies_before_the_position_is_told() -> None:
    """A state waits no longer than for the lines that are dated before it."""
    told = tell(EventOrder(ALL), state(1), state(2.9), state(3), log(2), until=3)
    assert told == in_time(state(1), log(2), state(2.9))


def test_lines_are_never_held_back() -> None:
    """A log line is told in the tick that found it, wherever the position is."""
    assert tell(EventOrder(ALL), log(1), log(9), until=3) == in_time(log(1), log(9))


def test_what_is_held_back_is_neither_in_the_view_nor_told_twice() -> None:
    """The view is what was told; what was held back is told once."""
    teller = EventOrder(ALL)
    teller.tell(first=[SEEN], dated=[state(5)], position=second(3))
    assert teller.view == Snapshot(run=SEEN.run)
    assert tell(teller) == in_time(state(5))
    assert tell(teller) == []
    assert teller.view == fold(Snapshot(run=SEEN.run), state(5))


# -- lines --------------------------------------------------------------------------------------


def lines_of(found: Sequence[DatedEvent]) -> tuple[FlowRunLog, ...]:
    """The log lines among some events, in order."""
    return tuple(sorted((log for log in found if isinstance(log, FlowRunLog)), key=key))


@pytest.mark.parametrize("first", [5.0, 6.0], ids=["at the mark", "after it"])
def test_lines_that_follow_on_are_told_as_they_are(first: float) -> None:
    """A page of lines above all that was told is told as the very page that was read."""
    teller = EventOrder(ALL)
    tell(teller, log(5, row="a"))
    page = (log(first, row="b"), log(7))
    (_, seen), (source, told), (_, last) = teller.tell(first=[SEEN], lines=page, last=[notice(8)])
    assert (seen, last) == ((SEEN,), (notice(8),))
    assert source is LOGS
    assert told is page
    assert teller.log_count == 3
    assert tell(teller, log(6.5)) == [(log(6.5), True)]


def test_lines_take_their_place_among_what_is_told() -> None:
    """Lines that come with other events, or were overtaken by some, are put in order with them."""
    teller = EventOrder(ALL)
    batch = teller.tell(dated=[state(2)], lines=(log(1), log(3)))
    assert batch == ((LOGS, (log(1),)), (STATES, (state(2),)), (LOGS, (log(3),)))
    late = replace(log(2.5), late=True)
    assert teller.tell(lines=(log(2.5), log(4))) == ((LOGS, (late, log(4))),)


def test_lines_that_nobody_wants_are_not_told() -> None:
    """A watch that tells no lines neither counts them nor measures others by them."""
    teller = EventOrder(ALL - {LOGS})
    assert teller.tell(lines=(log(5), log(6))) == ()
    assert teller.log_count == 0
    assert tell(teller, state(1)) == in_time(state(1))


# -- late ---------------------------------------------------------------------------------------

LATE: dict[str, tuple[DatedEvent, DatedEvent, bool]] = {
    # told in a tick before, told now, whether that is late
    "a line below a line": (log(5), log(3), True),
    "a line below a state": (state(5), log(3), True),
    "a state below a line": (log(5), state(3), True),
    "a task's state below a line": (log(5), task(3), True),
    "a line above a line": (log(5), log(7), False),
    "the same time, a greater id": (log(5, row="a"), log(5, row="b"), False),
    "the same time, a smaller id": (log(5, row="b"), log(5, row="a"), True),
    "the same time, stored before": (log(5, created=7, row="a"), log(5, created=6, row="b"), True),
    "the same time, stored after": (log(5, created=6, row="b"), log(5, created=7, row="a"), False),
    "a row below a line": (log(5), changed(3), False),
    "a line below a row": (changed(5), log(3), False),
}


@pytest.mark.parametrize(("before", "now", "late"), LATE.values(), ids=LATE)
def test_what_is_late(before: DatedEvent, now: DatedEvent, late: bool) -> None:
    """Late is what lies below an event of an earlier tick; rows have no moment to be late for."""
    teller = EventOrder(ALL)
    tell(teller, before)
    assert tell(teller, now) == [(now, late)]


@pytest.mark.parametrize(
    ("source", "before"),
    [(STATES, state(5)), (LOGS, log(5)), (TASKS, task(5))],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("together", [True, False], ids=["in one tick", "in two"])
def test_what_is_not_told_makes_nothing_late(
    source: EventSource, before: DatedEvent, together: bool
) -> None:
    """An event that the user never sees is no reason to call another late."""
    teller = EventOrder(ALL - {source})
    now: list[DatedEvent] = [log(3), state(4)] if source is TASKS else [task(4)]
    if together:
        assert tell(teller, before, *now) == in_time(*now)
    else:
        assert tell(teller, before) == []
        assert tell(teller, *now) == in_time(*now)


def test_a_late_event_does_not_lower_the_mark() -> None:
    """What was told once counts for good: a line above a late one can be late too."""
    teller = EventOrder(ALL)
    tell(teller, log(5))
    tell(teller, log(1))
    assert tell(teller, log(3)) == [(log(3), True)]


def test_only_its_flag_tells_a_late_event_from_what_it_was() -> None:
    """A late event is the event, flagged; and nobody else's is changed."""
    teller, given = EventOrder(ALL), log(3)
    tell(teller, log(5))
    (told,) = events(teller.tell(dated=[given]))
    assert told == replace(given, late=True)
    assert given.late is False


# -- the view -----------------------------------------------------------------------------------


def test_the_view_is_the_fold_of_what_was_told() -> None:
    """Each event that is told is taken into the view, by the fold."""
    teller = EventOrder(ALL)
    assert teller.view is None
    told = events(teller.tell(first=[SEEN], dated=[state(1), task(2), changed(3)], last=[CLOSED]))
    assert teller.view == folded(told)


@pytest.mark.parametrize("source", [STATES, TASKS])
def test_events_of_other_sources_are_not_in_the_view(source: EventSource) -> None:
    """What is not told is not known."""
    teller = EventOrder(ALL - {source})
    teller.tell(first=[SEEN], dated=[state(1) if source is STATES else task(1)])
    assert teller.view == Snapshot(run=SEEN.run)


@pytest.mark.parametrize("sources", [ALL, ALL - {LOGS}], ids=["told", "not told"])
def test_lines_are_counted(sources: frozenset[EventSource]) -> None:
    """`log_count` is how many log lines were told, in all ticks, late ones too."""
    teller = EventOrder(sources)
    tell(teller, log(5), state(6), log(7))
    tell(teller, log(1))
    assert teller.log_count == (3 if LOGS in sources else 0)


# -- laws ---------------------------------------------------------------------------------------


def folded(told: Iterable[FlowRunEvent]) -> Snapshot | None:
    """The fold of some events."""
    start: Snapshot | None = None
    return reduce(fold, told, start)


def key(event: FlowRunEvent) -> tuple[datetime, datetime, str]:
    """An event's place in time."""
    match event:
        case FlowRunLog():
            return event.timestamp, event.created, event.id
        case StateChange() | TaskRunStateChange():
            return event.timestamp, event.timestamp, event.id
        case _:
            return event.timestamp, event.timestamp, ""


def assert_in_order(told: Sequence[FlowRunEvent]) -> None:
    """A tick goes by time, except that changed rows come no earlier than right after all states."""
    others = [event for event in told if not isinstance(event, RunChanged)]
    assert [key(event) for event in others] == sorted(key(event) for event in others)
    for number, row in enumerate(told):
        if not isinstance(row, RunChanged):
            continue
        after = told[number + 1 :]
        assert not any(isinstance(event, StateChange) for event in after)
        assert all(key(event) >= key(row) for event in after)
        before = [event for event in told[:number] if not isinstance(event, RunChanged)]
        assert not before or isinstance(before[-1], StateChange) or key(before[-1]) <= key(row)


moments = st.integers(0, 9)
kinds = st.sampled_from(["log", "state", "task", "row"])
found = st.lists(st.tuples(kinds, moments, st.integers(0, 3)), max_size=6)
ticks = st.lists(st.tuples(found, st.none() | moments), max_size=8)
Found = list[tuple[str, int, int]]


def made(found: Found, tick: int) -> list[DatedEvent]:
    """The events that a tick found; no two of all ticks are one."""
    dated: list[DatedEvent] = []
    for number, (kind, at, delay) in enumerate(found):
        name = f"{(7 * number + 3 * tick) % 11}-{tick}-{number}"
        match kind:
            case "log":
                dated.append(log(at, created=at + delay, row=name))
            case "state":
                dated.append(state(at, row=name))
            case "task":
                dated.append(task(at, row=name))
            case _:
                dated.append(RunChanged(flow_run_id=RUN_ID, run=replace(row(at), name=name)))
    return dated


@given(ticks=ticks)
def test_each_event_is_told_once(ticks: list[tuple[Found, int | None]]) -> None:
    """Whatever ticks find, in the end, when all was read, each event was told exactly once."""
    teller = EventOrder(ALL)
    given: list[DatedEvent] = []
    told: list[FlowRunEvent] = []
    for number, (found, until) in enumerate([*ticks, ([], None)]):
        dated = made(found, number)
        given += dated
        told += [event for event, _ in tell(teller, *dated, until=until)]
    assert sorted(map(repr, told)) == sorted(map(repr, given))
    assert teller.log_count == sum(isinstance(event, FlowRunLog) for event in given)


@given(ticks=ticks)
def test_each_tick_is_in_order_and_late_is_late(ticks: list[tuple[Found, int | None]]) -> None:
    """Each tick goes by time, keeps to its position, and flags what lies below what was told."""
    teller = EventOrder(ALL)
    top = (second(-1), second(-1), "")
    for number, (found, until) in enumerate(ticks):
        told = tell(teller, *made(found, number), until=until)
        assert_in_order([event for event, _ in told])
        for event, late in told:
            assert until is None or isinstance(event, FlowRunLog) or event.timestamp < second(until)
            if isinstance(event, RunChanged):
                assert not late
            else:
                assert late == (key(event) < top)
                top = max(top, key(event))


@given(ticks=ticks, sources=st.frozensets(st.sampled_from(EventSource)))
def test_lines_are_told_like_other_events(
    ticks: list[tuple[Found, int | None]], sources: frozenset[EventSource]
) -> None:
    """A page of lines makes the same events, flags and counts as the lines one by one."""
    as_lines, one_by_one = EventOrder(sources), EventOrder(sources)
    for number, (found, until) in enumerate(ticks):
        position = None if until is None else second(until)
        dated = made(found, number)
        others = [event for event in dated if not isinstance(event, FlowRunLog)]
        told = as_lines.tell(dated=others, lines=lines_of(dated), position=position)
        assert told == one_by_one.tell(dated=dated, position=position)
        assert as_lines.log_count == one_by_one.log_count


@given(ticks=ticks)
def test_the_view_holds_what_was_told(ticks: list[tuple[Found, int | None]]) -> None:
    """After each tick the view is the fold of all events so far, and each page is of one source."""
    teller = EventOrder(ALL)
    so_far = events(teller.tell(first=[SEEN]))
    for number, (found, until) in enumerate(ticks):
        position = None if until is None else second(until)
        batch = teller.tell(dated=made(found, number), position=position)
        assert all(page for _, page in batch)
        so_far += events(batch)
        assert teller.view == folded(so_far)
